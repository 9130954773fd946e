/* SPDX-License-Identifier: GPL-2.0-only */
/* Latches and events as people and as programs read them: both forms from the same data. */
#ifndef CLATCH_OUTPUT_H
#define CLATCH_OUTPUT_H

#include <clatch/event.h>
#include <stdbool.h>
#include <stdio.h>
#include "latches.h"

/* What is known of a latch and its two ends beside what is in it; NULL = it is not. */
struct latch_proof {
	const struct clatch_certificate *local; /* the certificate of this host */
	const struct clatch_certificate *peer;
	const __u8 *binding; /* channel binding, CLATCH_HASH_LEN bytes */
	const struct clatch_demand *asked; /* what its program asked for */
};

struct output {
	FILE *file;
	bool json;
	bool begun; /* a list: its first latch is out */
	struct ids *ids; /* for names of the ends of an SA; NULL = none are known */
	__s64 utc_offset; /* what makes UTC out of CLOCK_BOOTTIME, in ns */
};

#define OUTPUT_INIT(f, j)                                                                          \
	{                                                                                          \
		.file = (f), .json = (j), .utc_offset = output_utc_offset()                        \
	}

/* Changes when the clock is set: to be asked anew by what runs for long. */
__s64 output_utc_offset(void);

/* {"latches":[…]} or a table, latch by latch. */
void output_list_begin(struct output *o);
void output_list_latch(struct output *o, const struct latch_view *view);
void output_list_end(struct output *o);

/* One latch, with all that is known of it. */
void output_latch(struct output *o, const struct latch_view *view, const struct latch_proof *proof);

/* A line. */
void output_event(struct output *o, const struct clatch_event *event);
/* A line: the ring was full, and @count events are missing. */
void output_lost(struct output *o, __u64 count);

/* Hands everything to the kernel. 0 or -errno: what was printed did not all arrive. */
int output_flush(struct output *o);

#endif
