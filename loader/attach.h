/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the programs hook in: links on cgroups, pinned below DIR/links, and tc filters on devices,
 * recorded in clatch_devices.  The caller holds the lock on DIR (pins.h).
 */
#ifndef CLATCH_ATTACH_H
#define CLATCH_ATTACH_H

#include <clatch/meta.h>

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

/*
 * Puts the tc filters of its role on a device of the caller's network namespace, in front of
 * others, and records them; all or none.  0; -EEXIST they are there already; -ENFILE no room for
 * more devices; -EBUSY the device has an ingress qdisc, which has no egress side; -EADDRINUSE a
 * filter that ours cannot precede; -errno.
 */
int attach_device(const char *dir, unsigned int ifindex, enum clatch_role role);
/*
 * Removes our filters from a recorded device, and the clsact qdisc if it is ours and empty, then
 * the record.  0; -EXDEV the device is in another network namespace, and only the record went away.
 */
int detach_device(const char *dir, const struct clatch_device *device);

/* The recorded devices; *count of them in devices[].  0 or -errno. */
int attached_devices(const char *dir, struct clatch_device devices[CLATCH_MAX_DEVICES],
		     unsigned int *count);
enum device_state { DEVICE_GUARDED, DEVICE_GONE, DEVICE_ELSEWHERE };
/*
 * Gone: removed, or one of our filters is missing; elsewhere: in another namespace.  Updates its
 * name.
 */
enum device_state device_state(const char *dir, struct clatch_device *device);

#endif
