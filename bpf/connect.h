/* SPDX-License-Identifier: GPL-2.0-only */
/* What connect() is told at once, before a packet leaves. */
#ifndef CLATCH_BPF_CONNECT_H
#define CLATCH_BPF_CONNECT_H

#include "ahead.h"
#include "hold.h"

#define EPERM 1 /* asm/errno.h */
#define EACCES 13

/* What is refused before there is a packet is counted and reported as one.  1 in audit mode, else 0. */
static __noinline int refuse(const struct clatch_tuple *tuple, enum clatch_reason reason)
{
	struct what w = { .type = CLATCH_EV_VIOLATION, .reason = reason, .direction = CLATCH_OUT };

	w.verdict = audit ? CLATCH_AUDIT : CLATCH_DROP;
	count_reason(reason, w.verdict);
	report(tuple, NULL, NULL, &w);
	return w.verdict == CLATCH_AUDIT;
}

/* What is known of the socket behind @address: its own end, as far as it is bound. */
static __always_inline void socket_ahead(struct clatch_tuple *t, __u64 address)
{
	struct sock_common *sk = kcast(struct sock_common, address);

	__builtin_memset(t, 0, sizeof(*t));
	t->netns = net_cookie(kread(sk, skc_net.net));
	if (kread(sk, skc_family) == AF_INET)
		addr_v4(&t->local, kread(sk, skc_rcv_saddr));
	else
		t->local = kread(sk, skc_v6_rcv_saddr);
	t->local_port = kread(sk, skc_num);
}

/*
 * May this connection be begun?  0; EACCES: the policy demands more than the program asked for;
 * EPERM: it must be protected, and the SPD leaves it in clear.  Else its packets will tell.
 */
static __noinline int connect_check(const struct clatch_tuple *tuple,
				    const struct clatch_demand *asked, __u64 sk)
{
	struct policy_ahead a = { .tuple = tuple };
	bool own;

	if (asked && asked->off)
		return 0;
	if (asked && asked->require)
		a.asked = asked;
	policy_ahead(&a);
	own = is_own(&tuple->remote, sk);
	if (!own && !a.fits)
		return EACCES;
	if (!a.asked && (a.free || own || is_dhcp(tuple)))
		return 0;
	return spd_leaves(tuple, sk) ? EPERM : 0; /* nor is that known where there is a bypass */
}

/* 1, or 0: refused.  Audit mode refuses nothing. */
static __always_inline int connect_begins(struct bpf_sock_addr *ctx,
					  const struct clatch_addr *remote)
{
	struct bpf_sock *sk = ctx->sk;
	struct clatch_demand *asked;
	struct clatch_tuple tuple;
	__u64 address;
	int err;

	if (!sk)
		return 1;
	asked = request_of(sk);
	if (audit || (!asked && !policy_in_force().count))
		return 1;
	address = context_socket(ctx);
	socket_ahead(&tuple, address);
	tuple.remote = *remote;
	tuple.remote_port = bpf_ntohs(ctx->user_port);
	tuple.proto = ctx->protocol;
	err = connect_check(&tuple, asked, address);
	if (!err)
		return 1;
	bpf_set_retval(-err);
	return refuse(&tuple, err == EACCES ? CLATCH_POLICY : CLATCH_CLEAR);
}

#endif
