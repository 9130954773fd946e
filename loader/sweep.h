/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * When all latches are judged anew.  It takes a look at each bucket of their table, so rekeys, of
 * which there may be many a second, share one.  It is done in slices of a millisecond or so, all else
 * that has happened having its turn in between: the packets of an SA wait for us to learn whose it is.
 */
#ifndef CLATCH_SWEEP_H
#define CLATCH_SWEEP_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "news.h"

#define SWEEP_AGAIN_US 1000000ULL
#define SWEEP_LATER_US 200000ULL /* how long the news of a rekey can wait */

/*
 * Judges the next latches, the first ones after all were.  1 = there are more; 0, or -errno, which ends
 * the sweep.
 */
typedef int sweep_slice(void *context);

struct sweep {
	sd_event_source *source;
	uint64_t due; /* CLOCK_MONOTONIC, us; UINT64_MAX = nothing is to be judged */
	uint64_t rest_until; /* an eighth of the time is left for all else */
	uint64_t took; /* us, this sweep so far */
	bool under_way;
	bool broken; /* a latch is, so whatever may heal it does not wait */
	bool found; /* one was found to be, in this sweep */
	sweep_slice *judge;
	void *context;
};

/* The first is due at once; after one that failed, another is a second later.  0 or -errno. */
int sweep_open(struct sweep *s, sd_event *loop, sweep_slice *judge, void *context);
void sweep_close(struct sweep *s);

/* @news: an enum news; what is no news at all, or an error, brings nothing. */
void sweep_after(struct sweep *s, int news);
/* What was to be done could not be: all latches are judged in a second. */
void sweep_again(struct sweep *s);
/* A latch was found BROKEN, or is about to be; to be said anew in each sweep. */
void sweep_note_broken(struct sweep *s);

#endif
