/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The life of a latch: made at a connection's first protected packet, held at every later one,
 * gone with its connection.  check() decides every verdict.
 */
#ifndef CLATCH_BPF_LATCH_H
#define CLATCH_BPF_LATCH_H

#include "event.h"
#include "rule.h"
#include "stale.h"

/* A SYN that comes to nothing: longer than the kernel repeats its SYN-ACK (63 s). */
#define LARVAL_TIME (75 * SECOND)
#define TIME_WAIT_TIME (60 * SECOND) /* TCP_TIMEWAIT_LEN */
/* Nothing tells us the end of an adopted TCP connection: longer than TCP's slowest repeat. */
#define UNSEEN_END_TIME (130 * SECOND)
/* A closed TCP connection: a packet that is being received on another CPU must still find it. */
#define CLOSED_TIME (SECOND / 20)

/* Set by the loader before the programs are verified. */
struct settings {
	__u32 audit; /* 1 = what would be dropped passes, and is reported so */
};
const volatile struct settings settings SEC(".rodata.settings") = {};
#define audit (settings.audit)

static __always_inline struct clatch_side *latch_side(struct clatch_latch *l, __u32 dir)
{
	return dir == CLATCH_IN ? &l->in : &l->out;
}

/* The latch goes, and @end says why. */
static __noinline void latch_delete(const struct clatch_tuple *tuple, enum clatch_end end)
{
	struct clatch_latch *l = bpf_map_lookup_elem(&clatch_latches, tuple);
	struct what w = { .type = CLATCH_EV_CLOSED, .end = end };

	if (!l)
		return;
	w.latch = l->id;
	w.old_state = l->state;
	w.state = clatch_next(l->state, CLATCH_STEP_RELEASE);
	if (!bpf_map_delete_elem(&clatch_latches, tuple) && w.old_state != w.state)
		report(tuple, NULL, NULL, &w);
}

static int latch_ended(void *map, struct clatch_tuple *tuple, struct clatch_latch *l)
{
	struct clatch_tuple copy = *tuple;

	(void)map;
	latch_delete(&copy, l->flags & CLATCH_OPENING ? CLATCH_END_EXPIRED : CLATCH_END_RELEASED);
	return 0;
}

/* Lets the latch go in @ns from now, unless its end is set anew before.  0 or -errno. */
static __noinline int latch_end_in(struct clatch_latch *l, __u64 ns)
{
	bpf_timer_init(&l->end, &clatch_latches, CLOCK_BOOTTIME); /* EBUSY the second time */
	bpf_timer_set_callback(&l->end, latch_ended);
	return bpf_timer_start(&l->end, ns, 0);
}

/* Takes the latch, locked, one step further, at @now.  The state it had. */
static __always_inline __u32 latch_step(struct clatch_latch *l, enum clatch_step step, __u64 now)
{
	__u32 old = l->state;

	l->state = clatch_next(old, step);
	if (l->state != old)
		l->changed_ns = now;
	return old;
}

/* What a latch is made with. */
struct birth {
	enum clatch_step step; /* LISTEN or OPEN */
	__u32 flags; /* enum clatch_latch_flag */
	__u64 cookie;
	__u64 listener;
};

/* Gives a new entry its id; whoever comes first wins, an entry with an id is left alone. */
static __always_inline void latch_init(struct clatch_latch *l, const struct clatch_tuple *tuple,
				       const struct birth *birth)
{
	static __u64 last_id;
	__u64 id = __sync_fetch_and_add(&last_id, 1) + 1;
	__u64 now = bpf_ktime_get_boot_ns();
	__u32 rule = rule_find(tuple);

	bpf_spin_lock(&l->lock);
	if (!l->id) {
		l->since_ns = now;
		l->cookie = birth->cookie;
		l->listener = birth->listener;
		l->rule = rule;
		l->flags = birth->flags;
		latch_step(l, birth->step, now);
		l->id = id;
	}
	bpf_spin_unlock(&l->lock);
}

/* NULL where the database is full. */
static __noinline struct clatch_latch *latch_create(const struct clatch_tuple *tuple,
						    const struct birth *birth)
{
	struct clatch_latch *l;

	bpf_map_update_elem(&clatch_latches, tuple, zeroes, BPF_NOEXIST);
	l = bpf_map_lookup_elem(&clatch_latches, tuple);
	if (l && !l->id)
		latch_init(l, tuple, birth);
	return l;
}

/* The SA's place in a latch.  False where it can have none: too many suites. */
static __always_inline bool sa_ref(struct clatch_sa_ref *ref, __u64 address,
				   const struct clatch_sa_key *key)
{
	struct sa_facts f = {};

	sa_facts(&f, address, key);
	ref->suite = suite_intern(&f.suite);
	ref->reqid = f.reqid;
	ref->if_id = f.if_id;
	ref->spi = f.spi;
	return ref->suite;
}

/* What is compared of a struct clatch_side: recorded under the lock. */
struct seen {
	struct clatch_sa_ref sa[CLATCH_MAX_NEST];
	__u64 count;
};
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
 * if this one is news; else 0, and -1 where there is no room.
 */
static __noinline int latch_record(struct clatch_latch *l, const struct flow *f)
{
	__u64 now = bpf_ktime_get_boot_ns();
	struct clatch_side *side = latch_side(l, f->dir);
	struct seen seen = {};
	int known = 0;

	if (!side_seen(&seen, f))
		return -1;
	bpf_spin_lock(&l->lock);
	if (!side->count) {
		*(struct seen *)side = seen;
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

/* False where there is no room to keep what protects the packet. */
static __always_inline bool latch_learn(struct __sk_buff *ctx, struct clatch_latch *l,
					const struct flow *f)
{
	int known = latch_record(l, f);

	if (known > 0)
		latch_recorded(ctx, l, f, known);
	return known >= 0;
}

/*
 * The one function that decides.  Every hook ends here: does the packet carry what its latch
 * holds this direction to?
 */
static __always_inline enum clatch_reason check(struct clatch_side *side, const struct sas *s)
{
	bool single = s->count == 1 && s->state[0];

	if (single && sa_verified(&side->verified, kcast(struct xfrm_state, s->state[0])))
		return CLATCH_OK;
	if (s->unknown)
		return CLATCH_UNKNOWN_SA;
	if (!s->count)
		return CLATCH_CLEAR;
	if (s->count != side->count)
		return CLATCH_SA_MISMATCH;
#pragma unroll
	for (int i = 0; i < CLATCH_MAX_NEST; i++)
		if (i < (int)s->count && !sa_congruent(s->state[i], &s->table, &side->sa[i]))
			return CLATCH_SA_MISMATCH;
	if (single)
		sa_verify(&side->verified, kcast(struct xfrm_state, s->state[0]));
	return CLATCH_OK;
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

/* A protected flow that cannot be latched: refused where a rule demands protection. */
verified_once int unwatched(const struct flow *f, enum clatch_reason reason)
{
	struct what w = { .type = CLATCH_EV_VIOLATION, .reason = reason };

	if (!f)
		return CLATCH_DROP;
	w.direction = f->dir;
	if (rule_demands_protection(rule_find(&f->tuple)))
		w.verdict = audit ? CLATCH_AUDIT : CLATCH_DROP;
	count_reason(reason, w.verdict);
	report(&f->tuple, NULL, &f->sas, &w);
	return w.verdict;
}

static __always_inline __u32 cleared_step(const struct clatch_latch *l)
{
	return l->in.count && l->out.count ? CLATCH_STEP_CLEARED : CLATCH_STEP_CLEARED_EARLY;
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
	w->latch = l->id;
	w->cause = lowest_bit(fresh ? fresh : clear & before);
	return fresh;
}

/* Our own packet would have left otherwise than latched: that is what breaks a latch. */
static __always_inline void latch_break(struct clatch_latch *l, const struct flow *f,
					enum clatch_reason reason)
{
	struct what w = { .type = CLATCH_EV_BROKEN, .reason = reason, .direction = CLATCH_OUT };

	if (latch_causes(
		    l, reason == CLATCH_CLEAR ? CLATCH_CAUSE_OUT_CLEAR : CLATCH_CAUSE_OUT_MISMATCH,
		    0, &w) &&
	    w.state == CLATCH_BROKEN)
		report(&f->tuple, &l->out, &f->sas, &w);
}

/* A packet of ours matched again. */
static __noinline void latch_restore(struct clatch_latch *l, const struct flow *f)
{
	struct what w = { .type = CLATCH_EV_RESTORED, .direction = CLATCH_OUT };

	latch_causes(l, 0, CLATCH_CAUSES_SEEN, &w);
	if (w.old_state == CLATCH_BROKEN && w.state != CLATCH_BROKEN)
		report(&f->tuple, &l->out, &f->sas, &w);
}

static __noinline enum clatch_verdict violation(struct clatch_latch *l, const struct flow *f,
						enum clatch_reason reason)
{
	struct what w = { .type = CLATCH_EV_VIOLATION, .reason = reason, .direction = f->dir };

	w.verdict = audit ? CLATCH_AUDIT : CLATCH_DROP;
	__sync_fetch_and_add(&latch_side(l, f->dir)->violations, 1);
	count_reason(reason, w.verdict);
	if (f->dir == CLATCH_OUT && reason != CLATCH_REASON_BROKEN)
		latch_break(l, f, reason);
	w.latch = l->id;
	w.state = l->state;
	report(&f->tuple, latch_side(l, f->dir), &f->sas, &w);
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

/* Holds a packet to its latch, which has been found. */
static __always_inline enum clatch_verdict latch_hold(struct __sk_buff *ctx, struct clatch_latch *l,
						      const struct flow *f, enum clatch_dir dir)
{
	struct clatch_side *side = latch_side(l, dir);
	enum clatch_reason reason;

	if (!side->count && f->sas.count && !f->sas.unknown && !latch_learn(ctx, l, f))
		return violation(l, f, CLATCH_TABLE_FULL);
	reason = check(side, &f->sas);
	if (reason == CLATCH_OK && l->state >= CLATCH_BROKEN)
		reason = latch_halted(ctx, l, f);
	if (reason != CLATCH_OK)
		return violation(l, f, reason);
	__sync_fetch_and_add(&side->packets, 1);
	__sync_fetch_and_add(&side->bytes, f->len);
	return CLATCH_PASS;
}

/* The latch of a connection that begins with @f. */
static __noinline struct clatch_latch *latch_open(const struct flow *f, __u64 listener)
{
	struct birth birth = { .step = CLATCH_STEP_OPEN,
			       .cookie = f->cookie,
			       .listener = listener };

	birth.flags = f->adopted ? CLATCH_ADOPTED : 0;
	return latch_create(&f->tuple, &birth);
}

/* The first protected packet of a connection; @made is its latch, or NULL. */
static __always_inline enum clatch_verdict latch_first(struct __sk_buff *ctx, const struct flow *f,
						       enum clatch_dir dir, __u64 listener,
						       struct clatch_latch **made)
{
	*made = NULL;
	if (f->sas.unknown)
		return unwatched(f, CLATCH_UNKNOWN_SA);
	*made = latch_open(f, listener);
	if (!*made)
		return unwatched(f, CLATCH_TABLE_FULL);
	return latch_hold(ctx, *made, f, dir);
}

#endif
