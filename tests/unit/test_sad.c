// SPDX-License-Identifier: GPL-2.0-only
/* Who is at the ends of SAs that come and go: needs CAP_BPF and CAP_NET_ADMIN. */
#include "sad_world.h"

#include <errno.h>

/* In the SA table; all zero = no such SA. */
static struct clatch_sa entry_of(const struct sad_world *w, __u32 spi)
{
	const struct clatch_sa_key key = sad_world_key(w, spi);
	struct clatch_sa entry = {};

	(void)!bpf_map_lookup_elem(w->table.sas, &key, &entry);
	return entry;
}

/* To the packet path, and to who judges. */
static struct clatch_who known(const struct sad_world *w, __u32 spi)
{
	const struct clatch_sa_key key = sad_world_key(w, spi);
	const struct sa_class *sa = sa_set_find(sad_set(w->sad), &key);
	struct clatch_who who = entry_of(w, spi).who;

	assert_non_null(sa);
	assert_memory_equal(&sa->sa.who, &who, sizeof(who));
	return who;
}

static void test_comes_and_goes(void **state)
{
	struct sad_world *w = *state;

	assert_int_equal(sad_world_add(w, 1, 'a'), NEWS);
	assert_int_equal(sad_world_add(w, 1, 'a'), NO_NEWS);
	assert_int_equal(entry_of(w, 1).reqid, 7);
	assert_int_equal(known(w, 1).peer_id, 0);
	assert_int_equal(sad_last_born(w->sad), 1);
	assert_int_equal(sad_world_remove(w, 1), NEWS);
	assert_int_equal(entry_of(w, 1).reqid, 0);
}

static void test_tell(void **state)
{
	struct sad_world *w = *state;

	sad_world_add(w, 1, 'a');
	assert_int_equal(sad_world_tell(w, 1, 3, 4, SAD_UNASKED), 1);
	assert_int_equal(known(w, 1).local_id, 3);
	assert_int_equal(known(w, 1).peer_id, 4);
	assert_int_equal(sad_receive(w->sad), NEWS); /* latches are to be judged anew … */
	assert_int_equal(sad_receive(w->sad), NO_NEWS); /* … once */
	assert_int_equal(sad_world_tell(w, 1, 3, 4, SAD_UNASKED), 0);
	assert_int_equal(sad_receive(w->sad), NO_NEWS);
	assert_int_equal(sad_world_tell(w, 1, 3, 5, SAD_UNASKED), 1);
	assert_int_equal(known(w, 1).peer_id, 5);
	assert_int_equal(sad_world_tell(w, 2, 3, 4, SAD_UNASKED), -ENOENT);
	assert_int_equal(sad_world_tell(w, 2, 3, 4, 99), -ENOENT);
}

/* What was told stays while the SA is told of again, and goes when another has its SPI. */
static void test_keeps_what_was_told(void **state)
{
	struct sad_world *w = *state;

	sad_world_add(w, 1, 'a');
	sad_world_tell(w, 1, 3, 4, SAD_UNASKED);
	sad_receive(w->sad);
	assert_int_equal(sad_world_add(w, 1, 'a'), NO_NEWS);
	assert_int_equal(known(w, 1).peer_id, 4);
	assert_int_equal(sad_world_add(w, 1, 'b'), NEWS);
	assert_int_equal(known(w, 1).peer_id, 0);
	assert_int_equal(sad_last_born(w->sad), 2);
	sad_world_tell(w, 1, 3, 4, 2);
	sad_world_remove(w, 1);
	sad_world_add(w, 1, 'b');
	assert_int_equal(known(w, 1).peer_id, 0);
}

/* An answer is of SAs that were there when it was asked for. */
static void test_answers(void **state)
{
	struct sad_world *w = *state;
	__u64 asked;

	sad_world_add(w, 1, 'a');
	asked = sad_last_born(w->sad);
	sad_world_add(w, 2, 'b');
	assert_int_equal(sad_world_tell(w, 2, 3, 4, asked), -ESTALE);
	assert_int_equal(known(w, 2).peer_id, 0);
	assert_int_equal(sad_world_tell(w, 1, 3, 4, asked), 1);
	sad_world_add(w, 1, 'c'); /* another at the same SPI */
	assert_int_equal(sad_world_tell(w, 1, 3, 4, asked), -ESTALE);
	assert_int_equal(known(w, 1).peer_id, 0);
	assert_int_equal(sad_world_tell(w, 1, 3, 4, sad_last_born(w->sad)), 1);
}

/* Without a question it may be late, and of an SA that had the SPI before. */
static void test_told_unasked(void **state)
{
	struct sad_world *w = *state;

	sad_world_add(w, 1, 'a');
	sad_world_remove(w, 1);
	sad_world_add(w, 1, 'b');
	assert_int_equal(sad_world_tell(w, 1, 3, 4, SAD_UNASKED), -ESTALE);
	sad_world_add(w, 2, 'a');
	assert_int_equal(sad_world_tell(w, 2, 3, 4, SAD_UNASKED), 1);
	sad_world_add(w, 2, 'b'); /* its removal was not heard of */
	assert_int_equal(sad_world_tell(w, 2, 3, 4, SAD_UNASKED), -ESTALE);
	assert_int_equal(known(w, 1).peer_id, 0);
	assert_int_equal(known(w, 2).peer_id, 0);
}

/* `identity add` writes into the table alone. */
static void test_recall(void **state)
{
	struct sad_world *w = *state;
	struct clatch_sa_key key = sad_world_key(w, 1), elsewhere = key;
	const struct clatch_who who = { 3, 4 };
	struct clatch_sa entry;

	sad_world_add(w, 1, 'a');
	assert_int_equal(sad_recall(w->sad), 0);
	assert_int_equal(sa_table_tell(&w->table, &key, entry_of(w, 1).key_tag, who, 0), 0);
	elsewhere.netns++;
	entry = entry_of(w, 1);
	assert_int_equal(sa_table_put(&w->table, &elsewhere, &entry), 0);
	assert_int_equal(sad_recall(w->sad), 1);
	assert_int_equal(known(w, 1).peer_id, 4);
	assert_int_equal(sad_recall(w->sad), 0);
}

/* A rekey: what came and what was told of it is for the judge, once, and can wait. */
static void test_rekey(void **state)
{
	struct sad_world *w = *state;
	struct clatch_sa_key key = sad_world_key(w, 2);
	const struct clatch_who who = { 3, 4 };

	sad_world_add(w, 1, 'a');
	sad_world_tell(w, 1, 3, 4, SAD_UNASKED);
	assert_int_equal(sad_news(w->sad), NEWS);
	assert_int_equal(sad_world_add(w, 2, 'b'), NEWS_OF_REKEY);
	assert_int_equal(sad_news(w->sad), NO_NEWS);
	sad_world_add(w, 3, 'c');
	assert_int_equal(sad_world_tell(w, 3, 3, 4, SAD_UNASKED), 1);
	assert_int_equal(sad_news(w->sad), NEWS_OF_REKEY);
	assert_int_equal(sa_table_tell(&w->table, &key, entry_of(w, 2).key_tag, who, 0), 0);
	assert_int_equal(sad_recall(w->sad), 1);
	assert_int_equal(sad_recall(w->sad), 0);
	assert_int_equal(sad_receive(w->sad), NEWS_OF_REKEY);
	assert_int_equal(sad_receive(w->sad), NO_NEWS);
}

/* What the table says may be of an SA that had the SPI before, or that we have not heard of yet. */
static void test_of_another_sa(void **state)
{
	struct sad_world *w = *state;
	const struct clatch_sa_key key = sad_world_key(w, 1);
	struct clatch_sa entry;

	sad_world_add(w, 1, 'a');
	entry = entry_of(w, 1);
	entry.key_tag++;
	entry.who = (struct clatch_who){ 3, 4 };
	assert_int_equal(sa_table_put(&w->table, &key, &entry), 0);
	assert_int_equal(sad_recall(w->sad), 0);
	assert_int_equal(sa_set_find(sad_set(w->sad), &key)->sa.who.peer_id, 0);
	assert_int_equal(sad_who(w->sad, &key).peer_id, 0);
	assert_int_equal(sad_world_tell(w, 1, 3, 5, SAD_UNASKED), -ESTALE);
	assert_int_equal(sa_set_find(sad_set(w->sad), &key)->sa.who.peer_id, 0);
	assert_int_equal(entry_of(w, 1).who.peer_id, 4);
}

/* A dump of nothing: all goes, also what somebody else's table had, but only of here. */
static void test_fill(void **state)
{
	struct sad_world *w = *state;
	struct clatch_sa_key elsewhere = sad_world_key(w, 1), stale = sad_world_key(w, 2);
	struct clatch_sa entry;

	sad_world_add(w, 1, 'a');
	entry = entry_of(w, 1);
	elsewhere.netns++;
	assert_int_equal(sa_table_put(&w->table, &elsewhere, &entry), 0);
	assert_int_equal(sa_table_put(&w->table, &stale, &entry), 0);
	assert_int_equal(sad_fill(w->sad), 0);
	assert_int_equal(entry_of(w, 1).reqid, 0);
	assert_int_equal(entry_of(w, 2).reqid, 0);
	assert_int_equal(bpf_map_lookup_elem(w->table.sas, &elsewhere, &entry), 0);
	sad_world_add(w, 1, 'b'); /* and what went so is remembered */
	assert_int_equal(sad_world_tell(w, 1, 3, 4, SAD_UNASKED), -ESTALE);
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, sad_world_begin, sad_world_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_WORLD(test_comes_and_goes), IN_WORLD(test_tell),
		IN_WORLD(test_answers),	       IN_WORLD(test_keeps_what_was_told),
		IN_WORLD(test_told_unasked),   IN_WORLD(test_recall),
		IN_WORLD(test_of_another_sa),  IN_WORLD(test_fill),
		IN_WORLD(test_rekey),
	};

	return cmocka_run_group_tests_name("sad", tests, NULL, NULL);
}
