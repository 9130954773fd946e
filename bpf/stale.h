/* SPDX-License-Identifier: GPL-2.0-only */
/* What a BROKEN latch still lets in: nothing that brings data. */
#ifndef CLATCH_BPF_STALE_H
#define CLATCH_BPF_STALE_H

#include "packet.h"

/*
 * A TCP segment that begins before what its socket expects next, or a listener's repeated SYN.
 * TCP answers it and delivers nothing: so a connection that only receives can show that its own
 * packets are as latched again.
 */
static __noinline bool tcp_stale(struct __sk_buff *ctx)
{
	struct sk_buff *skb = kskb(ctx);
	struct bpf_sock *sk = ctx->sk;
	struct bpf_tcp_sock *tcp;
	struct tcphdr header;
	__u32 at = (__u16)(kread(skb, transport_header) - kread(skb, network_header));

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (!sk || sk->protocol != IPPROTO_TCP ||
	    bpf_skb_load_bytes(ctx, at, &header, sizeof(header)))
		return false;
	if (sk->state == BPF_TCP_LISTEN)
		return header.syn && !header.ack;
	tcp = bpf_tcp_sock(sk);
	return tcp && (__s32)(bpf_ntohl(header.seq) - tcp->rcv_nxt) < 0;
}

#endif
