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

/* What is compared of a struct clatch_side: recorded under the lock. */
struct seen {
	struct clatch_sa_ref sa[CLATCH_MAX_NEST];
	__u32 count;
	__u32 mark;
} __attribute__((aligned(8)));
_Static_assert(sizeof(struct seen) == __builtin_offsetof(struct clatch_side, src), "a prefix");

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
 * May this be what a latch holds a direction to?  Its ends are those of the other direction, and
 * whom its rule and its program name; of nested SAs the innermost is the peer's.  An enum
 * clatch_reason.
 */
verified_once int seen_check(const struct seen *seen, const struct clatch_side *other,
			     const struct clatch_demand *rule, const struct clatch_demand *asked)
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
		if (!other || other->count != seen->count)
			continue;
		reason = who_check(other->sa[i].who, who);
		if (reason != CLATCH_OK)
			return reason;
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

/* What is shown of a direction, and what the SPD's selectors may ask for. */
static __noinline void side_note(struct clatch_side *side, struct __sk_buff *ctx,
				 const struct flow *f)
{
	struct xfrm_encap_tmpl *encap;

	side->mark = ctx->mark;
	side->ifindex = ctx->ifindex;
	sas_addresses(&side->src, &side->dst, &f->sas);
	if (!f->sas.state[0])
		return;
	encap = kread(kcast(struct xfrm_state, f->sas.state[0]), encap);
	if (!encap)
		return;
	side->encap_sport = kread(encap, encap_sport);
	side->encap_dport = kread(encap, encap_dport);
}

/*
 * Records what protects this direction; the first packet wins.  How many directions are known now,
 * if this one is news; else 0, or an enum clatch_reason, negated, not to do so.
 */
static __noinline int latch_record(struct clatch_latch *l, const struct flow *f)
{
	const struct clatch_demand *rule, *asked;
	struct clatch_side *side;
	struct seen seen = {};
	int known;
	__u64 now;

	if (!side_seen(&seen, f))
		return -CLATCH_TABLE_FULL;
	if (!latch_demands(l, &rule, &asked))
		return -CLATCH_POLICY;
	known = -seen_check(&seen, latch_side(l, !f->dir), rule, asked);
	if (known)
		return known;
	side = latch_side(l, f->dir);
	now = bpf_ktime_get_boot_ns();
	bpf_spin_lock(&l->lock);
	if (!side->count) {
		*(struct seen *)side = seen;
		/* The other direction's SA was found congruent while these ends were not known. */
		latch_side(l, !f->dir)->verified.expires = 0;
		known = 1;
		if (l->in.count && l->out.count) {
			latch_step(l, CLATCH_STEP_KNOWN, now);
			known = 2;
		}
	}
	bpf_spin_unlock(&l->lock);
	return known;
}

/* Completes and reports what latch_record() recorded. */
static __noinline void latch_recorded(struct __sk_buff *ctx, struct clatch_latch *l,
				      const struct flow *f, int known)
{
	struct what w = { .type = CLATCH_EV_LATCHED, .direction = f->dir };

	side_note(latch_side(l, f->dir), ctx, f);
	w.state = l->state;
	w.old_state = known == 2 && w.state == CLATCH_ESTABLISHED ? CLATCH_LARVAL : w.state;
	if (known == 1 && !(l->flags & CLATCH_DEMANDED))
		w.old_state = CLATCH_NONE;
	w.latch = l->id;
	w.other = l->listener;
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
