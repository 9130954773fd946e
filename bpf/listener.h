/* SPDX-License-Identifier: GPL-2.0-only */
/* The latches of listening sockets, and those that they spawn (RFC 5660 R19, R29). */
#ifndef CLATCH_BPF_LISTENER_H
#define CLATCH_BPF_LISTENER_H

#include "ending.h"
#include "hold.h"

/* The key of a listening socket's latch. */
static __always_inline void listener_tuple(struct clatch_tuple *t, __u64 address, __u32 proto)
{
	struct sock_common *sk = kcast(struct sock_common, address);

	__builtin_memset(t, 0, sizeof(*t));
	if (kread(sk, skc_family) == AF_INET)
		addr_v4(&t->local, kread(sk, skc_rcv_saddr));
	else
		t->local = kread(sk, skc_v6_rcv_saddr);
	t->netns = net_cookie(kread(sk, skc_net.net));
	t->local_port = kread(sk, skc_num);
	t->proto = proto;
}

/* Tells of a listener's latch, or, with @spawned, of one that came from it. */
static __always_inline void report_listening(const struct clatch_tuple *tuple,
					     const struct clatch_latch *l, __u32 old_state,
					     __u64 spawned)
{
	struct what w = { .type = CLATCH_EV_LISTENING, .old_state = old_state };

	w.latch = l->id;
	w.state = l->state;
	w.other = spawned;
	report(tuple, NULL, NULL, &w);
}

/* A socket's latch, made where there is none; NULL where the database is full. */
static __noinline struct clatch_latch *listener_latch(const struct clatch_tuple *tuple, __u32 flags)
{
	struct birth birth = { .step = CLATCH_STEP_LISTEN, .flags = flags };
	struct clatch_latch *l = bpf_map_lookup_elem(&clatch_latches, tuple);

	if (l)
		return l;
	l = latch_create(tuple, &birth);
	if (l)
		report_listening(tuple, l, CLATCH_NONE, 0);
	return l;
}

static __always_inline void listener_begins(__u64 sk, __u32 proto)
{
	struct clatch_tuple tuple;
	struct clatch_latch *l;

	listener_tuple(&tuple, sk, proto);
	l = listener_latch(&tuple, 0);
	if (l)
		__sync_fetch_and_add(&l->listener.sockets, 1);
}

/* One socket less; the last takes the latch with it. */
static __noinline void listener_gone(const struct clatch_tuple *tuple)
{
	struct clatch_latch *l = bpf_map_lookup_elem(&clatch_latches, tuple);

	if (!l)
		return;
	if (l->listener.sockets <= 1 || __sync_fetch_and_sub(&l->listener.sockets, 1) <= 1)
		latch_delete(tuple, CLATCH_END_RELEASED);
}

static __always_inline void listener_ends(__u64 sk, __u32 proto)
{
	struct clatch_tuple tuple;

	listener_tuple(&tuple, sk, proto);
	listener_gone(&tuple);
}

/* close(): the end of a listener whose change of state nobody tells us. */
static __noinline void listener_released(__u64 sk, __u32 proto)
{
	struct clatch_tuple tuple;
	struct clatch_latch *l;

	listener_tuple(&tuple, sk, proto);
	l = bpf_map_lookup_elem(&clatch_latches, &tuple);
	if (l && (l->flags & CLATCH_ADOPTED))
		listener_gone(&tuple);
}

/* The same of one that was shut down before: it does not know its port any more. */
static __noinline void listener_released_late(struct bpf_sock *sk)
{
	struct udp_socket *own = bpf_sk_storage_get(&clatch_sockets, sk, NULL, 0);
	struct clatch_latch *l;

	if (!own)
		return;
	l = bpf_map_lookup_elem(&clatch_latches, &own->tuple);
	if (l && (l->flags & CLATCH_ADOPTED))
		listener_gone(&own->tuple);
}

/* Notes whose latch it is, where no change of state will tell of the listener's end. */
static __always_inline void listener_note(struct bpf_sock *sk, const struct clatch_tuple *tuple)
{
	struct udp_socket *own;

	if (!sk)
		return;
	own = bpf_sk_storage_get(&clatch_sockets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (own)
		own->tuple = *tuple;
}

/* The id of the latch of the listener that a packet has come to; made now if it has none yet. */
static __noinline __u64 listener_id(struct __sk_buff *ctx, __u32 proto)
{
	struct clatch_tuple tuple;
	struct clatch_latch *l;

	listener_tuple(&tuple, (__u64)kread(kskb(ctx), sk), proto);
	l = listener_latch(&tuple, CLATCH_ADOPTED);
	if (!l)
		return 0;
	if (proto == IPPROTO_TCP && (l->flags & CLATCH_ADOPTED))
		listener_note(ctx->sk, &tuple);
	return l->id;
}

/* Tells the listener's holder, and begins the wait for the handshake's end. */
static __noinline void listener_spawned(struct __sk_buff *ctx, struct clatch_latch *spawned,
					const struct clatch_tuple *own)
{
	struct clatch_tuple tuple;
	struct clatch_latch *l;

	__sync_fetch_and_or(&spawned->flags, CLATCH_OPENING);
	latch_end_in(own, spawned, LARVAL_TIME);
	listener_tuple(&tuple, (__u64)kread(kskb(ctx), sk), own->proto);
	l = bpf_map_lookup_elem(&clatch_latches, &tuple);
	if (l)
		report_listening(&tuple, l, l->state, spawned->id);
}

#endif
