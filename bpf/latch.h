/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The life of a latch: made at a connection's first protected packet, held at every later one,
 * gone with its connection.  check() decides every verdict.
 */
#ifndef CLATCH_BPF_LATCH_H
#define CLATCH_BPF_LATCH_H

#include "event.h"
#include "rule.h"

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

static __noinline void latch_delete(const struct clatch_tuple *tuple)
{
	struct clatch_latch *l = bpf_map_lookup_elem(&clatch_latches, tuple);
	struct what w = { .type = CLATCH_EV_CLOSED, .state = CLATCH_CLOSED };

	if (!l)
		return;
	w.latch = l->id;
	if (!bpf_map_delete_elem(&clatch_latches, tuple))
		report(tuple, NULL, NULL, &w);
}

static int latch_ended(void *map, struct clatch_tuple *tuple, struct clatch_latch *l)
{
	struct clatch_tuple copy = *tuple;

	(void)map, (void)l;
	latch_delete(&copy);
	return 0;
}

/* Lets the latch go in @ns from now, unless its end is set anew before.  0 or -errno. */
static __noinline int latch_end_in(struct clatch_latch *l, __u64 ns)
{
	bpf_timer_init(&l->end, &clatch_latches, CLOCK_BOOTTIME); /* EBUSY the second time */
	bpf_timer_set_callback(&l->end, latch_ended);
	return bpf_timer_start(&l->end, ns, 0);
}

/* Gives a new entry its id; whoever comes first wins, an entry with an id is left alone. */
static __always_inline void latch_init(struct clatch_latch *l, const struct flow *f)
{
	static __u64 last_id;
	__u64 id = __sync_fetch_and_add(&last_id, 1) + 1;
	__u64 now = bpf_ktime_get_boot_ns();
	__u32 rule = rule_find(&f->tuple);

	bpf_spin_lock(&l->lock);
	if (!l->id) {
		l->since_ns = now;
		l->cookie = f->cookie;
		l->rule = rule;
		l->state = l->in.count && l->out.count ? CLATCH_ESTABLISHED : CLATCH_LARVAL;
		l->flags = f->adopted ? CLATCH_ADOPTED : 0;
		l->id = id;
	}
	bpf_spin_unlock(&l->lock);
}

/* NULL where the database is full. */
static __noinline struct clatch_latch *latch_create(const struct flow *f)
{
	struct clatch_latch *l;

	bpf_map_update_elem(&clatch_latches, &f->tuple, zeroes, BPF_NOEXIST);
	l = bpf_map_lookup_elem(&clatch_latches, &f->tuple);
	if (l && !l->id)
		latch_init(l, f);
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

/* Records what protects this direction; the first packet wins.  False where there is no room. */
static __noinline bool latch_record(struct clatch_latch *l, const struct flow *f)
{
	struct what w = { .type = CLATCH_EV_LATCHED, .direction = f->dir };
	struct clatch_side *side = latch_side(l, f->dir);
	struct seen seen = {};
	bool first = false;

	if (!side_seen(&seen, f))
		return false;
	bpf_spin_lock(&l->lock);
	if (!side->count) {
		*(struct seen *)side = seen;
		if (l->in.count && l->out.count && l->state == CLATCH_LARVAL)
			l->state = CLATCH_ESTABLISHED;
		w.state = l->state;
		first = true;
	}
	bpf_spin_unlock(&l->lock);
	if (!first)
		return true;
	w.latch = l->id;
	sas_addresses(&side->src, &side->dst, &f->sas);
	report(&f->tuple, NULL, &f->sas, &w);
	return true;
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

/* Our own packet would have left otherwise than latched: that is what breaks a latch. */
static __always_inline void latch_break(struct clatch_latch *l, const struct flow *f,
					enum clatch_reason reason)
{
	struct what w = { .type = CLATCH_EV_BROKEN, .reason = reason, .direction = CLATCH_OUT };
	bool first;

	w.causes = reason == CLATCH_CLEAR ? CLATCH_CAUSE_OUT_CLEAR : CLATCH_CAUSE_OUT_MISMATCH;
	bpf_spin_lock(&l->lock);
	first = !(l->causes & w.causes);
	l->causes |= w.causes;
	l->state = CLATCH_BROKEN;
	w.causes = l->causes;
	bpf_spin_unlock(&l->lock);
	w.latch = l->id;
	w.state = CLATCH_BROKEN;
	if (first)
		report(&f->tuple, &l->out, &f->sas, &w);
}

/* A packet of ours matched again. */
static __noinline void latch_restore(struct clatch_latch *l, const struct flow *f)
{
	struct what w = { .type = CLATCH_EV_RESTORED, .direction = CLATCH_OUT };

	bpf_spin_lock(&l->lock);
	w.causes = l->causes;
	l->causes = 0;
	w.state = l->in.count && l->out.count ? CLATCH_ESTABLISHED : CLATCH_LARVAL;
	l->state = w.state;
	bpf_spin_unlock(&l->lock);
	w.latch = l->id;
	if (w.causes)
		report(&f->tuple, &l->out, &f->sas, &w);
}

static __noinline enum clatch_verdict violation(struct clatch_latch *l, const struct flow *f,
						enum clatch_reason reason)
{
	struct what w = { .type = CLATCH_EV_VIOLATION, .reason = reason, .direction = f->dir };

	w.verdict = audit ? CLATCH_AUDIT : CLATCH_DROP;
	__sync_fetch_and_add(&latch_side(l, f->dir)->violations, 1);
	count_reason(reason, w.verdict);
	if (f->dir == CLATCH_OUT)
		latch_break(l, f, reason);
	w.latch = l->id;
	w.state = l->state;
	report(&f->tuple, latch_side(l, f->dir), &f->sas, &w);
	return w.verdict;
}

/* Holds a packet to its latch, which has been found. */
static __always_inline enum clatch_verdict latch_hold(struct clatch_latch *l, const struct flow *f,
						      enum clatch_dir dir)
{
	struct clatch_side *side = latch_side(l, dir);
	enum clatch_reason reason;

	if (!side->count && f->sas.count && !f->sas.unknown && !latch_record(l, f))
		return violation(l, f, CLATCH_TABLE_FULL);
	reason = check(side, &f->sas);
	if (reason != CLATCH_OK)
		return violation(l, f, reason);
	__sync_fetch_and_add(&side->packets, 1);
	__sync_fetch_and_add(&side->bytes, f->len);
	if (dir == CLATCH_OUT && l->causes)
		latch_restore(l, f);
	return CLATCH_PASS;
}

/* The first protected packet of a connection; @made is its latch, or NULL. */
static __always_inline enum clatch_verdict latch_first(const struct flow *f, enum clatch_dir dir,
						       struct clatch_latch **made)
{
	*made = NULL;
	if (f->sas.unknown)
		return unwatched(f, CLATCH_UNKNOWN_SA);
	*made = latch_create(f);
	if (!*made)
		return unwatched(f, CLATCH_TABLE_FULL);
	return latch_hold(*made, f, dir);
}

#endif
