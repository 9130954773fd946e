// SPDX-License-Identifier: GPL-2.0-only
/* On a table of latches of the test's own, and a program that carries no order out: needs CAP_BPF. */
#include "test.h"

#include <bpf/bpf.h>
#include <stdlib.h>
#include <unistd.h>

#include "dead_peers.h"

#define NETNS 7
#define DEAD 3

struct world {
	struct cli cli;
	sd_event *loop;
	struct latches latches;
	struct orders orders;
	struct dead_peers dead_peers;
};

static int make_program(void)
{
	const struct bpf_insn code[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	return bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "nothing", "GPL", code, COUNT(code), NULL);
}

static int begin(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	*state = w;
	w->cli.program = "test";
	w->latches = (struct latches)LATCHES_INIT;
	w->latches.latches =
		bpf_map_create(BPF_MAP_TYPE_HASH, "t_latches", sizeof(struct clatch_tuple),
			       sizeof(struct clatch_latch), 16, NULL);
	w->orders = (struct orders){ .cli = &w->cli, .control = make_program() };
	w->dead_peers =
		(struct dead_peers){ .cli = &w->cli, .latches = &w->latches, .orders = &w->orders };
	return w->latches.latches < 0 || w->orders.control < 0 || sd_event_new(&w->loop) < 0 ||
	       dead_peers_open(&w->dead_peers, w->loop);
}

static int end(void **state)
{
	struct world *w = *state;

	dead_peers_close(&w->dead_peers);
	sd_event_unref(w->loop);
	latches_close(&w->latches);
	close(w->orders.control);
	free(w);
	return 0;
}

/* Made @since, with SAs of the peers @in and @out; 0 = none. */
static void put(const struct world *w, __u64 id, __u64 netns, __u64 since, __u16 in, __u16 out)
{
	const struct clatch_tuple tuple = { .netns = netns, .local_port = id };
	struct clatch_latch latch = { .id = id, .since_ns = since };

	latch.held.in.sa.count = !!in;
	latch.held.in.sa.who.peer_id = in;
	latch.held.out.sa.count = !!out;
	latch.held.out.sa.who.peer_id = out;
	assert_int_equal(bpf_map_update_elem(w->latches.latches, &tuple, &latch, BPF_ANY), 0);
}

static void test_whose_latches(void **state)
{
	struct world *w = *state;
	unsigned int seen = 0;

	put(w, 1, NETNS, 1, DEAD, 0);
	put(w, 2, NETNS, 1, 0, DEAD);
	put(w, 3, NETNS, 1, DEAD + 1, DEAD + 1);
	put(w, 4, NETNS + 1, 1, DEAD, DEAD);
	put(w, 5, NETNS, UINT64_MAX, DEAD, DEAD); /* it was started anew, and connected */
	put(w, 6, NETNS, 1, 0, 0);
	dead_peers_note(&w->dead_peers, NETNS, DEAD);
	assert_int_equal(w->orders.given, 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(w->orders.items[i].set, CLATCH_CAUSE_DEAD_PEER);
		seen |= 1 << w->orders.items[i].id;
	}
	assert_int_equal(seen, 1 << 1 | 1 << 2);
}

/* What began before a death was latched after it, to the peer that was started anew. */
static void test_latched_after_it(void **state)
{
	struct world *w = *state;

	dead_peers_note(&w->dead_peers, NETNS, DEAD);
	put(w, 1, NETNS, 1, DEAD, DEAD);
	dead_peers_note(&w->dead_peers, NETNS, DEAD + 1);
	assert_int_equal(w->orders.given, 0);
}

/* As many orders as that, and nothing is left to be done. */
static void assert_tried_again(struct world *w, long given)
{
	while (w->orders.given < given)
		assert_true(sd_event_run(w->loop, 10000000) > 0);
	assert_int_equal(w->orders.given, given);
	assert_int_equal(sd_event_source_get_enabled(w->dead_peers.again, NULL), 0);
}

static void test_latches_cannot_be_read(void **state)
{
	struct world *w = *state;
	int latches = w->latches.latches;

	put(w, 1, NETNS, 1, DEAD, DEAD);
	put(w, 2, NETNS, 1, DEAD + 1, DEAD + 1);
	w->latches.latches = -1;
	dead_peers_note(&w->dead_peers, NETNS, DEAD);
	dead_peers_note(&w->dead_peers, NETNS, DEAD + 1);
	assert_int_equal(w->orders.given, 0);
	w->latches.latches = latches;
	put(w, 3, NETNS, UINT64_MAX, DEAD, DEAD);
	assert_tried_again(w, 2);
}

static void test_order_cannot_be_carried_out(void **state)
{
	struct world *w = *state;
	int control = w->orders.control;

	put(w, 1, NETNS, 1, DEAD, DEAD);
	w->orders.control = -1;
	dead_peers_note(&w->dead_peers, NETNS, DEAD);
	assert_int_equal(w->orders.given, 1);
	w->orders.control = control;
	assert_tried_again(w, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_whose_latches, begin, end),
		cmocka_unit_test_setup_teardown(test_latched_after_it, begin, end),
		cmocka_unit_test_setup_teardown(test_latches_cannot_be_read, begin, end),
		cmocka_unit_test_setup_teardown(test_order_cannot_be_carried_out, begin, end),
	};

	return cmocka_run_group_tests_name("dead_peers", tests, NULL, NULL);
}
