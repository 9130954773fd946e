/* SPDX-License-Identifier: GPL-2.0-only */
/* What a latch records of a direction at its first protected packet, and holds it to from then on. */
#ifndef CLATCH_BPF_RECORD_H
#define CLATCH_BPF_RECORD_H

#include "demand.h"
#include "latch.h"

/* The SA's place in a latch.  False where it can have none: too many suites. */
static __always_inline bool sa_ref(struct clatch_sa_ref *ref, __u64 address,
				   const struct clatch_sa_key *key)
{
	struct sa_facts f = {};

	sa_know(&f, address, key);
	ref->suite = suite_intern(&f.suite);
	ref->reqid = f.reqid;
	ref->if_id = f.if_id;
	ref->spi = f.spi;
	ref->who = f.who;
	return ref->suite;
}

/* What protects a packet, as a latch keeps it. */
struct seen {
	struct clatch_sa_ref sa[CLATCH_MAX_NEST];
	__u32 count;
	__u32 dir; /* enum clatch_dir */
};

/* Puts together what protects this packet.  0 where there is no room to keep it. */
verified_once int side_seen(struct seen *seen, const struct flow *f)
{
	if (!seen || !f)
		return 0;
	seen->count = f->sas.count;
#pragma unroll
	for (int i = 0; i < CLATCH_MAX_NEST; i++)
		if (i < (int)f->sas.count && !sa_ref(&seen->sa[i], f->sas.state[i], &f->sas.table))
			return 0;
	return 1;
}

/*
 * Are its ends those of the other direction, as far as that is known?  @held and @more are the latch's.
 * An enum clatch_reason.
 */
verified_once int seen_ends(const struct seen *seen, const struct clatch_held *held,
			    struct clatch_more *more)
{
	const struct clatch_sa_ref *other;
	int reason;

	if (!seen || !held)
		return CLATCH_SA_MISMATCH;
	other = seen->dir == CLATCH_IN ? &held->out.sa : &held->in.sa;
	if (other->count != seen->count)
		return CLATCH_OK;
	reason = who_check(other->who, seen->sa[0].who);
#pragma unroll
	for (int i = 1; i < CLATCH_MAX_NEST; i++) {
		if (reason != CLATCH_OK || i >= (int)seen->count)
			break;
		if (!more)
			return CLATCH_SA_MISMATCH;
		reason = who_check(more_nested(more, !seen->dir, i)->who, seen->sa[i].who);
	}
	return reason;
}

/*
 * May this be what a latch holds a direction to: is it what its rule and its program demand, and of
 * whom they name?  Of nested SAs the innermost is the peer's.  An enum clatch_reason.
 */
verified_once int seen_check(const struct seen *seen, const struct clatch_demand *rule,
			     const struct clatch_demand *asked)
{
	struct clatch_who who = {};
	int reason, met = 0, given = 0;

	if (!seen)
		return CLATCH_SA_MISMATCH;
#pragma unroll
	for (int i = 0; i < CLATCH_MAX_NEST; i++) {
		if (i >= (int)seen->count)
			break;
		who = seen->sa[i].who;
		met |= demand_met(rule, seen->sa[i].suite);
		given |= demand_met(asked, seen->sa[i].suite);
	}
	if (!met || !given)
		return CLATCH_POLICY;
	reason = demand_ends(rule, who.local_id, who.peer_id);
	return reason == CLATCH_OK ? demand_ends(asked, who.local_id, who.peer_id) : reason;
}

/* What its rule and its program demand of a latch.  False where that cannot be known any more. */
static __always_inline bool latch_demands(const struct clatch_latch *l,
					  const struct clatch_demand **rule,
					  const struct clatch_demand **asked)
{
	struct clatch_rule *r = l->rule == CLATCH_NO_RULE ? NULL : rule_get(l->rule);
	__u64 id = l->id;

	*rule = r ? &r->demand : NULL;
	*asked = l->flags & CLATCH_ASKED ? bpf_map_lookup_elem(&clatch_asked, &id) : NULL;
	return (r || l->rule == CLATCH_NO_RULE) && (*asked || !(l->flags & CLATCH_ASKED));
}

/* The ends of the packet's outermost SA, in an @outer of zeroes. */
verified_once int outer_seen(struct clatch_outer *outer, const struct flow *f)
{
	struct xfrm_encap_tmpl *encap;
	__be16 sport, dport;
	bool in;

	if (!outer || !f)
		return 0;
	in = f->dir == CLATCH_IN;
	sas_addresses(in ? &outer->remote : &outer->local, in ? &outer->local : &outer->remote,
		      &f->sas);
	encap = f->sas.state[0] ? kread(kcast(struct xfrm_state, f->sas.state[0]), encap) : NULL;
	if (!encap)
		return 0;
	sport = kread(encap, encap_sport);
	dport = kread(encap, encap_dport);
	outer->local_port = in ? dport : sport;
	outer->remote_port = in ? sport : dport;
	return 0;
}

/* Not 0 if they differ.  One way through it, as the verifier follows each. */
static __always_inline __u32 outer_differ(const struct clatch_outer *a,
					  const struct clatch_outer *b)
{
	const __u32 *x = (const void *)a, *y = (const void *)b;
	__u32 differ = 0;

#pragma unroll
	for (int i = 0; i < (int)(sizeof(*a) / sizeof(*x)); i++)
		differ |= x[i] ^ y[i];
	return differ;
}

/* Where a latch keeps what few have.  NULL where there is no room. */
static __noinline struct clatch_more *more_make(struct clatch_latch *l)
{
	__u64 id = l->id;

	__sync_fetch_and_or(&l->flags,
			    CLATCH_HAS_MORE); /* first: whoever ends the latch is to see it */
	bpf_map_update_elem(&clatch_more, &id, zeroes, BPF_NOEXIST);
	return bpf_map_lookup_elem(&clatch_more, &id);
}

/* Of a direction that has outer ends of its own. */
static __always_inline void record_apart(struct clatch_more *more, const struct clatch_held *held,
					 const struct clatch_outer *outer, __u32 dir)
{
	*more_outer(more, !dir) = held->outer;
	*more_outer(more, dir) = *outer;
	more->apart = 1;
}

static __always_inline void record_side(struct clatch_side *side, struct clatch_more *more,
					const struct seen *seen)
{
	side->sa = seen->sa[0];
#pragma unroll
	for (int i = 1; i < CLATCH_MAX_NEST; i++)
		if (more)
			*more_nested(more, seen->dir, i) = seen->sa[i];
	asm volatile("" : : : "memory"); /* last: then the rest is there */
	side->sa.count = seen->count;
}

/*
 * Records what protects this direction; the first packet wins.  How many directions are known now, if
 * this one is news; else 0, or an enum clatch_reason, negated, not to do so.
 */
static __noinline int latch_keep(struct clatch_latch *l, const struct flow *f,
				 const struct seen *seen)
{
	struct clatch_side *side = latch_side(l, seen->dir), *other = latch_side(l, !seen->dir);
	__u64 now = bpf_ktime_get_boot_ns();
	struct clatch_outer outer = {};
	__u64 id = l->id;
	__u32 slot = l->fast;
	struct clatch_fast *fast = fast_get(slot);
	struct clatch_more *more = NULL;
	int known = 0;

	outer_seen(&outer, f);
	if (seen->count > 1 || (other->sa.count && outer_differ(&outer, &l->held.outer)))
		more = more_make(l);
	if (!more && seen->count > 1)
		return -CLATCH_TABLE_FULL;
	bpf_spin_lock(&l->lock);
	/* It may have gone meanwhile, and its memory be another's. */
	if (!side->sa.count && l->id == id && l->fast == slot) {
		if (!other->sa.count)
			l->held.outer = outer;
		else if (more && outer_differ(&outer, &l->held.outer)) /* else as the other's */
			record_apart(more, &l->held, &outer, seen->dir);
		record_side(side, more, seen);
		/* The other direction's SA was found congruent while these ends were not known. */
		if (fast)
			fast->side[!seen->dir].verified.of = 0;
		known = 1;
		if (other->sa.count) {
			latch_step(l, CLATCH_STEP_KNOWN, now);
			known = 2;
		}
	}
	bpf_spin_unlock(&l->lock);
	return known;
}

/* The same, of @f, if the latch may be held to it. */
static __noinline int latch_record(struct clatch_latch *l, const struct flow *f)
{
	const struct clatch_demand *rule, *asked;
	struct seen seen = { .dir = f->dir };
	int reason;

	if (!side_seen(&seen, f))
		return -CLATCH_TABLE_FULL;
	if (!latch_demands(l, &rule, &asked))
		return -CLATCH_POLICY;
	reason = seen_ends(&seen, &l->held, latch_more(l));
	if (reason == CLATCH_OK)
		reason = seen_check(&seen, rule, asked);
	if (reason != CLATCH_OK)
		return -reason;
	return latch_keep(l, f, &seen);
}

/* Completes and reports what latch_record() recorded. */
static __noinline void latch_recorded(struct __sk_buff *ctx, struct clatch_latch *l,
				      const struct flow *f, int known)
{
	struct what w = { .type = CLATCH_EV_LATCHED, .direction = f->dir };
	struct clatch_side *side = latch_side(l, f->dir);

	side->mark = ctx->mark;
	side->ifindex = ctx->ifindex;
	w.state = l->state;
	w.old_state = known == 2 && w.state == CLATCH_ESTABLISHED ? CLATCH_LARVAL : w.state;
	if (known == 1 && !(l->flags & CLATCH_DEMANDED))
		w.old_state = CLATCH_NONE;
	w.latch = l->id;
	w.other = l->listener.id;
	report(&f->tuple, NULL, &f->sas, &w);
}

static __always_inline enum clatch_reason latch_learn(struct __sk_buff *ctx, struct clatch_latch *l,
						      const struct flow *f)
{
	int known = latch_record(l, f);

	if (known > 0)
		latch_recorded(ctx, l, f, known);
	return known < 0 ? -known : CLATCH_OK;
}

#endif
