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

#endif
