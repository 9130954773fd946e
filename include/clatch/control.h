/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Orders of user space to the packet path, which alone changes a latch.  They are the data of
 * clatch_control, run with BPF_PROG_TEST_RUN: an Ethernet header of zeroes, then up to
 * CLATCH_MAX_ORDERS of these.  Its return value says how many found their latch.
 */
#ifndef CLATCH_CONTROL_H
#define CLATCH_CONTROL_H

#include "event.h"

enum clatch_order_type {
	CLATCH_ORDER_CAUSES, /* set and clear causes, and flags; tell identities */
	CLATCH_ORDER_CLOSE, /* CLOSED from now on; it goes with its connection */
	CLATCH_ORDER_REMOVE, /* its connection is not there any more */
};

struct clatch_order {
	struct clatch_tuple tuple;
	__u64 id; /* of the latch; one of another id on this 5-tuple is left alone */
	__u8 type; /* enum clatch_order_type */
	__u8 set; /* enum clatch_cause */
	__u8 clear;
	__u8 flags; /* enum clatch_latch_flag, to be set */
	__u8 direction; /* what conflicts, and how: for the event */
	__u8 reason;
	__u8 end; /* enum clatch_end, of CLOSE and REMOVE */
	__u8 got_count; /* 0 or 1 */
	__u32 fields; /* enum clatch_field */
	__u32 pad;
	/* CAUSES: who the two ends are of the outermost SA, in a latch that does not know it yet … */
	struct clatch_who who[CLATCH_DIRS];
	__be32 spi[CLATCH_DIRS]; /* … if it is still this SA */
	struct clatch_sa got; /* the conflicting SA */
};

#define CLATCH_MAX_ORDERS 16 /* what a page holds, less what a packet takes */

_Static_assert(sizeof(struct clatch_order) == 88 + sizeof(struct clatch_sa), "no padding");

#endif
