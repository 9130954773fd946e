/* SPDX-License-Identifier: GPL-2.0-only */
/* Which process is the `run` of an instance: pid and start time in clatch_meta. */
#ifndef CLATCH_DAEMON_H
#define CLATCH_DAEMON_H

#include <clatch/meta.h>
#include <stdbool.h>
#include "cli.h"

/* Does the process that the record names live? */
bool daemon_alive(const struct clatch_meta *meta);

/* Writes the caller into the record.  0; -EBUSY another `run` lives, *pid; -errno. */
int daemon_claim(const struct cli *cli, __u32 *pid);
/* Takes the caller out again, if it is still in there. 0 or -errno. */
int daemon_release(const struct cli *cli);

/* What has become of the IKE daemon; of the `run` that has claimed the record alone.  0 or -errno. */
int daemon_note_ike(const struct cli *cli, enum clatch_ike ike);

#endif
