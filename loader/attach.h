/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the programs hook in on cgroups: links, pinned below DIR/links.  The caller holds the lock on
 * DIR (pins.h).
 */
#ifndef CLATCH_ATTACH_H
#define CLATCH_ATTACH_H

#include <linux/types.h>

/*
 * Puts those cgroup programs on a cgroup that are needed and not there yet, or none: some are there
 * after an attach that was killed.  What was added, for detach_added(); -EEXIST all are there
 * already; -EPERM the program of somebody else allows no others; -ENOTEMPTY one above would not run
 * any more; -errno.  @fd is that of cgroup_open().
 */
int attach_cgroup(const char *dir, int fd, __u64 id);
/* Undoes it.  0 or -errno. */
int detach_added(const char *dir, __u64 id, unsigned int added);
/* Are all of them there that are needed now?  1, 0 or -errno. */
int cgroup_attached(const char *dir, __u64 id);
/*
 * What only rules need: put on all cgroups before rules come into force, and taken off when there
 * are none any more.  0 or an error of attach_cgroup().
 */
int attach_rules(const char *dir);
void detach_rules(const char *dir);
/* 0; -ENOENT they are not there; -errno. */
int detach_cgroup(const char *dir, __u64 id);
/* The ids of the cgroups attached to, each once, ending with 0: to be freed.  0 or -errno. */
int attached_cgroups(const char *dir, __u64 **ids);

#endif
