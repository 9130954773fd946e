/* SPDX-License-Identifier: GPL-2.0-only */
/* One network namespace as the daemon watches it: its SAs, its policies and its sockets. */
#ifndef CLATCH_DOMAIN_H
#define CLATCH_DOMAIN_H

#include <linux/types.h>
#include <stdbool.h>
#include <systemd/sd-event.h>
#include "sad.h"
#include "sockets.h"
#include "spd.h"

struct domain {
	__u64 netns; /* cookie */
	struct spd *spd; /* NULL = it could not be found or opened: nothing is known of it */
	struct sad *sad;
	struct sockets *sockets;
	sd_event_source *spd_source;
	sd_event_source *sad_source;
	sd_event_source *holder_source; /* the process that keeps it in use; refresh.h's */
	void *owner; /* for who handles its sources */
	bool behind; /* see behind.h */
	bool used; /* found in use by domains_refresh() */
	struct domain *next;
};

/*
 * Opens the namespace of @fd, its SAs also into @table.  0 and *domain; -ENOSPC
 * and *domain: that map is full; or -errno.
 */
int domain_open(struct domain **domain, int fd, __u64 netns, const struct sa_table *table);
void domain_close(struct domain *domain);

#endif
