// SPDX-License-Identifier: GPL-2.0-only
#include "spd_order.h"

#include <string.h>
#include <sys/socket.h>

#include "addr.h"

#define V4_EXACT 32
#define V4_LEAST 16 /* less than this of an address counts as none of it */
#define V6_EXACT 128
#define V6_LEAST 48

static bool fixes_addr(const xfrm_address_t *addr, __u8 bits, __u16 family)
{
	if (family == AF_INET)
		return addr->a4 && bits >= V4_LEAST;
	return (addr->a6[0] | addr->a6[1] | addr->a6[2] | addr->a6[3]) && bits >= V6_LEAST;
}

enum spd_list spd_list_of(const struct spd_policy *policy)
{
	const struct xfrm_selector *s = &policy->selector;
	unsigned int exact = s->family == AF_INET ? V4_EXACT : V6_EXACT;
	bool src = fixes_addr(&s->saddr, s->prefixlen_s, s->family);

	if (s->prefixlen_s == exact && s->prefixlen_d == exact)
		return SPD_LIST_EXACT;
	if (fixes_addr(&s->daddr, s->prefixlen_d, s->family))
		return src ? SPD_LIST_BOTH : SPD_LIST_DST;
	return src ? SPD_LIST_SRC : SPD_LIST_ANY;
}

static int order(__u32 a, __u32 b)
{
	return a < b ? -1 : a > b;
}

/*
 * A policy that is replaced (XFRM_MSG_UPDPOLICY) keeps its index and its place in its list, though
 * it counts as a new one everywhere else.  Where that also changed its priority, it went behind all
 * others of the new one: of this a dump shows nothing.  An index's low bits say the direction.
 */
int spd_compare(const struct spd_policy *a, const struct spd_policy *b)
{
	int c = order(a->priority, b->priority);

	c = c ? c : order(a->index >> 3, b->index >> 3);
	return c ? c : order(a->age, b->age);
}

bool spd_is_usable(const struct spd_policy *policy)
{
	const struct xfrm_selector *s = &policy->selector;
	unsigned int bits = s->family == AF_INET ? V4_EXACT : V6_EXACT;

	return (s->family == AF_INET || s->family == AF_INET6) && s->prefixlen_s <= bits &&
	       s->prefixlen_d <= bits && policy->dir < XFRM_POLICY_MAX;
}

void spd_addr(struct clatch_addr *to, const xfrm_address_t *from, __u16 family)
{
	if (family == AF_INET)
		addr_from_v4(to, from->a4);
	else
		memcpy(to, from->a6, sizeof(*to));
}

static bool addr_matches(const struct clatch_addr *addr, const xfrm_address_t *prefix, __u8 bits,
			 __u16 family)
{
	struct clatch_addr p;

	spd_addr(&p, prefix, family);
	return addr_in_prefix(addr, &p, bits + (family == AF_INET ? SPD_V4_BITS : 0));
}

static bool port_matches(__u16 port, __be16 wanted, __be16 mask)
{
	return !((port ^ ntohs(wanted)) & ntohs(mask));
}

bool spd_matches(const struct spd_policy *policy, const struct spd_flow *flow)
{
	const struct xfrm_selector *s = &policy->selector;
	__u16 family = addr_is_v4(&flow->src) && addr_is_v4(&flow->dst) ? AF_INET : AF_INET6;

	return s->family == family && policy->if_id == flow->if_id &&
	       (flow->mark & policy->mark_mask) == policy->mark &&
	       (!s->proto || s->proto == flow->proto) &&
	       (!s->ifindex || (__u32)s->ifindex == flow->ifindex) &&
	       port_matches(flow->sport, s->sport, s->sport_mask) &&
	       port_matches(flow->dport, s->dport, s->dport_mask) &&
	       addr_matches(&flow->src, &s->saddr, s->prefixlen_s, family) &&
	       addr_matches(&flow->dst, &s->daddr, s->prefixlen_d, family);
}
