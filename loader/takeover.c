// SPDX-License-Identifier: GPL-2.0-only
#include "takeover.h"

#include <errno.h>

#include "attach.h"
#include "cleanup.h"
#include "pins.h"
#include "rules.h"
#include "targets.h"

static void warn_of_contradictions(const struct cli *cli, const struct clatch_meta *meta,
				   const struct load_options *options)
{
	if (options->audit && !meta->audit)
		cli_warn(cli, "What is loaded at %s enforces: --audit would need unload first",
			 cli->bpffs);
	if (!options->audit && meta->audit)
		cli_warn(cli,
			 "What is loaded at %s audits, and drops nothing: to enforce, unload "
			 "first",
			 cli->bpffs);
	if (options->max_latches && options->max_latches != meta->max_latches)
		cli_warn(cli,
			 "What is loaded at %s has room for %u latches: --max-latches would "
			 "need unload first",
			 cli->bpffs, meta->max_latches);
}

/*
 * The rules first: what is guarded from now on is under them.  And loading them attaches what they
 * need to what is guarded already.
 */
static int add_missing(const struct cli *cli, const struct load_options *options, struct targets *t)
{
	_cleanup_close_ int lock = pins_lock(cli->bpffs, NULL);
	int err = lock < 0 ? lock : 0;

	if (!err && options->policy_file) {
		err = rules_replace(cli, &options->policy);
		if (err)
			return rules_fail(cli, err);
	}
	if (!err)
		err = targets_drop_guarded(cli->bpffs, t);
	if (err)
		return cli_fail(cli, "Couldn't read what is attached at %s: %s", cli->bpffs,
				pins_strerror(err));
	return targets_attach(cli, t);
}

int takeover(const struct cli *cli, const struct clatch_meta *meta,
	     const struct load_options *options)
{
	struct targets t = {};
	int status = targets_find(cli, &options->names, &t);

	if (!status) {
		warn_of_contradictions(cli, meta, options);
		status = add_missing(cli, options, &t);
	}
	targets_free(&t);
	return status;
}
