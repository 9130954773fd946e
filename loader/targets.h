/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What --cgroup, --pid, --unit, --container and --dev name; these functions say their errors, and
 * return an exit status.
 */
#ifndef CLATCH_TARGETS_H
#define CLATCH_TARGETS_H

#include <clatch/meta.h>
#include <net/if.h>
#include "cli.h"

struct target_names {
	struct cli_list cgroups, pids, units, containers;
	struct cli_list devices[CLATCH_ROLES]; /* by role */
};

/* clang-format off */
/* The entries of an option table that fill a struct target_names; @guard: "guard". */
#define TARGET_OPTION_ENTRIES(n, guard)                                                        \
	{ "cgroup", "PATH", guard " the processes in this cgroup v2 (several times)",          \
	  OPT_LIST, &(n)->cgroups, 0, 0 },                                                     \
	{ "pid", "PID", guard " the cgroup of this process (several times)",                   \
	  OPT_LIST, &(n)->pids, 0, 0 },                                                        \
	{ "unit", "UNIT", guard " this unit of systemd (several times)",                       \
	  OPT_LIST, &(n)->units, 0, 0 },                                                       \
	{ "container", "ID", guard " this container, by id or name (several times)",           \
	  OPT_LIST, &(n)->containers, 0, 0 },                                                  \
	{ "dev", "NAME", guard " what passes this device without a socket (several times)",    \
	  OPT_LIST, &(n)->devices[CLATCH_ROLE_HOST], 0, 0 }
/* And of a gateway's. */
#define FORWARD_OPTION_ENTRIES(n, guard)                                                       \
	{ "veth", "NAME", guard " the container behind this end of its veth (several times)", \
	  OPT_LIST, &(n)->devices[CLATCH_ROLE_VETH], 0, 0 },                                   \
	{ "uplink", "NAME", guard " where containers' packets leave the host (several times)", \
	  OPT_LIST, &(n)->devices[CLATCH_ROLE_UPLINK], 0, 0 }
/* clang-format on */

bool targets_named(const struct target_names *names);
/* Veths or uplinks, whose programs have to be loaded before they are attached: gateway.h. */
bool targets_forward(const struct target_names *names);
void target_names_free(struct target_names *names);

struct cgroup_target {
	char *path;
	int fd;
	__u64 id;
	unsigned int added; /* by targets_attach() */
};

struct device_target {
	char name[IFNAMSIZ];
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

/*
 * Checks that all are there and can be guarded.  Where an uplink is named, processes and containers
 * stand for their veths and not for their cgroups.  @targets is to be freed in any case.
 */
int targets_find(const struct cli *cli, const struct target_names *names, struct targets *targets);
/* Cgroups alone: devices may be gone, or in another network namespace. */
int targets_find_cgroups(const struct cli *cli, const struct target_names *names,
			 struct targets *targets);
void targets_free(struct targets *targets);

/* Leaves out what is guarded already, cgroups also by one above them.  0 or -errno. */
int targets_drop_guarded(const char *dir, struct targets *targets);

/* Attaches all or none. */
int targets_attach(const struct cli *cli, const struct targets *targets);

#endif
