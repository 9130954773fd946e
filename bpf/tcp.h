/* SPDX-License-Identifier: GPL-2.0-only */
/* How a TCP connection begins and ends, and what its sockets tell of it. */
#ifndef CLATCH_BPF_TCP_H
#define CLATCH_BPF_TCP_H

#include "fast.h"
#include "listener.h"
#include "own.h"

#define DST_XFRM_QUEUE 0x0040 /* net/dst.h */
#define ARPHRD_ETHER 1 /* linux/if_arp.h */

static __always_inline bool tcp_opening(__u32 state)
{
	return state == BPF_TCP_SYN_SENT || state == BPF_TCP_LISTEN || state == BPF_TCP_SYN_RECV;
}

/* Does the kernel call us when the socket's state changes? */
static __always_inline bool tcp_tells(__u64 sk)
{
	return kread(kcast(struct tcp_sock, sk), bpf_sock_ops_cb_flags) &
	       BPF_SOCK_OPS_STATE_CB_FLAG;
}

/*
 * Is a latch that the socket's packet makes an adopted one?  That the connection was there before is seen
 * by its state, or by what connect() would have asked for if it had known of the latch to come.  A
 * listener's connections have another end, LARVAL_TIME.
 */
static __always_inline bool tcp_adopts(struct __sk_buff *ctx, struct bpf_sock *sk)
{
	if (sk->state == BPF_TCP_LISTEN)
		return false;
	return !tcp_opening(sk->state) || !tcp_tells((__u64)kread(kskb(ctx), sk));
}

/*
 * May what the socket is about to send be protected, as far as its route tells?  That calls for every
 * change of its state; if the route should change meanwhile, the latch is an adopted one.
 */
static __always_inline bool route_may_protect(__u64 sk)
{
	struct dst_entry *dst = kread(kcast(struct sock, sk), sk_dst_cache);
	__u32 type;

	if (!dst || kread(dst, xfrm))
		return true;
	if (kread(dst, flags) & DST_XFRM_QUEUE || kread(dst, obsolete) > 0)
		return true; /* an SA is missing: the kernel waits for it, or has made a route to nowhere */
	type = kread(kread(dst, dev),
		     type); /* xfrm interfaces, and the older vti, have no link layer */
	return type != ARPHRD_ETHER && type != ARPHRD_LOOPBACK;
}

/*
 * Nothing tells us the end of an adopted TCP connection.  Once no descriptor is left, it ends when
 * it has been still for long enough; and so it does if connect() comes to nothing.
 */
static __always_inline void adopted_end(struct __sk_buff *ctx, const struct clatch_tuple *tuple,
					struct clatch_latch *l, struct bpf_sock *sk)
{
	if (!(l->flags & CLATCH_ADOPTED) || sk->protocol != IPPROTO_TCP ||
	    sk->state == BPF_TCP_ESTABLISHED || sk->state == BPF_TCP_CLOSE_WAIT)
		return;
	if (sk->state == BPF_TCP_SYN_SENT)
		__sync_fetch_and_or(&l->flags, CLATCH_OPENING); /* see tcp_established() */
	else if (kread(kcast(struct sock, kread(kskb(ctx), sk)), sk_socket))
		return;
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

/* The rest of @t, of a connection whose ports are known, and its latch. */
static __noinline struct clatch_latch *tcp_lookup(struct clatch_tuple *t, __u64 sk)
{
	kernel_socket_rest(t, sk);
	t->proto = IPPROTO_TCP;
	return bpf_map_lookup_elem(&clatch_latches, t);
}

static __always_inline struct clatch_latch *tcp_latch(struct clatch_tuple *t, __u64 sk)
{
	return may_be_latched(t->local_port ^ t->remote_port) ? tcp_lookup(t, sk) : NULL;
}

/* The latch's connection is closed: in TIME_WAIT its packets can still come and go. */
static __always_inline void tcp_closed(struct clatch_tuple *tuple, __u64 sk, __u32 before)
{
	struct clatch_latch *l = tcp_latch(tuple, sk);
	__u64 ns = CLOSED_TIME;

	if (!l)
		return;
	if (before == BPF_TCP_FIN_WAIT2 || before == BPF_TCP_CLOSING || before == BPF_TCP_TIME_WAIT)
		ns = TIME_WAIT_TIME;
	if (latch_end_in(tuple, l, ns))
		latch_delete(tuple, CLATCH_END_RELEASED);
}

/* connect(): held from the very first packet, if it must be protected.  True if it is. */
static __always_inline bool tcp_begins(struct clatch_tuple *tuple, struct tcp_sock *sk)
{
	struct clatch_demand *asked = request_of(sk);

	fast_leave(sk);
	if (tcp_latch(tuple, (__u64)sk))
		latch_delete(tuple, CLATCH_END_REPLACED); /* an earlier one on this 5-tuple */
	if (!asked && !policy_in_force().count)
		return false;
	kernel_socket_rest(tuple, (__u64)sk);
	tuple->proto = IPPROTO_TCP;
	if (!must_protect(asked, tuple, (__u64)sk, NULL))
		return false;
	/* no device tells loopback: a route that waits for an SA has that one, too */
	if (!(asked && asked->require) && is_own(&tuple->remote, (__u64)sk))
		return false;
	latch_demand(tuple, 0, asked, 0); /* no room: the SYN is refused */
	return true;
}

/* True if it has a latch. */
static __always_inline bool tcp_established(struct clatch_tuple *tuple, __u64 sk)
{
	struct clatch_latch *l = tcp_latch(tuple, sk);

	if (!l)
		return false;
	__sync_fetch_and_and(&l->flags, ~CLATCH_OPENING);
	latch_goes_on(l);
	return true;
}

static __always_inline void tcp_release(struct bpf_sock *ctx)
{
	__u64 sk = (__u64)ctx; /* the context of this hook is the kernel's socket */
	struct clatch_tuple tuple = {};
	__u32 state = ctx->state;
	struct clatch_latch *l;

	if (state == BPF_TCP_LISTEN) {
		listener_released(sk, IPPROTO_TCP);
		return;
	}
	if (!ctx->dst_port) {
		listener_released_late(ctx);
		return;
	}
	kernel_socket_ports(&tuple, sk);
	l = tcp_latch(&tuple, sk);
	/* in CLOSE: another socket may have this 5-tuple by now */
	if (!l || !(l->flags & CLATCH_ADOPTED) || l->cookie != bpf_get_socket_cookie(ctx))
		return;
	if (state == BPF_TCP_CLOSE || state == BPF_TCP_SYN_SENT)
		latch_delete(&tuple, CLATCH_END_RELEASED);
	else
		latch_end_in(&tuple, l, UNSEEN_END_TIME);
}

#endif
