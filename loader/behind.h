/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Namespaces whose SAs or policies could not be read: it is tried again each second, as nothing wakes
 * us for what has come before.
 */
#ifndef CLATCH_BEHIND_H
#define CLATCH_BEHIND_H

#include "domains.h"

struct behind {
	const struct cli *cli;
	struct domains *domains;
	sd_event_source *source;
	void (*read)(struct domain *domain); /* both; calls behind_note() where that fails again */
	bool said;
};

/* 0 or -errno. */
int behind_open(struct behind *b, sd_event *loop, struct domains *domains,
		void (*read)(struct domain *domain));
void behind_close(struct behind *b);

/* @what could not be read: neither source of @domain wakes us until it is read again. */
void behind_note(struct behind *b, struct domain *domain, const char *what, int err);

#endif
