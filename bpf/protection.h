/* SPDX-License-Identifier: GPL-2.0-only */
/* Which SAs protect this packet: from its sec_path, its socket's route, or its SPI. */
#ifndef CLATCH_BPF_PROTECTION_H
#define CLATCH_BPF_PROTECTION_H

#include "sa.h"

#define SPI_CHAIN 64 /* SAs looked at in one bucket of the SAD; the kernel keeps them near 1 */

/* The protection of one packet. */
struct sas {
	__u32 count; /* 0 = in clear, unless unknown */
	__u32 unknown; /* ESP or AH, of an SA that nobody knows or of too many SAs */
	__u64 state[CLATCH_MAX_NEST]; /* kernel addresses of the xfrm_states, outermost first */
	struct clatch_sa_key table; /* where state[0] is 0: the SA's place in the SA table */
};

/* Adds one SA behind those there; IPComp and plain IP tunnels protect nothing. */
static __always_inline void sas_add(struct sas *s, __u64 address)
{
	struct xfrm_state *x = kcast(struct xfrm_state, address);
	__u8 proto = kread(x, id.proto);

	if (proto != IPPROTO_ESP && proto != IPPROTO_AH)
		return;
	if (s->count == 0)
		s->state[0] = address;
	else if (s->count == 1)
		s->state[1] = address;
	else if (s->count == 2)
		s->state[2] = address;
	else if (s->count == 3)
		s->state[3] = address;
	else
		s->unknown = true;
	s->count++;
}

static __always_inline bool has_sec_path(struct sk_buff *skb)
{
	__u64 id = bpf_core_enum_value(enum skb_ext_id, SKB_EXT_SEC_PATH);

	return kread(skb, active_extensions) & (1 << id);
}

/* The sec_path of a packet that has one. */
static __always_inline struct sec_path *sec_path(struct sk_buff *skb, __u64 id)
{
	__u64 ext = (__u64)kread(skb, extensions);
	__u64 offset = kread(kcast(struct skb_ext, ext + id), offset[0]);

	return kcast(struct sec_path, ext + (offset << 3));
}

verified_once int sas_inbound_nested(struct __sk_buff *ctx, struct sas *s)
{
	struct sk_buff *skb = kskb(ctx);
	__u64 id = bpf_core_enum_value(enum skb_ext_id, SKB_EXT_SEC_PATH);
	struct sec_path *sp;
	int len;

	if (!s)
		return 0;
	sp = sec_path(skb, id);
	len = kread(sp, len);
#pragma unroll
	for (int i = 0; i < CLATCH_MAX_NEST; i++)
		if (i < len)
			sas_add(s, (__u64)kread(sp, xvec[i]));
	if (len > CLATCH_MAX_NEST)
		s->unknown = true;
	return 0;
}

/* Inbound, into an empty @s: the sec_path is the kernel's own record of what protected the packet. */
static __always_inline void sas_inbound(struct __sk_buff *ctx, struct sas *s)
{
	struct sk_buff *skb = kskb(ctx);
	__u64 id = bpf_core_enum_value(enum skb_ext_id, SKB_EXT_SEC_PATH);
	struct sec_path *sp;

	if (!has_sec_path(skb))
		return;
	sp = sec_path(skb, id);
	if (kread(sp, len) == 1)
		sas_add(s, (__u64)kread(sp, xvec[0]));
	else
		sas_inbound_nested(ctx, s);
}

/*
 * Was the packet's SA made less than a second ago?  The kernel sets its timer to a second from then.
 */
static __always_inline bool sas_young(const struct sas *s)
{
	__s64 left;

	if (!s->state[0])
		return false;
	left = kread(kcast(struct xfrm_state, s->state[0]), mtimer.node.expires) -
	       (__s64)bpf_ktime_get_boot_ns();
	return left > 0 && left <= 1000000000;
}

/* ESP may be inside UDP. */
static __always_inline __u32 sa_proto(const struct packet *p)
{
	return p->proto == IPPROTO_AH ? IPPROTO_AH : IPPROTO_ESP;
}

/* One step of Jenkins' hash (lookup3), which the kernel applies to IPv6 addresses in the SAD. */
#define ROTATE(word, by) (((word) << (by)) | ((word) >> (32 - (by))))
#define MIX_INTO(x, y, by) ((x) = ((x) ^ (y)) - ROTATE((y), (by)))

static __always_inline __u32 sad_addr_hash(const struct clatch_addr *addr)
{
	const __u32 *w = const_words(addr);
	__u32 a, b, c;

	if (addr_is_v4(addr))
		return bpf_ntohl(w[3]);
	a = b = c = 0xdeadbeef + 16; /* 16 bytes */
	a += w[0];
	b += w[1];
	c += w[2];
	a = ((a - c) ^ ROTATE(c, 4)), c += b;
	b = ((b - a) ^ ROTATE(a, 6)), a += c;
	c = ((c - b) ^ ROTATE(b, 8)), b += a;
	a = ((a - c) ^ ROTATE(c, 16)), c += b;
	b = ((b - a) ^ ROTATE(a, 19)), a += c;
	c = ((c - b) ^ ROTATE(b, 4)), b += a;
	a += w[3];
	MIX_INTO(c, b, 14);
	MIX_INTO(a, c, 11);
	MIX_INTO(b, a, 25);
	MIX_INTO(c, b, 16);
	MIX_INTO(a, c, 4);
	MIX_INTO(b, a, 14);
	MIX_INTO(c, b, 24);
	return c;
}

struct sad_search {
	struct clatch_sa_key key;
	__u64 node; /* to look at next, 0 = the bucket's end */
	__u64 found;
	__u64 matches;
};

static long sad_step(__u32 index, struct sad_search *s)
{
	__u64 address = s->node - bpf_core_field_offset(struct xfrm_state, byspi);
	struct xfrm_state *x = kcast(struct xfrm_state, address);
	struct clatch_addr dst;

	(void)index;
	if (!s->node)
		return 1;
	addr_xfrm(&dst, kread(x, id.daddr), kread(x, props.family));
	if (kread(x, id.spi) == s->key.spi && kread(x, id.proto) == s->key.proto &&
	    addr_equal(&dst, &s->key.dst)) {
		s->found = address;
		s->matches++;
	}
	s->node = (__u64)kread(kcast(struct hlist_node, s->node), next);
	return 0;
}

/*
 * Finds a packet's SA in the kernel's own SAD by destination, SPI and protocol: always as it is
 * now.  0 where there is none, or where marks make it ambiguous.
 */
static __always_inline __u64 sad_find(const struct clatch_sa_key *key, struct net *net)
{
	struct sad_search s = { .key = *key };
	__u32 hash = key->spi ^ key->proto ^ sad_addr_hash(&key->dst);
	__u64 bucket;

	hash = (hash ^ (hash >> 10) ^ (hash >> 20)) & kread(net, xfrm.state_hmask);
	bucket = (__u64)kread(net, xfrm.state_byspi) + hash * sizeof(struct hlist_head);
	s.matches = unknown_zero();
	s.node = (__u64)kread(kcast(struct hlist_head, bucket), first);
	bpf_loop(SPI_CHAIN, sad_step, &s, 0);
	return !s.node && s.matches == 1 ? s.found : 0;
}

/* In UDP there is ESP only where the SA says so; else it is but a datagram. */
static __always_inline bool encapsulates(struct xfrm_state *x, const struct packet *p)
{
	struct xfrm_encap_tmpl *encap;

	if (p->proto != IPPROTO_UDP)
		return true;
	encap = kread(x, encap);
	return encap && kread(encap, encap_sport) == p->sport;
}

/* The SAs of a bundle; the route's chain runs from the innermost to the outermost. */
static __always_inline void sas_route(struct sas *s, __u64 dst)
{
	__u64 chain[CLATCH_MAX_NEST] = {};

#pragma unroll
	for (int i = 0; i < CLATCH_MAX_NEST; i++) {
		chain[i] = dst ? (__u64)kread(kcast(struct dst_entry, dst), xfrm) : 0;
		dst = chain[i] ? (__u64)kread(kcast(struct xfrm_dst, dst), child) : 0;
	}
#pragma unroll
	for (int i = CLATCH_MAX_NEST - 1; i >= 0; i--)
		if (chain[i])
			sas_add(s, chain[i]);
}

/*
 * Outbound, into an empty @s: the packet shows its SPI only.  The socket's route knows the whole
 * bundle, and is trusted if its outermost SA has that SPI; else the kernel's SAD tells, else the
 * SA table.  @dst is the destination in the packet's outer header; @with_route where the packet's
 * socket is a full one.
 */
verified_once int sas_outbound_find(struct __sk_buff *ctx, struct sas *s, int with_route,
				    const struct clatch_addr *dst, const struct packet *p)
{
	__u64 sk = (__u64)kread(kskb(ctx), sk);
	struct net *net;

	if (!s || !dst || !p)
		return 0;
	if (with_route) {
		sas_route(s, (__u64)kread(kcast(struct sock, sk), sk_dst_cache));
		if (s->count && !s->unknown &&
		    kread(kcast(struct xfrm_state, s->state[0]), id.spi) == p->spi &&
		    encapsulates(kcast(struct xfrm_state, s->state[0]), p))
			return 0;
		s->unknown = 0;
	}
	if (sk)
		net = kread(kcast(struct sock_common, sk), skc_net.net);
	else /* forwarded */
		net = kread(kread(kskb(ctx), dev), nd_net.net);
	s->table.netns = kread(net, net_cookie);
	s->table.dst = *dst;
	s->table.spi = p->spi;
	s->table.proto = sa_proto(p);
	s->count = 1;
	s->state[0] = sad_find(&s->table, net);
	if (s->state[0] ? !encapsulates(kcast(struct xfrm_state, s->state[0]), p)
			: p->proto == IPPROTO_UDP)
		s->count = 0; /* in clear */
	else
		s->unknown = !s->state[0] && !sa_table_find(&s->table);
	return 0;
}

/* The same for a full socket, with the usual case at hand: one SA, known by the route. */
static __always_inline void sas_outbound(struct __sk_buff *ctx, struct sas *s,
					 const struct clatch_addr *outer_dst, struct packet *p)
{
	struct sock *sk = kcast(struct sock, kread(kskb(ctx), sk));
	struct dst_entry *dst = kread(sk, sk_dst_cache);
	struct xfrm_state *x = dst ? kread(dst, xfrm) : NULL;

	/* The bundle's innermost SA is the outermost header's: there is no other. */
	if (x && kread(x, id.spi) == p->spi && kread(x, id.proto) == sa_proto(p) &&
	    encapsulates(x, p)) {
		s->state[0] = (__u64)x;
		s->count = 1;
		return;
	}
	sas_outbound_find(ctx, s, true, outer_dst, p);
}

#endif
