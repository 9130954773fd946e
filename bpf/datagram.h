/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Datagrams of a socket without a connection: each is judged by itself.
 *
 * One that leaves under ESP does not show its ports, and in a tunnel not even its addresses.  So
 * sendmsg()'s hook notes what its thread sends, and what is not known of a datagram is taken for all
 * that it may be: it has to meet every rule that may be its own.
 */
#ifndef CLATCH_BPF_DATAGRAM_H
#define CLATCH_BPF_DATAGRAM_H

#include "connect.h"
#include "udp.h"

struct datagram_search {
	const struct clatch_tuple *tuple; /* what is 0 in it is not known */
	struct seen seen; /* what protects the datagram */
	__u32 first; /* number of the first rule */
	__u32 unmet; /* nothing meets a demand; why: an enum clatch_reason, or 0 */
	__u32 reason; /* the verdict */
};

static long datagram_step(__u32 index, struct datagram_search *s)
{
	struct clatch_rule *r = rule_get(s->first + index);
	enum holds all;

	if (!r) { /* replaced meanwhile: it may have held */
		s->reason = CLATCH_POLICY;
		return 1;
	}
	all = rule_ahead(r, s->tuple);
	if (all == HOLDS_NOT)
		return 0;
	if (r->demand.require != CLATCH_REQUIRE_NONE)
		s->reason = s->unmet ? s->unmet : seen_check(&s->seen, &r->demand, NULL);
	return s->reason != CLATCH_OK || all == HOLDS;
}

/* By the rules alone.  An enum clatch_reason. */
static __always_inline enum clatch_reason datagram_rules(struct datagram_search *s)
{
	struct clatch_policy policy = policy_in_force();

	s->first = clatch_rule_number(policy.generation, 0);
	s->reason = unknown_zero();
	bpf_loop(policy.count, datagram_step, s, 0);
	return s->reason;
}

/* By its rules and by what its program demands. */
static __noinline enum clatch_reason datagram_check(const struct flow *f,
						    const struct clatch_demand *asked)
{
	struct datagram_search s = { .tuple = &f->tuple };

	if (f->sas.unknown)
		s.unmet = CLATCH_UNKNOWN_SA;
	else if (!f->sas.count)
		s.unmet = CLATCH_CLEAR;
	else if (!side_seen(&s.seen, f))
		s.unmet = CLATCH_TABLE_FULL;
	if (asked && asked->require) {
		s.reason = s.unmet ? s.unmet : seen_check(&s.seen, NULL, asked);
		if (s.reason != CLATCH_OK)
			return s.reason;
	}
	return datagram_rules(&s);
}

/* Is there anything that could be demanded of it? */
static __always_inline bool datagram_watched(const struct clatch_demand *asked)
{
	if (asked && (asked->off || asked->require))
		return !asked->off;
	return policy_in_force().count;
}

static __always_inline enum clatch_verdict datagram(struct __sk_buff *ctx, const struct flow *f,
						    const struct clatch_demand *asked)
{
	enum clatch_reason reason;

	if (!(asked && asked->require) &&
	    exempt(&f->tuple, (__u64)kread(kskb(ctx), sk), kread(kskb(ctx), dev)))
		return CLATCH_PASS;
	reason = datagram_check(f, asked);
	return reason == CLATCH_OK ? CLATCH_PASS : unwatched(f, reason, true);
}

/* The headers of what was received protected are there to be read. */
static __always_inline enum clatch_verdict datagram_received(struct __sk_buff *ctx,
							     struct bpf_sock *sk,
							     const struct flow *f)
{
	struct clatch_demand *asked = request_of(sk);

	return datagram_watched(asked) ? datagram(ctx, f, asked) : CLATCH_PASS;
}

/*
 * What is known of the datagram that the thread is sending.  Not, where it may be one that was put
 * together by several calls, and maybe by other threads.
 */
static __always_inline struct datagram_note *datagram_noted(struct __sk_buff *ctx)
{
	struct datagram_key key = { .task = bpf_get_current_task(), .socket = socket_cookie(ctx) };
	struct datagram_note *note = bpf_map_lookup_elem(&clatch_datagrams, &key);

	if (!note || note->generation != policy_in_force().generation ||
	    kread(kcast(struct udp_sock, kread(kskb(ctx), sk)), pending))
		return NULL;
	return note;
}

/* Does the packet's one SA leave its addresses as they were? */
static __always_inline bool sas_transport(const struct sas *s)
{
	struct clatch_sa *entry;

	if (s->count != 1 || s->unknown)
		return false;
	if (s->state[0])
		return kread(kcast(struct xfrm_state, s->state[0]), props.mode) ==
		       XFRM_MODE_TRANSPORT;
	entry = sa_table_find(&s->table);
	return entry && entry->suite.mode == XFRM_MODE_TRANSPORT;
}

/* Puts what is known of it in the place of what its outer header says. */
static __noinline void datagram_known(struct __sk_buff *ctx, struct flow *f)
{
	struct datagram_note *note = datagram_noted(ctx);

	if (!note) {
		__builtin_memset(&f->tuple.local, 0, sizeof(f->tuple.local));
		__builtin_memset(&f->tuple.remote, 0, sizeof(f->tuple.remote));
		f->tuple.remote_port = 0;
		return;
	}
	if (addr_known(&note->local) || !sas_transport(&f->sas) ||
	    !addr_equal(&f->tuple.remote, &note->remote))
		f->tuple.local = note->local;
	f->tuple.remote = note->remote;
	f->tuple.remote_port = note->remote_port;
}

/* What we send protected. */
static __always_inline enum clatch_verdict datagram_sent(struct __sk_buff *ctx, struct bpf_sock *sk,
							 struct flow *f, struct packet *p)
{
	struct clatch_demand *asked = request_of(sk);

	if (!datagram_watched(asked))
		return CLATCH_PASS;
	sas_outbound(ctx, &f->sas, &f->tuple.remote, p);
	f->tuple.proto = IPPROTO_UDP;
	f->tuple.local_port = sk->src_port;
	datagram_known(ctx, f);
	return datagram(ctx, f, asked);
}

/* Notes what the thread sends, or that nothing is known of it. */
static __noinline void datagram_note(const struct clatch_tuple *t, __u64 cookie, __u32 generation)
{
	struct datagram_key key = { .task = bpf_get_current_task(), .socket = cookie };
	struct datagram_note note = { .local = t->local,
				      .remote = t->remote,
				      .remote_port = t->remote_port,
				      .generation = generation };

	if (bpf_map_update_elem(&clatch_datagrams, &key, &note, BPF_ANY))
		bpf_map_delete_elem(&clatch_datagrams, &key);
}

/* Does it go to another than the peer of its socket's connection? */
static __noinline bool detours(const struct clatch_tuple *to, __u64 sk)
{
	struct clatch_tuple own = {};

	return kernel_socket_tuple(&own, sk) &&
	       (own.remote_port != to->remote_port || !addr_equal(&own.remote, &to->remote));
}

/* What the connection's packets are held to; false where that is not known yet. */
static __noinline bool detour_seen(struct seen *seen, __u64 sk)
{
	struct clatch_tuple own = { .proto = IPPROTO_UDP };
	struct clatch_more *more;
	struct clatch_latch *l;

	if (!kernel_socket_tuple(&own, sk))
		return false;
	l = bpf_map_lookup_elem(&clatch_latches, &own);
	if (!l || !l->held.out.sa.count || (l->flags & CLATCH_RENEW))
		return false;
	seen->count = l->held.out.sa.count;
	seen->sa[0] = l->held.out.sa;
	more = seen->count > 1 ? latch_more(l) : NULL;
#pragma unroll
	for (int i = 1; i < CLATCH_MAX_NEST; i++)
		if (more)
			seen->sa[i] = *more_nested(more, CLATCH_OUT, i);
	return more || seen->count == 1;
}

/*
 * A datagram that detours is held to the latch of the connection.  Is this all that may be demanded
 * of it?  Where nothing is latched yet, it would make the latch, of the other's SA.
 */
static __noinline enum clatch_reason detour_check(const struct clatch_tuple *to, __u64 sk)
{
	struct datagram_search s = { .tuple = to };
	enum clatch_reason reason;

	if (!detours(to, sk))
		return CLATCH_OK;
	if (!detour_seen(&s.seen, sk))
		s.unmet = CLATCH_POLICY;
	reason = datagram_rules(&s);
	if (reason == CLATCH_OK || is_own(&to->remote, sk) || is_dhcp(to) || has_bypass(sk))
		return CLATCH_OK;
	return reason;
}

/* sendmsg() to an address that it names; @t has both, the own one maybe 0.  1, or 0: refused. */
static __always_inline int datagram_sends(struct bpf_sock_addr *ctx, struct clatch_tuple *t)
{
	struct clatch_policy policy = policy_in_force();
	struct bpf_sock *sk = ctx->sk;
	struct clatch_demand *asked;
	enum clatch_reason reason;
	__u64 address;

	if (!sk || !policy.count)
		return 1;
	address = context_socket(ctx);
	t->netns = net_cookie(kread(kcast(struct sock_common, address), skc_net.net));
	t->local_port = kread(kcast(struct sock_common, address), skc_num);
	t->remote_port = bpf_ntohs(ctx->user_port);
	t->proto = IPPROTO_UDP;
	datagram_note(t, bpf_get_socket_cookie(ctx), policy.generation);
	asked = request_of(sk);
	if (!sk->dst_port || (asked && asked->off))
		return 1;
	reason = detour_check(t, address);
	return reason == CLATCH_OK ? 1 : refuse(t, reason);
}

#endif
