/* SPDX-License-Identifier: GPL-2.0-only */
/* What --cgroup and --dev name; these functions say their errors, and return an exit status. */
#ifndef CLATCH_TARGETS_H
#define CLATCH_TARGETS_H

#include <clatch/meta.h>
#include "cli.h"

struct cgroup_target {
	const char *path;
	int fd;
	__u64 id;
};

struct device_target {
	const char *name;
	unsigned int ifindex;
	enum clatch_role role;
};

/* What was named twice is in here once. */
struct targets {
	struct cgroup_target *cgroups;
	size_t cgroup_count;
	struct device_target *devices;
	size_t device_count;
};

/* Checks that all are there and can be guarded.  @targets is to be freed in any case. */
int targets_find(const struct cli *cli, const struct cli_list *cgroups,
		 const struct cli_list *devices, struct targets *targets);
/* Adds a device of the caller's network namespace to what targets_find() found: a container's veth, or
 * an uplink.  Its programs have to be loaded: gateway.h. */
int targets_add_device(const struct cli *cli, const char *name, enum clatch_role role,
		       struct targets *targets);
void targets_free(struct targets *targets);

/* Attaches all or none. */
int targets_attach(const struct cli *cli, const struct targets *targets);

#endif
