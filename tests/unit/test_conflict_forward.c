// SPDX-License-Identifier: GPL-2.0-only
/* What conflicts with a forwarded connection: the SPD's forward policies, once they were seen. */
#include "conflict_world.h"

static void forwarded(struct world *w)
{
	w->latch.flags |= CLATCH_FORWARDED;
	w->policies[1].dir = XFRM_POLICY_FWD;
}

static void policed(struct world *w)
{
	forwarded(w);
	w->latch.flags |= POLICED_BOTH;
}

static void in_is_not_forward(struct world *w)
{
	forwarded(w);
	w->policies[1].dir = XFRM_POLICY_IN;
}

static void forward_gone(struct world *w)
{
	policed(w);
	w->policy_count = 1;
}

/* As NAT may make it: the SPD has other things to say of the connection's own addresses. */
static void bypass_never_seen(struct world *w)
{
	forwarded(w);
	world_policy(w, XFRM_POLICY_OUT)->count = 0;
	w->policies[2].priority = 10;
}

static void bypass(struct world *w)
{
	bypass_never_seen(w);
	policed(w);
}

static void any_reqid(struct world *w)
{
	policed(w);
	w->policies[1].templates[0].reqid = 0;
}

/* Of the veth, which the kernel compares forward policies with. */
static void of_the_veth(struct world *w)
{
	policed(w);
	w->in.ifindex = 4;
	world_policy(w, XFRM_POLICY_FWD)->count = 0;
	w->policies[2].priority = 10;
	w->policies[2].selector.ifindex = 4;
}

#define POLICY_IS(dir, why, what, seen) CLATCH_CAUSE_POLICY, dir, why, what, seen

static const struct world_row rows[] = {
	{ "as latched", forwarded, NONE(POLICED_BOTH) },
	{ "as latched and seen before", policed, NONE(POLICED_BOTH) },
	{ "a policy of what comes in", in_is_not_forward, NONE(CLATCH_POLICED_OUT) },
	{ "forward deleted", forward_gone,
	  POLICY_IS(CLATCH_IN, CLATCH_CLEAR, 0, CLATCH_POLICED_OUT) },
	{ "bypass, and nothing else was seen", bypass_never_seen, NONE(CLATCH_POLICED_IN) },
	{ "bypass", bypass, POLICY_IS(CLATCH_OUT, CLATCH_CLEAR, 0, CLATCH_POLICED_IN) },
	{ "any reqid", any_reqid, NONE(POLICED_BOTH) },
	{ "bypass of the veth", of_the_veth,
	  POLICY_IS(CLATCH_IN, CLATCH_CLEAR, 0, CLATCH_POLICED_OUT) },
};

static void test_forwarded(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		world_check(&rows[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forwarded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
