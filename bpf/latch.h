/* SPDX-License-Identifier: GPL-2.0-only */
/* The life of a latch: made for one connection, gone with it. */
#ifndef CLATCH_BPF_LATCH_H
#define CLATCH_BPF_LATCH_H

#include "fast.h"
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
	fast_release(l);
	if (!bpf_map_delete_elem(&clatch_latches, tuple) && w.old_state != w.state)
		report(tuple, NULL, NULL, &w);
	/* last: who asks for something meanwhile looks whether the latch still stands (ask.h) */
	bpf_map_delete_elem(&clatch_asked, &w.latch);
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
	const struct clatch_demand *asked; /* by its program, or NULL */
};

/* Gives a new entry its id; whoever comes first wins, an entry with an id is left alone. */
static __always_inline void latch_init(struct clatch_latch *l, const struct clatch_tuple *tuple,
				       const struct birth *birth)
{
	static __u64 last_id;
	__u64 id = __sync_fetch_and_add(&last_id, 1) + 1;
	__u64 now = bpf_ktime_get_boot_ns();
	__u32 rule = rule_find(tuple), flags = birth->flags;
	bool first;

	if (birth->asked) {
		flags |= CLATCH_ASKED;
		bpf_map_update_elem(&clatch_asked, &id, birth->asked, BPF_ANY);
	}
	bpf_spin_lock(&l->lock);
	first = !l->id;
	if (first) {
		l->since_ns = now;
		l->cookie = birth->cookie;
		l->listener = birth->listener;
		l->rule = rule;
		l->flags = flags;
		latch_step(l, birth->step, now);
		l->id = id;
	}
	bpf_spin_unlock(&l->lock);
	if (!first && birth->asked)
		bpf_map_delete_elem(&clatch_asked, &id);
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

#endif
