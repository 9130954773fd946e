/* SPDX-License-Identifier: GPL-2.0-only */
/* How a UDP connection begins and ends: connect(), close() and the first packet. */
#ifndef CLATCH_BPF_UDP_H
#define CLATCH_BPF_UDP_H

#include "latch.h"

/* Read where the kernel keeps it; it has none until somebody asks for it. */
static __always_inline __u64 socket_cookie(struct __sk_buff *ctx)
{
	struct sock_common *sk = kcast(struct sock_common, kread(kskb(ctx), sk));
	__u64 cookie = kread(sk, skc_cookie.counter);

	return cookie ? cookie : bpf_get_socket_cookie(ctx);
}

/*
 * The owner of a UDP latch called connect() again: if that came to pass, what it sends now begins
 * a connection, and NULL says that a new latch is to be made.
 */
static __noinline struct clatch_latch *udp_renew(struct clatch_latch *l, struct bpf_sock *sk,
						 const struct flow *f)
{
	struct udp_socket *own = bpf_sk_storage_get(&clatch_sockets, sk, NULL, 0);

	if (!own || l->cookie != f->cookie)
		return l;
	l->flags &= ~CLATCH_RENEW;
	if (!own->fresh || own->wanted_port != f->tuple.remote_port ||
	    !addr_equal(&own->wanted, &f->tuple.remote))
		return l;
	latch_delete(&f->tuple, CLATCH_END_REPLACED);
	return NULL;
}

/* Lets go of the latch that a UDP socket had, if it is still its own. */
static __always_inline void udp_let_go(const struct clatch_tuple *tuple, __u64 cookie)
{
	struct clatch_latch *l;

	if (!tuple->proto)
		return;
	l = bpf_map_lookup_elem(&clatch_latches, tuple);
	if (l && l->cookie == cookie)
		latch_delete(tuple, CLATCH_END_RELEASED);
}

/* Notes the latch of a UDP socket, so that it goes with the socket; one before it goes now. */
static __noinline void udp_latched(struct bpf_sock *sk, const struct flow *f)
{
	struct udp_socket *own =
		bpf_sk_storage_get(&clatch_sockets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);

	if (!own)
		return;
	if (own->tuple.remote_port != f->tuple.remote_port ||
	    own->tuple.local_port != f->tuple.local_port ||
	    !addr_equal(&own->tuple.remote, &f->tuple.remote))
		udp_let_go(&own->tuple, f->cookie);
	own->tuple = f->tuple;
	own->fresh = 0;
}

/*
 * Disconnected by connect() with AF_UNSPEC, which no hook sees: the latch goes at the socket's next
 * packet.  NULL if it went.  One that was closed by order is kept, so that later sends fail.
 */
static __noinline struct clatch_latch *udp_disconnected(struct clatch_latch *l,
							const struct flow *f, __u64 cookie)
{
	if (l->cookie != cookie || l->state == CLATCH_CLOSED)
		return l;
	latch_delete(&f->tuple, CLATCH_END_RELEASED);
	return NULL;
}

/*
 * A packet of a socket without a connection: the latch that it had goes, whatever protects the
 * packet.  True if that was closed by order: then it sends no more, connected or not.
 */
static __noinline bool udp_closed(struct __sk_buff *ctx, struct bpf_sock *sk)
{
	struct udp_socket *own = bpf_sk_storage_get(&clatch_sockets, sk, NULL, 0);
	struct clatch_latch *l;

	if (!own || !own->tuple.proto)
		return false;
	l = bpf_map_lookup_elem(&clatch_latches, &own->tuple);
	if (!l)
		return false;
	if (l->state == CLATCH_CLOSED)
		return !own->fresh;
	if (l->cookie == socket_cookie(ctx))
		latch_delete(&own->tuple, CLATCH_END_RELEASED);
	return false;
}

static __always_inline bool udp_fresh(struct bpf_sock *sk)
{
	struct udp_socket *own = bpf_sk_storage_get(&clatch_sockets, sk, NULL, 0);

	return own && own->fresh;
}

static __always_inline bool udp_released(struct bpf_sock *sk)
{
	struct udp_socket *own = bpf_sk_storage_get(&clatch_sockets, sk, NULL, 0);

	return own && own->released;
}

/*
 * connect() on a UDP socket: its next packet begins a connection.  The old latch holds until then,
 * as connect() may yet fail.
 */
static __always_inline void udp_connect(struct bpf_sock_addr *ctx, const struct clatch_addr *wanted)
{
	struct bpf_sock *sk = ctx->sk;
	struct udp_socket *own;
	struct clatch_latch *l;

	if (!sk)
		return;
	own = bpf_sk_storage_get(&clatch_sockets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!own)
		return;
	own->wanted = *wanted;
	own->wanted_port = bpf_ntohs(ctx->user_port);
	own->fresh = 1;
	l = own->tuple.proto ? bpf_map_lookup_elem(&clatch_latches, &own->tuple) : NULL;
	if (l && l->cookie == bpf_get_socket_cookie(ctx))
		l->flags |= CLATCH_RENEW;
}

static __always_inline void udp_release(struct bpf_sock *ctx)
{
	struct udp_socket *own = bpf_sk_storage_get(&clatch_sockets, ctx, NULL, 0);

	if (!own)
		return;
	own->released = 1;
	udp_let_go(&own->tuple, bpf_get_socket_cookie(ctx));
}

#endif
