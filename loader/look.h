/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * When `run` looks at what nobody tells of, as a map that another process has written to: a second
 * after whatever it heard, and not while nothing happens.  Commands that change what it keeps a copy
 * of let it hear (pins_tell()), and so does the packet path where it uses the identity table.
 */
#ifndef CLATCH_LOOK_H
#define CLATCH_LOOK_H

#include <stdbool.h>
#include <systemd/sd-event.h>
#include "cli.h"

struct look_owner {
	void (*look)(void *context);
	void (*told)(void *context); /* by pins_tell(): a look follows in any case */
	void *context;
};

struct look {
	struct look_owner owner;
	sd_event_source *told;
	sd_event_source *heard; /* after whatever the event loop did */
	sd_event_source *timer;
	bool looked; /* what the event loop did was our own look */
	bool polls; /* the kernel does not tell: each second, as if told */
};

/* The first look follows at once.  0 or -errno. */
int look_open(struct look *look, const struct cli *cli, sd_event *loop,
	      const struct look_owner *owner);
void look_close(struct look *look);

#endif
