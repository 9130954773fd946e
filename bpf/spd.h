/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the kernel's SPD has for a connection that is about to begin.  Its policies are walked as
 * they stand; one that is taken out meanwhile ends the walk, and then nothing is known.
 */
#ifndef CLATCH_BPF_SPD_H
#define CLATCH_BPF_SPD_H

#include "must.h"

#define SPD_MAX_POLICIES 8192 /* with more, nothing is known */
#define XFRM_POLICY_DIR(index) ((index)&7)

/* How surely something holds for a connection of which not all is known yet. */
enum holds { HOLDS_NOT, HOLDS_MAYBE, HOLDS };

static __always_inline enum holds holds(bool known, bool does)
{
	return !known ? HOLDS_MAYBE : does ? HOLDS : HOLDS_NOT;
}

static __always_inline enum holds holds_both(enum holds a, enum holds b)
{
	return a < b ? a : b;
}

/* An address that is not bound yet is all zero, with IPv4's prefix or without. */
static __always_inline bool addr_known(const struct clatch_addr *a)
{
	const __u32 *w = const_words(a);

	return w[0] | w[1] | w[3];
}

struct spd_search {
	const struct clatch_tuple *tuple; /* what is 0 in it is not known */
	__u64 node; /* to look at next */
	__u64 head;
	__u64 protects; /* least priority value of a policy that may hold, and protects */
	__u64 leaves; /* … that surely holds, and does not */
};

#define selector_prefix(p, field, bits, addr, v4)                                                  \
	({                                                                                         \
		struct clatch_addr prefix_;                                                        \
		if (v4)                                                                            \
			addr_v4(&prefix_, kread(p, selector.field.a4));                            \
		else                                                                               \
			prefix_ = *(struct clatch_addr *)&(__be32[4]){                             \
				kread(p, selector.field.a6[0]), kread(p, selector.field.a6[1]),    \
				kread(p, selector.field.a6[2]), kread(p, selector.field.a6[3])     \
			};                                                                         \
		prefix_holds(&prefix_, (bits) + ((v4) ? 96 : 0), addr);                            \
	})

/* Does the selector of the policy at @address hold?  An enum holds. */
verified_once int selector_holds(__u64 address, const struct clatch_tuple *t)
{
	struct xfrm_policy *p = kcast(struct xfrm_policy, address);
	__u32 v4 = kread(p, family) == AF_INET, bits = kread(p, selector.prefixlen_s);
	__u32 proto = kread(p, selector.proto);
	__be16 mask = kread(p, selector.sport_mask);
	enum holds all = HOLDS;

	if (!t || v4 != is_v4(&t->remote) || (proto && proto != t->proto) ||
	    ((kread(p, selector.dport) ^ bpf_htons(t->remote_port)) &
	     kread(p, selector.dport_mask)) ||
	    !selector_prefix(p, daddr, kread(p, selector.prefixlen_d), &t->remote, v4))
		return HOLDS_NOT;
	if (mask)
		all = holds(t->local_port,
			    !((kread(p, selector.sport) ^ bpf_htons(t->local_port)) & mask));
	if (bits)
		all = holds_both(all, holds(addr_known(&t->local),
					    selector_prefix(p, saddr, bits, &t->local, v4)));
	if (kread(p, mark.m) || kread(p, if_id) || kread(p, selector.ifindex))
		all = holds_both(all, HOLDS_MAYBE);
	return all;
}

static __always_inline void spd_weigh(struct spd_search *s, __u64 address)
{
	struct xfrm_policy *p = kcast(struct xfrm_policy, address);
	enum holds all = selector_holds(address, s->tuple);
	__u64 priority = kread(p, priority);

	if (all == HOLDS_NOT)
		return;
	if (kread(p, action) == XFRM_POLICY_ALLOW && kread(p, xfrm_nr)) {
		if (priority < s->protects)
			s->protects = priority;
	} else if (all == HOLDS && priority < s->leaves) {
		s->leaves = priority;
	}
}

static long spd_step(__u32 index, struct spd_search *s)
{
	__u64 address = s->node - bpf_core_field_offset(struct xfrm_policy, walk.all);
	struct xfrm_policy *p = kcast(struct xfrm_policy, address);

	(void)index;
	if (!s->node || s->node == s->head)
		return 1;
	s->node = kaddress(p, walk.all.next);
	/* among the policies stand the places where dumps have got to */
	if (!kread(p, walk.dead) && XFRM_POLICY_DIR(kread(p, index)) == XFRM_POLICY_OUT)
		spd_weigh(s, address);
	return 0;
}

/* Is it known that nothing will protect the connection?  By @address, its socket. */
static __noinline bool spd_leaves(const struct clatch_tuple *tuple, __u64 address)
{
	struct sock_common *sk = kcast(struct sock_common, address);
	struct net *net = kread(sk, skc_net.net);
	struct spd_search s = { .tuple = tuple };

	if (kread(kcast(struct sock, address), sk_policy[XFRM_POLICY_OUT]))
		return false; /* a policy of its own goes before these */
	s.head = (__u64)net + bpf_core_field_offset(struct net, xfrm.policy_all);
	s.node = kaddress(net, xfrm.policy_all.next);
	s.protects = s.leaves = ~(__u64)unknown_zero();
	bpf_loop(SPD_MAX_POLICIES, spd_step, &s, 0);
	return s.node == s.head && (s.leaves < s.protects || s.protects == ~(__u64)0);
}

#endif
