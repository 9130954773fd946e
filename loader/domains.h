/* SPDX-License-Identifier: GPL-2.0-only */
/* The network namespaces in use: those of guarded processes, and those of latches. */
#ifndef CLATCH_DOMAINS_H
#define CLATCH_DOMAINS_H

#include <stdbool.h>
#include <sys/types.h>
#include "cli.h"
#include "domain.h"

struct domains {
	const struct cli *cli;
	const struct sa_table *table;
	/* Called for each new one, to add its sockets to an event loop. 0 or -errno. */
	int (*added)(void *context, struct domain *domain);
	/*
	 * Called for each whenever it was found in use: @holder is the guarded thread that it was
	 * found with, 0 = it has a name or is our own.
	 */
	void (*held)(void *context, struct domain *domain, pid_t holder);
	/* One could not be found or opened, which only another refresh tries again. */
	void (*failed)(void *context);
	void *context;
	struct domain *first;
	bool full_said; /* that the SA table has no room */
	bool failed_said; /* that a namespace could not be opened */
};

/* Opens all that are in use.  0, or -errno of the caller's own; others' failures are said. */
int domains_open(struct domains *d);
void domains_close(struct domains *d);

/* The one with this cookie, opened if it is new; NULL = it cannot be found. */
struct domain *domains_find(struct domains *d, __u64 netns);

/*
 * Opens what is new or could not be opened before, and closes those that no guarded process is in and that have no name: an open
 * one would keep its namespace alive.
 */
void domains_refresh(struct domains *d);

/* Said once: what is missing from a full SA table. */
void domains_say_full(struct domains *d);

#endif
