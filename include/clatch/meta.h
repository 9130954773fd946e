/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The record beside the pinned maps: which layout they have and how they were loaded.  Its pin is
 * made last and removed first, so that "loaded" means complete.  Value of clatch_meta[0].
 */
#ifndef CLATCH_META_H
#define CLATCH_META_H

#include <linux/types.h>

#define CLATCH_MAGIC 0x68637461632e3031ULL
/* Raised whenever a struct in a pinned map, or a program's view of one, changes. */
#define CLATCH_LAYOUT 10

#define CLATCH_MAX_DEVICES 64
#define CLATCH_MAX_MONITORS 8

/* What `run` has to do with the IKE daemon. */
enum clatch_ike {
	CLATCH_IKE_NONE, /* is not to ask it */
	CLATCH_IKE_LOST, /* cannot reach it */
	CLATCH_IKE_CONNECTED,
};

struct clatch_meta {
	__u64 magic;
	__u32 layout;
	__u32 audit; /* 1 = would drop, but passes and says so */
	__u32 max_latches;
	__u32 pid; /* of `run`, 0 = none; it may be gone */
	__u64 pid_start; /* start time of that process, so that a reused pid is not taken for it */
	__u64 ike_since_ns; /* CLOCK_BOOTTIME */
	__u32 ike; /* enum clatch_ike; means something only while that process lives */
	__u32 pad;
};

/* What a device is to us; it may be several things, with a record of each. */
enum clatch_role {
	CLATCH_ROLE_HOST, /* --dev */
	CLATCH_ROLE_VETH, /* the host's end of a container's */
	CLATCH_ROLE_UPLINK,
	CLATCH_ROLES,
};

/* A device that carries our tc filters.  Value of clatch_devices; ifindex 0 = free. */
struct clatch_device {
	__u64 netns; /* cookie */
	__u32 ifindex;
	__u32 ingress_handle; /* filter handle and priority, to find exactly ours again */
	__u32 ingress_priority;
	__u32 egress_handle;
	__u32 egress_priority;
	__u16 made_qdisc; /* the clsact qdisc is ours to remove */
	__u16 role; /* enum clatch_role: which of our filters it carries */
	char name[16];
};

_Static_assert(sizeof(struct clatch_meta) == 48, "layout shared with pinned maps");
_Static_assert(sizeof(struct clatch_device) == 48, "layout shared with pinned maps");

#endif
