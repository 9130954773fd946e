/* SPDX-License-Identifier: GPL-2.0-only */
/* The gateway's programs: loaded beside what is loaded, once a veth is to be guarded. */
#ifndef CLATCH_GATEWAY_LOADER_H
#define CLATCH_GATEWAY_LOADER_H

#include <clatch/meta.h>
#include "cli.h"

/*
 * Loads them if they are not yet; the caller holds the lock.  @mark_mask: two neighbouring bits of
 * the packet mark, 0 = those in use, or the default.  It says its errors, and returns an exit status.
 */
int gateway_load(const struct cli *cli, const struct clatch_meta *meta, unsigned int mark_mask);

#endif
