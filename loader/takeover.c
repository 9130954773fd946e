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

static void drop_attached_cgroups(const char *dir, struct targets *t)
{
	size_t kept = 0;

	for (size_t i = 0; i < t->cgroup_count; i++) {
		if (cgroup_attached(dir, t->cgroups[i].id))
			close(t->cgroups[i].fd);
		else
			t->cgroups[kept++] = t->cgroups[i];
	}
	t->cgroup_count = kept;
}

static int drop_attached_devices(const char *dir, struct targets *t)
{
	struct clatch_device attached[CLATCH_MAX_DEVICES];
	unsigned int count, j;
	int err = attached_devices(dir, attached, &count);
	size_t kept = 0;

	if (err)
		return err;
	for (size_t i = 0; i < t->device_count; i++) {
		for (j = 0; j < count; j++)
			if (attached[j].ifindex == t->devices[i].ifindex &&
			    attached[j].role == t->devices[i].role &&
			    device_state(dir, &attached[j]) == DEVICE_GUARDED)
				break;
		if (j == count)
			t->devices[kept++] = t->devices[i];
	}
	t->device_count = kept;
	return 0;
}

/* The rules first: what is guarded from now on is under them. */
static int add_missing(const struct cli *cli, const struct load_options *options, struct targets *t)
{
	_cleanup_close_ int lock = pins_lock(cli->bpffs, NULL);
	int err = lock < 0 ? lock : drop_attached_devices(cli->bpffs, t);

	if (err)
		return cli_fail(cli, "Couldn't read what is attached at %s: %s", cli->bpffs,
				pins_strerror(err));
	err = options->policy_file ? rules_replace(cli, &options->policy) : 0;
	if (err)
		return rules_fail(cli, err);
	drop_attached_cgroups(cli->bpffs, t);
	return targets_attach(cli, t);
}

int takeover(const struct cli *cli, const struct clatch_meta *meta,
	     const struct load_options *options)
{
	struct targets t = {};
	int status = targets_find(cli, &options->cgroups, &options->devices, &t);

	if (!status) {
		warn_of_contradictions(cli, meta, options);
		status = add_missing(cli, options, &t);
	}
	targets_free(&t);
	return status;
}
