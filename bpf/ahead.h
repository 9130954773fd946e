/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the policy has for a connection of which not all is known yet: at a program's request, and at
 * connect().
 */
#ifndef CLATCH_BPF_AHEAD_H
#define CLATCH_BPF_AHEAD_H

#include "identity.h"
#include "own.h"
#include "spd.h"

static __always_inline enum holds ports_hold(const __u16 ports[2], __u16 port)
{
	if (!ports[0] && ports[1] == 65535)
		return HOLDS;
	return holds(port, port >= ports[0] && port <= ports[1]);
}

static __always_inline enum holds prefix_ahead(const struct clatch_addr *prefix, __u32 bits,
					       const struct clatch_addr *addr)
{
	return bits ? holds(addr_known(addr), prefix_holds(prefix, bits, addr)) : HOLDS;
}

/* Is the family known, and which?  A socket of IPv6 may yet connect to an IPv4 address. */
static __always_inline enum holds family_ahead(const struct clatch_rule *r,
					       const struct clatch_tuple *t)
{
	bool v4 = is_v4(&t->local) || is_v4(&t->remote);

	return r->ipv6 ? holds(v4 || addr_known(&t->remote) || addr_known(&t->local), !v4) : HOLDS;
}

/* An enum holds. */
verified_once int rule_ahead(const struct clatch_rule *r, const struct clatch_tuple *t)
{
	enum holds all;

	if (!r || !t)
		return HOLDS_NOT;
	all = !r->proto || r->proto == t->proto ? HOLDS : HOLDS_NOT;
	all = holds_both(all, family_ahead(r, t));
	all = holds_both(all, ports_hold(r->local_port, t->local_port));
	all = holds_both(all, ports_hold(r->remote_port, t->remote_port));
	all = holds_both(all, prefix_ahead(&r->local, r->local_bits, &t->local));
	return holds_both(all, prefix_ahead(&r->remote, r->remote_bits, &t->remote));
}

/* What each requirement admits: AH, ESP that encrypts nothing, ESP that does, clear. */
static __always_inline __u32 admitted(__u32 require)
{
	return require == CLATCH_REQUIRE_NONE	     ? 15
	       : require == CLATCH_REQUIRE_IPSEC     ? 7
	       : require == CLATCH_REQUIRE_ESP	     ? 6
	       : require == CLATCH_REQUIRE_ENCRYPTED ? 4
	       : require == CLATCH_REQUIRE_AH	     ? 1
						     : 0;
}

struct policy_ahead {
	const struct clatch_tuple *tuple; /* what is 0 in it is not known */
	const struct clatch_demand *asked; /* or NULL */
	__u32 first; /* number of the first rule */
	__u32 fits; /* a rule may hold that is no stricter than what is asked for */
	__u32 free; /* … that demands nothing */
	__u32 over; /* the rule was found that surely holds */
};

static long id_ahead(__u32 index, struct clatch_glob *g)
{
	int step = clatch_glob_step(g, CLATCH_RULE_ID);

	(void)index;
	if (step == CLATCH_GLOB_ON)
		return 0;
	g->star = step;
	return 1;
}

/* Is whom the program names, itself perhaps by a pattern, one of those whom the rule names? */
static __always_inline bool id_narrows(const char *rule, const char *asked)
{
	struct clatch_glob g = { .pattern = rule, .text = asked };

	if (!rule[0] || !asked[0])
		return true;
	g.p = g.t = g.star = g.from = unknown_zero();
	bpf_loop(CLATCH_GLOB_STEPS, id_ahead, &g, 0);
	return g.star == CLATCH_GLOB_MATCH;
}

/* Where a program says nothing, the rule's demand is all there is. */
verified_once int demand_fits(const struct clatch_demand *asked, const struct clatch_demand *rule)
{
	if (!asked || !rule)
		return true;
	return !(admitted(asked->require) & ~admitted(rule->require)) &&
	       (!asked->mode || !rule->mode || asked->mode == rule->mode) &&
	       (!asked->min_key_bits || asked->min_key_bits >= rule->min_key_bits) &&
	       id_narrows(rule->peer_id, asked->peer_id);
}

static long policy_step(__u32 index, struct policy_ahead *a)
{
	struct clatch_rule *r = rule_get(a->first + index);
	enum holds all;

	if (!r) { /* replaced meanwhile: each packet will be judged by what is then */
		a->fits = a->over = 1;
		return 1;
	}
	all = rule_ahead(r, a->tuple);
	if (all == HOLDS_NOT)
		return 0;
	a->fits |= demand_fits(a->asked, &r->demand);
	a->free |= r->demand.require == CLATCH_REQUIRE_NONE;
	a->over = all == HOLDS;
	return a->over;
}

/* Fills @a from its tuple and what is asked. */
static __noinline void policy_ahead(struct policy_ahead *a)
{
	struct clatch_policy policy = policy_in_force();

	a->first = clatch_rule_number(policy.generation, 0);
	a->fits = a->free = a->over = unknown_zero();
	bpf_loop(policy.count, policy_step, a, 0);
	if (!a->over) /* no rule may be what holds in the end */
		a->fits = a->free = 1;
}

#endif
