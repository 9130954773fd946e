/* SPDX-License-Identifier: GPL-2.0-only */
/* When a latch goes whose connection is ending, or may never begin. */
#ifndef CLATCH_BPF_ENDING_H
#define CLATCH_BPF_ENDING_H

#include "latch.h"

/* A SYN that comes to nothing: longer than the kernel repeats its SYN-ACK (63 s). */
#define LARVAL_TIME (75 * SECOND)
#define TIME_WAIT_TIME (60 * SECOND) /* TCP_TIMEWAIT_LEN */
/* Nothing tells us the end of an adopted TCP connection: longer than TCP's slowest repeat. */
#define UNSEEN_END_TIME (130 * SECOND)
/* A closed TCP connection: a packet that is being received on another CPU must still find it. */
#define CLOSED_TIME (SECOND / 20)

#define ENDING_TICK SECOND

static __always_inline void latch_ends(const struct clatch_tuple *tuple,
				       const struct clatch_latch *l, __u64 id)
{
	latch_delete_id(tuple, id,
			l->flags & CLATCH_OPENING ? CLATCH_END_EXPIRED : CLATCH_END_RELEASED);
}

static int latch_ended(void *map, struct clatch_tuple *tuple, struct clatch_latch *l)
{
	struct clatch_tuple copy = *tuple;

	(void)map;
	latch_ends(&copy, l, l->id);
	return 0;
}

static long ending_visit(void *map, __u64 *key, struct ending *ending, struct tick_walk *walk)
{
	struct clatch_tuple tuple = ending->tuple;
	struct clatch_latch *l;
	__u64 id = *key;

	if (!ending->due || ending->due > walk->now) {
		walk->left = 1;
		return 0;
	}
	l = bpf_map_lookup_elem(&clatch_latches, &tuple);
	/* its connection may go on since */
	if (l && l->id == id && (l->flags & CLATCH_UNTIMED))
		latch_ends(&tuple, l, id);
	bpf_map_delete_elem(map, &id);
	return 0;
}

static int ending_tick(void *map, __u32 *key, struct shared_timer *t)
{
	struct tick_walk walk = { .now = bpf_ktime_get_boot_ns(), .left = unknown_zero() };

	(void)map, (void)key;
	tick_begins(t);
	bpf_for_each_map_elem(&clatch_endings, ending_visit, &walk, 0);
	tick_ends(t, &walk, ENDING_TICK);
	return 0;
}

static __always_inline struct shared_timer *ending_timer(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&clatch_ending_timer, &zero);
}

verified_once int ending_set_timer(void)
{
	struct shared_timer *t = ending_timer();

	return t ? tick_start(t, &clatch_ending_timer, ending_tick, ENDING_TICK) : -1;
}

/* Notes that the latch of @tuple with this @id is to go in @ns.  False where there is no room. */
verified_once int ending_note(const struct clatch_tuple *tuple, __u64 id, __u64 ns)
{
	struct ending *ending;

	bpf_map_update_elem(&clatch_endings, &id, zeroes, BPF_NOEXIST);
	ending = bpf_map_lookup_elem(&clatch_endings, &id);
	if (!tuple || !ending)
		return false;
	ending->tuple = *tuple;
	*(volatile __u64 *)&ending->due = bpf_ktime_get_boot_ns() + ns; /* last */
	return true;
}

/* The same without a timer of its own.  0, or less where there is no room or no timer at all. */
static __always_inline int latch_end_untimed(const struct clatch_tuple *tuple,
					     struct clatch_latch *l, __u64 ns)
{
	__sync_fetch_and_or(&l->flags, CLATCH_UNTIMED); /* first: whoever ends it is to see it */
	if (ending_note(tuple, l->id, ns))
		return ending_set_timer();
	__sync_fetch_and_and(&l->flags, ~CLATCH_UNTIMED);
	return -1;
}

/* Lets the latch of @tuple go in @ns from now, unless its end is set anew before.  0 or less. */
static __noinline int latch_end_in(const struct clatch_tuple *tuple, struct clatch_latch *l,
				   __u64 ns)
{
	struct shared_timer *t = ending_timer();

	if (t && !t->made) /* while there is memory for it */
		ending_set_timer();
	if (!(l->flags & CLATCH_UNTIMED)) {
		bpf_timer_init(&l->end, &clatch_latches, CLOCK_BOOTTIME); /* EBUSY but at first */
		bpf_timer_set_callback(&l->end, latch_ended);
		if (!bpf_timer_start(&l->end, ns, 0))
			return 0;
	}
	return latch_end_untimed(tuple, l, ns);
}

/* Its connection goes on. */
static __noinline int latch_goes_on(struct clatch_latch *l)
{
	__u64 id = l->id;

	if (__sync_fetch_and_and(&l->flags, ~CLATCH_UNTIMED) & CLATCH_UNTIMED)
		bpf_map_delete_elem(&clatch_endings, &id);
	return bpf_timer_cancel(&l->end); /* which another CPU may have had all the same */
}

#endif
