/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What nearly every packet of a latched connection is judged by and counted in: the value of
 * clatch_fast, an array, in which a latch has a slot from its first packet on that may go this way
 * (bpf/fast.h).  Slot 0 is no slot.  Shared by bpf/ and loader/.
 */
#ifndef CLATCH_FAST_H
#define CLATCH_FAST_H

#include "latch.h"

struct clatch_fast_side {
	__u64 latch; /* id; 0 = no packet goes this way: BROKEN, closed, or gone */
	struct clatch_verified verified;
	__u64 packets; /* to be added to the latch's own */
	__u64 bytes;
};

struct clatch_fast {
	struct clatch_fast_side side[CLATCH_DIRS];
};

_Static_assert(sizeof(struct clatch_fast) == 96, "layout shared with pinned maps");

#endif
