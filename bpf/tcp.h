/* SPDX-License-Identifier: GPL-2.0-only */
/* How a TCP connection begins and ends, and what its sockets tell of it. */
#ifndef CLATCH_BPF_TCP_H
#define CLATCH_BPF_TCP_H

#include "fast.h"
#include "listener.h"
#include "own.h"

static __always_inline bool tcp_opening(__u32 state)
{
	return state == BPF_TCP_SYN_SENT || state == BPF_TCP_LISTEN || state == BPF_TCP_SYN_RECV;
}

/*
 * Nothing tells us the end of an adopted TCP connection.  Once no descriptor is left, it ends when
 * it has been still for long enough.
 */
static __always_inline void adopted_end(struct __sk_buff *ctx, const struct clatch_tuple *tuple,
					struct clatch_latch *l, struct bpf_sock *sk)
{
	if ((l->flags & CLATCH_ADOPTED) && sk->protocol == IPPROTO_TCP &&
	    sk->state != BPF_TCP_ESTABLISHED && sk->state != BPF_TCP_CLOSE_WAIT &&
	    !kread(kcast(struct sock, kread(kskb(ctx), sk)), sk_socket))
		latch_end_in(tuple, l, UNSEEN_END_TIME);
}

/*
 * A SYN that reaches a listener opens a connection: what was latched on this 5-tuple before has
 * ended, be it in TIME_WAIT or unseen.  In clear it is judged by the old latch.
 */
static __always_inline bool syn_replaces(struct clatch_latch *l, struct bpf_sock *sk,
					 const struct packet *p, const struct flow *f)
{
	return sk->state == BPF_TCP_LISTEN && f->sas.count && !(l->flags & CLATCH_OPENING) &&
	       is_syn(p);
}

/* The latch's connection is closed: in TIME_WAIT its packets can still come and go. */
static __always_inline void tcp_closed(const struct clatch_tuple *tuple, __u32 before)
{
	struct clatch_latch *l = bpf_map_lookup_elem(&clatch_latches, tuple);
	__u64 ns = CLOSED_TIME;

	if (!l)
		return;
	if (before == BPF_TCP_FIN_WAIT2 || before == BPF_TCP_CLOSING || before == BPF_TCP_TIME_WAIT)
		ns = TIME_WAIT_TIME;
	if (latch_end_in(tuple, l, ns))
		latch_delete(tuple, CLATCH_END_RELEASED);
}

/* connect(): held from the very first packet, if it must be protected. */
static __always_inline void tcp_begins(struct tcp_sock *sk, const struct clatch_tuple *tuple)
{
	struct clatch_demand *asked = request_of(sk);

	fast_leave(sk);
	latch_delete(tuple, CLATCH_END_REPLACED); /* an earlier one on this 5-tuple */
	if (!must_protect(asked, tuple, (__u64)sk, NULL))
		return;
	/* no device tells loopback: a route that waits for an SA has that one, too */
	if ((asked && asked->require) || !is_own(&tuple->remote, (__u64)sk))
		latch_demand(tuple, 0, asked, 0); /* no room: the SYN is refused */
}

static __always_inline void tcp_established(const struct clatch_tuple *tuple)
{
	struct clatch_latch *l = bpf_map_lookup_elem(&clatch_latches, tuple);

	if (!l)
		return;
	__sync_fetch_and_and(&l->flags, ~CLATCH_OPENING);
	latch_goes_on(l);
}

static __always_inline void tcp_release(struct bpf_sock *ctx)
{
	__u64 sk = (__u64)ctx; /* the context of this hook is the kernel's socket */
	struct clatch_tuple tuple = {};
	struct clatch_latch *l;

	if (kread(kcast(struct sock_common, sk), skc_state) == BPF_TCP_LISTEN) {
		listener_released(sk, IPPROTO_TCP);
		return;
	}
	if (!kernel_socket_tuple(&tuple, sk)) {
		listener_released_late(ctx);
		return;
	}
	tuple.proto = IPPROTO_TCP;
	l = bpf_map_lookup_elem(&clatch_latches, &tuple);
	if (!l || !(l->flags & CLATCH_ADOPTED))
		return;
	if (kread(kcast(struct sock_common, sk), skc_state) == BPF_TCP_CLOSE)
		latch_delete(&tuple, CLATCH_END_RELEASED);
	else
		latch_end_in(&tuple, l, UNSEEN_END_TIME);
}

#endif
