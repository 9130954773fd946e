/* SPDX-License-Identifier: GPL-2.0-only */
/* Taking an instance away, for `unload` and for a load that failed. */
#ifndef CLATCH_UNLOAD_H
#define CLATCH_UNLOAD_H

#include "cli.h"

/*
 * Removes filters, links, programs, maps; whatever of them there is.  With @itself also the
 * directory.  The caller holds the lock.  An exit status, after errors were said.
 */
int unload_instance(const struct cli *cli, bool itself);

#endif
