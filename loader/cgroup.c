// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <linux/magic.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "cgroup.h"
#include "cleanup.h"

/* linux/exportfs.h, not for user space: the handle of a kernfs file is its 64-bit id. */
#define FILEID_KERNFS 0xfe

struct kernfs_handle {
	struct file_handle head;
	__u64 id;
};

int cgroup_open(const char *path, __u64 *id)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct kernfs_handle handle = { .head.handle_bytes = sizeof(handle.id) };
	struct statfs fs;
	int mount;

	if (fd < 0 || fstatfs(fd, &fs))
		return -errno;
	if (fs.f_type != CGROUP2_SUPER_MAGIC)
		return -EMEDIUMTYPE;
	if (name_to_handle_at(fd, "", &handle.head, &mount, AT_EMPTY_PATH))
		return -errno;
	memcpy(id, handle.head.f_handle, sizeof(*id));
	return TAKE_FD(fd);
}

static int open_by_id(int mount, __u64 id)
{
	struct kernfs_handle handle = {
		.head = { .handle_bytes = sizeof(id), .handle_type = FILEID_KERNFS },
	};
	int fd;

	memcpy(handle.head.f_handle, &id, sizeof(id));
	fd = open_by_handle_at(mount, &handle.head, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Opening by handle takes CAP_DAC_READ_SEARCH; without it, look everywhere. */
static int search(char *root, __u64 id, char path[PATH_MAX])
{
	char *roots[] = { root, NULL };
	FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
	int err = -ESTALE;
	FTSENT *entry;

	if (!tree)
		return -errno;
	while (err && (entry = fts_read(tree)))
		if (entry->fts_info == FTS_D && entry->fts_statp->st_ino == id &&
		    entry->fts_pathlen < PATH_MAX) {
			strcpy(path, entry->fts_path);
			err = 0;
		}
	fts_close(tree);
	return err;
}

/* Whoever made it anew meanwhile gave it another id. */
static int open_found(char *root, __u64 id)
{
	_cleanup_close_ int fd = -1;
	char path[PATH_MAX];
	int err = search(root, id, path);
	__u64 opened;

	if (err)
		return err;
	fd = cgroup_open(path, &opened);
	return fd == -ENOENT || (fd >= 0 && opened != id) ? -ESTALE : TAKE_FD(fd);
}

static int open_below(char *root, __u64 id)
{
	_cleanup_close_ int mount = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd;

	if (mount < 0)
		return -errno;
	fd = open_by_id(mount, id);
	return fd == -EPERM ? open_found(root, id) : fd;
}

/* The next mount of @type, from those in @mounts. */
static struct mntent *next_mount(FILE *mounts, const char *type)
{
	struct mntent *mount;

	while ((mount = getmntent(mounts)))
		if (!strcmp(mount->mnt_type, type) && strlen(mount->mnt_dir) < PATH_MAX)
			return mount;
	return NULL;
}

int cgroup_open_id(__u64 id)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mntent *mount;
	int fd = -ENOENT;

	if (!mounts)
		return -errno;
	while (fd < 0 && (mount = next_mount(mounts, "cgroup2")))
		fd = open_below(mount->mnt_dir, id);
	endmntent(mounts);
	return fd;
}

int cgroup_path(__u64 id, char path[PATH_MAX])
{
	_cleanup_close_ int fd = cgroup_open_id(id);
	char link[32];
	ssize_t length;

	if (fd < 0)
		return fd;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, path, PATH_MAX - 1);
	if (length < 0)
		return -errno;
	path[length] = '\0';
	return 0;
}

int mount_find(const char *type, char path[PATH_MAX])
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mntent *mount;

	if (!mounts)
		return -errno;
	mount = next_mount(mounts, type);
	if (mount)
		strcpy(path, mount->mnt_dir);
	endmntent(mounts);
	return mount ? 0 : -ENOENT;
}
