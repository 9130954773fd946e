/* SPDX-License-Identifier: GPL-2.0-only */
/* The cgroups whose programs may turn protection off for their sockets: clatch_may_turn_off. */
#ifndef CLATCH_LOADER_MAY_TURN_OFF_H
#define CLATCH_LOADER_MAY_TURN_OFF_H

#include <linux/types.h>
#include "cli.h"

/*
 * Writes what @generation allows: @paths, blanks between them, NULL = none; before the generation is
 * put in force.  0; -ESRCH one is no cgroup, which was said; -errno.
 */
int may_turn_off_write(const struct cli *cli, const char *paths, __u32 generation);

/* Removes all that @generation does not allow. */
int may_turn_off_keep(const struct cli *cli, __u32 generation);

/* What @generation allows, as in the policy file; NULL = none.  The caller frees it.  0 or -errno. */
int may_turn_off_read(const struct cli *cli, __u32 generation, char **paths);

#endif
