/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * When the network namespaces in use are to be looked for anew: the kernel tells of mounts, by which
 * they get and lose names, and of the end of the process that a namespace was found with.  As long as
 * one is open of whose end it does not tell, each 10 s.
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

/* domains.h, held(). */
void refresh_held(struct refresh *refresh, struct domain *domain, pid_t holder);

#endif
