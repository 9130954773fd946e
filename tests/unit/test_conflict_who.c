// SPDX-License-Identifier: GPL-2.0-only
/* SAs that conflict with a latch whose peer is known, by whose they are. */
#include "conflict_world.h"

#define APP3 1
#define DB1 2
#define WEB7 3

/* What is latched is known to be db1.example's; so are the SAs that are there. */
static void know(struct world *w)
{
	const struct clatch_who db1 = { .local_id = APP3, .peer_id = DB1 };

	w->in.sa[0].who = w->out.sa[0].who = db1;
	w->sas[0].sa.who = w->sas[1].sa.who = db1;
}

static struct clatch_sa *known_sa(struct world *w, enum clatch_dir direction, __u16 peer_id)
{
	struct clatch_sa *sa;

	if (w->sa_count == 2)
		know(w);
	sa = &world_sa(w, direction)->sa;
	sa->who = (struct clatch_who){ .local_id = APP3, .peer_id = peer_id };
	return sa;
}

static void other_peer(struct world *w)
{
	known_sa(w, CLATCH_OUT, WEB7);
}

static void other_peer_in(struct world *w)
{
	known_sa(w, CLATCH_IN, WEB7);
}

/* The kernel takes the newest. */
static void peer_is_back(struct world *w)
{
	other_peer(w);
	known_sa(w, CLATCH_OUT, DB1);
}

static void not_told_yet(struct world *w)
{
	known_sa(w, CLATCH_OUT, 0)->who.local_id = 0;
}

/* It may be the newcomer's. */
static void not_told_yet_who_is_back(struct world *w)
{
	other_peer(w);
	not_told_yet(w);
}

static void other_self(struct world *w)
{
	known_sa(w, CLATCH_OUT, DB1)->who.local_id = WEB7;
}

static void not_told_and_weaker(struct world *w)
{
	known_sa(w, CLATCH_OUT, 0)->suite.icv_bits = 64;
}

/* A reauthentication may change it, in the SA and in the policy. */
static void reqid_of_known_peer(struct world *w)
{
	known_sa(w, CLATCH_OUT, DB1)->reqid = 9;
	w->policies[0].templates[0].reqid = 9;
}

/* Only whose it is, is a matter of age. */
static void weaker_before(struct world *w)
{
	known_sa(w, CLATCH_OUT, DB1)->suite.icv_bits = 64;
	known_sa(w, CLATCH_OUT, DB1);
}

static void local_known(struct world *w)
{
	w->out.sa[0].who.local_id = APP3;
	w->policies[0].templates[0].reqid = 9;
}

static void mode_of_known_peer(struct world *w)
{
	reqid_of_known_peer(w);
	w->policies[0].templates[0].mode = XFRM_MODE_TUNNEL;
}

#define POLICY_IS(field)                                                                           \
	CLATCH_CAUSE_POLICY, CLATCH_OUT, CLATCH_SA_MISMATCH, CLATCH_FIELD_##field, CLATCH_POLICED_IN
#define PEER_IS(dir, field) CLATCH_CAUSE_SA, dir, CLATCH_PEER_ID, CLATCH_FIELD_##field, SEEN

static const struct world_row rows[] = {
	{ "another peer, out", other_peer, PEER_IS(CLATCH_OUT, PEER_ID) },
	{ "another peer, in", other_peer_in, PEER_IS(CLATCH_IN, PEER_ID) },
	{ "another peer had it for a while", peer_is_back, NONE(SEEN) },
	{ "another peer has it, and one not told yet whose", not_told_yet_who_is_back,
	  PEER_IS(CLATCH_OUT, PEER_ID) },
	{ "another identity of ours", other_self, PEER_IS(CLATCH_OUT, LOCAL_ID) },
	{ "not told yet whose", not_told_yet, NONE(SEEN) },
	{ "not told yet whose, and weaker", not_told_and_weaker, SA_IS(CLATCH_OUT, ICV, SEEN) },
	{ "weaker, and older than the latched", weaker_before, SA_IS(CLATCH_OUT, ICV, SEEN) },
	{ "another reqid of a known peer", reqid_of_known_peer, NONE(SEEN) },
	{ "another reqid, our own end known", local_known, POLICY_IS(REQID) },
	{ "another mode of a known peer", mode_of_known_peer, POLICY_IS(MODE) },
};

static void test_whose(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		world_check(&rows[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whose),
	};

	return cmocka_run_group_tests_name("conflict_who", tests, NULL, NULL);
}
