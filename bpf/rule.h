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

static __always_inline bool rule_holds(const struct clatch_rule *r, const struct clatch_tuple *t)
{
	return (!r->proto || r->proto == t->proto) && t->local_port >= r->local_port[0] &&
	       t->local_port <= r->local_port[1] && t->remote_port >= r->remote_port[0] &&
	       t->remote_port <= r->remote_port[1] &&
	       prefix_holds(&r->local, r->local_bits, &t->local) &&
	       prefix_holds(&r->remote, r->remote_bits, &t->remote);
}

struct rule_search {
	const struct clatch_tuple *tuple;
	__u32 found;
};

static long rule_try(__u32 index, struct rule_search *search)
{
	struct clatch_rule *r = bpf_map_lookup_elem(&clatch_rules, &index);

	if (!r || !r->used)
		return 1;
	if (!rule_holds(r, search->tuple))
		return 0;
	search->found = index;
	return 1;
}

/* The first rule that holds for the connection, or CLATCH_NO_RULE. */
verified_once __u32 rule_find(const struct clatch_tuple *tuple)
{
	struct rule_search search = { .tuple = tuple, .found = CLATCH_NO_RULE };

	if (!tuple)
		return CLATCH_NO_RULE;
	bpf_loop(CLATCH_MAX_RULES, rule_try, &search, 0);
	return search.found;
}

static __always_inline bool rule_demands_protection(__u32 rule)
{
	struct clatch_rule *r = bpf_map_lookup_elem(&clatch_rules, &rule);

	return r && r->require != CLATCH_REQUIRE_NONE;
}

#endif
