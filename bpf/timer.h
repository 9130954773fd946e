/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One timer for many things, which looks at all of them at each tick: where each had its own, a flood
 * of them would wait for the kernel's memory, and 6.18 has none for timers beyond some hundreds.
 */
#ifndef CLATCH_BPF_TIMER_H
#define CLATCH_BPF_TIMER_H

#include "maps.h"

#define CLOCK_BOOTTIME 7

/* A tick's walk over its things. */
struct tick_walk {
	__u64 now; /* CLOCK_BOOTTIME */
	__u64 left; /* 1 = there is something to look at again */
};

/* Lets @tick run in @ns, unless it is to run anyway.  @map is @t's.  0 or -errno. */
static __always_inline int tick_start(struct shared_timer *t, void *map, void *tick, __u64 ns)
{
	int err;

	if (__sync_val_compare_and_swap(&t->set, 0, 1))
		return 0;
	bpf_timer_init(&t->timer, map, CLOCK_BOOTTIME); /* EBUSY but at first */
	bpf_timer_set_callback(&t->timer, tick);
	err = bpf_timer_start(&t->timer, ns, 0);
	if (err)
		__sync_lock_test_and_set(&t->set, 0);
	else
		t->made = 1;
	return err;
}

/* In a tick, before the walk: who comes with what that does not see sets the timer anew. */
static __always_inline void tick_begins(struct shared_timer *t)
{
	__sync_lock_test_and_set(&t->set, 0);
}

/* … and after it. */
static __always_inline void tick_ends(struct shared_timer *t, const struct tick_walk *walk,
				      __u64 ns)
{
	if (walk->left && !__sync_val_compare_and_swap(&t->set, 0, 1) &&
	    bpf_timer_start(&t->timer, ns, 0))
		__sync_lock_test_and_set(&t->set, 0);
}

#endif
