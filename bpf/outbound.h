/* SPDX-License-Identifier: GPL-2.0-only */
/* Packets of a full socket: what cgroup_skb/egress asks of them before a latch does. */
#ifndef CLATCH_BPF_OUTBOUND_H
#define CLATCH_BPF_OUTBOUND_H

#include "hook.h"

/* Has the kernel's IPsec made this packet?  No sender can claim that, whatever looks like ESP. */
static __always_inline bool transformed(struct sk_buff *skb, bool v6)
{
	__u32 at = v6 ? bpf_core_field_offset(struct inet6_skb_parm, flags)
		      : bpf_core_field_offset(struct inet_skb_parm, flags);
	__u16 flags = 0;

	bpf_probe_read_kernel(&flags, sizeof(flags), &skb->cb[at]);
	return flags & (v6 ? IP6SKB_XFRM_TRANSFORMED : IPSKB_XFRM_TRANSFORMED);
}

/* Is this the socket's own packet in clear, and not a header put around it? */
static __always_inline bool in_clear(struct __sk_buff *ctx, const struct packet *p)
{
	if (p->proto == IPPROTO_ESP || p->proto == IPPROTO_AH)
		return false;
	return p->proto != IPPROTO_UDP || !p->spi ||
	       !transformed(kskb(ctx), ctx->protocol == bpf_htons(ETH_P_IPV6));
}

/* In clear, and its header does not tell where it ends: must anything of this socket be protected? */
static __always_inline bool any_must(struct __sk_buff *ctx, const struct clatch_tuple *header)
{
	struct bpf_sock *sk = ctx->sk;
	struct clatch_demand *asked;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (!sk)
		return true;
	asked = request_of(sk);
	if (asked && (asked->off || asked->require))
		return !asked->off;
	return policy_in_force().count &&
	       !exempt(header, (__u64)kread(kskb(ctx), sk), kread(kskb(ctx), dev));
}

/*
 * In clear, on a connected UDP socket, but not to or from what that is connected to, as sendto() and
 * IP_PKTINFO can name others, or @routed by its sender: must it be protected?
 */
static __noinline bool strays(struct __sk_buff *ctx, const struct clatch_tuple *header,
			      __u32 routed)
{
	struct clatch_tuple own = {};

	if (routed)
		return any_must(ctx, header);
	if (!kernel_socket_tuple(&own, (__u64)kread(kskb(ctx), sk)) ||
	    (addr_equal(&own.remote, &header->remote) && own.remote_port == header->remote_port &&
	     addr_equal(&own.local, &header->local)))
		return false;
	return packet_must(ctx, header);
}

/*
 * A packet of ours in clear that must be protected, and has no latch: UDP's first, or a SYN for
 * whose latch connect() found no room.
 */
static __always_inline bool unlatched(struct __sk_buff *ctx, struct bpf_sock *sk,
				      const struct clatch_tuple *tuple)
{
	if (sk->protocol == IPPROTO_UDP)
		return udp_must(ctx, sk, tuple);
	return sk->state == BPF_TCP_SYN_SENT && packet_must(ctx, tuple);
}

/* It is refused; where it begins a connection, by that's latch, so that it shows. */
static __always_inline struct clatch_latch *demand_latch(struct __sk_buff *ctx, struct bpf_sock *sk,
							 struct flow *f)
{
	__u32 flags = 0;
	struct clatch_latch *l;

	if (!sk->dst_port)
		return NULL;
	if (sk->protocol == IPPROTO_TCP && tcp_adopts(ctx, sk))
		flags = CLATCH_ADOPTED;
	if (sk->protocol == IPPROTO_UDP || flags)
		f->cookie = socket_cookie(ctx);
	l = latch_demand(&f->tuple, f->cookie, request_of(sk), flags);
	if (l && sk->protocol == IPPROTO_UDP && !udp_latched(sk, f))
		return NULL;
	return l;
}

/* What a UDP socket sends whose latch was closed by order: its connection is gone, and its port. */
static __always_inline enum clatch_verdict closed_verdict(void)
{
	enum clatch_verdict verdict = audit ? CLATCH_AUDIT : CLATCH_DROP;

	count_reason(CLATCH_REASON_BROKEN, verdict);
	return verdict;
}

/* The same for SCTP, whose association tells the pair; an INIT-ACK has none yet, and no data. */
static __always_inline enum clatch_verdict sctp_egress(struct __sk_buff *ctx, struct bpf_sock *sk,
						       struct flow *f, const struct packet *p)
{
	struct clatch_demand *asked = request_of(sk);
	int phase = sctp_sending(&f->tuple, (__u64)kread(kskb(ctx), sk), p->proto == IPPROTO_SCTP);
	bool clear = !f->sas.count && !f->sas.unknown;
	struct clatch_latch *l;

	if (phase == SCTP_UNKNOWN && p->proto != IPPROTO_SCTP)
		return CLATCH_PASS;
	f->tuple.proto = IPPROTO_SCTP;
	l = bpf_map_lookup_elem(&clatch_latches, &f->tuple);
	if (clear && to_xfrm_interface(kskb(ctx)))
		return CLATCH_PASS;
	if (!l && clear)
		return sctp_in_clear(ctx, f, phase == SCTP_OPENS || phase == SCTP_BEGINS);
	if (!l && (phase == SCTP_ENDS || (asked && asked->off)))
		return CLATCH_PASS;
	if (!l && phase == SCTP_OPENS && !f->sas.unknown)
		l = sctp_opens(&f->tuple, asked);
	if (!l) {
		f->adopted = phase == SCTP_GOES_ON;
		return socket_first(ctx, sk, f, CLATCH_OUT);
	}
	/* Dropped or not: an association that sends lives, and has ended where it says so. */
	sctp_held(ctx, l, f, phase);
	return latch_hold(ctx, l, f, CLATCH_OUT);
}

#endif
