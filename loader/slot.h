/* SPDX-License-Identifier: GPL-2.0-only */
/* A monitor's place in clatch_monitors, for its own ring of events. */
#ifndef CLATCH_SLOT_H
#define CLATCH_SLOT_H

#include <linux/types.h>

struct slot {
	int owned; /* file descriptor that holds the lock on the slot */
	int monitors; /* the map */
	__u32 index;
};

#define SLOT_INIT                                                                                  \
	{                                                                                          \
		-1, -1, 0                                                                          \
	}

/*
 * Puts @ring into a free slot of @monitors, the map of the instance at @dir, and frees the slots of
 * monitors that died.  0; -EBUSY all slots are taken; -errno.
 */
int slot_take(struct slot *slot, const char *dir, int monitors, int ring);
void slot_release(struct slot *slot);

#endif
