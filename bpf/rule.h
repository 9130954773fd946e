/* SPDX-License-Identifier: GPL-2.0-only */
/* Which rule a connection is under.  Asked when a latch is made, never per packet. */
#ifndef CLATCH_BPF_RULE_H
#define CLATCH_BPF_RULE_H

#include "maps.h"

static __always_inline bool prefix_holds(const struct clatch_addr *prefix, __u32 bits,
					 const struct clatch_addr *addr)
{
#pragma unroll
	for (int i = 0; i < 4; i++) {
		__u32 mask = bits >= 32 ? 0xffffffff : bpf_htonl(~(0xffffffffULL >> bits));

		if ((const_words(prefix)[i] ^ const_words(addr)[i]) & mask)
			return false;
		bits = bits >= 32 ? bits - 32 : 0;
	}
	return true;
}

static __always_inline bool is_v4(const struct clatch_addr *addr)
{
	const __u32 *words = const_words(addr);

	return !words[0] && !words[1] && words[2] == bpf_htonl(0xffff);
}

static __always_inline bool rule_holds(const struct clatch_rule *r, const struct clatch_tuple *t)
{
	return (!r->proto || r->proto == t->proto) && t->local_port >= r->local_port[0] &&
	       t->local_port <= r->local_port[1] && t->remote_port >= r->remote_port[0] &&
	       t->remote_port <= r->remote_port[1] && !(r->ipv6 && is_v4(&t->local)) &&
	       prefix_holds(&r->local, r->local_bits, &t->local) &&
	       prefix_holds(&r->remote, r->remote_bits, &t->remote);
}

/* By its number; NULL where it is none, or is not there any more. */
static __always_inline struct clatch_rule *rule_get(__u32 number)
{
	return bpf_map_lookup_elem(&clatch_rules, &number);
}

/* Generation and count in one load, so that they belong together. */
static __always_inline struct clatch_policy policy_in_force(void)
{
	union {
		__u64 word;
		struct {
			__u32 generation;
			__u32 count;
		};
	} now = { *(volatile __u64 *)&clatch_policy };
	struct clatch_policy in_force = { .generation = now.generation, .count = now.count };

	return in_force;
}

struct rule_search {
	const struct clatch_tuple *tuple;
	__u32 first; /* number of the first rule */
	__u32 found;
};

/*
 * A rule that is not there any more, as two policies were loaded meanwhile, is taken for one that
 * holds: it demands protection, rule_demands_protection().
 */
static long rule_try(__u32 index, struct rule_search *search)
{
	__u32 number = search->first + index;
	struct clatch_rule *r = rule_get(number);

	if (r && !rule_holds(r, search->tuple))
		return 0;
	search->found = number;
	return 1;
}

/* The number of the first rule that holds for the connection, or CLATCH_NO_RULE. */
verified_once __u32 rule_find(const struct clatch_tuple *tuple)
{
	struct rule_search search = { .tuple = tuple, .found = CLATCH_NO_RULE };
	struct clatch_policy policy;

	if (!tuple)
		return CLATCH_NO_RULE;
	policy = policy_in_force();
	search.first = clatch_rule_number(policy.generation, 0);
	bpf_loop(policy.count, rule_try, &search, 0);
	return search.found;
}

static __always_inline bool rule_demands_protection(__u32 number)
{
	struct clatch_rule *r;

	if (number == CLATCH_NO_RULE)
		return false;
	r = rule_get(number);
	return !r || r->demand.require != CLATCH_REQUIRE_NONE;
}

#endif
