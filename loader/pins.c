// SPDX-License-Identifier: GPL-2.0-only
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include "cleanup.h"
#include "kernel.h"
#include "pins.h"

#define META "clatch_meta"

int pins_path(char path[PATH_MAX], const char *dir, const char *format, ...)
{
	int length = snprintf(path, PATH_MAX, "%s/", dir), more;
	va_list args;

	if (length >= PATH_MAX)
		return -ENAMETOOLONG;
	va_start(args, format);
	more = vsnprintf(path + length, PATH_MAX - length, format, args);
	va_end(args);
	return length + more < PATH_MAX ? 0 : -ENAMETOOLONG;
}

int pins_map_in(const char *dir, const char *name)
{
	char path[PATH_MAX];
	int fd;

	if (pins_path(path, dir, "%s", name))
		return -ENAMETOOLONG;
	fd = bpf_obj_get(path);
	return fd < 0 ? -errno : fd;
}

int pins_map(const struct cli *cli, const char *name)
{
	return pins_map_in(cli->bpffs, name);
}

/* Nobody reads that time: inotify tells that it was set. */
void pins_tell(const struct cli *cli)
{
	char path[PATH_MAX];

	if (!pins_path(path, cli->bpffs, META))
		(void)utimensat(AT_FDCWD, path, NULL, 0);
}

int pins_program(const char *dir, const char *name)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "progs/%s", name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	return pins_map_in(dir, path);
}

/* Another version's record may be longer or shorter; magic and layout stand first in all. */
int pins_read(const char *dir, struct clatch_meta *meta)
{
	_cleanup_close_ int fd = pins_map_in(dir, META);
	_cleanup_free_ void *value = NULL;
	struct bpf_map_info info = {};
	__u32 length = sizeof(info), zero = 0;

	if (fd < 0)
		return fd;
	if (bpf_obj_get_info_by_fd(fd, &info, &length))
		return -errno;
	if (info.type != BPF_MAP_TYPE_ARRAY ||
	    info.value_size < offsetof(struct clatch_meta, audit))
		return -EPROTO;
	value = calloc(1, info.value_size + sizeof(*meta));
	if (!value)
		return -ENOMEM;
	if (bpf_map_lookup_elem(fd, &zero, value))
		return -errno;
	memcpy(meta, value, sizeof(*meta));
	if (meta->magic != CLATCH_MAGIC || meta->layout != CLATCH_LAYOUT ||
	    info.value_size != sizeof(*meta))
		return -EPROTO;
	return 0;
}

bool pins_loaded(const char *dir)
{
	char path[PATH_MAX];

	return !pins_path(path, dir, META) && !access(path, F_OK);
}

/* The name of a map or a program, in links/ after a cgroup's id; another instance is a directory. */
static bool is_pin(const struct dirent *entry)
{
	const char *name = entry->d_name + strspn(entry->d_name, "0123456789_");

	return entry->d_type != DT_DIR && !strncmp(name, "clatch_", strlen("clatch_"));
}

static bool on_bpffs(const char *dir)
{
	struct statfs fs;

	return !statfs(dir, &fs) && fs.f_type == BPF_FS_MAGIC;
}

/* What has such a name on another file system is not ours to remove. */
bool pins_any(const char *dir)
{
	_cleanup_closedir_ DIR *entries = on_bpffs(dir) ? opendir(dir) : NULL;
	struct dirent *entry;

	while (entries && (entry = readdir(entries)))
		if (is_pin(entry) || !strcmp(entry->d_name, "progs") ||
		    !strcmp(entry->d_name, "links"))
			return true;
	return false;
}

/* Whoever held the lock may have removed the directory that we waited on. */
static int lock_once(const char *dir)
{
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat locked, now;

	if (fd < 0)
		return -errno;
	while (flock(fd, LOCK_EX))
		if (errno != EINTR)
			return -errno;
	if (fstat(fd, &locked))
		return -errno;
	if (stat(dir, &now))
		return errno == ENOENT ? -EAGAIN : -errno;
	if (locked.st_ino != now.st_ino || locked.st_dev != now.st_dev)
		return -EAGAIN;
	return TAKE_FD(fd);
}

int pins_lock(const char *dir, bool *made)
{
	bool mine;
	int fd;

	do {
		mine = made && !mkdir(dir, 0700);
		if (made && !mine && errno != EEXIST)
			return -errno;
		fd = lock_once(dir);
	} while (fd == -EAGAIN || (made && fd == -ENOENT));
	if (made)
		*made = mine;
	return fd;
}

static int version_error(const struct cli *cli, const struct clatch_meta *meta)
{
	if (meta->magic != CLATCH_MAGIC)
		return cli_fail(cli,
				"The pins at %s are not clatch's, or their version record is "
				"damaged: remove them, or use another --bpffs",
				cli->bpffs);
	return cli_fail(cli,
			"The pins at %s have layout %u, this clatch-loader knows %u: unload "
			"with the version that loaded, or remove them",
			cli->bpffs, meta->layout, CLATCH_LAYOUT);
}

int pins_open(const struct cli *cli, struct clatch_meta *meta)
{
	int err = pins_read(cli->bpffs, meta);

	if (!err)
		return 0;
	if (err == -EPROTO)
		return version_error(cli, meta);
	if (err == -ENOENT && pins_any(cli->bpffs))
		return cli_fail(cli,
				"A load or unload at %s did not get to its end: unload, or "
				"load again",
				cli->bpffs);
	if (err == -ENOENT || err == -ENOTDIR)
		return cli_fail(cli, "Nothing is loaded at %s", cli->bpffs);
	return cli_fail(cli, "Couldn't open the pins at %s: %s", cli->bpffs, pins_strerror(err));
}

/* Found out before anything is done: with a part of the capabilities only a part would be. */
int pins_may_change(const struct cli *cli)
{
	char names[64];

	if (!kernel_missing_capabilities(names, sizeof(names)))
		return 0;
	return cli_fail(cli, "Couldn't %s: not permitted, %s missing; run as root", cli->verb,
			names);
}

int pins_open_locked(const struct cli *cli, int *lock)
{
	struct clatch_meta meta;
	int status = pins_may_change(cli);

	if (status)
		return status;
	/* without a directory there is no lock, and pins_open() finds words for it */
	*lock = pins_lock(cli->bpffs, NULL);
	status = pins_open(cli, &meta);
	if (!status && *lock < 0)
		status = cli_fail(cli, "Couldn't lock '%s': %s", cli->bpffs, strerror(-*lock));
	return status;
}

int pins_check(const char *dir)
{
	char parent[PATH_MAX];
	struct statfs fs;
	struct stat st;

	if (strlen(dir) >= sizeof(parent))
		return -ENAMETOOLONG;
	if (!stat(dir, &st)) {
		if (!S_ISDIR(st.st_mode))
			return -ENOTDIR;
		strcpy(parent, dir);
	} else if (errno == ENOENT) {
		char copy[PATH_MAX];

		strcpy(copy, dir);
		strcpy(parent, dirname(copy));
	} else {
		return -errno;
	}
	if (statfs(parent, &fs))
		return -errno;
	if (fs.f_type != BPF_FS_MAGIC)
		return -EMEDIUMTYPE;
	return fs.f_flags & ST_RDONLY ? -EROFS : 0;
}

int pins_make_directories(const char *dir)
{
	static const char *const below[] = { "progs", "links" };
	char path[PATH_MAX];

	if (chmod(dir, 0700))
		return -errno;
	for (int i = 0; i < 2; i++) {
		if (pins_path(path, dir, "%s", below[i]))
			return -ENAMETOOLONG;
		if (mkdir(path, 0700) && errno != EEXIST)
			return -errno;
	}
	return 0;
}

static int remove_pins_in(const char *dir)
{
	_cleanup_closedir_ DIR *entries = opendir(dir);
	struct dirent *entry;

	if (!entries)
		return errno == ENOENT ? 0 : -errno;
	while ((entry = readdir(entries)))
		if (is_pin(entry) && unlinkat(dirfd(entries), entry->d_name, 0) && errno != ENOENT)
			return -errno;
	return 0;
}

static int remove_directory(const char *dir, const char *name)
{
	char path[PATH_MAX];
	int err = pins_path(path, dir, "%s", name);

	if (!err)
		err = remove_pins_in(path);
	if (!err && rmdir(path) && errno != ENOENT)
		err = -errno;
	return err;
}

int pins_remove(const char *dir, bool itself)
{
	char meta[PATH_MAX];
	int err = pins_path(meta, dir, META);

	if (!err && unlink(meta) && errno != ENOENT)
		err = -errno;
	if (!err)
		err = remove_directory(dir, "links");
	if (!err)
		err = remove_directory(dir, "progs");
	if (!err)
		err = remove_pins_in(dir);
	/* a symbolic link, or a name that ends in a dot, rmdir() would not take */
	if (!err && itself && realpath(dir, meta) && rmdir(meta) && errno != EBUSY &&
	    errno != ENOTEMPTY)
		err = -errno;
	return err;
}

const char *pins_strerror(int error)
{
	switch (-error) {
	case EMEDIUMTYPE:
		return "not on a BPF file system (mount one: mount -t bpf bpf /sys/fs/bpf)";
	case EROFS:
		return "the BPF file system is mounted read-only";
	case ENOSPC:
		return "the BPF file system is full";
	case ENOENT:
		return "its parent directory does not exist";
	case EPERM:
	case EACCES:
		return "not permitted (be root; names on a BPF file system have no dot)";
	default:
		return strerror(-error);
	}
}
