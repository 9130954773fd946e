// SPDX-License-Identifier: GPL-2.0-only
#include "slot.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/file.h>

#include "cleanup.h"
#include "pins.h"

/*
 * The map does not tell whether the owner of a ring lives.  So each monitor holds a lock, of its
 * open file description, on the byte of the directory that is its slot's number: such a lock goes
 * with its process, and is the same in every network namespace.
 */
static struct flock slot_byte(__u32 index, short type)
{
	return (struct flock){ .l_type = type, .l_start = index, .l_len = 1 };
}

/* The directory can be locked for reading only: asking for a write lock finds those. */
static bool is_owned(int dir, __u32 index)
{
	struct flock lock = slot_byte(index, F_WRLCK);

	return fcntl(dir, F_OFD_GETLK, &lock) || lock.l_type != F_UNLCK;
}

static int own(int dir, __u32 index)
{
	struct flock lock = slot_byte(index, F_RDLCK);

	return fcntl(dir, F_OFD_SETLK, &lock) ? -errno : 0;
}

/* The first free slot, or CLATCH_MAX_MONITORS; all free ones are emptied. */
static __u32 find_free(int dir, int monitors)
{
	__u32 first = CLATCH_MAX_MONITORS;

	for (__u32 i = CLATCH_MAX_MONITORS; i-- > 0;) {
		if (is_owned(dir, i))
			continue;
		first = i;
		bpf_map_delete_elem(monitors, &i);
	}
	return first;
}

int slot_take(struct slot *slot, const char *dir, int monitors, int ring)
{
	_cleanup_close_ int fd = pins_lock(dir, NULL);
	__u32 index;
	int err;

	if (fd < 0)
		return fd;
	index = find_free(fd, monitors);
	if (index == CLATCH_MAX_MONITORS)
		return -EBUSY;
	err = own(fd, index);
	if (!err)
		err = bpf_map_update_elem(monitors, &index, &ring, BPF_ANY);
	if (err)
		return err;
	flock(fd, LOCK_UN);
	*slot = (struct slot){ .owned = TAKE_FD(fd), .monitors = monitors, .index = index };
	return 0;
}

void slot_release(struct slot *slot)
{
	if (slot->owned < 0)
		return;
	bpf_map_delete_elem(slot->monitors, &slot->index);
	cleanup_close(&slot->owned);
}
