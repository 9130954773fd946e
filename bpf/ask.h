/* SPDX-License-Identifier: GPL-2.0-only */
/* What a program asks for its socket, by the options of clatch.h. */
#ifndef CLATCH_BPF_ASK_H
#define CLATCH_BPF_ASK_H

#include "connect.h"
#include "listener.h"
#include "sctp.h"
#include <clatch.h>

#define EINVAL 22 /* asm/errno.h */
#define ENOMEM 12
#define ENOPROTOOPT 92
#define EISCONN 106
#define MS 1000000ULL
#define MAX_CGROUP_DEPTH 32

/* The request of a socket, made where it has none; NULL where there is no memory. */
static __always_inline struct request *request_make(struct bpf_sockopt *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct request *r;

	if (!sk)
		return NULL;
	count_up(CLATCH_LAST_REQUEST, ~0ULL); /* before: from now on they are looked for */
	r = bpf_sk_storage_get(&clatch_requests, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (r && !r->made) {
		r->now.reset_after = CLATCH_RESET_DEFAULT;
		r->made = 1;
	}
	return r;
}

/* SCTP's state does not tell: a socket may have any number of associations. */
static __always_inline bool has_associations(__u64 address)
{
	struct sctp_walk w = {};

	if (!bpf_core_type_exists(struct sctp_association))
		return false;
	sctp_walk_begin(&w, address);
	return w.node && w.node != w.head;
}

/* Is it too late, as the socket has begun?  UDP's has at the first packet. */
static __always_inline bool has_begun(struct bpf_sockopt *ctx, __u64 address)
{
	struct bpf_sock *sk = ctx->sk;
	struct udp_socket *own;

	if (!sk)
		return true;
	if (sk->protocol == IPPROTO_SCTP && has_associations(address))
		return true;
	if (sk->protocol != IPPROTO_UDP)
		return kread(kcast(struct sock_common, address), skc_state) != BPF_TCP_CLOSE;
	own = bpf_sk_storage_get(&clatch_sockets, sk, NULL, 0);
	return own && own->tuple.proto && bpf_map_lookup_elem(&clatch_latches, &own->tuple);
}

/* The text, and zeroes behind its end.  False where it has no end. */
static __always_inline bool take_text(char to[CLATCH_RULE_ID], const char *from)
{
	bool ended = false;

	for (int i = 0; i < CLATCH_RULE_ID; i++) {
		char c = from[i];

		ended |= !c;
		to[i] = ended ? 0 : c;
	}
	return ended;
}

/* As @want says, but for the disposition, which is another option's.  0 or an error. */
static __always_inline int requirement_read(struct clatch_demand *d,
					    const struct clatch_requirement *want)
{
	if (want->version != CLATCH_VERSION_1 || want->reserved ||
	    want->protection >= CLATCH_REQUIRES || want->mode >= CLATCH_RULE_MODES ||
	    !take_text(d->peer_id, want->peer_id))
		return EINVAL;
	d->require = want->protection;
	d->mode = want->mode;
	d->min_key_bits = want->min_key_bits;
	/* as in the policy file: what demands nothing demands no key either */
	if (!d->require && (d->mode || d->min_key_bits || d->peer_id[0]))
		return EINVAL;
	return d->require == CLATCH_REQUIRE_AH && d->min_key_bits ? EINVAL : 0;
}

/* Does the policy leave it open to this socket to ask for no more than that? */
static __noinline bool policy_leaves(const struct clatch_demand *asked, __u64 address, __u32 proto)
{
	struct clatch_tuple tuple;
	struct policy_ahead a = { .tuple = &tuple, .asked = asked };

	socket_ahead(&tuple, address);
	tuple.proto = proto;
	policy_ahead(&a);
	return a.fits;
}

static __always_inline int ask_require(struct bpf_sockopt *ctx, __u64 address)
{
	struct clatch_requirement *want = ctx->optval;
	struct request *r;
	int err;

	if ((void *)(want + 1) > ctx->optval_end || ctx->optlen != sizeof(*want))
		return EINVAL;
	if (has_begun(ctx, address))
		return EISCONN;
	r = request_make(ctx);
	if (!r)
		return ENOMEM;
	err = requirement_read(&r->tried, want);
	if (err)
		return err;
	if (!policy_leaves(&r->tried, address, ctx->sk ? ctx->sk->protocol : 0))
		return EACCES;
	r->tried.reset_after = r->now.reset_after;
	r->now = r->tried; /* off is 0 */
	return 0;
}

static __always_inline int disposition_read(__u64 *reset_after,
					    const struct clatch_disposition *want)
{
	if (want->version != CLATCH_VERSION_1 ||
	    (want->milliseconds && want->action != CLATCH_RESET_AFTER))
		return EINVAL;
	switch (want->action) {
	case CLATCH_DEFAULT:
		*reset_after = CLATCH_RESET_DEFAULT;
		return 0;
	case CLATCH_HOLD:
		*reset_after = CLATCH_RESET_NEVER;
		return 0;
	case CLATCH_RESET:
	case CLATCH_RESET_AFTER:
		*reset_after = want->milliseconds * MS;
		return 0;
	}
	return EINVAL;
}

/* The latch of a socket that has one connection or listens, else NULL. */
static __always_inline struct clatch_latch *socket_latch(struct clatch_tuple *t, __u64 address,
							 __u32 proto)
{
	if (!kernel_socket_tuple(t, address))
		listener_tuple(t, address, proto);
	t->proto = proto;
	return bpf_map_lookup_elem(&clatch_latches, t);
}

/* Its reset may be due at once, and `run` does not look before it is told. */
static __always_inline void report_asked(const struct clatch_tuple *tuple,
					 const struct clatch_latch *l)
{
	struct what w = { .type = CLATCH_EV_ASKED };

	w.latch = l->id;
	w.old_state = w.state = l->state;
	report(tuple, NULL, NULL, &w);
}

/* A latch that is there already is told as well. */
static __noinline int ask_latch(const struct clatch_demand *asked, __u64 address, __u32 proto)
{
	struct clatch_tuple tuple = {};
	struct clatch_latch *l = socket_latch(&tuple, address, proto);
	__u64 id;

	if (!l)
		return 0;
	/* sockets of several programs may share a 5-tuple, but not what they ask for */
	if (proto == IPPROTO_UDP &&
	    l->cookie != (__u64)kread(kcast(struct sock_common, address), skc_cookie.counter))
		return 0;
	id = l->id;
	if (bpf_map_update_elem(&clatch_asked, &id, asked, BPF_ANY))
		return ENOMEM;
	__sync_fetch_and_or(&l->flags, CLATCH_ASKED);
	l = bpf_map_lookup_elem(&clatch_latches, &tuple);
	if (!l || l->id != id) /* gone meanwhile, and maybe before what it asked for was there */
		bpf_map_delete_elem(&clatch_asked, &id);
	else if (l->state == CLATCH_BROKEN)
		report_asked(&tuple, l);
	return 0;
}

static __always_inline int ask_disposition(struct bpf_sockopt *ctx, __u64 address)
{
	struct clatch_disposition *want = ctx->optval;
	struct request *r;
	__u64 reset_after;

	if ((void *)(want + 1) > ctx->optval_end || ctx->optlen != sizeof(*want) ||
	    disposition_read(&reset_after, want))
		return EINVAL;
	r = request_make(ctx);
	if (!r)
		return ENOMEM;
	r->now.reset_after = reset_after;
	return ask_latch(&r->now, address, ctx->sk ? ctx->sk->protocol : 0);
}

struct cgroup_search {
	__u64 at;
	__u64 found; /* its id */
	__u64 generation;
};

static long cgroup_step(__u32 index, struct cgroup_search *s)
{
	struct clatch_may_turn_off key = { .generation = s->generation };
	struct kernfs_node *kn;

	(void)index;
	if (!s->at)
		return 1;
	kn = kread(kcast(struct cgroup, s->at), kn);
	key.cgroup = kread(kn, id);
	if (bpf_map_lookup_elem(&clatch_may_turn_off, &key)) {
		s->found = key.cgroup;
		return 1;
	}
	s->at = (__u64)kread(kcast(struct cgroup, s->at), self.parent);
	return 0;
}

/* The id of the cgroup of the socket, or of one around it, that the policy names; 0 = none. */
static __noinline __u64 may_turn_off(__u64 address)
{
	struct cgroup_search s = { .generation = policy_in_force().generation };

	s.at = (__u64)kread(kcast(struct sock, address), sk_cgrp_data.cgroup);
	s.found = unknown_zero();
	bpf_loop(MAX_CGROUP_DEPTH, cgroup_step, &s, 0);
	return s.found;
}

static __always_inline int ask_off(struct bpf_sockopt *ctx, __u64 address)
{
	__u32 *off = ctx->optval;
	struct request *r;
	__u64 by;

	if ((void *)(off + 1) > ctx->optval_end || ctx->optlen != sizeof(*off) || *off > 1)
		return EINVAL;
	if (has_begun(ctx, address))
		return EISCONN;
	by = *off ? may_turn_off(address) : 0;
	if (*off && !by)
		return EACCES;
	r = request_make(ctx);
	if (!r)
		return ENOMEM;
	r->off_by = by;
	r->now.off = *off;
	if (*off)
		r->now.require = r->now.mode = r->now.min_key_bits = r->now.peer_id[0] = 0;
	return 0;
}

#endif
