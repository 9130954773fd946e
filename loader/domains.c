// SPDX-License-Identifier: GPL-2.0-only
#include "domains.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "netns.h"

void domains_say_full(struct domains *d)
{
	if (!d->full_said)
		cli_warn(d->cli, "The SA table clatch_sas is full: what comes under the SAs that "
				 "are not in it may be dropped as unknown-sa");
	d->full_said = true;
}

static struct domain *known(const struct domains *d, __u64 netns)
{
	for (struct domain *domain = d->first; domain; domain = domain->next)
		if (domain->netns == netns)
			return domain;
	return NULL;
}

static int open_one(struct domains *d, int fd, __u64 netns, pid_t holder)
{
	struct domain *domain;
	int err = domain_open(&domain, fd, netns, d->table);

	if (err && err != -ENOSPC)
		return err;
	if (err)
		domains_say_full(d);
	err = d->added(d->context, domain);
	if (err) {
		domain_close(domain);
		return err;
	}
	domain->used = true;
	domain->next = d->first;
	d->first = domain;
	d->held(d->context, domain, holder);
	return 0;
}

/* A namespace that cannot be watched is no reason not to watch the others. */
static void say_failed(struct domains *d, int err)
{
	if (!d->failed_said)
		cli_warn(d->cli,
			 "Couldn't watch the SAs and policies of a network namespace in use: %s; "
			 "until that is done, conflicts there are seen only when a packet suffers",
			 strerror(-err));
	d->failed_said = true;
}

static int open_own(struct domains *d)
{
	_cleanup_close_ int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	__u64 netns;
	int err;

	if (fd < 0)
		return -errno;
	err = netns_own(&netns);
	return err ? err : open_one(d, fd, netns, 0);
}

int domains_open(struct domains *d)
{
	int err = open_own(d);

	if (!err)
		domains_refresh(d);
	return err;
}

void domains_close(struct domains *d)
{
	while (d->first) {
		struct domain *domain = d->first;

		d->first = domain->next;
		domain_close(domain);
	}
}

/* Remembered until the next refresh: it is not to be looked for at each of its latches. */
static void note_missing(struct domains *d, __u64 netns)
{
	struct domain *domain = calloc(1, sizeof(*domain));

	d->failed(d->context);
	if (!domain)
		return;
	domain->netns = netns;
	domain->used = true;
	domain->next = d->first;
	d->first = domain;
}

struct domain *domains_find(struct domains *d, __u64 netns)
{
	struct domain *domain = known(d, netns);
	_cleanup_close_ int fd = -1;
	pid_t holder;
	int err;

	if (domain)
		return domain->spd ? domain : NULL;
	fd = netns_find(d->cli->bpffs, netns, &holder);
	err = fd < 0 ? fd : open_one(d, fd, netns, holder);
	if (!err)
		return d->first;
	if (err != -ENOENT)
		say_failed(d, err);
	note_missing(d, netns);
	return NULL;
}

static int note_used(void *context, int fd, __u64 netns, pid_t holder)
{
	struct domains *d = context;
	struct domain *domain = known(d, netns);
	int err;

	if (domain && domain->spd) {
		domain->used = true;
		d->held(d->context, domain, holder);
		return 0;
	}
	err = open_one(d, fd, netns, holder);
	if (err) {
		say_failed(d, err);
		note_missing(d, netns);
	}
	return 0;
}

static void drop_unused(struct domains *d)
{
	struct domain **link = &d->first;

	while (*link) {
		struct domain *domain = *link;

		if (domain->used) {
			link = &domain->next;
			continue;
		}
		*link = domain->next;
		domain_close(domain);
	}
}

/* What was missing is opened if it is there now, and noted anew if it is not. */
void domains_refresh(struct domains *d)
{
	int err;

	for (struct domain *domain = d->first; domain; domain = domain->next)
		domain->used = false;
	err = netns_each(d->cli->bpffs, note_used, d);
	if (!err) {
		drop_unused(d);
		return;
	}
	say_failed(d, err);
	d->failed(d->context);
}
