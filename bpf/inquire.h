/* SPDX-License-Identifier: GPL-2.0-only */
/* What a program is told of its socket's latch: clatch.h, CLATCH_SO_INQUIRE. */
#ifndef CLATCH_BPF_INQUIRE_H
#define CLATCH_BPF_INQUIRE_H

#include "ask.h"

_Static_assert((int)CLATCH_STATE_BROKEN == CLATCH_BROKEN &&
		       (int)CLATCH_STATE_CLOSED == CLATCH_CLOSED,
	       "the same numbers");
_Static_assert((int)CLATCH_BROKEN_DEAD_PEER == CLATCH_CAUSE_DEAD_PEER, "the same bits");
_Static_assert((int)CLATCH_SA_REPLAY == CLATCH_SUITE_REPLAY, "the same bits");
_Static_assert((int)CLATCH_ENCRYPTED == CLATCH_REQUIRE_ENCRYPTED &&
		       (int)CLATCH_AH == CLATCH_REQUIRE_AH,
	       "the same numbers");
_Static_assert((int)CLATCH_TUNNEL == CLATCH_MODE_TUNNEL, "the same numbers");
_Static_assert(CLATCH_SAS == CLATCH_MAX_NEST && CLATCH_IDENTITY_SIZE == CLATCH_ID_TEXT &&
		       CLATCH_PEER_ID_SIZE == CLATCH_RULE_ID,
	       "the same sizes");

static __always_inline void inquire_sa(struct clatch_sa_parameters *p,
				       const struct clatch_sa_ref *ref)
{
	__u32 suite = ref->suite;
	struct clatch_suite *s = bpf_map_lookup_elem(&clatch_suites, &suite);

	if (!s)
		return;
	__builtin_memcpy(p->encryption, s->enc, sizeof(p->encryption));
	__builtin_memcpy(p->integrity, s->auth, sizeof(p->integrity));
	p->encryption_key_bits = clatch_key_bits(s);
	p->integrity_key_bits = s->auth_key_bits;
	p->icv_bits = s->icv_bits;
	p->protocol = s->proto;
	p->mode = s->mode == XFRM_MODE_TRANSPORT ? CLATCH_TRANSPORT
		  : s->mode == XFRM_MODE_TUNNEL	 ? CLATCH_TUNNEL
						 : CLATCH_ANY_MODE;
	p->encapsulation = s->encap;
	p->flags = s->flags;
	p->spi = ref->spi;
	p->reqid = ref->reqid;
	p->if_id = ref->if_id;
}

static __always_inline void inquire_outer(struct clatch_direction *d,
					  const struct clatch_outer *outer, enum clatch_dir dir)
{
	bool in = dir == CLATCH_IN;

	__builtin_memcpy(d->src, in ? &outer->remote : &outer->local, sizeof(d->src));
	__builtin_memcpy(d->dst, in ? &outer->local : &outer->remote, sizeof(d->dst));
	d->nat_sport = in ? outer->remote_port : outer->local_port;
	d->nat_dport = in ? outer->local_port : outer->remote_port;
}

static __always_inline void inquire_side(struct clatch_direction *d, struct clatch_latch *l,
					 struct clatch_more *more, enum clatch_dir dir)
{
	struct clatch_fast_side *fast = fast_side(l, dir);
	struct clatch_side *side = latch_side(l, dir);

	d->sas = side->sa.count;
	if (d->sas) {
		inquire_sa(&d->sa[0], &side->sa);
		inquire_outer(d, more && more->apart ? more_outer(more, dir) : &l->held.outer, dir);
	}
#pragma unroll
	for (int i = 1; i < CLATCH_MAX_NEST; i++)
		if (more && i < (int)d->sas)
			inquire_sa(&d->sa[i], more_nested(more, dir, i));
	if (!fast)
		return;
	d->packets = fast->packets;
	d->bytes = fast->bytes;
	d->violations = fast->violations;
}

/* The hashes of both ends' keys, the one over the other; as loader/certificate.c has it. */
static __always_inline void inquire_binding(struct clatch_inquiry *q, __u32 local, __u32 peer)
{
	struct clatch_certificate *one = bpf_map_lookup_elem(&clatch_certificates, &local);
	struct clatch_certificate *other = bpf_map_lookup_elem(&clatch_certificates, &peer);
	__u8 any = 0;

	if (!one || !other)
		return;
	for (int i = 0; i < CLATCH_BINDING_SIZE; i++) {
		q->binding[i] = one->key[i] ^ other->key[i];
		any |= q->binding[i];
	}
	if (any)
		q->flags |= CLATCH_HAS_BINDING;
}

/* Whom its SAs are of; of nested ones the innermost is the peer's. */
static __always_inline struct clatch_who inquire_who(const struct clatch_latch *l,
						     struct clatch_more *more)
{
	struct clatch_who in = {}, out = {}; /* nobody, where the innermost is not there any more */

	if (l->held.in.sa.count == 1)
		in = l->held.in.sa.who;
	if (l->held.out.sa.count == 1)
		out = l->held.out.sa.who;
#pragma unroll
	for (int i = 1; i < CLATCH_MAX_NEST; i++) {
		if (more && i < (int)l->held.in.sa.count)
			in = more_nested(more, CLATCH_IN, i)->who;
		if (more && i < (int)l->held.out.sa.count)
			out = more_nested(more, CLATCH_OUT, i)->who;
	}
	return who_merge(in, out);
}

/* Must it be protected, by its rule or its program? */
static __always_inline bool inquire_demanded(const struct clatch_latch *l)
{
	const struct clatch_demand *rule, *asked;

	return !latch_demands(l, &rule, &asked) || (rule && rule->require) ||
	       (asked && asked->require);
}

static __always_inline void inquire_latch(struct clatch_inquiry *q, struct clatch_latch *l)
{
	struct clatch_more *more = latch_more(l);
	struct clatch_who who = inquire_who(l, more);

	q->flags = CLATCH_IS_LATCHED | (l->flags & CLATCH_ADOPTED ? CLATCH_IS_ADOPTED : 0) |
		   (inquire_demanded(l) ? CLATCH_IS_DEMANDED : 0) | (audit ? CLATCH_IS_AUDIT : 0);
	q->id = l->id;
	q->state = l->state;
	q->causes = l->causes;
	inquire_side(&q->in, l, more, CLATCH_IN);
	inquire_side(&q->out, l, more, CLATCH_OUT);
	inquire_binding(q, who.local_id, who.peer_id);
}

/* memset() of so much would be a call. */
static __always_inline void inquiry_clear(struct clatch_inquiry *q)
{
	volatile __u64 *words = (volatile __u64 *)q;

	for (__u32 i = 0; i < sizeof(*q) / sizeof(*words); i++)
		words[i] = 0;
}

_Static_assert(sizeof(struct clatch_inquiry) % 8 == 0, "cleared by words");

static __always_inline int inquire(struct bpf_sockopt *ctx, __u64 address)
{
	struct clatch_inquiry *q = ctx->optval;
	struct clatch_tuple tuple = {};
	struct clatch_latch *l;

	if ((void *)(q + 1) > ctx->optval_end)
		return EINVAL;
	inquiry_clear(q);
	q->version = CLATCH_VERSION_1;
	q->size = sizeof(*q);
	l = socket_latch(&tuple, address, ctx->sk ? ctx->sk->protocol : 0);
	if (l)
		inquire_latch(q, l);
	ctx->optlen = sizeof(*q);
	return 0;
}

/* The text, and how long it is, with its end. */
static __always_inline __u32 tell_text(char to[CLATCH_IDENTITY_SIZE],
				       const char from[CLATCH_IDENTITY_SIZE])
{
	__u32 length = 0;

	__builtin_memcpy(to, from, CLATCH_IDENTITY_SIZE);
	for (__u32 i = 0; i < CLATCH_IDENTITY_SIZE - 1; i++)
		length += ((__u8)from[i] + 0xff) >> 8; /* 1, but 0 of the zeroes behind its end */
	return length + 1;
}

static __always_inline int tell_id(struct bpf_sockopt *ctx, __u64 address)
{
	bool peer = ctx->optname == CLATCH_SO_PEER_ID;
	char *text = ctx->optval;
	struct clatch_tuple tuple = {};
	struct clatch_who who = {};
	struct clatch_latch *l;
	struct clatch_id *id;
	__u32 number;

	if ((void *)(text + CLATCH_IDENTITY_SIZE) > ctx->optval_end)
		return EINVAL;
	l = socket_latch(&tuple, address, ctx->sk ? ctx->sk->protocol : 0);
	if (l)
		who = inquire_who(l, latch_more(l));
	number = peer ? who.peer_id : who.local_id;
	id = id_get(number);
	text[0] = 0;
	ctx->optlen = id ? tell_text(text, id->text) : 1;
	return 0;
}

static __always_inline int tell_requirement(struct bpf_sockopt *ctx, struct bpf_sock *sk)
{
	struct clatch_requirement *r = ctx->optval;
	struct clatch_demand *asked = request_of(sk);

	if ((void *)(r + 1) > ctx->optval_end)
		return EINVAL;
	__builtin_memset(r, 0, sizeof(*r));
	r->version = CLATCH_VERSION_1;
	if (asked) {
		r->protection = asked->require;
		r->mode = asked->mode;
		r->min_key_bits = asked->min_key_bits;
		__builtin_memcpy(r->peer_id, asked->peer_id, sizeof(r->peer_id));
	}
	ctx->optlen = sizeof(*r);
	return 0;
}

static __always_inline int tell_disposition(struct bpf_sockopt *ctx, struct bpf_sock *sk)
{
	struct clatch_disposition *d = ctx->optval;
	struct clatch_demand *asked = request_of(sk);
	__u64 after = asked ? asked->reset_after : CLATCH_RESET_DEFAULT;

	if ((void *)(d + 1) > ctx->optval_end)
		return EINVAL;
	d->version = CLATCH_VERSION_1;
	d->action = after == CLATCH_RESET_DEFAULT ? CLATCH_DEFAULT
		    : after == CLATCH_RESET_NEVER ? CLATCH_HOLD
		    : after			  ? CLATCH_RESET_AFTER
						  : CLATCH_RESET;
	d->milliseconds = d->action == CLATCH_RESET_AFTER ? after / MS : 0;
	ctx->optlen = sizeof(*d);
	return 0;
}

static __always_inline int tell_off(struct bpf_sockopt *ctx, struct bpf_sock *sk)
{
	__u32 *off = ctx->optval;
	struct clatch_demand *asked = request_of(sk);

	if ((void *)(off + 1) > ctx->optval_end)
		return EINVAL;
	*off = asked ? asked->off : 0;
	ctx->optlen = sizeof(*off);
	return 0;
}

#endif
