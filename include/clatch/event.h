/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the packet path reports: verdicts, reasons, and the record in the ring buffers.
 * Shared by bpf/ and loader/.  The text of each name stands once, in loader/names.c.
 */
#ifndef CLATCH_EVENT_H
#define CLATCH_EVENT_H

#include "latch.h"
#include "meta.h"

enum clatch_verdict { CLATCH_PASS, CLATCH_DROP, CLATCH_AUDIT };

/*
 * Index into clatch_stats.  CLATCH_OK is "no reason to object"; there are counted packets that were
 * kept back until it is known whose a new SA is.
 */
enum clatch_reason {
	CLATCH_OK,
	CLATCH_CLEAR,
	CLATCH_SA_MISMATCH,
	CLATCH_PEER_ID,
	CLATCH_IDENTITY_UNKNOWN,
	CLATCH_UNKNOWN_SA,
	CLATCH_POLICY,
	CLATCH_REASON_BROKEN,
	CLATCH_TABLE_FULL,
	CLATCH_REASONS,
};

enum clatch_event_type {
	CLATCH_EV_LATCHED,
	CLATCH_EV_VIOLATION,
	CLATCH_EV_BROKEN,
	CLATCH_EV_RESTORED,
	CLATCH_EV_CLOSED,
	CLATCH_EV_LISTENING,
	CLATCH_EV_ASKED, /* not shown: a BROKEN latch's program has chosen another disposition */
	CLATCH_EV_LOST, /* only in text and JSON: the ring was full, count says how often */
	CLATCH_EV_TYPES,
};

struct clatch_event {
	__u64 time_ns; /* CLOCK_BOOTTIME */
	__u64 latch; /* id, 0 = none (table-full) */
	__u64 other; /* LATCHED: its listener's id, 0 = none; LISTENING: the latch it spawned */
	struct clatch_tuple tuple;
	__u8 type; /* enum clatch_event_type */
	__u8 reason; /* enum clatch_reason */
	__u8 direction; /* enum clatch_dir */
	__u8 verdict; /* enum clatch_verdict */
	__u8 causes; /* enum clatch_cause: those set, on RESTORED those just cleared */
	__u8 cause; /* the one that this event is about */
	__u8 old_state; /* enum clatch_state, before the event … */
	__u8 state; /* … and after it */
	__u8 end; /* enum clatch_end, on CLOSED */
	__u8 expected_count;
	__u8 got_count;
	__u8 pad;
	__u32 fields; /* enum clatch_field: what differed */
	__u32 count; /* violations this record stands for */
	__u32 pad2;
	struct clatch_sa expected[CLATCH_MAX_NEST];
	struct clatch_sa got[CLATCH_MAX_NEST];
};

/*
 * Index into clatch_lost: what found no room, events and repeats of violations, and who should have
 * seen it.  The first is never set back; how much of it some `run` has reported stands in the last.
 */
enum clatch_lost {
	CLATCH_LOST_RUN,
	CLATCH_LOST_MONITOR, /* and so on, by its slot */
	CLATCH_LOST_TOLD = CLATCH_LOST_MONITOR + CLATCH_MAX_MONITORS,
	CLATCH_LOSTS,
};

/* Value of clatch_stats, by reason.  Exact: added to atomically, whatever is merged or lost. */
struct clatch_stat {
	__u64 dropped;
	__u64 passed; /* in audit mode, and table-full with no rule that demands protection */
};

_Static_assert(sizeof(struct clatch_event) == 96 + 8 * sizeof(struct clatch_sa), "no padding");

#endif
