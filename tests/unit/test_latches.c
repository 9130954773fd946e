// SPDX-License-Identifier: GPL-2.0-only
/* Reading maps, on maps of the test's own: needs CAP_BPF. */
#include "test.h"

#include <bpf/bpf.h>
#include <clatch/fast.h>
#include <clatch/meta.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "addr.h"
#include "ids_map.h"
#include "latches.h"
#include "slot.h"

static int make_maps(void **state)
{
	struct latches *l = calloc(1, sizeof(*l));

	l->latches = bpf_map_create(BPF_MAP_TYPE_HASH, "t_latches", sizeof(struct clatch_tuple),
				    sizeof(struct clatch_latch), 5001, NULL);
	l->more =
		bpf_map_create(BPF_MAP_TYPE_HASH, "t_more", 8, sizeof(struct clatch_more), 4, NULL);
	l->fast = bpf_map_create(BPF_MAP_TYPE_ARRAY, "t_fast", 4, sizeof(struct clatch_fast), 4,
				 NULL);
	l->suites = bpf_map_create(BPF_MAP_TYPE_ARRAY, "t_suites", 4, sizeof(struct clatch_suite),
				   4, NULL);
	l->rules = bpf_map_create(BPF_MAP_TYPE_HASH, "t_rules", 4, sizeof(struct clatch_rule), 4,
				  NULL);
	l->sas = bpf_map_create(BPF_MAP_TYPE_HASH, "t_sas", sizeof(struct clatch_sa_key),
				sizeof(struct clatch_sa), 4, NULL);
	l->id_map = ids_map(4);
	l->certificates = bpf_map_create(BPF_MAP_TYPE_HASH, "t_certificates", 4,
					 sizeof(struct clatch_certificate), 4, NULL);
	l->ids = ids_new(l->id_map);
	*state = l;
	return l->latches < 0 || l->more < 0 || l->fast < 0 || l->suites < 0 || l->rules < 0 ||
	       l->sas < 0 || l->id_map < 0 || l->certificates < 0 || !l->ids;
}

static int close_maps(void **state)
{
	latches_close(*state);
	free(*state);
	return 0;
}

static void put(int fd, const void *key, const void *value)
{
	assert_int_equal(bpf_map_update_elem(fd, key, value, BPF_ANY), 0);
}

static int count_latch(void *context, const struct latch_view *view)
{
	unsigned char *seen = context;

	assert_in_range(view->latch.id, 1, 5000);
	assert_int_equal(view->tuple.local_port, view->latch.id);
	seen[view->latch.id]++;
	return 0;
}

/* More than one batch; each once; not the one that is being made. */
static void test_every_latch_once(void **state)
{
	const struct filter all = {};
	struct latches *l = *state;
	unsigned char seen[5001] = {};

	for (__u64 id = 0; id < 5000; id++) {
		struct clatch_tuple tuple = { .local_port = id };
		struct clatch_latch latch = { .id = id, .rule = CLATCH_NO_RULE };

		put(l->latches, &tuple, &latch);
	}
	assert_int_equal(latches_each(l, &all, count_latch, seen), 0);
	assert_int_equal(seen[0], 0);
	for (int id = 1; id < 5000; id++)
		assert_int_equal(seen[id], 1);
}

static int stop(void *context, const struct latch_view *view)
{
	(void)view;
	++*(int *)context;
	return 42;
}

static void test_visitor_ends_the_walk(void **state)
{
	const struct filter all = {};
	int calls = 0;

	assert_int_equal(latches_each(*state, &all, stop, &calls), 42);
	assert_int_equal(calls, 1);
}

static int keep(void *context, const struct latch_view *view)
{
	memcpy(context, view, sizeof(*view));
	return 1;
}

static void put_nested_latch(const struct latches *l)
{
	const struct clatch_tuple tuple = { .netns = 3, .local_port = 6000 };
	struct clatch_fast fast = {
		.side[CLATCH_OUT] = { .packets = 3, .bytes = 4, .violations = 5 },
	};
	struct clatch_more more = {
		.nested[CLATCH_OUT] = { { .suite = 2, .if_id = 8, .spi = htonl(2) } },
	};
	struct clatch_latch latch = {
		.id = 6000,
		.rule = 258,
		.flags = CLATCH_HAS_MORE,
		.fast = 3,
		.held.out = { .sa = { .suite = 1, .count = 2, .reqid = 7, .spi = htonl(1) },
			      .mark = 42,
			      .ifindex = 3 },
		.held.outer = { .local_port = htons(4500), .remote_port = htons(34500) },
	};

	addr_from_v4(&latch.held.outer.local, inet_addr("192.0.2.1"));
	addr_from_v4(&latch.held.outer.remote, inet_addr("192.0.2.2"));
	put(l->latches, &tuple, &latch);
	put(l->more, &latch.id, &more);
	put(l->fast, &latch.fast, &fast);
}

static void check_nested(const struct latch_side *out)
{
	assert_int_equal(out->count, 2);
	assert_int_equal(out->mark, 42);
	assert_int_equal(out->ifindex, 3);
	assert_int_equal(out->encap_sport, htons(4500));
	assert_int_equal(out->encap_dport, htons(34500));
	assert_int_equal(out->packets, 3);
	assert_int_equal(out->bytes, 4);
	assert_int_equal(out->violations, 5);
}

static void test_resolves(void **state)
{
	static const struct clatch_suite ah = { .auth = "hmac(sha256)", .proto = IPPROTO_AH };
	static const struct clatch_suite esp = { .enc = "cbc(aes)", .proto = IPPROTO_ESP };
	struct clatch_sa_key key = { .netns = 3, .spi = htonl(2), .proto = IPPROTO_ESP };
	struct clatch_rule rule = { .name = "db" };
	struct filter f = { .local = { .has_port = true, .port = 6000 } };
	struct clatch_sa inner = { .suite = esp };
	struct latches *l = *state;
	struct latch_view view;

	bpf_map_delete_elem(l->latches, &(struct clatch_tuple){ .local_port = 1 });
	put(l->suites, &(__u32){ 1 }, &ah);
	put(l->suites, &(__u32){ 2 }, &esp);
	put(l->rules, &(__u32){ 258 }, &rule);
	addr_from_v4(&key.dst, inet_addr("192.0.2.2"));
	addr_from_v4(&inner.src, inet_addr("192.0.2.3"));
	put(l->sas, &key, &inner);
	put_nested_latch(l);
	assert_int_equal(latches_each(l, &f, keep, &view), 1);
	assert_string_equal(view.rule, "db");
	check_nested(&view.out);
	assert_int_equal(view.in.count, 0);
	assert_int_equal(view.in.packets, 0);
	assert_string_equal(view.out.sa[0].suite.auth, "hmac(sha256)");
	assert_int_equal(view.out.sa[0].reqid, 7);
	assert_memory_equal(&view.out.sa[0].dst, &key.dst, sizeof(key.dst));
	assert_string_equal(view.out.sa[1].suite.enc, "cbc(aes)");
	assert_int_equal(view.out.sa[1].if_id, 8);
	assert_memory_equal(&view.out.sa[1].src, &inner.src, sizeof(inner.src));
}

static struct latch_view view_of(struct latches *l, struct clatch_latch latch,
				 const struct clatch_more *more)
{
	struct filter f = { .local = { .has_port = true, .port = 6001 } };
	const struct clatch_tuple tuple = { .local_port = 6001 };
	struct latch_view view;

	latch.id = 6001;
	latch.flags = CLATCH_HAS_MORE;
	put(l->more, &latch.id, more);
	latch.rule = CLATCH_NO_RULE;
	put(l->latches, &tuple, &latch);
	assert_int_equal(latches_each(l, &f, keep, &view), 1);
	assert_int_equal(bpf_map_delete_elem(l->latches, &tuple), 0);
	return view;
}

/* Who a latch's ends are says its innermost SA, of the first direction that knows. */
static void test_resolves_ends(void **state)
{
	struct latches *l = *state;
	int a = ids_number(l->ids, "a.example"), b = ids_number(l->ids, "b.example");
	const struct clatch_who gateway = { a, a }, peer = { a, b }, nobody = {},
				no_local = { 0, b };
	const struct clatch_who no_number = { 0, 4711 };
	const struct {
		const char *name;
		struct clatch_who in[2], out;
		__u32 in_count, out_count;
		const char *local_id, *peer_id;
	} rows[] = {
		{ "nothing recorded", { peer }, peer, 0, 0, NULL, NULL },
		{ "in", { peer }, nobody, 1, 0, "a.example", "b.example" },
		{ "out", { nobody }, peer, 0, 1, "a.example", "b.example" },
		{ "out knows it", { nobody }, peer, 1, 1, "a.example", "b.example" },
		{ "innermost", { gateway, peer }, nobody, 2, 1, "a.example", "b.example" },
		{ "outermost only", { gateway, nobody }, nobody, 2, 1, NULL, NULL },
		{ "peer only", { no_local }, nobody, 1, 0, NULL, "b.example" },
		{ "a number that is none", { no_number }, nobody, 1, 0, NULL, NULL },
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct clatch_more more = { .nested[CLATCH_IN] = {
							  { .who = rows[i].in[1] } } };
		const struct clatch_latch latch = {
			.held.in.sa = { .count = rows[i].in_count, .who = rows[i].in[0] },
			.held.out.sa = { .count = rows[i].out_count, .who = rows[i].out },
		};
		struct latch_view view = view_of(l, latch, &more);

		assert_row(rows[i].name, is_text(view.local_id, rows[i].local_id));
		assert_row(rows[i].name, is_text(view.peer_id, rows[i].peer_id));
	}
}

static void test_certificate_of_an_end(void **state)
{
	struct clatch_certificate c = { .subject = "CN=b" }, found = {};
	struct latches *l = *state;

	put(l->certificates, &(__u32){ 2 }, &c);
	put(l->certificates, &(__u32){ 0 }, &c); /* is nobody's */
	assert_int_equal(latches_certificate(l, 2, &found), 0);
	assert_string_equal(found.subject, "CN=b");
	assert_int_equal(latches_certificate(l, 3, &found), -ENOENT);
	assert_int_equal(latches_certificate(l, 0, &found), -ENOENT);
}

static int walk_past(void *context, const struct clatch_tuple *tuple,
		     const struct clatch_latch *latch)
{
	unsigned char *seen = context;

	assert_in_range(latch->id, 1, 6000);
	assert_int_equal(tuple->local_port, latch->id);
	seen[latch->id]++;
	return 0;
}

static void test_walk(void **state)
{
	unsigned char seen[6001] = {};

	assert_int_equal(latches_walk(*state, walk_past, seen), 0);
	assert_int_equal(seen[0], 0); /* being made */
	for (int id = 2; id < 5000; id++)
		assert_int_equal(seen[id], 1);
	assert_int_equal(seen[6000], 1);
}

static int walk_to(void *context, const struct clatch_tuple *tuple,
		   const struct clatch_latch *latch)
{
	(void)tuple;
	(void)latch;
	++*(int *)context;
	return 42;
}

static void test_visitor_ends_the_raw_walk(void **state)
{
	int calls = 0;

	assert_int_equal(latches_walk(*state, walk_to, &calls), 42);
	assert_int_equal(calls, 1);
}

/* The ends of an SA are seen from its direction. */
static void test_resolves_outer(void **state)
{
	const struct clatch_addr here = { { 1 } }, there = { { 2 } }, other = { { 3 } };
	struct clatch_latch latch = {
		.id = 6002,
		.held = { .in.sa.count = 1,
			  .out.sa.count = 1,
			  .outer = { here, there, htons(4500), htons(34500) } },
	};
	struct clatch_more more = { .outer[CLATCH_IN] = { here, other, 0, 0 },
				    .outer[CLATCH_OUT] = { here, there, 0, 0 } };
	struct latches *l = *state;
	struct latch_side side;

	latches_resolve(l, &side, &latch, CLATCH_IN);
	assert_memory_equal(&side.sa[0].src, &there, sizeof(there));
	assert_memory_equal(&side.sa[0].dst, &here, sizeof(here));
	assert_int_equal(side.encap_sport, htons(34500));
	latches_resolve(l, &side, &latch, CLATCH_OUT);
	assert_memory_equal(&side.sa[0].src, &here, sizeof(here));
	assert_memory_equal(&side.sa[0].dst, &there, sizeof(there));
	latch.flags = CLATCH_HAS_MORE;
	put(l->more, &latch.id, &more); /* of nested SAs alone */
	latches_resolve(l, &side, &latch, CLATCH_IN);
	assert_memory_equal(&side.sa[0].src, &there, sizeof(there));
	more.apart = 1;
	put(l->more, &latch.id, &more);
	latches_resolve(l, &side, &latch, CLATCH_IN);
	assert_memory_equal(&side.sa[0].src, &other, sizeof(other));
}

/* A suite is asked for once; one that is not there yet is asked for again. */
static void test_resolve_remembers(void **state)
{
	static const struct clatch_suite esp = { .enc = "cbc(aes)", .proto = IPPROTO_ESP };
	static const struct clatch_suite zero;
	const struct clatch_latch latch = {
		.id = 6003,
		.flags = CLATCH_HAS_MORE,
		.held.in.sa = { .suite = 2, .count = 3, .reqid = 7, .if_id = 8, .spi = htonl(9) },
	};
	const struct clatch_more more = { .nested[CLATCH_IN] = { { .suite = 3 },
								 { .suite = 99 } } };
	struct latches *l = *state;
	struct latch_side side;

	put(l->more, &latch.id, &more);
	put(l->suites, &(__u32){ 2 }, &esp);
	latches_resolve(l, &side, &latch, CLATCH_IN);
	assert_memory_equal(&side.sa[0].suite, &esp, sizeof(esp));
	assert_int_equal(side.sa[0].reqid, 7);
	assert_int_equal(side.sa[0].if_id, 8);
	assert_int_equal(side.sa[0].spi, htonl(9));
	assert_memory_equal(&side.sa[1].suite, &zero, sizeof(zero));
	assert_memory_equal(&side.sa[2].suite, &zero, sizeof(zero));
	put(l->suites, &(__u32){ 2 }, &zero);
	put(l->suites, &(__u32){ 3 }, &esp);
	latches_resolve(l, &side, &latch, CLATCH_IN);
	assert_memory_equal(&side.sa[0].suite, &esp, sizeof(esp));
	assert_memory_equal(&side.sa[1].suite, &esp, sizeof(esp));
}

static const char *rule_of(struct latches *l, __u32 number)
{
	struct filter f = { .has_id = true, .id = 6002 };
	const struct clatch_tuple tuple = { .local_port = 6002 };
	const struct clatch_latch latch = { .id = 6002, .rule = number };
	static struct latch_view view;

	put(l->latches, &tuple, &latch);
	assert_int_equal(latches_each(l, &f, keep, &view), 1);
	assert_int_equal(bpf_map_delete_elem(l->latches, &tuple), 0);
	return view.rule;
}

/* Of 257 and 513, which share a place; and what is not there yet may come. */
static void test_remembers_rules(void **state)
{
	static const struct clatch_rule a = { .name = "a" }, b = { .name = "b" };
	struct latches *l = *state;

	assert_string_equal(rule_of(l, 257), "");
	put(l->rules, &(__u32){ 257 }, &a);
	put(l->rules, &(__u32){ 513 }, &b);
	assert_string_equal(rule_of(l, 257), "a");
	assert_int_equal(bpf_map_delete_elem(l->rules, &(__u32){ 257 }), 0);
	assert_string_equal(rule_of(l, 257), "a");
	assert_string_equal(rule_of(l, 513), "b");
	assert_string_equal(rule_of(l, 257), "");
	assert_string_equal(rule_of(l, 0), "");
	assert_string_equal(rule_of(l, CLATCH_NO_RULE), "");
}

/* More than a latch can hold is not written behind @sas. */
/* More than a latch can hold. */
static void test_resolve_is_bounded(void **state)
{
	const struct clatch_latch latch = { .held.in.sa.count = 0xffff };
	struct latch_side side;

	latches_resolve(*state, &side, &latch, CLATCH_IN);
	assert_int_equal(side.count, CLATCH_MAX_NEST);
}

static int make_monitors(void)
{
	int inner = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "t_ring", 0, 0, 1 << 20, NULL);
	LIBBPF_OPTS(bpf_map_create_opts, options, .inner_map_fd = inner);
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "t_monitors", 4, 4, CLATCH_MAX_MONITORS,
				&options);

	close(inner);
	assert_true(fd >= 0);
	return fd;
}

static bool slot_filled(int monitors, __u32 index)
{
	__u32 id;

	return !bpf_map_lookup_elem(monitors, &index, &id);
}

static void test_monitor_slots(void **state)
{
	int ring = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "t_ring", 0, 0, 1 << 20, NULL);
	struct slot slots[CLATCH_MAX_MONITORS + 1] = {};
	char dir[] = "/tmp/clatch-test.XXXXXX";
	int monitors = make_monitors();

	(void)state;
	assert_non_null(mkdtemp(dir));
	for (__u32 i = 0; i < CLATCH_MAX_MONITORS; i++) {
		assert_int_equal(slot_take(&slots[i], dir, monitors, ring), 0);
		assert_int_equal(slots[i].index, i);
		assert_true(slot_filled(monitors, i));
	}
	assert_int_equal(slot_take(&slots[CLATCH_MAX_MONITORS], dir, monitors, ring), -EBUSY);

	/* One goes, two die: their rings stay until the next monitor comes. */
	slot_release(&slots[2]);
	assert_false(slot_filled(monitors, 2));
	close(slots[4].owned);
	close(slots[5].owned);
	assert_true(slot_filled(monitors, 5));
	assert_int_equal(slot_take(&slots[2], dir, monitors, ring), 0);
	assert_int_equal(slots[2].index, 2);
	assert_false(slot_filled(monitors, 4));
	assert_false(slot_filled(monitors, 5));
	assert_true(slot_filled(monitors, 6));
	close(monitors);
	close(ring);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_latch_once),
		cmocka_unit_test(test_visitor_ends_the_walk),
		cmocka_unit_test(test_resolves),
		cmocka_unit_test(test_resolves_ends),
		cmocka_unit_test(test_certificate_of_an_end),
		cmocka_unit_test(test_walk),
		cmocka_unit_test(test_visitor_ends_the_raw_walk),
		cmocka_unit_test(test_resolves_outer),
		cmocka_unit_test(test_resolve_remembers),
		cmocka_unit_test(test_remembers_rules),
		cmocka_unit_test(test_resolve_is_bounded),
		cmocka_unit_test(test_monitor_slots),
	};

	return cmocka_run_group_tests_name("latches", tests, make_maps, close_maps);
}
