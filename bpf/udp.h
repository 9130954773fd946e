/* SPDX-License-Identifier: GPL-2.0-only */
/* How a UDP connection begins and ends: connect(), close() and the first packet. */
#ifndef CLATCH_BPF_UDP_H
#define CLATCH_BPF_UDP_H

#include "fast.h"

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
	__sync_fetch_and_and(&l->flags, ~CLATCH_RENEW);
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

/*
 * Notes the latch of a UDP socket, so that it goes with the socket; one before it goes now.  False
 * where there is no memory: then no socket owns the latch, and it goes as well.
 */
static __noinline bool udp_latched(struct bpf_sock *sk, const struct flow *f)
{
	struct udp_socket *own =
		bpf_sk_storage_get(&clatch_sockets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);

	if (!own) {
		latch_delete(&f->tuple, CLATCH_END_RELEASED);
		return false;
	}
	if (own->tuple.remote_port != f->tuple.remote_port ||
	    own->tuple.local_port != f->tuple.local_port ||
	    !addr_equal(&own->tuple.remote, &f->tuple.remote))
		udp_let_go(&own->tuple, f->cookie);
	own->tuple = f->tuple;
	own->fresh = 0;
	return true;
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
 * The latch that the socket's packet is to be held to, as it sends it now: one of a connection that was
 * given up or begun anew since is not, and NULL is returned as if there had been none.
 */
static __always_inline struct clatch_latch *udp_current(struct __sk_buff *ctx,
							struct clatch_latch *l, struct bpf_sock *sk,
							struct flow *f)
{
	if (l && sk->state != BPF_TCP_CLOSE && !(l->flags & CLATCH_RENEW))
		return l;
	f->cookie = socket_cookie(ctx);
	if (l && sk->state == BPF_TCP_CLOSE)
		l = udp_disconnected(l, f, f->cookie);
	if (l && (l->flags & CLATCH_RENEW))
		l = udp_renew(l, sk, f);
	return l;
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

static __always_inline bool is_free(const struct udp_socket *own, const struct clatch_tuple *t)
{
	return own->free.local_port == t->local_port && own->free.remote_port == t->remote_port &&
	       addr_equal(&own->free.remote, &t->remote) && addr_equal(&own->free.local, &t->local);
}

/*
 * Must a packet in clear of a socket without a latch be protected?  That no rule demands it is kept
 * for the socket's connection, so that its rule is not looked for at each packet; but what the
 * program asks for, and what the device exempts, may be another at the next.
 */
static __noinline bool udp_must(struct __sk_buff *ctx, struct bpf_sock *sk,
				const struct clatch_tuple *t)
{
	struct clatch_demand *asked = request_of(sk);
	struct clatch_policy policy = policy_in_force();
	struct udp_socket *own = NULL;
	bool must;

	if ((asked && (asked->off || asked->require)) || !policy.count || !sk->dst_port)
		return packet_must(ctx, t);
	if (exempt(t, (__u64)kread(kskb(ctx), sk), kread(kskb(ctx), dev)))
		return false;
	own = bpf_sk_storage_get(&clatch_sockets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (own && own->free_under == policy.generation && is_free(own, t))
		return false;
	must = rule_demands_protection(rule_find(t));
	if (own && !must) {
		own->free_under = 0;
		own->free = *t;
		own->free_under = policy.generation;
	}
	return must;
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
	fast_leave(sk);
	own = bpf_sk_storage_get(&clatch_sockets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!own)
		return;
	own->wanted = *wanted;
	own->wanted_port = bpf_ntohs(ctx->user_port);
	own->fresh = 1;
	l = own->tuple.proto ? bpf_map_lookup_elem(&clatch_latches, &own->tuple) : NULL;
	if (l && l->cookie == bpf_get_socket_cookie(ctx))
		__sync_fetch_and_or(&l->flags, CLATCH_RENEW);
	fast_leave(sk); /* again: a packet may have opened it before the flag was set */
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
