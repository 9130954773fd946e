/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The short way of what is in clear: of a socket without a latch, of which nothing is demanded, it
 * passes before more of it is read.  Nothing is kept from one packet to the next, so that nothing can
 * be out of date: for each it is seen that no latch has such ports, or the latch is looked up.  In
 * doubt a packet goes the long way, which would say the same.
 */
#ifndef CLATCH_BPF_CLEAR_H
#define CLATCH_BPF_CLEAR_H

#include "hook.h"

#define NAT_T_PORT 4500
#define NOT_SEEN (-1)

/* The ports of a packet behind a plain IP header; else NULL. */
static __always_inline __be16 *header_ports(struct __sk_buff *ctx, __u32 proto)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ipv6hdr *v6 = data;
	struct iphdr *v4 = data;

	if (data + sizeof(*v4) + sizeof(struct udphdr) > end)
		return NULL;
	if (*(__u8 *)data == 0x45)
		return v4->protocol == proto && !(v4->frag_off & bpf_htons(0x1fff))
			       ? (__be16 *)(v4 + 1)
			       : NULL;
	if (data + sizeof(*v6) + sizeof(struct udphdr) > end || v6->version != 6 ||
	    v6->nexthdr != proto)
		return NULL;
	return (__be16 *)(v6 + 1);
}

/*
 * The ports of a packet's connection, the one XOR the other, or NOT_SEEN where it is not seen that it is
 * TCP's or UDP's, in clear; what comes in was seen to be.  Of a connected socket they are its own: NAT may
 * have changed the header of what it sends.  But UDP's may be connected anew while a packet comes in.
 */
static __always_inline int clear_ports(struct __sk_buff *ctx, struct bpf_sock *sk,
				       enum clatch_dir dir)
{
	bool connected = sk->dst_port && sk->src_port; /* a port may be given back already */
	__u32 proto = sk->protocol;
	bool own = connected && (dir == CLATCH_OUT || proto == IPPROTO_TCP);
	__be16 *port = NULL;

	if (proto != IPPROTO_TCP && proto != IPPROTO_UDP)
		return NOT_SEEN;
	if (dir == CLATCH_OUT || !own) {
		port = header_ports(ctx, proto);
		if (!port)
			return NOT_SEEN;
	}
	if (dir == CLATCH_OUT && proto == IPPROTO_UDP &&
	    (bpf_ntohs(port[0]) != sk->src_port || sk->src_port == NAT_T_PORT))
		return NOT_SEEN; /* there may be ESP in it */
	return own ? sk->src_port ^ bpf_ntohs(sk->dst_port) : bpf_ntohs(port[0] ^ port[1]);
}

/* The connection of a packet behind a plain IP header, as that and @ports tell. */
static __always_inline void header_tuple(struct __sk_buff *ctx, struct clatch_tuple *t,
					 const __be16 *ports, enum clatch_dir dir)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ipv6hdr *v6 = data;
	struct iphdr *v4 = data;

	if (data + sizeof(*v4) <= end && v4->version == 4) {
		addr_v4(&t->local, dir == CLATCH_IN ? v4->daddr : v4->saddr);
		addr_v4(&t->remote, dir == CLATCH_IN ? v4->saddr : v4->daddr);
	} else if (data + sizeof(*v6) <= end) {
		addr_v6(&t->local, (dir == CLATCH_IN ? &v6->daddr : &v6->saddr)->s6_addr32);
		addr_v6(&t->remote, (dir == CLATCH_IN ? &v6->saddr : &v6->daddr)->s6_addr32);
	}
	t->local_port = bpf_ntohs(ports[dir == CLATCH_IN]);
	t->remote_port = bpf_ntohs(ports[dir == CLATCH_OUT]);
}

/* Has the packet's connection a latch, as the long way looks it up?  True in doubt. */
static __noinline bool clear_latched(struct __sk_buff *ctx, struct bpf_sock *sk,
				     enum clatch_dir dir)
{
	__be16 *ports = header_ports(ctx, sk->protocol);
	struct clatch_tuple t = {};

	if (!ports)
		return true;
	if (dir == CLATCH_IN || !socket_tuple(&t, sk))
		header_tuple(ctx, &t, ports, dir);
	t.netns = device_netns(kread(kskb(ctx), dev));
	t.proto = sk->protocol;
	return bpf_map_lookup_elem(&clatch_latches, &t);
}

/* May something be demanded of this packet, which is in clear and has no latch? */
static __always_inline bool clear_watched(struct bpf_sock *sk, enum clatch_dir dir)
{
	__u32 begins = dir == CLATCH_IN ? BPF_TCP_LISTEN : BPF_TCP_SYN_SENT;

	if (sk->protocol == IPPROTO_TCP && sk->state != begins)
		return false;
	return policy_in_force().count || request_kept(sk);
}

/* True if a packet of @sk, a full socket, passes. */
static __always_inline bool clear_pass(struct __sk_buff *ctx, struct bpf_sock *sk,
				       enum clatch_dir dir)
{
	int ports = clear_ports(ctx, sk, dir);

	if (ports == NOT_SEEN || clear_watched(sk, dir))
		return false;
	return !may_be_latched(ports) || !clear_latched(ctx, sk, dir);
}

fast_inline bool clear_inbound(struct __sk_buff *ctx, struct bpf_sock *sk)
{
	return !has_sec_path(kskb_trusted(ctx)) && clear_pass(ctx, sk, CLATCH_IN);
}

fast_inline bool clear_outbound(struct __sk_buff *ctx, struct bpf_sock *sk)
{
	return clear_pass(ctx, sk, CLATCH_OUT);
}

#endif
