/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A packet and its latch: check() decides every verdict; what is refused is counted and reported, and
 * breaks the latch where it is our own.
 */
#ifndef CLATCH_BPF_HOLD_H
#define CLATCH_BPF_HOLD_H

#include "must.h"
#include "record.h"
#include "stale.h"

/* The SAs inside the outermost. */
static __noinline enum clatch_reason check_nested(struct clatch_latch *l, const struct sas *s,
						  __u32 dir)
{
	struct clatch_more *more = latch_more(l);
	int reason;

	if (!more)
		return CLATCH_SA_MISMATCH;
#pragma unroll
	for (int i = 1; i < CLATCH_MAX_NEST; i++) {
		reason = i < (int)s->count
				 ? sa_check(s->state[i], &s->table, more_nested(more, dir, i),
					    more_nested(more, !dir, i))
				 : CLATCH_OK;
		if (reason != CLATCH_OK)
			return reason;
	}
	return CLATCH_OK;
}

/* The outermost SA alone. */
static __always_inline enum clatch_reason check_outer(struct clatch_latch *l, const struct sas *s,
						      __u32 dir)
{
	return sa_check(s->state[0], &s->table, &latch_side(l, dir)->sa, &latch_side(l, !dir)->sa);
}

/* The same, where it is the only one: to be known again if it is congruent. */
static __noinline enum clatch_reason check_single(struct clatch_latch *l, const struct sas *s,
						  __u32 dir)
{
	__u32 generation = clatch_generation; /* before anything it stands for is read */
	struct clatch_fast_side *fast = fast_side(l, dir);
	__u64 id = l->id, before;
	int reason;

	if (!fast || !s->state[0] || !sa_verify_begin(&fast->verified, &before))
		return check_outer(l, s, dir);
	reason = check_outer(l, s, dir);
	if (reason == CLATCH_OK)
		sa_verify(&fast->verified, id, kcast(struct xfrm_state, s->state[0]), generation);
	else
		sa_verify_end(&fast->verified, before);
	return reason;
}

/* check() in full, where the SA is not known again. */
static __noinline enum clatch_reason check_all(struct clatch_latch *l, const struct sas *s,
					       __u32 dir)
{
	int reason;

	if (s->unknown)
		return CLATCH_UNKNOWN_SA;
	if (!s->count)
		return CLATCH_CLEAR;
	if (s->count != latch_side(l, dir)->sa.count)
		return CLATCH_SA_MISMATCH;
	if (s->count == 1)
		return check_single(l, s, dir);
	reason = check_outer(l, s, dir);
	return reason == CLATCH_OK ? check_nested(l, s, dir) : reason;
}

/* Is it the SA that was last found congruent? */
fast_inline bool is_known(const struct clatch_latch *l, const struct sas *s, __u32 dir)
{
	struct xfrm_state *x = kcast(struct xfrm_state, s->state[0]);
	struct clatch_fast_side *fast = fast_side(l, dir);

	return fast && s->count == 1 && s->state[0] &&
	       sa_verified(&fast->verified, l->id, x, kread(x, id.spi));
}

/*
 * The one function that decides.  Every hook ends here: does the packet carry what its latch
 * holds this direction to?
 */
static __always_inline enum clatch_reason check(struct clatch_latch *l, const struct sas *s,
						enum clatch_dir dir)
{
	return is_known(l, s, dir) ? CLATCH_OK : check_all(l, s, dir);
}

static __always_inline void count_reason(__u32 reason, __u32 verdict)
{
	struct clatch_stat *stat = bpf_map_lookup_elem(&clatch_stats, &reason);

	if (!stat) {
		bpf_map_update_elem(&clatch_stats, &reason, zeroes, BPF_NOEXIST);
		stat = bpf_map_lookup_elem(&clatch_stats, &reason);
	}
	if (stat)
		__sync_fetch_and_add(verdict == CLATCH_DROP ? &stat->dropped : &stat->passed, 1);
}

/* A packet to a listener or unconnected socket whose headers are more than we read. */
static __always_inline enum clatch_verdict unreadable(void)
{
	enum clatch_verdict verdict = audit ? CLATCH_AUDIT : CLATCH_DROP;

	count_reason(CLATCH_CLEAR, verdict);
	return verdict;
}

/* A packet without a latch that is not as it @must be, or cannot be latched: then refused. */
verified_once int unwatched(const struct flow *f, enum clatch_reason reason, int must)
{
	struct what w = { .type = CLATCH_EV_VIOLATION, .reason = reason };

	if (!f)
		return CLATCH_DROP;
	w.direction = f->dir;
	if (must)
		w.verdict = audit ? CLATCH_AUDIT : CLATCH_DROP;
	count_reason(reason, w.verdict);
	report(&f->tuple, NULL, &f->sas, &w);
	return w.verdict;
}

static __always_inline __u32 cleared_step(const struct clatch_latch *l)
{
	return l->held.in.sa.count && l->held.out.sa.count ? CLATCH_STEP_CLEARED
							   : CLATCH_STEP_CLEARED_EARLY;
}

static __always_inline __u32 lowest_bit(__u32 bits)
{
	return bits & -bits;
}

/*
 * Sets and clears causes, and takes the steps that follow from it.  The causes that are new, and,
 * in @w, the transition; where the last cause went, w->causes are those just cleared.
 */
static __always_inline __u32 latch_causes(struct clatch_latch *l, __u32 set, __u32 clear,
					  struct what *w)
{
	__u64 now = bpf_ktime_get_boot_ns();
	__u32 fresh, before;

	bpf_spin_lock(&l->lock);
	before = l->causes;
	fresh = set & ~before;
	l->causes = (before | set) & ~clear;
	w->old_state = l->state;
	if (fresh)
		latch_step(l, CLATCH_STEP_CONFLICT, now);
	if (!l->causes)
		latch_step(l, cleared_step(l), now);
	w->state = l->state;
	w->causes = l->causes ? l->causes : before;
	bpf_spin_unlock(&l->lock);
	if (w->state != CLATCH_ESTABLISHED)
		fast_stop(l);
	w->latch = l->id;
	w->cause = lowest_bit(fresh ? fresh : clear & before);
	return fresh;
}

/* Our own packet would have left otherwise than latched: that is what breaks a latch. */
static __always_inline void latch_break(struct clatch_latch *l, const struct flow *f,
					enum clatch_reason reason)
{
	struct what w = { .type = CLATCH_EV_BROKEN, .reason = reason, .direction = CLATCH_OUT };
	__u32 cause = reason == CLATCH_CLEAR ? CLATCH_CAUSE_OUT_CLEAR : CLATCH_CAUSE_OUT_MISMATCH;

	if (l->causes & cause)
		return; /* as in a flood */
	if (latch_causes(l, cause, 0, &w) && w.state == CLATCH_BROKEN)
		report(&f->tuple, &l->held, &f->sas, &w);
}

/* A packet of ours matched again. */
static __noinline void latch_restore(struct clatch_latch *l, const struct flow *f)
{
	struct what w = { .type = CLATCH_EV_RESTORED, .direction = CLATCH_OUT };

	latch_causes(l, 0, CLATCH_CAUSES_SEEN, &w);
	if (w.old_state == CLATCH_BROKEN && w.state != CLATCH_BROKEN)
		report(&f->tuple, &l->held, &f->sas, &w);
}

/*
 * Inside the packet path only: dropped, and UDP's sender is not told, as what is amiss is over soon.
 * Not for TCP: it takes this for a full queue, tries each half second, and gives up after 8 s.
 */
#define CLATCH_LOSS 3

/*
 * Does a packet of ours that is refused for @reason break its latch?  Whose identity is not known
 * yet is told soon, as a rule.
 */
static __always_inline bool breaks(enum clatch_reason reason)
{
	return reason != CLATCH_REASON_BROKEN && reason != CLATCH_IDENTITY_UNKNOWN;
}

/*
 * Kept back: the IKE daemon tells whose an SA is some milliseconds after the kernel has it, and
 * nobody has done anything wrong meanwhile.
 */
static __always_inline enum clatch_verdict keep_back(const struct flow *f)
{
	enum clatch_verdict verdict = audit ? CLATCH_AUDIT : CLATCH_DROP;

	count_reason(CLATCH_OK, verdict);
	return verdict == CLATCH_DROP && f->tuple.proto == IPPROTO_UDP ? CLATCH_LOSS : verdict;
}

static __noinline enum clatch_verdict violation(struct clatch_latch *l, const struct flow *f,
						enum clatch_reason reason)
{
	struct what w = { .type = CLATCH_EV_VIOLATION, .reason = reason, .direction = f->dir };
	struct clatch_fast_side *fast = fast_side(l, f->dir);

	if (reason == CLATCH_IDENTITY_UNKNOWN && sas_young(&f->sas))
		return keep_back(f);
	w.verdict = audit ? CLATCH_AUDIT : CLATCH_DROP;
	if (fast)
		__sync_fetch_and_add(&fast->violations, 1);
	count_reason(reason, w.verdict);
	if (f->dir == CLATCH_OUT && breaks(reason))
		latch_break(l, f, reason);
	w.latch = l->id;
	w.state = l->state;
	report(&f->tuple, &l->held, &f->sas, &w);
	return w.verdict;
}

/*
 * What matches its latch while that is BROKEN or CLOSED: nothing passes, but for what brings no
 * data and makes TCP answer, as the answer is what shows that all is well again.
 */
static __always_inline enum clatch_reason latch_halted(struct __sk_buff *ctx,
						       struct clatch_latch *l, const struct flow *f)
{
	if (l->state == CLATCH_BROKEN && f->dir == CLATCH_OUT)
		latch_restore(l, f);
	if (l->state < CLATCH_BROKEN)
		return CLATCH_OK;
	if (l->state == CLATCH_BROKEN && f->dir == CLATCH_IN &&
	    !(l->causes & ~CLATCH_CAUSES_SEEN) && tcp_stale(ctx))
		return CLATCH_OK;
	return CLATCH_REASON_BROKEN;
}

/* TCP keeps a segment that was refused, and is made to send it once its SA's identity is told. */
static __noinline void latch_held(struct clatch_latch *l, const struct flow *f)
{
	__u64 netns = f->tuple.netns;
	__u32 value = 1;

	__sync_fetch_and_or(&l->flags, CLATCH_HELD);
	bpf_map_update_elem(&clatch_held, &netns, &value, BPF_ANY);
}

/* Holds a packet to its latch, which has been found. */
static __always_inline enum clatch_verdict latch_hold(struct __sk_buff *ctx, struct clatch_latch *l,
						      const struct flow *f, enum clatch_dir dir)
{
	struct clatch_side *side = latch_side(l, dir);
	enum clatch_reason reason = CLATCH_OK;

	if (!side->sa.count && f->sas.count && !f->sas.unknown)
		reason = latch_learn(ctx, l, f);
	if (reason == CLATCH_OK)
		reason = check(l, &f->sas, dir);
	if (reason == CLATCH_IDENTITY_UNKNOWN && dir == CLATCH_OUT && !audit &&
	    f->tuple.proto == IPPROTO_TCP) {
		latch_held(l, f);
		/* Whoever told it meanwhile, and kicked before this was noted, is seen now. */
		if (side->sa.count)
			reason = check_all(l, &f->sas, dir);
	}
	if (reason == CLATCH_OK && l->state >= CLATCH_BROKEN)
		reason = latch_halted(ctx, l, f);
	if (reason != CLATCH_OK)
		return violation(l, f, reason);
	fast_count(l, dir, f->len);
	return CLATCH_PASS;
}

/*
 * A connection begins that must be protected: held from its very first packet.  NULL where the
 * database is full.
 */
static __noinline struct clatch_latch *latch_demand(const struct clatch_tuple *tuple, __u64 cookie,
						    const struct clatch_demand *asked, __u32 flags)
{
	struct birth birth = { .step = CLATCH_STEP_OPEN,
			       .flags = CLATCH_DEMANDED | flags,
			       .cookie = cookie,
			       .asked = asked };
	struct what w = { .type = CLATCH_EV_LATCHED, .direction = CLATCH_OUT };
	struct clatch_latch *l = latch_create(tuple, &birth);

	if (!l)
		return NULL;
	w.latch = l->id;
	w.state = l->state;
	report(tuple, NULL, NULL, &w);
	return l;
}

/* The latch of a connection that begins with @f. */
static __noinline struct clatch_latch *latch_open(const struct flow *f, __u64 listener,
						  const struct clatch_demand *asked)
{
	struct birth birth = {
		.step = CLATCH_STEP_OPEN, .cookie = f->cookie, .listener = listener, .asked = asked
	};

	birth.flags = f->adopted ? CLATCH_ADOPTED : 0;
	return latch_create(&f->tuple, &birth);
}

/* The first protected packet of a connection; @made is its latch, or NULL. */
static __always_inline enum clatch_verdict latch_first(struct __sk_buff *ctx, const struct flow *f,
						       enum clatch_dir dir, __u64 listener,
						       const struct clatch_demand *asked,
						       struct clatch_latch **made)
{
	*made = NULL;
	if (f->sas.unknown)
		return unwatched(f, CLATCH_UNKNOWN_SA, packet_must(ctx, &f->tuple));
	*made = latch_open(f, listener, asked);
	if (!*made)
		return unwatched(f, CLATCH_TABLE_FULL, packet_must(ctx, &f->tuple));
	return latch_hold(ctx, *made, f, dir);
}

#endif
