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

/* Where TCP's or UDP's header begins, all there and behind a plain IP header; else NULL. */
static __always_inline __be16 *clear_transport(struct __sk_buff *ctx, __u32 proto)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *l4;
	struct ipv6hdr *v6 = data;
	struct iphdr *v4 = data;

	if (data + sizeof(*v4) + sizeof(struct udphdr) > end)
		return NULL;
	if (*(__u8 *)data == 0x45) {
		if (v4->protocol != proto || v4->frag_off & bpf_htons(0x1fff))
			return NULL;
		l4 = v4 + 1;
	} else {
		if (data + sizeof(*v6) > end || v6->version != 6 || v6->nexthdr != proto)
			return NULL;
		l4 = v6 + 1;
	}
	/* cut off, see packet_transport() */
	return l4 + (proto == IPPROTO_TCP ? 14 : sizeof(struct udphdr)) > end ? NULL : l4;
}

/* Its connection's ports, of a packet in clear; false where it is not known to be that. */
static __always_inline bool clear_ports(struct __sk_buff *ctx, struct bpf_sock *sk,
					struct clatch_tuple *t, enum clatch_dir dir)
{
	__u32 proto = sk->protocol;
	__be16 *port;

	if (proto != IPPROTO_TCP && proto != IPPROTO_UDP)
		return false;
	port = clear_transport(ctx, proto);
	if (!port)
		return false;
	t->local_port = bpf_ntohs(port[dir == CLATCH_IN]);
	t->remote_port = bpf_ntohs(port[dir == CLATCH_OUT]);
	if (dir == CLATCH_OUT && proto == IPPROTO_UDP &&
	    (t->local_port != sk->src_port || t->local_port == NAT_T_PORT))
		return false; /* there may be ESP in it */
	if (dir == CLATCH_OUT && sk->dst_port) { /* NAT may have changed the header */
		t->local_port = sk->src_port;
		t->remote_port = bpf_ntohs(sk->dst_port);
	}
	return true;
}

/* The rest of it. */
static __always_inline void clear_rest(struct __sk_buff *ctx, struct bpf_sock *sk,
				       struct clatch_tuple *t, enum clatch_dir dir)
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
	if (dir == CLATCH_OUT)
		socket_tuple(t, sk);
	t->netns = device_netns(kread(kskb(ctx), dev));
	t->proto = sk->protocol;
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
	struct clatch_tuple t = {};

	if (!clear_ports(ctx, sk, &t, dir) || clear_watched(sk, dir))
		return false;
	if (!may_be_latched(&t))
		return true;
	clear_rest(ctx, sk, &t, dir);
	return !bpf_map_lookup_elem(&clatch_latches, &t);
}

static __noinline bool clear_inbound(struct __sk_buff *ctx, struct bpf_sock *sk)
{
	return !has_sec_path(kskb_trusted(ctx)) && clear_pass(ctx, sk, CLATCH_IN);
}

static __noinline bool clear_outbound(struct __sk_buff *ctx, struct bpf_sock *sk)
{
	return clear_pass(ctx, sk, CLATCH_OUT);
}

#endif
