// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <string.h>

#include "attach.h"
#include "attach_device.h"
#include "cgroup.h"
#include "cleanup.h"
#include "pins.h"
#include "targets.h"

struct wanted {
	struct target_names names;
	bool gone;
};

/* What is attached, and what of it is to go. */
struct attached {
	__u64 *cgroups;
	struct clatch_device devices[CLATCH_MAX_DEVICES];
	unsigned int device_count;
	bool device_goes[CLATCH_MAX_DEVICES];
};

static int mark_device(const struct cli *cli, struct attached *all, const char *name,
		       enum clatch_role role)
{
	bool elsewhere = false;

	for (unsigned int i = 0; i < all->device_count; i++) {
		struct clatch_device *device = &all->devices[i];
		enum device_state state = device_state(cli->bpffs, device);

		if (device->role != role || strcmp(device->name, name))
			continue;
		if (state != DEVICE_ELSEWHERE) {
			all->device_goes[i] = true;
			return 0;
		}
		elsewhere = true;
	}
	return cli_fail(cli, "Couldn't detach from device '%s': %s", name,
			elsewhere ? "it is in another network namespace; detach there"
				  : "not attached");
}

static bool has_id(const __u64 *ids, __u64 id)
{
	while (*ids && *ids != id)
		ids++;
	return *ids;
}

/* Finds that all which is named is attached, before any of it is detached. */
static int check(const struct cli *cli, const struct wanted *wanted, const struct targets *targets,
		 struct attached *all)
{
	int status = 0, err = attached_cgroups(cli->bpffs, &all->cgroups);

	if (!err)
		err = attached_devices(cli->bpffs, all->devices, &all->device_count);
	if (err)
		return cli_fail(cli, "Couldn't read what is attached: %s", strerror(-err));
	for (size_t i = 0; i < targets->cgroup_count; i++)
		if (!has_id(all->cgroups, targets->cgroups[i].id))
			return cli_fail(cli, "Couldn't detach from cgroup '%s': not attached",
					targets->cgroups[i].path);
	for (int role = 0; role < CLATCH_ROLES; role++)
		for (size_t i = 0; !status && i < wanted->names.devices[role].count; i++)
			status = mark_device(cli, all, wanted->names.devices[role].items[i], role);
	return status;
}

static int detach_all(const struct cli *cli, const struct targets *targets,
		      const struct attached *all)
{
	size_t cgroups = 0;
	unsigned int device = 0;
	int err = 0;

	for (; !err && cgroups < targets->cgroup_count; cgroups++)
		err = detach_cgroup(cli->bpffs, targets->cgroups[cgroups].id);
	for (; !err && device < all->device_count; device++)
		if (all->device_goes[device])
			err = detach_device(cli->bpffs, &all->devices[device]);
	if (!err)
		return 0;
	while (cgroups--)
		attach_cgroup(cli->bpffs, targets->cgroups[cgroups].fd,
			      targets->cgroups[cgroups].id);
	while (device--)
		if (all->device_goes[device])
			attach_device(cli->bpffs, all->devices[device].ifindex,
				      all->devices[device].role);
	return cli_fail(cli, "Couldn't detach, all is as before: %s", strerror(-err));
}

static int detach_gone(const struct cli *cli, struct attached *all)
{
	char path[PATH_MAX];
	int err = 0;

	for (__u64 *id = all->cgroups; !err && *id; id++)
		if (cgroup_path(*id, path) == -ESTALE)
			err = detach_cgroup(cli->bpffs, *id);
	for (unsigned int i = 0; !err && i < all->device_count; i++)
		if (device_state(cli->bpffs, &all->devices[i]) == DEVICE_GONE)
			err = detach_device(cli->bpffs, &all->devices[i]);
	return err ? cli_fail(cli, "Couldn't detach what is gone: %s", strerror(-err)) : 0;
}

static int detach(const struct cli *cli, const struct wanted *wanted)
{
	_cleanup_close_ int lock = -1;
	struct attached all = {};
	struct targets targets = {};
	int status;

	if (!targets_named(&wanted->names) && !wanted->gone)
		return cli_usage(cli, "Nothing to detach from: give --cgroup, --pid, --unit, "
				      "--container, --dev, --veth, --uplink or --gone");
	status = pins_open_locked(cli, &lock);
	if (!status)
		status = targets_find_cgroups(cli, &wanted->names, &targets);
	if (!status)
		status = check(cli, wanted, &targets, &all);
	if (!status)
		status = detach_all(cli, &targets, &all);
	if (!status && wanted->gone)
		status = detach_gone(cli, &all);
	pins_tell(cli);
	targets_free(&targets);
	free(all.cgroups);
	return status;
}

int cmd_detach(struct cli *cli, int argc, char **argv)
{
	struct wanted wanted = {};
	const struct cli_option table[] = {
		TARGET_OPTION_ENTRIES(&wanted.names, "no longer guard"),
		FORWARD_OPTION_ENTRIES(&wanted.names, "no longer guard"),
		{ "gone", NULL, "forget cgroups and devices that were removed", OPT_FLAG,
		  &wanted.gone, 0, 0 },
		{},
	};
	int words, status = cli_parse(cli, table, argc, argv, 0, &words);

	if (!status)
		status = detach(cli, &wanted);
	target_names_free(&wanted.names);
	return status < 0 ? EXIT_DONE : status;
}
