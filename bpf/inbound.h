/* SPDX-License-Identifier: GPL-2.0-only */
/* Packets to a full socket: what cgroup_skb/ingress asks of them before a latch does. */
#ifndef CLATCH_BPF_INBOUND_H
#define CLATCH_BPF_INBOUND_H

#include "hook.h"

/*
 * Can this packet to the socket be the first of a latch?  Not on unconnected UDP or closed TCP; and
 * what reaches a listener without being a SYN may be the stray last segment of a connection.
 */
static __always_inline bool begins(struct bpf_sock *sk, const struct packet *p)
{
	if (sk->protocol == IPPROTO_UDP)
		return sk->state == BPF_TCP_ESTABLISHED && !udp_released(sk);
	return (sk->state != BPF_TCP_LISTEN || is_syn(p)) && sk->state != BPF_TCP_CLOSE;
}

/*
 * In clear and without a latch: UDP, or what comes to a listener, of a connection that must be
 * protected.  Not a SYN alone: an ACK ends a handshake that began before the rule, or has a SYN cookie.
 */
static __always_inline bool clear_refused(struct __sk_buff *ctx, struct bpf_sock *sk,
					  const struct clatch_tuple *tuple)
{
	if (sk->protocol == IPPROTO_UDP)
		return udp_must(ctx, sk, tuple);
	return sk->state == BPF_TCP_LISTEN && packet_must(ctx, tuple);
}

/* The same for SCTP, whose packets' headers alone tell the pair. */
static __always_inline enum clatch_verdict sctp_ingress(struct __sk_buff *ctx, struct bpf_sock *sk,
							struct flow *f, const struct packet *p)
{
	enum sctp_phase phase = sctp_receiving(p);
	struct clatch_latch *l = bpf_map_lookup_elem(&clatch_latches, &f->tuple);
	enum clatch_verdict verdict;

	if (!l && f->sas.count && (phase == SCTP_BEGINS || phase == SCTP_GOES_ON)) {
		f->adopted = phase == SCTP_GOES_ON;
		return socket_first(ctx, sk, f, CLATCH_IN);
	}
	if (!l)
		return f->sas.count ? CLATCH_PASS
				    : sctp_in_clear(ctx, f,
						    p->first == SCTP_INIT ||
							    p->first == SCTP_COOKIE_ECHO);
	if (p->first != SCTP_INIT && p->first != SCTP_INIT_ACK && f->sas.count)
		__sync_fetch_and_and(&l->flags, ~CLATCH_OPENING); /* the peer has an association */
	verdict = latch_hold(ctx, l, f, CLATCH_IN);
	if (verdict == CLATCH_PASS)
		sctp_held(ctx, l, f, p->first == SCTP_INIT ? SCTP_OPENS : phase);
	return verdict;
}

#endif
