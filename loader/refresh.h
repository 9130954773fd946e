/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * When the network namespaces in use are to be looked for anew: the kernel tells of mounts, by which
 * they get and lose names, and of the end of the process that a namespace was found with.  As long as
 * one is open of whose end it does not tell, or could not be opened, each 10 s.  It does not tell either
 * that a process goes into another namespace by setns(): the one that it left stays open, and so is kept
 * alive, until they are looked for anew for another reason.
 */
#ifndef CLATCH_REFRESH_H
#define CLATCH_REFRESH_H

#include <sys/types.h>
#include <systemd/sd-event.h>
#include "domains.h"

struct refresh {
	struct domains *domains;
	sd_event *loop;
	sd_event_source *mounts; /* NULL = the kernel does not tell */
	sd_event_source *timer;
	uint64_t due; /* CLOCK_MONOTONIC, us; UINT64_MAX = not on its way */
};

/* Before @domains are opened.  0 or -errno. */
int refresh_open(struct refresh *refresh, sd_event *loop, struct domains *domains);
void refresh_close(struct refresh *refresh);

/* Something has changed: within a second. */
void refresh_soon(struct refresh *refresh);
/* Something could not be done: in 10 s. */
void refresh_later(struct refresh *refresh);

/* domains.h, held(). */
void refresh_held(struct refresh *refresh, struct domain *domain, pid_t holder);

#endif
