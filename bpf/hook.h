/* SPDX-License-Identifier: GPL-2.0-only */
/* What the packet hooks share: the start and the end of each. */
#ifndef CLATCH_BPF_HOOK_H
#define CLATCH_BPF_HOOK_H

#include "sctp.h"
#include "tc.h"
#include "tcp.h"
#include "udp.h"

#define CGROUP_DROP 0
#define CGROUP_PASS 1
#define CGROUP_LOSS 2 /* egress: dropped, as by a full queue; UDP's send() does not fail */
#define SOCK_RAW 3
#define NEW_SYN_RECV 12 /* TCP_NEW_SYN_RECV: a request socket */

static __always_inline int ingress_verdict(__u32 verdict)
{
	return is_dropped(verdict) ? CGROUP_DROP : CGROUP_PASS;
}

static __always_inline int egress_verdict(__u32 verdict)
{
	return verdict == CLATCH_LOSS ? CGROUP_LOSS : ingress_verdict(verdict);
}

static __always_inline bool is_latched_transport(__u32 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP;
}

/* A raw socket may carry a transport's number, but not its connections. */
static __always_inline bool has_connections(struct bpf_sock *sk)
{
	return sk->type != SOCK_RAW && is_latched_transport(sk->protocol);
}

/* A packet of a connected socket, held to its latch; what comes after it may go the fast path. */
static __always_inline enum clatch_verdict socket_hold(struct __sk_buff *ctx,
						       struct clatch_latch *l, struct bpf_sock *sk,
						       struct flow *f, enum clatch_dir dir)
{
	enum clatch_verdict verdict;

	adopted_end(ctx, &f->tuple, l, sk);
	verdict = latch_hold(ctx, l, f, dir);
	if (verdict == CLATCH_PASS)
		fast_open(sk, l, f);
	return verdict;
}

/* The first protected packet of a socket's connection. */
static __always_inline enum clatch_verdict socket_first(struct __sk_buff *ctx, struct bpf_sock *sk,
							struct flow *f, enum clatch_dir dir)
{
	bool listener =
		dir == CLATCH_IN && f->tuple.proto != IPPROTO_UDP && sk->state == BPF_TCP_LISTEN;
	struct clatch_demand *asked = request_of(sk);
	struct clatch_latch *l;
	enum clatch_verdict verdict;

	if (asked && asked->off)
		return CLATCH_PASS;
	if (f->tuple.proto == IPPROTO_UDP) {
		f->adopted = !udp_fresh(sk);
	} else if (f->tuple.proto == IPPROTO_TCP && tcp_adopts(ctx, sk)) {
		f->adopted = true;
		f->cookie = socket_cookie(ctx);
	}
	verdict = latch_first(ctx, f, dir, listener ? listener_id(ctx, f->tuple.proto) : 0, asked,
			      &l);
	if (l && f->tuple.proto == IPPROTO_UDP && !udp_latched(sk, f))
		return verdict != CLATCH_PASS
			       ? verdict
			       : unwatched(f, CLATCH_TABLE_FULL, packet_must(ctx, &f->tuple));
	if (l && listener)
		listener_spawned(ctx, l, &f->tuple);
	if (l)
		adopted_end(ctx, &f->tuple, l, sk);
	return verdict;
}

#endif
