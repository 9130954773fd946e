/* SPDX-License-Identifier: GPL-2.0-only */
/* When a connection has been BROKEN for too long, and is reset (RFC 5660: reset-after). */
#ifndef CLATCH_OVERDUE_H
#define CLATCH_OVERDUE_H

#include <clatch/rule.h>
#include <systemd/sd-event.h>
#include "cli.h"
#include "latches.h"

struct overdue {
	const struct cli *cli;
	const struct latches *latches;
	const struct clatch_policy *policy; /* in force; others change it */
	__u64 own; /* our own option: ns, or CLATCH_RESET_* */
	sd_event_source *source;
	__u64 due; /* CLOCK_BOOTTIME, ns, of the first; DURATION_NEVER = nothing is BROKEN */
};

/* With what is in front of the source set. 0 or -errno. */
int overdue_open(struct overdue *o, sd_event *loop);
void overdue_close(struct overdue *o);

/* To be called for each latch that may have become BROKEN, or is so under another policy. */
void overdue_see(struct overdue *o, const struct clatch_latch *latch);

#endif
