/* SPDX-License-Identifier: GPL-2.0-only */
/* Events out of a ring, printed as they come. */
#ifndef CLATCH_EVENTS_H
#define CLATCH_EVENTS_H

#include <clatch/event.h>
#include <stdbool.h>
#include <linux/types.h>
#include "output.h"

struct events;

/*
 * Prints what arrives in the ring buffer map @ring_fd on stdout, a line each.  @lost_fd is
 * clatch_lost, whose entry @index (enum clatch_lost) counts what found no room: for `run` also what
 * found none while there was no `run`, for a monitor what finds none from now on.  @out says how.
 * 0 or -errno.
 */
int events_open(struct events **events, int ring_fd, int lost_fd, __u32 index,
		const struct output *out);
/*
 * Beside being printed: @visit is called for each event; @missed when events were lost, or wait
 * because the reader of stdout stalls.
 */
struct events_watch {
	void (*visit)(void *context, const struct clatch_event *event);
	void (*missed)(void *context);
	void *context;
};
void events_watch(struct events *events, const struct events_watch *watch);
/* The reader has stalled for long: calls @missed. */
void events_missed(const struct events *events);

void events_close(struct events *events);

/* For an event loop: readable when there is something in the ring. */
int events_fd(const struct events *events);

/*
 * Prints what is there, though not without end.  To be called from time to time as well: losses
 * show only then.  0; -EAGAIN where stdout takes nothing now (what is there stays in the ring);
 * or -errno of writing.
 */
int events_receive(struct events *events);

#endif
