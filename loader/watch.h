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

struct watch_options {
	/* ns or CLATCH_RESET_NEVER, or CLATCH_RESET_DEFAULT: as the policy says, whatever it will be */
	__u64 reset_after;
	const char *vici; /* socket of the IKE daemon, NULL = none */
};

/* Begins to watch, in @loop.  0 and *watch, or -errno. */
int watch_open(struct watch **watch, const struct cli *cli, sd_event *loop,
	       const struct watch_options *options);
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
