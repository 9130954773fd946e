// SPDX-License-Identifier: GPL-2.0-only
#include "domain.h"

#include <errno.h>
#include <stdlib.h>

#include "netns.h"

struct opening {
	struct domain *domain;
	const struct sa_table *table;
	bool full;
};

/* Runs inside the namespace: netlink sockets belong to the one in which they are made. */
static int open_inside(void *context)
{
	struct opening *o = context;
	struct domain *d = o->domain;
	int err = sockets_open(&d->sockets);

	if (!err)
		err = spd_open(&d->spd);
	if (!err)
		err = sad_open(&d->sad, o->table, true);
	if (!err)
		err = sad_fill(d->sad);
	o->full = err == -ENOSPC;
	return err < 0 && !o->full ? err : 0;
}

int domain_open(struct domain **domain, int fd, __u64 netns, const struct sa_table *table)
{
	struct opening o = { .domain = calloc(1, sizeof(struct domain)), .table = table };
	int err;

	if (!o.domain)
		return -ENOMEM;
	o.domain->netns = netns;
	err = netns_inside(fd, open_inside, &o);
	if (err) {
		domain_close(o.domain);
		return err;
	}
	*domain = o.domain;
	return o.full ? -ENOSPC : 0;
}

void domain_close(struct domain *d)
{
	if (!d)
		return;
	sd_event_source_unref(d->spd_source);
	sd_event_source_unref(d->sad_source);
	sd_event_source_disable_unref(d->holder_source);
	spd_close(d->spd);
	sad_close(d->sad);
	sockets_close(d->sockets);
	free(d);
}
