// SPDX-License-Identifier: GPL-2.0-only
#include "find.h"

#include <ctype.h>
#include <errno.h>
#include <fts.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"

int find_fail(struct found *f, int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(f->why, sizeof(f->why), format, args);
	va_end(args);
	return err;
}

/* Of a line of mountinfo, if it is a cgroup2 mount that can be seen: others may cover it. */
static bool parse_mount(const char *line, const char *root, struct find_mount *mount)
{
	char dir[PATH_MAX];

	if (!strstr(line, " - cgroup2 "))
		return false;
	if (sscanf(line, "%*s %*s %*s %4095s %4095s", mount->part, dir) != 2)
		return false;
	if (snprintf(mount->dir, PATH_MAX, "%s%s", root, dir) >= PATH_MAX)
		return false;
	return !access(mount->dir, F_OK);
}

int find_mount(const char *root, struct find_mount *mount, struct found *f)
{
	_cleanup_free_ char *line = NULL;
	char path[PATH_MAX];
	bool found = false;
	size_t size = 0;
	FILE *mounts;

	snprintf(path, sizeof(path), "%s/proc/self/mountinfo", root);
	mounts = fopen(path, "re");
	if (!mounts)
		return find_fail(f, -errno, "couldn't read '%s': %s", path, strerror(errno));
	while (!found && getline(&line, &size, mounts) > 0)
		found = parse_mount(line, root, mount);
	fclose(mounts);
	if (found)
		return 0;
	return find_fail(f, -ENOENT,
			 "no cgroup2 hierarchy is mounted here (/proc/self/mountinfo); mount it: "
			 "mount -t cgroup2 cgroup2 DIR");
}

/* A mount may show a part of the hierarchy only: what is left of @cgroup in it, or NULL. */
static const char *seen_in(const struct find_mount *mount, const char *cgroup)
{
	size_t length = strcmp(mount->part, "/") ? strlen(mount->part) : 0;

	if (strncmp(cgroup, mount->part, length) || (cgroup[length] && cgroup[length] != '/'))
		return NULL;
	return cgroup + length;
}

int find_below(const struct find_mount *mount, const char *cgroup, const char *what,
	       struct found *f)
{
	const char *seen = seen_in(mount, cgroup);
	struct stat st;

	if (!strncmp(cgroup, "/..", 3) || !seen)
		return find_fail(f, -EXDEV,
				 "%s is in cgroup '%s', which cannot be seen from here: %s; run "
				 "this in the host's cgroup namespace, with its cgroups mounted",
				 what, cgroup, mount->dir);
	if (!strcmp(cgroup, "/"))
		return find_fail(f, -ENOTSUP,
				 "%s is in the root cgroup of version 2, where all are that have "
				 "none of their own (as under version 1); start it in one, or "
				 "guard everything: --cgroup %s",
				 what, mount->dir);
	if (snprintf(f->path, PATH_MAX, "%s%s", mount->dir, seen) >= PATH_MAX)
		return find_fail(f, -ENAMETOOLONG, "the path of the cgroup of %s is too long",
				 what);
	if (stat(f->path, &st) || !S_ISDIR(st.st_mode))
		return find_fail(f, -ENOENT, "the cgroup of %s is not there: '%s'; has it ended?",
				 what, f->path);
	return 0;
}

/* The line of version 2 in /proc/PID/cgroup, without its end. */
static int read_cgroup(const char *path, char **cgroup)
{
	FILE *lines = fopen(path, "re");
	size_t size = 0;
	int err = -ENODATA;

	if (!lines)
		return -errno;
	while (err && getline(cgroup, &size, lines) > 0)
		if (!strncmp(*cgroup, "0::/", 4))
			err = 0;
	fclose(lines);
	if (!err)
		(*cgroup)[strcspn(*cgroup, "\n")] = '\0';
	return err;
}

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), last = strlen(end);

	return length >= last && !strcmp(text + length - last, end);
}

int find_pid(const char *root, const char *pid, struct found *f)
{
	_cleanup_free_ char *cgroup = NULL;
	char path[PATH_MAX], what[32];
	struct find_mount mount;
	int err;

	if (!*pid || strlen(pid) > 10 || pid[strspn(pid, "0123456789")] || *pid == '0')
		return find_fail(f, -EINVAL, "'%.32s' is not the number of a process", pid);
	err = find_mount(root, &mount, f);
	if (err)
		return err;
	snprintf(what, sizeof(what), "process %s", pid);
	snprintf(path, sizeof(path), "%s/proc/%s/cgroup", root, pid);
	err = read_cgroup(path, &cgroup);
	if (err == -ENOENT || err == -ESRCH)
		return find_fail(f, -ESRCH, "there is no %s here: no '%s'", what, path);
	if (err == -ENODATA)
		return find_fail(f, err, "%s has no cgroup of version 2 ('%s')", what, path);
	if (err)
		return find_fail(f, err, "couldn't read '%s': %s", path, strerror(-err));
	if (ends_with(cgroup, " (deleted)"))
		return find_fail(f, -ESRCH, "%s has ended, and its cgroup was removed: '%s'", what,
				 cgroup + 3);
	return find_below(&mount, cgroup + 3, what, f);
}

int find_named(const struct find_mount *mount, find_match *match, const char *wanted,
	       struct found *f)
{
	char dir[PATH_MAX], *roots[] = { dir, NULL };
	int err = -ENOENT;
	FTSENT *entry;
	FTS *tree;

	strcpy(dir, mount->dir);
	tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV | FTS_NOSTAT, NULL);
	if (!tree)
		return find_fail(f, -errno, "couldn't read '%s': %s", dir, strerror(errno));
	while (err != -ENOTUNIQ && (entry = fts_read(tree))) {
		if (entry->fts_info != FTS_D || !entry->fts_level ||
		    !match(entry->fts_name, wanted) || entry->fts_pathlen >= PATH_MAX)
			continue;
		fts_set(tree, entry, FTS_SKIP);
		err = err ? 0
			  : find_fail(f, -ENOTUNIQ,
				      "'%s' is the name of several cgroups: %.200s and %.200s; "
				      "choose one by --cgroup",
				      wanted, f->path, entry->fts_path);
		if (!err)
			strcpy(f->path, entry->fts_path);
	}
	fts_close(tree);
	return err;
}
