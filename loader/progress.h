/* SPDX-License-Identifier: GPL-2.0-only */
/* A line on a terminal that says how far a long work is, and goes when it is done. */
#ifndef CLATCH_PROGRESS_H
#define CLATCH_PROGRESS_H

#include <stdbool.h>
#include "cli.h"

struct progress {
	bool wanted;
	bool shown;
	long long next; /* CLOCK_MONOTONIC, ns: no line before */
};

/*
 * Shown on stderr, where that is a terminal; not with --json beside its output on the same terminal.
 * Nothing in the first second: what is done sooner needs none.
 */
struct progress progress_begin(const struct cli *cli);

/* The line anew, a few times a second at most. */
void progress_show(struct progress *p, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Before anything else is printed, and at the end. */
void progress_clear(struct progress *p);

#endif
