/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the programs hook in on devices: tc filters, recorded in clatch_devices.  The caller holds the
 * lock on DIR (pins.h).
 */
#ifndef CLATCH_ATTACH_DEVICE_H
#define CLATCH_ATTACH_DEVICE_H

#include <clatch/meta.h>

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
