/* SPDX-License-Identifier: GPL-2.0-only */
/* Control groups, version 2: found by path, named by id. */
#ifndef CLATCH_CGROUP_H
#define CLATCH_CGROUP_H

#include <limits.h>
#include <linux/types.h>

/*
 * Opens the cgroup at @path; *id is never used twice while the system runs.  A file descriptor;
 * -EMEDIUMTYPE this is a directory on something else than cgroup2, -ENOTDIR, -ENOENT, -errno.
 */
int cgroup_open(const char *path, __u64 *id);

/*
 * Opens it by id through one of the mounted hierarchies, whatever is at its path now.  A file
 * descriptor; -ESTALE it is gone; -ENOENT no cgroup2 is mounted; -errno.
 */
int cgroup_open_id(__u64 id);

/* The path of a cgroup as seen there.  0, or as cgroup_open_id(). */
int cgroup_path(__u64 id, char path[PATH_MAX]);

/* Where a file system of @type, such as cgroup2, is mounted first.  0 or -ENOENT. */
int mount_find(const char *type, char path[PATH_MAX]);

#endif
