/* SPDX-License-Identifier: GPL-2.0-only */
/* `run` where something is loaded already. */
#ifndef CLATCH_TAKEOVER_H
#define CLATCH_TAKEOVER_H

#include "load.h"
#include <clatch/meta.h>

/*
 * Attaches what @options name and is not attached yet; warns of options that are not what is in
 * force.  An exit status, after errors were said.
 */
int takeover(const struct cli *cli, const struct clatch_meta *meta,
	     const struct load_options *options);

#endif
