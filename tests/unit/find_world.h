/* SPDX-License-Identifier: GPL-2.0-only */
/* A system made of files, below a directory of its own: /proc, cgroups and what runtimes keep. */
#ifndef CLATCH_UNIT_FIND_WORLD_H
#define CLATCH_UNIT_FIND_WORLD_H

#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "find.h"

#define UNIFIED "/sys/fs/cgroup"
#define HYBRID "/sys/fs/cgroup/unified"

static char root[32];

static inline void path_of(char path[PATH_MAX], const char *name)
{
	assert_true(snprintf(path, PATH_MAX, "%s%s", root, name) < PATH_MAX);
}

/* A directory, and those above it. */
static inline void make_dir(const char *name)
{
	char path[PATH_MAX];

	path_of(path, name);
	for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')); *at++ = '/') {
		*at = '\0';
		assert_true(!mkdir(path, 0755) || errno == EEXIST);
	}
	assert_true(!mkdir(path, 0755) || errno == EEXIST);
}

static inline void make_file(const char *name, const char *text)
{
	char path[PATH_MAX], dir[PATH_MAX];
	FILE *file;

	assert_true(strlen(name) < PATH_MAX);
	strcpy(dir, name);
	*strrchr(dir, '/') = '\0';
	make_dir(dir);
	path_of(path, name);
	file = fopen(path, "we");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

/* @part: of the hierarchy, what is mounted at @dir. */
static inline void make_mount(const char *dir, const char *part)
{
	char line[2 * PATH_MAX];

	make_dir(dir);
	snprintf(line, sizeof(line),
		 "20 1 0:5 / /proc rw - proc proc rw\n"
		 "21 1 0:6 / /sys/fs/cgroup/memory rw shared:3 - cgroup cgroup rw,memory\n"
		 "22 1 0:7 %s %s rw shared:4 - cgroup2 cgroup2 rw\n",
		 part, dir);
	make_file("/proc/self/mountinfo", line);
}

/* A process in a cgroup, which is made below @mount if that is not NULL. */
static inline void make_process(const char *pid, const char *mount, const char *cgroup, long start)
{
	char name[PATH_MAX], text[2 * PATH_MAX];

	snprintf(name, sizeof(name), "/proc/%s/cgroup", pid);
	snprintf(text, sizeof(text), "4:memory:/elsewhere\n1:name=systemd:/elsewhere\n0::%s\n",
		 cgroup);
	make_file(name, text);
	snprintf(name, sizeof(name), "/proc/%s/stat", pid);
	snprintf(text, sizeof(text),
		 "%s (a ) name) S 1 2 3 0 -1 4 5 6 7 8 9 10 11 12 20 0 1 0 %ld 0 0\n", pid, start);
	make_file(name, text);
	if (!mount)
		return;
	snprintf(name, sizeof(name), "%s%s", mount, cgroup);
	make_dir(name);
}

static inline int make_world(void **state)
{
	(void)state;
	strcpy(root, "/tmp/clatch-find-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static inline int remove_world(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", root);
	return system(command);
}

typedef int find_function(const char *root, const char *name, struct found *f);

static inline void assert_found(find_function *find, const char *name, const char *wanted)
{
	struct found f;
	int err = find(root, name, &f);

	if (err)
		fail_msg("'%s': %s", name, f.why);
	assert_string_equal(f.path + strlen(root), wanted);
}

/* And the text has @why in it. */
static inline void assert_not_found(find_function *find, const char *name, int wanted,
				    const char *why)
{
	struct found f = {};
	int err = find(root, name, &f);

	if (err != wanted || !strstr(f.why, why))
		fail_msg("'%s': %d, '%s': wanted %d, '%s'", name, err, f.why, wanted, why);
}

#endif
