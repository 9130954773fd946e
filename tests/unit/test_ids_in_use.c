// SPDX-License-Identifier: GPL-2.0-only
/* Numbers that latches and SAs have, on maps of the test's own: needs CAP_BPF. */
#include "test.h"

#include <bpf/bpf.h>
#include <clatch/latch.h>
#include <clatch/sa.h>
#include <unistd.h>

#include "ids_in_use.h"

static unsigned int highest_of(const struct clatch_latch *latch, const struct clatch_more *more,
			       const struct clatch_sa *sa)
{
	const struct clatch_tuple tuple = {};
	const struct clatch_sa_key key = {};
	int latches = bpf_map_create(BPF_MAP_TYPE_HASH, "t_latches", sizeof(tuple), sizeof(*latch),
				     1, NULL);
	int mores = bpf_map_create(BPF_MAP_TYPE_HASH, "t_more", 8, sizeof(*more), 1, NULL);
	int sas = bpf_map_create(BPF_MAP_TYPE_HASH, "t_sas", sizeof(key), sizeof(*sa), 1, NULL);
	unsigned int highest = 99;

	assert_int_equal(bpf_map_update_elem(latches, &tuple, latch, BPF_ANY), 0);
	assert_int_equal(bpf_map_update_elem(mores, &latch->id, more, BPF_ANY), 0);
	assert_int_equal(bpf_map_update_elem(sas, &key, sa, BPF_ANY), 0);
	assert_int_equal(ids_in_use(sas, latches, mores, &highest), 0);
	close(latches);
	close(mores);
	close(sas);
	return highest;
}

static void test_highest(void **state)
{
	const struct clatch_who low = { 1, 2 }, local = { 7, 3 }, peer = { 3, 7 };
	struct clatch_latch latch = { .id = 1, .state = CLATCH_ESTABLISHED };
	struct clatch_more more = {};
	struct clatch_sa sa = { .who = low };

	(void)state;
	assert_int_equal(highest_of(&latch, &more, &sa), 2);
	more.nested[CLATCH_IN][CLATCH_MAX_NEST - 2].who = local;
	assert_int_equal(highest_of(&latch, &more, &sa), 2); /* it is not this latch's */
	latch.flags = CLATCH_HAS_MORE;
	assert_int_equal(highest_of(&latch, &more, &sa), 7);
	latch.state = CLATCH_CLOSED; /* what it has may be of a table that was before */
	assert_int_equal(highest_of(&latch, &more, &sa), 2);
	sa.who = peer;
	assert_int_equal(highest_of(&latch, &more, &sa), 7);
	latch = (struct clatch_latch){ .state = CLATCH_LARVAL, .held.out.sa.who = peer };
	sa.who = low;
	assert_int_equal(highest_of(&latch, &more, &sa), 7);
}

static void test_nothing(void **state)
{
	const struct clatch_latch latch = {};
	const struct clatch_more more = {};
	const struct clatch_sa sa = {};
	unsigned int highest;

	(void)state;
	assert_int_equal(highest_of(&latch, &more, &sa), 0);
	assert_true(ids_in_use(-1, -1, -1, &highest) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_highest),
		cmocka_unit_test(test_nothing),
	};

	return cmocka_run_group_tests_name("ids_in_use", tests, NULL, NULL);
}
