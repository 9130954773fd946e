// SPDX-License-Identifier: GPL-2.0-only
#include "test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "addr.h"
#include "sa_set.h"

#define MANY 100000

static struct sa_class make_sa(const char *dst, __u32 reqid)
{
	struct sa_class sa = {
		.sa = { .suite = { .enc = "cbc(aes)", .proto = IPPROTO_ESP }, .reqid = reqid },
		.selector = { .family = AF_INET },
	};

	addr_from_v4(&sa.sa.src, inet_addr("10.9.0.1"));
	addr_from_v4(&sa.sa.dst, inet_addr(dst));
	return sa;
}

static int put(struct sa_set *set, __u32 spi, const struct sa_class *sa)
{
	struct clatch_sa_key key = { 1, sa->sa.dst, htonl(spi), sa->sa.suite.proto };

	return sa_set_put(set, &key, sa);
}

static int take(struct sa_set *set, __u32 spi, const struct sa_class *sa)
{
	struct clatch_sa_key key = { 1, sa->sa.dst, htonl(spi), sa->sa.suite.proto };

	return sa_set_remove(set, &key);
}

struct seen {
	size_t classes;
	size_t sas;
	struct sa_class last;
};

static int see(void *context, const struct sa_class *sa)
{
	struct seen *seen = context;

	seen->classes++;
	seen->sas += sa->count;
	seen->last = *sa;
	return 0;
}

static struct seen seen_to(const struct sa_set *set, const char *dst)
{
	const struct sa_class sa = make_sa(dst, 0);
	struct seen seen = {};

	assert_int_equal(sa_set_each(set, &sa.sa.src, &sa.sa.dst, see, &seen), 0);
	return seen;
}

static struct seen seen_of(const struct sa_set *set, const char *dst, __u32 reqid)
{
	const struct sa_class sa = make_sa(dst, 0);
	struct seen seen = {};

	assert_int_equal(sa_set_each_reqid(set, &sa.sa.src, &sa.sa.dst, reqid, see, &seen), 0);
	return seen;
}

/* A class lives from its first SA to its last. */
static void test_rekeying(void **state)
{
	const struct sa_class sa = make_sa("10.9.0.2", 7);
	struct sa_set *set = sa_set_new();

	(void)state;
	assert_int_equal(put(set, 1, &sa), NEWS);
	assert_int_equal(put(set, 1, &sa), NO_NEWS); /* told of twice */
	assert_int_equal(put(set, 2, &sa), NO_NEWS);
	assert_int_equal(seen_to(set, "10.9.0.2").classes, 1);
	assert_int_equal(seen_to(set, "10.9.0.2").sas, 2);
	assert_int_equal(seen_to(set, "10.9.0.2").last.sa.spi, htonl(2));
	assert_int_equal(take(set, 1, &sa), NO_NEWS);
	assert_int_equal(take(set, 1, &sa), NO_NEWS); /* unknown */
	assert_int_equal(take(set, 2, &sa), NEWS);
	assert_int_equal(seen_to(set, "10.9.0.2").classes, 0);
	sa_set_free(set);
}

static void test_every_part_makes_a_class(void **state)
{
	const struct sa_class sa = make_sa("10.9.0.2", 7);
	struct sa_set *set = sa_set_new();
	struct sa_class other;
	__u32 spi = 1;

	(void)state;
	put(set, spi, &sa);
#define OTHER(change)                                                                              \
	do {                                                                                       \
		other = sa;                                                                        \
		change;                                                                            \
		assert_int_equal(put(set, ++spi, &other), NEWS);                                   \
	} while (0)
	OTHER(other.sa.suite.icv_bits = 96);
	OTHER(other.sa.reqid = 8);
	OTHER(other.sa.if_id = 1);
	OTHER(other.sa.src.b[15]++);
	OTHER(other.selector.dport = 1);
	OTHER(other.selector.saddr.a4 = 1);
	OTHER(other.selector.ifindex = 1);
	OTHER(other.mark = 1);
	OTHER(other.mark_mask = 1);
	OTHER(other.sa.who.local_id = 1);
	OTHER(other.sa.who.peer_id = 1);
#undef OTHER
	sa_set_free(set);
}

/* What the kernel leaves in gaps, and numbers that say nothing, make no class. */
static void test_noise_makes_no_class(void **state)
{
	struct sa_class sa = make_sa("10.9.0.2", 7);
	struct sa_set *set = sa_set_new();

	(void)state;
	put(set, 1, &sa);
	((char *)&sa.selector)[offsetof(struct xfrm_selector, proto) + 1] = 0x5a;
	sa.selector.user = 1000;
	sa.sa.spi = 99;
	sa.sa.key_tag = 99;
	sa.sa.told_us = 99;
	sa.count = 99;
	assert_int_equal(put(set, 2, &sa), NO_NEWS);
	sa_set_free(set);
}

/* The same SPI with other parameters: in one message, or deleted and added again. */
static void test_spi_used_again(void **state)
{
	const struct sa_class sa = make_sa("10.9.0.2", 7), other = make_sa("10.9.0.2", 8);
	struct sa_set *set = sa_set_new();

	(void)state;
	put(set, 1, &sa);
	assert_int_equal(put(set, 1, &other), NEWS);
	assert_int_equal(seen_to(set, "10.9.0.2").classes, 1);
	assert_int_equal(seen_to(set, "10.9.0.2").last.sa.reqid, 8);
	assert_int_equal(take(set, 1, &other), NEWS);
	assert_int_equal(put(set, 1, &sa), NEWS);
	sa_set_free(set);
}

static void test_joins_another_class(void **state)
{
	const struct sa_class sa = make_sa("10.9.0.2", 7), other = make_sa("10.9.0.2", 8);
	struct sa_set *set = sa_set_new();

	(void)state;
	put(set, 1, &sa);
	put(set, 2, &sa);
	put(set, 3, &other);
	assert_int_equal(put(set, 2, &other), NO_NEWS); /* both classes stay */
	assert_int_equal(put(set, 1, &other), NEWS); /* one goes */
	assert_int_equal(seen_to(set, "10.9.0.2").sas, 3);
	sa_set_free(set);
}

static void test_dump(void **state)
{
	const struct sa_class sa = make_sa("10.9.0.2", 7), other = make_sa("10.9.0.2", 8);
	struct sa_set *set = sa_set_new();

	(void)state;
	put(set, 1, &sa);
	put(set, 2, &sa);
	put(set, 3, &other);
	sa_set_begin(set);
	put(set, 2, &sa);
	put(set, 3, &other);
	assert_int_equal(sa_set_end(set), NO_NEWS); /* one SA less, no class less */
	assert_int_equal(seen_to(set, "10.9.0.2").sas, 2);
	sa_set_begin(set);
	put(set, 2, &sa);
	assert_int_equal(sa_set_end(set), NEWS);
	assert_int_equal(seen_to(set, "10.9.0.2").classes, 1);
	sa_set_begin(set);
	put(set, 2, &sa);
	put(set, 4, &other);
	assert_int_equal(sa_set_end(set), NEWS);
	sa_set_begin(set);
	assert_int_equal(sa_set_end(set), NEWS);
	assert_int_equal(seen_to(set, "10.9.0.2").classes, 0);
	sa_set_free(set);
}

static int stop(void *context, const struct sa_class *sa)
{
	(void)sa;
	++*(int *)context;
	return 42;
}

static void test_each(void **state)
{
	struct sa_class sa = make_sa("10.9.0.2", 7);
	struct sa_set *set = sa_set_new();
	int calls = 0;

	(void)state;
	put(set, 1, &sa);
	sa = make_sa("10.9.0.2", 8);
	put(set, 2, &sa);
	sa = make_sa("10.9.0.3", 8);
	put(set, 3, &sa);
	assert_int_equal(seen_to(set, "10.9.0.2").classes, 2);
	assert_int_equal(seen_to(set, "10.9.0.3").classes, 1);
	assert_int_equal(seen_to(set, "10.9.0.4").classes, 0);
	assert_int_equal(seen_of(set, "10.9.0.2", 8).classes, 1);
	assert_int_equal(seen_of(set, "10.9.0.2", 8).last.sa.reqid, 8);
	assert_int_equal(seen_of(set, "10.9.0.2", 9).classes, 0);
	assert_int_equal(seen_of(set, "10.9.0.3", 7).classes, 0);
	/* not from the other side */
	assert_int_equal(sa_set_each(set, &sa.sa.dst, &sa.sa.src, stop, &calls), 0);
	assert_int_equal(calls, 0);
	assert_int_equal(sa_set_each(set, &sa.sa.src, &sa.sa.dst, stop, &calls), 42);
	assert_int_equal(calls, 1);
	sa_set_free(set);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* Of one pair of hosts, each a class of its own by reqid, or by selector alone. */
static void fill_many(struct sa_set *set, bool by_reqid)
{
	struct sa_class sa = make_sa("10.9.0.2", 7);

	for (__u32 i = 0; i < MANY; i++) {
		if (by_reqid)
			sa.sa.reqid = i;
		else
			sa.selector.daddr.a4 = i;
		assert_int_equal(put(set, i, &sa), NEWS);
	}
}

static void test_many(void **state)
{
	double begun = seconds();

	(void)state;
	for (int by_reqid = 0; by_reqid < 2; by_reqid++) {
		struct sa_set *set = sa_set_new();

		fill_many(set, by_reqid);
		assert_int_equal(seen_to(set, "10.9.0.2").classes, MANY);
		assert_int_equal(seen_of(set, "10.9.0.2", 7).classes, by_reqid ? 1 : MANY);
		sa_set_begin(set);
		assert_int_equal(sa_set_end(set), NEWS);
		assert_int_equal(seen_to(set, "10.9.0.2").classes, 0);
		fill_many(set, by_reqid);
		sa_set_free(set);
	}
	/* 0.2 s is usual; were any of it quadratic, it would be minutes */
	assert_true(seconds() - begun < 10);
}

/* Each SA has a number, another one at its SPI another; who is at its ends belongs to its class. */
static void test_born_and_told(void **state)
{
	const struct clatch_who db1 = { .local_id = 1, .peer_id = 2 };
	struct sa_class sa = make_sa("10.9.0.2", 7);
	const struct clatch_sa_key key = { 1, sa.sa.dst, htonl(1), IPPROTO_ESP };
	struct sa_set *set = sa_set_new();

	(void)state;
	assert_int_equal(sa_set_born(set, &key), 0);
	assert_null(sa_set_find(set, &key));
	assert_int_equal(sa_set_tell(set, &key, 42, db1), NO_NEWS);
	sa.sa.key_tag = 42;
	assert_int_equal(put(set, 1, &sa), NEWS);
	assert_int_equal(sa_set_born(set, &key), 1);
	assert_true(sa_set_has_unknown(set, 0));
	assert_false(sa_set_has_unknown(set, 1));
	assert_int_equal(sa_set_tell(set, &key, 43, db1), NO_NEWS); /* of another SA */
	assert_true(sa_set_has_unknown(set, 0));
	assert_int_equal(sa_set_tell(set, &key, 42, db1), NEWS);
	assert_int_equal(sa_set_find(set, &key)->sa.who.peer_id, 2);
	assert_false(sa_set_has_unknown(set, 0));
	sa.sa.who = db1;
	assert_int_equal(put(set, 1, &sa), NO_NEWS);
	assert_int_equal(sa_set_born(set, &key), 1);
	sa.sa.key_tag = 43;
	put(set, 1, &sa);
	put(set, 1, &sa); /* told of twice */
	assert_int_equal(sa_set_born(set, &key), 2);
	assert_int_equal(sa_set_last_born(set), 2);
	assert_int_equal(sa_set_find(set, &key)->newest, 2);
	sa_set_free(set);
}

/* An SA comes as all others are, but for its ends, which are told a little later. */
static void test_news_of_a_rekey(void **state)
{
	const struct clatch_who db1 = { .local_id = 1, .peer_id = 2 }, web7 = { 1, 3 };
	const struct sa_class sa = make_sa("10.9.0.2", 7), weak = make_sa("10.9.0.2", 8);
	struct clatch_sa_key key[4];
	struct sa_set *set = sa_set_new();

	(void)state;
	for (int i = 0; i < 4; i++)
		key[i] = (struct clatch_sa_key){ 1, sa.sa.dst, htonl(i + 1), IPPROTO_ESP };
	put(set, 1, &sa);
	assert_int_equal(sa_set_tell(set, &key[0], 0, db1), NEWS);
	assert_int_equal(put(set, 2, &sa), NEWS_OF_REKEY);
	assert_int_equal(put(set, 3, &sa), NO_NEWS);
	assert_int_equal(put(set, 4, &weak), NEWS);
	assert_int_equal(sa_set_tell(set, &key[1], 0, db1), NEWS_OF_REKEY);
	assert_int_equal(sa_set_tell(set, &key[1], 0, db1), NO_NEWS);
	assert_int_equal(sa_set_tell(set, &key[2], 0, web7), NEWS); /* another peer's */
	assert_int_equal(take(set, 1, &sa), NO_NEWS);
	assert_int_equal(put(set, 4, &sa), NEWS); /* the only one of reqid 8 goes */
	assert_int_equal(take(set, 4, &sa), NEWS_OF_REKEY);
	assert_int_equal(take(set, 2, &sa), NEWS);
	sa_set_begin(set);
	put(set, 3, &sa); /* its ends are forgotten, and nobody's twin it is */
	assert_int_equal(sa_set_end(set), NEWS);
	assert_int_equal(sa_set_tell(set, &key[2], 0, web7), NEWS);
	sa_set_begin(set);
	sa_set_put(set, &key[2], sa_set_find(set, &key[2]));
	put(set, 1, &sa);
	assert_int_equal(sa_set_end(set), NEWS_OF_REKEY);
	sa_set_free(set);
}

static __u64 newest_of(const struct sa_set *set, __u32 spi)
{
	const struct sa_class sa = make_sa("10.9.0.2", 7);
	const struct clatch_sa_key key = { 1, sa.sa.dst, htonl(spi), IPPROTO_ESP };

	return sa_set_find(set, &key)->newest;
}

static int tell(struct sa_set *set, __u32 spi, __u16 peer_id)
{
	const struct sa_class sa = make_sa("10.9.0.2", 7);
	const struct clatch_sa_key key = { 1, sa.sa.dst, htonl(spi), IPPROTO_ESP };

	return sa_set_tell(set, &key, 0, (struct clatch_who){ 1, peer_id });
}

/* A class is as new as the newest SA that is there, in whatever order it was told of them. */
static void test_newest(void **state)
{
	const struct sa_class sa = make_sa("10.9.0.2", 7);
	struct sa_set *set = sa_set_new();

	(void)state;
	for (__u32 spi = 1; spi <= 4; spi++)
		put(set, spi, &sa);
	for (__u32 spi = 4; spi > 1; spi--)
		tell(set, spi, 2);
	assert_int_equal(newest_of(set, 1), 1);
	assert_int_equal(newest_of(set, 2), 4);
	assert_int_equal(take(set, 3, &sa), NO_NEWS);
	assert_int_equal(newest_of(set, 2), 4);
	assert_int_equal(take(set, 4, &sa), NO_NEWS);
	assert_int_equal(newest_of(set, 2), 2);
	put(set, 5, &sa);
	assert_int_equal(seen_of(set, "10.9.0.2", 7).classes, 2);
	assert_int_equal(newest_of(set, 1), 5);
	take(set, 5, &sa);
	assert_int_equal(seen_of(set, "10.9.0.2", 7).classes, 2);
	take(set, 2, &sa);
	assert_int_equal(seen_of(set, "10.9.0.2", 7).last.sa.spi, htonl(1));
	sa_set_free(set);
}

/* Of two peers' classes that are the same in all else, the kernel uses the newest. */
static void test_news_of_rivals(void **state)
{
	const struct sa_class sa = make_sa("10.9.0.2", 7);
	struct sa_set *set = sa_set_new();

	(void)state;
	for (__u32 spi = 1; spi <= 2; spi++) {
		put(set, spi, &sa);
		tell(set, spi, spi);
	}
	put(set, 3, &sa);
	assert_int_equal(tell(set, 3, 1), NEWS);
	assert_int_equal(take(set, 3, &sa), NEWS);
	put(set, 3, &sa);
	tell(set, 3, 1);
	put(set, 4, &sa);
	put(set, 5, &sa);
	assert_int_equal(tell(set, 5, 1), NEWS);
	assert_int_equal(tell(set, 4, 1),
			 NEWS_OF_REKEY); /* older than another that is its peer's */
	assert_int_equal(take(set, 1, &sa), NO_NEWS);
	sa_set_begin(set);
	for (__u32 spi = 2; spi <= 4; spi++) {
		const struct clatch_sa_key key = { 1, sa.sa.dst, htonl(spi), IPPROTO_ESP };

		sa_set_put(set, &key, sa_set_find(set, &key));
	}
	assert_int_equal(sa_set_end(set), NEWS); /* 5 is gone */
	take(set, 2, &sa);
	assert_int_equal(take(set, 4, &sa), NO_NEWS); /* no rival any more */
	sa_set_free(set);
}

/* What is told of again, also as another class's, is as old as it was. */
static void test_age(void **state)
{
	const struct sa_class sa = make_sa("10.9.0.2", 7);
	const struct clatch_sa_key first = { 1, sa.sa.dst, htonl(1), IPPROTO_ESP };
	struct sa_class other = sa;
	struct sa_set *set = sa_set_new();

	(void)state;
	assert_int_equal(sa_set_age_us(set, &first), 0);
	put(set, 1, &sa);
	put(set, 2, &sa);
	usleep(300000);
	put(set, 1, &sa);
	assert_int_equal(sa_set_find(set, &first)->newest, 2);
	assert_in_range(sa_set_age_us(set, &first), 300000, 60000000);
	sa_set_tell(set, &first, sa.sa.key_tag, (struct clatch_who){ 1, 2 });
	assert_int_equal(sa_set_find(set, &first)->newest, 1);
	other.sa.key_tag = 99; /* another SA */
	put(set, 1, &other);
	assert_in_range(sa_set_age_us(set, &first), 0, 299999);
	assert_int_equal(sa_set_find(set, &first)->newest, 3);
	sa_set_free(set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rekeying),
		cmocka_unit_test(test_every_part_makes_a_class),
		cmocka_unit_test(test_noise_makes_no_class),
		cmocka_unit_test(test_spi_used_again),
		cmocka_unit_test(test_joins_another_class),
		cmocka_unit_test(test_dump),
		cmocka_unit_test(test_each),
		cmocka_unit_test(test_born_and_told),
		cmocka_unit_test(test_news_of_a_rekey),
		cmocka_unit_test(test_newest),
		cmocka_unit_test(test_news_of_rivals),
		cmocka_unit_test(test_age),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests_name("sa_set", tests, NULL, NULL);
}
