/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The short way of what is in clear: of a socket without a latch, of which nothing is demanded, it
 * passes before more of it is read.  Nothing is kept from one packet to the next, so that nothing can
 * be out of date: the latch is looked up for each.  In doubt a packet goes the long way, which would
 * say the same.
 */
#ifndef CLATCH_BPF_CLEAR_H
#define CLATCH_BPF_CLEAR_H

#include "hook.h"

#define NAT_T_PORT 4500

/* Addresses and ports of a packet that is @proto, TCP or UDP, behind a plain IP header. */
static __always_inline bool clear_header(struct __sk_buff *ctx, struct clatch_tuple *t, __u32 proto,
					 enum clatch_dir dir)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *l4;
	struct ipv6hdr *v6 = data;
	struct iphdr *v4 = data;
	__be16 *port;

	if (data + sizeof(*v4) + sizeof(struct udphdr) > end)
		return false;
	if (*(__u8 *)data == 0x45) {
		if (v4->protocol != proto || v4->frag_off & bpf_htons(0x1fff))
			return false;
		addr_v4(&t->local, dir == CLATCH_IN ? v4->daddr : v4->saddr);
		addr_v4(&t->remote, dir == CLATCH_IN ? v4->saddr : v4->daddr);
		l4 = v4 + 1;
	} else {
		if (data + sizeof(*v6) > end || v6->version != 6 || v6->nexthdr != proto)
			return false;
		addr_v6(&t->local, (dir == CLATCH_IN ? &v6->daddr : &v6->saddr)->s6_addr32);
		addr_v6(&t->remote, (dir == CLATCH_IN ? &v6->saddr : &v6->daddr)->s6_addr32);
		l4 = v6 + 1;
	}
	if (l4 + (proto == IPPROTO_TCP ? 14 : sizeof(struct udphdr)) > end)
		return false; /* cut off, see packet_transport() */
	port = l4;
	t->local_port = bpf_ntohs(port[dir == CLATCH_IN]);
	t->remote_port = bpf_ntohs(port[dir == CLATCH_OUT]);
	return true;
}

/* Its connection, of a packet in clear; false where it is not known to be that. */
static __always_inline bool clear_tuple(struct __sk_buff *ctx, struct bpf_sock *sk,
					struct clatch_tuple *t, enum clatch_dir dir)
{
	__u32 proto = sk->protocol;

	if ((proto != IPPROTO_TCP && proto != IPPROTO_UDP) || !clear_header(ctx, t, proto, dir))
		return false;
	if (dir == CLATCH_OUT && proto == IPPROTO_UDP &&
	    (t->local_port != sk->src_port || t->local_port == NAT_T_PORT))
		return false; /* there may be ESP in it */
	if (dir == CLATCH_OUT)
		socket_tuple(t, sk); /* NAT may have changed the header */
	t->netns = device_netns(kread(kskb(ctx), dev));
	t->proto = proto;
	return true;
}

/* May something be demanded of this packet, which is in clear and has no latch? */
static __always_inline bool clear_watched(struct bpf_sock *sk, enum clatch_dir dir)
{
	__u32 begins = dir == CLATCH_IN ? BPF_TCP_LISTEN : BPF_TCP_SYN_SENT;

	if (sk->protocol == IPPROTO_TCP && sk->state != begins)
		return false;
	return policy_in_force().count || bpf_sk_storage_get(&clatch_requests, sk, NULL, 0);
}

/* True if a packet of @sk, a full socket, passes. */
static __always_inline bool clear_pass(struct __sk_buff *ctx, struct bpf_sock *sk,
				       enum clatch_dir dir)
{
	struct clatch_tuple t;

	return clear_tuple(ctx, sk, &t, dir) && !clear_watched(sk, dir) &&
	       !bpf_map_lookup_elem(&clatch_latches, &t);
}

static __noinline bool clear_inbound(struct __sk_buff *ctx, struct bpf_sock *sk)
{
	return !has_sec_path(kskb(ctx)) && clear_pass(ctx, sk, CLATCH_IN);
}

static __noinline bool clear_outbound(struct __sk_buff *ctx, struct bpf_sock *sk)
{
	return clear_pass(ctx, sk, CLATCH_OUT);
}

#endif
