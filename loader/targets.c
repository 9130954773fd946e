// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <linux/magic.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "attach.h"
#include "attach_device.h"
#include "cgroup.h"
#include "find.h"
#include "targets.h"
#include "veth.h"

bool targets_forward(const struct target_names *n)
{
	return n->devices[CLATCH_ROLE_VETH].count || n->devices[CLATCH_ROLE_UPLINK].count;
}

bool targets_named(const struct target_names *n)
{
	return n->cgroups.count || n->pids.count || n->units.count || n->containers.count ||
	       n->devices[CLATCH_ROLE_HOST].count || targets_forward(n);
}

void target_names_free(struct target_names *n)
{
	cli_list_free(&n->cgroups);
	cli_list_free(&n->pids);
	cli_list_free(&n->units);
	cli_list_free(&n->containers);
	for (int role = 0; role < CLATCH_ROLES; role++)
		cli_list_free(&n->devices[role]);
}

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
	struct cgroup_target found;

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
	found.path = strdup(path);
	if (!found.path) {
		close(found.fd);
		return cli_fail(cli, "Out of memory");
	}
	targets->cgroups[targets->cgroup_count++] = found;
	return 0;
}

static int find_cgroups(const struct cli *cli, const struct cli_list *names, const char *what,
			int (*find)(const char *root, const char *name, struct found *f),
			struct targets *targets)
{
	struct found f;
	int status = 0, err;

	for (size_t i = 0; !status && i < names->count; i++) {
		err = find("", names->items[i], &f);
		if (!err)
			status = find_cgroup(cli, f.path, targets);
		else
			status = (err == -EINVAL ? cli_usage : cli_fail)(
				cli, "Couldn't find the cgroup of %s '%s': %s", what,
				names->items[i], f.why);
	}
	return status;
}

static int find_device(const struct cli *cli, const char *name, enum clatch_role role,
		       struct targets *targets)
{
	struct device_target found = { .ifindex = if_nametoindex(name), .role = role };

	if (!found.ifindex)
		return cli_fail(cli, "Couldn't use device '%s': %s in this network namespace", name,
				errno == ENODEV ? "no such device" : strerror(errno));
	for (size_t i = 0; i < targets->device_count; i++)
		if (targets->devices[i].ifindex == found.ifindex &&
		    targets->devices[i].role == role)
			return 0;
	if (targets->device_count == CLATCH_MAX_DEVICES)
		return cli_fail(cli, "Too many devices: at most %d", CLATCH_MAX_DEVICES);
	snprintf(found.name, sizeof(found.name), "%s", name);
	targets->devices[targets->device_count++] = found;
	return 0;
}

static int add_veths(const struct cli *cli, const struct veths *veths, struct targets *targets)
{
	int status = 0;

	for (unsigned int i = 0; !status && i < veths->count; i++)
		status = find_device(cli, veths->names[i], CLATCH_ROLE_VETH, targets);
	return status;
}

static int say_no_veth(const struct cli *cli, const char *what, const char *name, int err,
		       const char *why)
{
	return (err == -EINVAL ? cli_usage : cli_fail)(cli, "Couldn't find the veth of %s '%s': %s",
						       what, name, why);
}

static int find_veth_of_process(const struct cli *cli, const char *pid, struct targets *targets)
{
	struct veths veths;
	int err = veths_of_process(pid, &veths);

	return err ? say_no_veth(cli, "process", pid, err, veths.why)
		   : add_veths(cli, &veths, targets);
}

static int find_veth_of_container(const struct cli *cli, const char *name, struct targets *targets)
{
	struct veths veths;
	struct found f;
	int err = find_container("", name, &f);

	if (err)
		return say_no_veth(cli, "container", name, err, f.why);
	err = veths_of_cgroup(f.path, &veths);
	return err ? say_no_veth(cli, "container", name, err, veths.why)
		   : add_veths(cli, &veths, targets);
}

static int find_veths(const struct cli *cli, const struct target_names *names,
		      struct targets *targets)
{
	int status = 0;

	for (size_t i = 0; !status && i < names->pids.count; i++)
		status = find_veth_of_process(cli, names->pids.items[i], targets);
	for (size_t i = 0; !status && i < names->containers.count; i++)
		status = find_veth_of_container(cli, names->containers.items[i], targets);
	return status;
}

int targets_find_cgroups(const struct cli *cli, const struct target_names *names,
			 struct targets *targets)
{
	size_t count = names->cgroups.count + names->pids.count + names->units.count +
		       names->containers.count;
	bool behind = names->devices[CLATCH_ROLE_UPLINK].count; /* a gateway */
	int status = 0;

	*targets = (struct targets){
		.cgroups = calloc(count + 1, sizeof(*targets->cgroups)),
		.devices = calloc(CLATCH_MAX_DEVICES, sizeof(*targets->devices)),
	};
	if (!targets->cgroups || !targets->devices)
		return cli_fail(cli, "Out of memory");
	for (size_t i = 0; !status && i < names->cgroups.count; i++)
		status = find_cgroup(cli, names->cgroups.items[i], targets);
	if (!status && !behind)
		status = find_cgroups(cli, &names->pids, "process", find_pid, targets);
	if (!status)
		status = find_cgroups(cli, &names->units, "unit", find_unit, targets);
	if (!status && !behind)
		status =
			find_cgroups(cli, &names->containers, "container", find_container, targets);
	return status;
}

int targets_find(const struct cli *cli, const struct target_names *names, struct targets *targets)
{
	int status = targets_find_cgroups(cli, names, targets);

	if (!status && names->devices[CLATCH_ROLE_UPLINK].count)
		status = find_veths(cli, names, targets);
	for (int role = 0; role < CLATCH_ROLES; role++)
		for (size_t i = 0; !status && i < names->devices[role].count; i++)
			status = find_device(cli, names->devices[role].items[i], role, targets);
	return status;
}

static void drop_cgroup(struct cgroup_target *cgroup)
{
	close(cgroup->fd);
	free(cgroup->path);
}

void targets_free(struct targets *targets)
{
	for (size_t i = 0; i < targets->cgroup_count; i++)
		drop_cgroup(&targets->cgroups[i]);
	free(targets->cgroups);
	free(targets->devices);
	*targets = (struct targets){};
}

/*
 * By the programs on it, or on one above it: what is above runs for those below too.  1, 0 or
 * -errno.
 */
static int is_guarded(const char *dir, const __u64 *ids, const struct cgroup_target *cgroup)
{
	char path[PATH_MAX], own[PATH_MAX];
	int attached = cgroup_attached(dir, cgroup->id);
	size_t length;

	if (attached || cgroup_path(cgroup->id, own))
		return attached;
	for (; *ids; ids++) {
		length = cgroup_path(*ids, path) ? 0 : strlen(path);
		if (!length || strncmp(own, path, length) || own[length] != '/')
			continue;
		attached = cgroup_attached(dir, *ids);
		if (attached)
			return attached;
	}
	return 0;
}

static int drop_guarded_cgroups(const char *dir, struct targets *t)
{
	__u64 *ids = NULL;
	int err = attached_cgroups(dir, &ids);
	size_t kept = 0;
	int guarded;

	for (size_t i = 0; i < t->cgroup_count; i++) {
		guarded = err ? 0 : is_guarded(dir, ids, &t->cgroups[i]);
		if (guarded > 0)
			drop_cgroup(&t->cgroups[i]);
		else
			t->cgroups[kept++] = t->cgroups[i];
		err = guarded < 0 ? guarded : err;
	}
	t->cgroup_count = kept;
	free(ids);
	return err;
}

static int drop_guarded_devices(const char *dir, struct targets *t)
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

int targets_drop_guarded(const char *dir, struct targets *targets)
{
	int err = drop_guarded_cgroups(dir, targets);

	return err ? err : drop_guarded_devices(dir, targets);
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
		       "is missing (see: bpftool cgroup tree)";
	case ENOTEMPTY:
		return "the BPF program of somebody else on a cgroup above would not run here any "
		       "more (BPF_F_ALLOW_OVERRIDE); guard that cgroup, or have it attached with "
		       "BPF_F_ALLOW_MULTI (see: bpftool cgroup tree)";
	default:
		return strerror(-error);
	}
}

static void undo(const char *dir, const struct targets *targets, size_t cgroups, size_t devices)
{
	struct clatch_device all[CLATCH_MAX_DEVICES];
	unsigned int count;

	while (cgroups--)
		detach_added(dir, targets->cgroups[cgroups].id, targets->cgroups[cgroups].added);
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
	struct cgroup_target *cgroup;
	const struct device_target *device;
	int added, err = 0;

	for (; cgroups < targets->cgroup_count; cgroups++) {
		cgroup = &targets->cgroups[cgroups];
		added = attach_cgroup(cli->bpffs, cgroup->fd, cgroup->id);
		err = added < 0 ? added : 0;
		if (err) {
			cli_fail(cli, "Couldn't attach to cgroup '%s': %s", cgroup->path,
				 attach_error(err));
			break;
		}
		cgroup->added = added;
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
