// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <linux/magic.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "attach.h"
#include "cgroup.h"
#include "targets.h"

static int say_not_cgroup2(const struct cli *cli, const char *path)
{
	char mount[PATH_MAX];
	struct statfs fs;
	bool v1 = !statfs(path, &fs) && fs.f_type == CGROUP_SUPER_MAGIC;

	if (mount_find("cgroup2", mount))
		return cli_fail(cli,
				"Couldn't use cgroup '%s': it is not of version 2, and no "
				"cgroup2 hierarchy is mounted",
				path);
	return cli_fail(cli,
			"Couldn't use cgroup '%s': it is %s; the cgroup v2 hierarchy is "
			"mounted at %s",
			path, v1 ? "a cgroup v1 path" : "not a cgroup", mount);
}

static int find_cgroup(const struct cli *cli, const char *path, struct targets *targets)
{
	struct cgroup_target found = { .path = path };

	found.fd = cgroup_open(path, &found.id);
	if (found.fd == -EMEDIUMTYPE)
		return say_not_cgroup2(cli, path);
	if (found.fd < 0)
		return cli_fail(cli, "Couldn't use cgroup '%s': %s", path, strerror(-found.fd));
	for (size_t i = 0; i < targets->cgroup_count; i++)
		if (targets->cgroups[i].id == found.id) {
			close(found.fd);
			return 0;
		}
	targets->cgroups[targets->cgroup_count++] = found;
	return 0;
}

int targets_add_device(const struct cli *cli, const char *name, enum clatch_role role,
		       struct targets *targets)
{
	struct device_target found = { .name = name,
				       .ifindex = if_nametoindex(name),
				       .role = role };

	if (!found.ifindex)
		return cli_fail(cli, "Couldn't use device '%s': %s in this network namespace", name,
				errno == ENODEV ? "no such device" : strerror(errno));
	for (size_t i = 0; i < targets->device_count; i++)
		if (targets->devices[i].ifindex == found.ifindex &&
		    targets->devices[i].role == role)
			return 0;
	if (targets->device_count == CLATCH_MAX_DEVICES)
		return cli_fail(cli, "Too many devices: at most %d", CLATCH_MAX_DEVICES);
	targets->devices[targets->device_count++] = found;
	return 0;
}

int targets_find(const struct cli *cli, const struct cli_list *cgroups,
		 const struct cli_list *devices, struct targets *targets)
{
	int status = 0;

	*targets = (struct targets){
		.cgroups = calloc(cgroups->count + 1, sizeof(*targets->cgroups)),
		.devices = calloc(CLATCH_MAX_DEVICES, sizeof(*targets->devices)),
	};
	if (!targets->cgroups || !targets->devices)
		return cli_fail(cli, "Out of memory");
	for (size_t i = 0; !status && i < cgroups->count; i++)
		status = find_cgroup(cli, cgroups->items[i], targets);
	for (size_t i = 0; !status && i < devices->count; i++)
		status = targets_add_device(cli, devices->items[i], CLATCH_ROLE_HOST, targets);
	return status;
}

void targets_free(struct targets *targets)
{
	for (size_t i = 0; i < targets->cgroup_count; i++)
		close(targets->cgroups[i].fd);
	free(targets->cgroups);
	free(targets->devices);
	*targets = (struct targets){};
}

static const char *attach_error(int error)
{
	switch (-error) {
	case EEXIST:
		return "already attached";
	case ENFILE:
		return "there is no room for more devices (64)";
	case EBUSY:
		return "it has an ingress qdisc, which has no egress side; replace it by clsact";
	case EADDRINUSE:
		return "it has a filter of preference 1, and ours must go before it";
	case EPERM:
		return "not permitted: another BPF program there allows no others, or a capability "
		       "is missing";
	default:
		return strerror(-error);
	}
}

static void undo(const char *dir, const struct targets *targets, size_t cgroups, size_t devices)
{
	struct clatch_device all[CLATCH_MAX_DEVICES];
	unsigned int count;

	while (cgroups--)
		detach_cgroup(dir, targets->cgroups[cgroups].id);
	if (!devices || attached_devices(dir, all, &count))
		return;
	for (unsigned int i = 0; i < count; i++)
		for (size_t j = 0; j < devices; j++)
			if (all[i].ifindex == targets->devices[j].ifindex &&
			    all[i].role == targets->devices[j].role &&
			    device_state(dir, &all[i]) == DEVICE_GUARDED)
				detach_device(dir, &all[i]);
}

int targets_attach(const struct cli *cli, const struct targets *targets)
{
	size_t cgroups = 0, devices = 0;
	const struct cgroup_target *cgroup;
	const struct device_target *device;
	int err = 0;

	for (; cgroups < targets->cgroup_count; cgroups++) {
		cgroup = &targets->cgroups[cgroups];
		err = attach_cgroup(cli->bpffs, cgroup->fd, cgroup->id);
		if (err) {
			cli_fail(cli, "Couldn't attach to cgroup '%s': %s", cgroup->path,
				 attach_error(err));
			break;
		}
	}
	for (; !err && devices < targets->device_count; devices++) {
		device = &targets->devices[devices];
		err = attach_device(cli->bpffs, device->ifindex, device->role);
		if (err) {
			cli_fail(cli, "Couldn't attach to device '%s': %s", device->name,
				 attach_error(err));
			break;
		}
	}
	if (err)
		undo(cli->bpffs, targets, cgroups, devices);
	return err ? EXIT_FAILED : EXIT_DONE;
}
