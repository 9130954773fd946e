/* SPDX-License-Identifier: GPL-2.0-only */
/* Loading, for `load` and for `run`, which loads where nothing is loaded yet. */
#ifndef CLATCH_LOAD_H
#define CLATCH_LOAD_H

#include "cli.h"
#include "policy.h"
#include "targets.h"

#define LOAD_DEFAULT_LATCHES 65536
#define LOAD_MAX_LATCHES 16777216

struct load_options {
	struct target_names names;
	bool audit;
	unsigned long max_latches; /* 0 = not said */
	const char *policy_file; /* NULL = none */
	struct policy policy; /* what is in it, by load_read_policy() */
};

/* clang-format off */
#define LOAD_OPTIONS_INIT { .policy = POLICY_INIT }

/* The entries of an option table that fill a struct load_options. */
#define LOAD_OPTION_ENTRIES(o)                                                                 \
	TARGET_OPTION_ENTRIES(&(o)->names, "guard"),                                           \
	{ "audit", NULL, "report what would be dropped, and drop nothing", OPT_FLAG,           \
	  &(o)->audit, 0, 0 },                                                                 \
	{ "max-latches", "N", "room for this many connections (default 65536)", OPT_NUMBER,    \
	  &(o)->max_latches, 1, LOAD_MAX_LATCHES },                                            \
	{ "policy", "FILE", "rules, and settings where no option says otherwise", OPT_STRING,  \
	  &(o)->policy_file, 0, 0 }
/* clang-format on */

/*
 * Reads the policy file, if there is one; what the command line says wins over its settings.  To be
 * called first.  0, or an exit status after errors were said.
 */
int load_read_policy(const struct cli *cli, struct load_options *options);

/*
 * Loads, attaches and pins; all of it or nothing.  An exit status, after errors were said.
 * Already loaded is an error: look with pins_loaded() (pins.h) before.
 */
int load_perform(struct cli *cli, const struct load_options *options);
void load_options_free(struct load_options *options);

#endif
