// SPDX-License-Identifier: GPL-2.0-only
/* Judgements of latches as orders to the packet path: needs CAP_BPF and CAP_NET_ADMIN. */
#include "sad_world.h"

#include <clatch/event.h>

#include "judge.h"

#define SPI_IN 1
#define SPI_OUT 2
#define HOST 3
#define PEER 4
#define OTHER 5
#define SUITE 1

/*
 * The latch of a connection under two SAs with this host's address as their destination, one for
 * each direction: the judge compares a direction's SAs by what was recorded of it.
 */
struct world {
	struct sad_world *sad;
	struct latches latches;
	struct domain domain;
	struct clatch_tuple tuple;
	struct clatch_latch latch;
	struct clatch_more more;
	struct clatch_order order; /* the last one */
};

static struct clatch_side side(__u32 spi)
{
	return (struct clatch_side){
		.sa = { .suite = SUITE, .count = 1, .reqid = 7, .spi = htonl(spi) },
	};
}

static struct clatch_outer outer(const char *local, const char *remote)
{
	struct clatch_outer ends = {};

	addr_from_v4(&ends.local, inet_addr(local));
	addr_from_v4(&ends.remote, inet_addr(remote));
	return ends;
}

/* Of the same suite as the SAs of this world. */
static int make_suites(void)
{
	static const struct clatch_suite suite = {
		.enc = "rfc4106(gcm(aes))",
		.enc_key_bits = 160,
		.icv_bits = 128,
		.proto = IPPROTO_ESP,
		.mode = XFRM_MODE_TUNNEL,
		.flags = CLATCH_SUITE_AEAD | CLATCH_SUITE_REPLAY,
	};
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "t_suites", 4, sizeof(suite), 4, NULL);

	assert_int_equal(bpf_map_update_elem(fd, &(__u32){ SUITE }, &suite, BPF_ANY), 0);
	return fd;
}

static void begin_world(struct world *w, void **state)
{
	assert_int_equal(sad_world_begin(state), 0);
	*w = (struct world){
		.sad = *state,
		.latches = LATCHES_INIT,
		.latch = { .id = 17,
			   .state = CLATCH_ESTABLISHED,
			   .flags = CLATCH_HAS_MORE,
			   .held = { .in = side(SPI_IN), .out = side(SPI_OUT) } },
		.more = { .outer = { [CLATCH_IN] = outer("10.9.0.1", "10.9.0.2"),
				     [CLATCH_OUT] = outer("10.9.0.2", "10.9.0.1") },
			  .apart = 1 },
	};
	w->latches.suites = make_suites();
	w->latches.more = bpf_map_create(BPF_MAP_TYPE_HASH, "t_more", 8, sizeof(w->more), 1, NULL);
	w->domain = (struct domain){ .sad = w->sad->sad, .spd = spd_new() };
	w->tuple = (struct clatch_tuple){ .netns = w->sad->netns,
					  .local_port = 40000,
					  .remote_port = 5000,
					  .proto = IPPROTO_TCP };
	addr_from_v4(&w->tuple.local, inet_addr("10.9.0.1"));
	addr_from_v4(&w->tuple.remote, inet_addr("10.9.0.2"));
	sad_world_add(w->sad, SPI_IN, 'a');
	sad_world_add(w->sad, SPI_OUT, 'b');
}

static void end_world(struct world *w, void **state)
{
	spd_close(w->domain.spd);
	latches_close(&w->latches);
	sad_world_end(state);
}

static bool judged(struct world *w, bool changed)
{
	assert_int_equal(bpf_map_update_elem(w->latches.more, &w->latch.id, &w->more, BPF_ANY), 0);
	return judge(&w->domain, &w->latches, &w->tuple, &w->latch, changed, &w->order);
}

static void told(struct world *w, __u32 spi, __u16 local_id, __u16 peer_id)
{
	assert_int_equal(sad_world_tell(w->sad, spi, local_id, peer_id, SAD_UNASKED), 1);
}

static void tell_in(struct world *w)
{
	told(w, SPI_IN, HOST, PEER);
}

static void tell_out(struct world *w)
{
	told(w, SPI_OUT, HOST, PEER);
}

static void tell_both(struct world *w)
{
	tell_in(w);
	tell_out(w);
}

static void nobody_told(struct world *w)
{
	(void)w;
}

static void tell_local_only(struct world *w)
{
	told(w, SPI_IN, HOST, 0);
}

static void knows_local(struct world *w)
{
	tell_in(w);
	w->latch.held.in.sa.who.local_id = HOST;
}

static void knows_peer(struct world *w)
{
	tell_in(w);
	w->latch.held.in.sa.who.peer_id = PEER;
}

static void knows_both(struct world *w)
{
	tell_in(w);
	w->latch.held.in.sa.who = (struct clatch_who){ HOST, PEER };
}

static void in_not_recorded(struct world *w)
{
	tell_both(w);
	w->latch.held.in.sa.count = 0;
}

static void in_is_of_another_sa(struct world *w)
{
	tell_in(w);
	w->latch.held.in.sa.spi = htonl(9);
}

/* `identity del`, a moment ago. */
static void in_was_taken_back(struct world *w)
{
	const struct clatch_sa_key key = sad_world_key(w->sad, SPI_IN);

	tell_in(w);
	assert_int_equal(sa_table_forget(&w->sad->table, &key), 0);
}

static void in_is_of_another_reqid(struct world *w)
{
	tell_in(w);
	w->latch.held.in.sa.reqid = 8;
}

static void in_is_of_another_if_id(struct world *w)
{
	tell_in(w);
	w->latch.held.in.sa.if_id = 8;
}

static void in_is_of_another_suite(struct world *w)
{
	tell_in(w);
	w->latch.held.in.sa.suite = SUITE + 1;
}

static void in_is_elsewhere(struct world *w)
{
	tell_in(w);
	w->more.outer[CLATCH_IN].local.b[15]++;
}

static void other_namespace(struct world *w)
{
	tell_in(w);
	w->tuple.netns++;
}

static void larval(struct world *w)
{
	tell_in(w);
	w->latch.state = CLATCH_LARVAL;
}

static void broken(struct world *w)
{
	tell_in(w);
	w->latch.state = CLATCH_BROKEN;
	w->latch.causes = CLATCH_CAUSE_OUT_CLEAR;
}

static void closed(struct world *w)
{
	tell_in(w);
	w->latch.state = CLATCH_CLOSED;
}

static void listener(struct world *w)
{
	tell_in(w);
	w->latch.state = CLATCH_LISTENER;
}

static void being_made(struct world *w)
{
	tell_in(w);
	w->latch.id = 0;
}

static void test_tell(void **state)
{
	static const struct {
		const char *name;
		void (*arrange)(struct world *w);
		bool in, out; /* told */
	} rows[] = {
		{ "nobody told", nobody_told, false, false },
		{ "in", tell_in, true, false },
		{ "out", tell_out, false, true },
		{ "both", tell_both, true, true },
		{ "the local end alone", tell_local_only, true, false },
		{ "its local end is known", knows_local, true, false },
		{ "its peer is known", knows_peer, true, false },
		{ "both are known", knows_both, false, false },
		{ "in is not recorded", in_not_recorded, false, true },
		{ "of another SA", in_is_of_another_sa, false, false },
		{ "taken back", in_was_taken_back, false, false },
		{ "of another reqid", in_is_of_another_reqid, false, false },
		{ "of another if_id", in_is_of_another_if_id, false, false },
		{ "of another suite", in_is_of_another_suite, false, false },
		{ "to another address", in_is_elsewhere, false, false },
		{ "in another namespace", other_namespace, false, false },
		{ "LARVAL", larval, true, false },
		{ "BROKEN", broken, true, false },
		{ "CLOSED", closed, false, false },
		{ "LISTENER", listener, false, false },
		{ "being made", being_made, false, false },
	};
	struct world w;

	for (size_t i = 0; i < COUNT(rows); i++) {
		const bool is_told[] = { [CLATCH_IN] = rows[i].in, [CLATCH_OUT] = rows[i].out };
		const __u32 spis[] = { [CLATCH_IN] = SPI_IN, [CLATCH_OUT] = SPI_OUT };

		begin_world(&w, state);
		rows[i].arrange(&w);
		assert_row(rows[i].name, judged(&w, false) == (rows[i].in || rows[i].out));
		assert_row(rows[i].name, !w.order.set && !w.order.clear);
		for (int d = 0; d < CLATCH_DIRS; d++) {
			__u16 peer = is_told[d] && rows[i].arrange != tell_local_only ? PEER : 0;

			assert_row(rows[i].name,
				   w.order.who[d].local_id == (is_told[d] ? HOST : 0));
			assert_row(rows[i].name, w.order.who[d].peer_id == peer);
			assert_row(rows[i].name,
				   w.order.spi[d] == (is_told[d] ? htonl(spis[d]) : 0));
		}
		end_world(&w, state);
	}
}

/* Which latch an order is for. */
static void test_order(void **state)
{
	struct world w;

	begin_world(&w, state);
	tell_in(&w);
	assert_true(judged(&w, false));
	assert_memory_equal(&w.order.tuple, &w.tuple, sizeof(w.tuple));
	assert_int_equal(w.order.id, 17);
	assert_int_equal(w.order.type, CLATCH_ORDER_CAUSES);
	assert_int_equal(w.order.got_count, 0);
	end_world(&w, state);
}

static void test_another_peer(void **state)
{
	struct world w;

	begin_world(&w, state);
	knows_both(&w);
	assert_false(judged(&w, true));
	sad_world_add(w.sad, 9, 'c');
	assert_false(judged(&w, true)); /* nobody knows whose it is */
	told(&w, 9, HOST, OTHER);
	assert_true(judged(&w, true));
	assert_int_equal(w.order.set, CLATCH_CAUSE_SA);
	assert_int_equal(w.order.direction, CLATCH_IN);
	assert_int_equal(w.order.reason, CLATCH_PEER_ID);
	assert_int_equal(w.order.fields, CLATCH_FIELD_PEER_ID);
	assert_int_equal(w.order.got_count, 1);
	assert_int_equal(w.order.got.spi, htonl(9));
	assert_int_equal(w.order.got.who.peer_id, OTHER);
	w.latch.causes = CLATCH_CAUSE_SA;
	w.latch.state = CLATCH_BROKEN;
	assert_false(judged(&w, true)); /* as it was */
	sad_world_remove(w.sad, 9);
	assert_true(judged(&w, true));
	assert_int_equal(w.order.clear, CLATCH_CAUSE_SA);
	assert_int_equal(w.order.set, 0);
	end_world(&w, state);
}

static void demand_protection(struct spd *spd, __u32 if_id)
{
	const struct spd_policy out = {
		.selector = { .family = AF_INET },
		.dir = XFRM_POLICY_OUT,
		.action = XFRM_POLICY_ALLOW,
		.count = 1,
		.if_id = if_id,
		.templates = { { .proto = IPPROTO_ESP,
				 .mode = XFRM_MODE_TUNNEL,
				 .reqid = 7,
				 .aalgos = ~0U,
				 .ealgos = ~0U,
				 .calgos = ~0U } },
	};

	assert_int_equal(spd_set(spd, &out, 1), 0);
}

/* What our own packets showed is over where the SPD has changed, and demands what is latched. */
static void test_clears(void **state)
{
	static const struct {
		const char *name;
		bool demanded, changed;
		__u32 if_id, mark;
		__u8 clear;
	} rows[] = {
		{ "demanded again", true, true, 0, 0, CLATCH_CAUSES_JUDGED | CLATCH_CAUSES_SEEN },
		{ "nothing changed", true, false, 0, 0, CLATCH_CAUSES_JUDGED },
		{ "not demanded", false, true, 0, 0, CLATCH_CAUSES_JUDGED },
		{ "a mark decides", true, true, 0, 1, CLATCH_CAUSES_JUDGED },
		{ "an if_id decides", true, true, 42, 0, CLATCH_CAUSES_JUDGED },
	};
	struct world w;

	for (size_t i = 0; i < COUNT(rows); i++) {
		begin_world(&w, state);
		w.latch.state = CLATCH_BROKEN;
		w.latch.causes = CLATCH_CAUSES_JUDGED | CLATCH_CAUSES_SEEN | CLATCH_CAUSE_DEAD_PEER;
		w.latch.held.out.sa.if_id = rows[i].if_id;
		w.latch.held.out.mark = rows[i].mark;
		if (rows[i].demanded)
			demand_protection(w.domain.spd, rows[i].if_id);
		assert_row(rows[i].name, judged(&w, rows[i].changed));
		assert_row(rows[i].name, w.order.clear == rows[i].clear);
		assert_row(rows[i].name, !w.order.set);
		assert_row(rows[i].name,
			   w.order.flags == (rows[i].demanded ? CLATCH_POLICED_OUT : 0));
		end_world(&w, state);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tell),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_another_peer),
		cmocka_unit_test(test_clears),
	};

	return cmocka_run_group_tests_name("judge", tests, NULL, NULL);
}
