/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What nearly every packet of a latched connection is judged by and counted in: the value of
 * clatch_fast, an array, in which each latch of a connection has a slot (bpf/slot.h).  Slot 0 is no
 * slot.  Shared by bpf/ and loader/.
 */
#ifndef CLATCH_FAST_H
#define CLATCH_FAST_H

#include "latch.h"

/* The SA that was last found congruent: how the packet path knows it again (bpf/sa.h). */
struct clatch_verified {
	__s64 expires; /* of its timer, ns */
	/*
	 * Its SPI, and above that the lower half of the id of the latch that it was compared with: in
	 * one word, as the slot may be another latch's while this is written.  0 = none: no SA that a
	 * packet is under has SPI 0; a CPU's number, from 1: it is just comparing.
	 */
	__u64 of;
	__u32 replay_window;
	__u32 generation; /* of the SA table's identities */
};

struct clatch_fast_side {
	__u64 latch; /* id, where the fast path is open (bpf/fast.h); 0: BROKEN, closed, or gone */
	struct clatch_verified verified;
	__u64 packets; /* that matched */
	__u64 bytes;
	__u64 violations;
};

struct clatch_fast {
	struct clatch_fast_side side[CLATCH_DIRS];
};

_Static_assert(sizeof(struct clatch_fast) == 112, "layout shared with pinned maps");

#endif
