/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Ending latches: administrative close, and reset of what stays BROKEN (RFC 5660 R31, R35–R37).
 *
 * The connection is reset while its latch still stands, so that the reset goes out protected; then
 * the latch is CLOSED, so that nothing passes even where the connection is still there.
 */
#ifndef CLATCH_END_H
#define CLATCH_END_H

#include <clatch/latch.h>
#include "cli.h"

/* Keeps a sock_diag socket in each namespace it was used for, and by that the namespace itself. */
struct ender;

/* For a batch of latches of the instance at cli->bpffs; not to be kept.  0 and *ender, or -errno. */
int ender_open(struct ender **ender, const struct cli *cli);
void ender_close(struct ender *ender);

/*
 * Ends the connection of @latch, or the listening sockets, and closes the latch with @why.
 * 0, also where there was no socket any more; -ESTALE the latch has gone or was replaced, nothing
 * was done.  Else it is closed, but its socket is still there: -ENONET its network namespace was not
 * found, or as sockets_destroy().  Where not even that worked, the error is that of control_run().
 */
int ender_end(struct ender *ender, const struct clatch_tuple *tuple,
	      const struct clatch_latch *latch, enum clatch_end why);

/* What an error of ender_end() means to the user. */
const char *ender_strerror(int error);

#endif
