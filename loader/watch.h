/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What makes `run` the key manager's half of RFC 5660: it watches SAs and policies, breaks the
 * latches that they conflict with, restores them, and ends what stays BROKEN for too long.
 */
#ifndef CLATCH_WATCH_H
#define CLATCH_WATCH_H

#include <clatch/event.h>
#include <systemd/sd-event.h>
#include "cli.h"

struct watch;

/*
 * Begins to watch, in @loop; @reset_after in ns, or DURATION_NEVER (duration.h).  0 and *watch, or
 * -errno.
 */
int watch_open(struct watch **watch, const struct cli *cli, sd_event *loop, __u64 reset_after);
void watch_close(struct watch *watch);

/*
 * Before the first judgement, where `run` takes over what was loaded before: removes latches whose
 * connection is not there any more.  How many, or -errno.
 */
long watch_reconcile(struct watch *watch);

/* An event that the packet path has reported. */
void watch_event(void *watch, const struct clatch_event *event);
/* Events were lost, or wait for a reader who stalls: all latches are looked at. */
void watch_missed(void *watch);

#endif
