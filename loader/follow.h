/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What `monitor` and `run` have in common: an event loop that prints the events of a ring until
 * SIGINT, SIGTERM, or until there is nothing loaded any more.
 */
#ifndef CLATCH_FOLLOW_H
#define CLATCH_FOLLOW_H

#include <stdbool.h>
#include <systemd/sd-event.h>
#include "cli.h"
#include "events.h"

struct follow {
	const struct cli *cli;
	sd_event *loop; /* the caller may add sources */
	sd_event_source *ring; /* of events; off while stdout takes nothing */
	sd_event_source *writable; /* stdout; on while it takes nothing */
	sd_event_source *second; /* on after events, and while stdout takes nothing */
	bool busy; /* events came in since the last second */
	bool stalled; /* the reader of stdout */
	bool polls; /* whether it is there still is asked each second, as the kernel does not tell */
	struct events *events;
	int lost_fd;
	int id_map; /* clatch_ids */
	struct ids *ids;
	__u32 instance; /* the id of its clatch_meta map */
	bool gone; /* that instance was unloaded */
	int error; /* of writing, the last */
	bool write_or_end; /* an error in writing ends the loop */
};

#define FOLLOW_INIT                                                                                \
	{                                                                                          \
		.lost_fd = -1, .id_map = -1                                                        \
	}

/* Follows @ring, whose losses are counted at @lost (enum clatch_lost).  0 or -errno. */
int follow_open(struct follow *f, const struct cli *cli, int ring, __u32 lost);
/* Until the end.  0, or -errno of the loop. */
int follow_run(struct follow *f);
void follow_close(struct follow *f);

#endif
