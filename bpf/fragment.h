/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fragments: only the first shows ports.  The others are known by what the first was noted under.  One
 * that comes before its first is nobody's, and refused.
 */
#ifndef CLATCH_BPF_FRAGMENT_H
#define CLATCH_BPF_FRAGMENT_H

#include "forward.h"

enum fragment_place { FRAGMENT_NONE, FRAGMENT_FIRST, FRAGMENT_LATER, FRAGMENT_ODD };

struct fragment {
	__u64 netns;
	struct clatch_addr src;
	struct clatch_addr dst;
	__u32 id;
	__u32 proto;
};

/*
 * The number of the connection whose datagram it is, 0 = one that has none.  Full: the oldest go, and
 * what is left of their datagrams is refused.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct fragment);
	__type(value, __u32);
} clatch_fragments SEC(".maps");

static __always_inline bool is_forwarded_transport(__u32 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP;
}

static __always_inline int fragment_v4(struct __sk_buff *ctx, struct fragment *f, __u32 link)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(ctx, link, &ip, sizeof(ip)))
		return FRAGMENT_ODD;
	if (!(ip.frag_off & bpf_htons(0x3fff)))
		return FRAGMENT_NONE;
	addr_v4(&f->src, ip.saddr);
	addr_v4(&f->dst, ip.daddr);
	f->id = ip.id;
	f->proto = ip.protocol;
	return ip.frag_off & bpf_htons(0x1fff) ? FRAGMENT_LATER : FRAGMENT_FIRST;
}

struct fragment_header {
	__u8 next;
	__u8 reserved;
	__be16 offset;
	__be32 id;
};

/* Behind other extension headers a fragment's is not looked for: what is there is odd. */
static __always_inline int fragment_v6(struct __sk_buff *ctx, struct fragment *f, __u32 link)
{
	struct fragment_header header;
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(ctx, link, &ip, sizeof(ip)))
		return FRAGMENT_ODD;
	if (ip.nexthdr == IPPROTO_HOPOPTS || ip.nexthdr == IPPROTO_ROUTING ||
	    ip.nexthdr == IPPROTO_DSTOPTS)
		return FRAGMENT_ODD;
	if (ip.nexthdr != IPPROTO_FRAGMENT)
		return FRAGMENT_NONE;
	if (bpf_skb_load_bytes(ctx, link + sizeof(ip), &header, sizeof(header)))
		return FRAGMENT_ODD;
	addr_v6(&f->src, ip.saddr.s6_addr32);
	addr_v6(&f->dst, ip.daddr.s6_addr32);
	f->id = header.id;
	f->proto = header.next;
	return header.offset & bpf_htons(0xfff8) ? FRAGMENT_LATER : FRAGMENT_FIRST;
}

/* An enum fragment_place; @f, zeroed, is what its datagram is known by. */
verified_once int fragment_read(struct __sk_buff *ctx, struct fragment *f, __u32 link)
{
	if (!f)
		return FRAGMENT_ODD;
	f->netns = device_netns(kread(kskb(ctx), dev));
	if (ctx->protocol == bpf_htons(ETH_P_IP))
		return fragment_v4(ctx, f, link & 0xff);
	if (ctx->protocol == bpf_htons(ETH_P_IPV6))
		return fragment_v6(ctx, f, link & 0xff);
	return FRAGMENT_NONE;
}

static __always_inline __u32 link_length(struct __sk_buff *ctx)
{
	struct sk_buff *skb = kskb(ctx);

	return (__u16)(kread(skb, network_header) - kread(skb, mac_header)) & 0xff;
}

/* Of what is fragmented by the host itself, at the uplink; kept apart from what came so. */
#define FRAGMENT_AT_UPLINK 0x100

/* The first fragment of a datagram came by, and was let. */
verified_once int fragment_note(struct __sk_buff *ctx, __u32 number, __u32 where)
{
	struct fragment f = {};

	if (fragment_read(ctx, &f, link_length(ctx)) != FRAGMENT_FIRST)
		return 0;
	f.proto |= where;
	bpf_map_update_elem(&clatch_fragments, &f, &number, BPF_ANY);
	return 0;
}

/* Of a later fragment: @number of its connection.  False where its first was not seen. */
verified_once int fragment_number(struct __sk_buff *ctx, __u32 *number)
{
	struct fragment f = {};
	__u32 *found;

	if (!number || fragment_read(ctx, &f, link_length(ctx)) != FRAGMENT_LATER)
		return 0;
	found = bpf_map_lookup_elem(&clatch_fragments, &f);
	if (!found && is_forwarded_transport(f.proto))
		return 0;
	*number = found ? *found : 0;
	return 1;
}

/*
 * At the uplink: is it a later fragment of ESP or AH?  That was judged by the first; without it the
 * rest is of no use, and not in clear.
 */
verified_once int fragment_of_ipsec(struct __sk_buff *ctx)
{
	struct fragment f = {};

	if (fragment_read(ctx, &f, link_length(ctx)) != FRAGMENT_LATER)
		return 0;
	if (f.proto == IPPROTO_ESP || f.proto == IPPROTO_AH)
		return 1;
	f.proto |= FRAGMENT_AT_UPLINK;
	return bpf_map_lookup_elem(&clatch_fragments, &f) != NULL;
}

#endif
