/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which cgroup (version 2) a process, a unit of systemd or a container is in, with any driver:
 * systemd's or cgroupfs, a hierarchy of version 2 alone or beside version 1.
 *
 * @root goes before every path that is read: "", or where a test keeps a system of its own.
 * These functions return 0 and f->path, or -errno and in f->why what was looked for, where, and
 * what to do; -EINVAL is a mistake in what was asked for.
 */
#ifndef CLATCH_FIND_H
#define CLATCH_FIND_H

#include <limits.h>
#include <stdbool.h>

struct found {
	char path[PATH_MAX];
	char why[768];
};

int find_pid(const char *root, const char *pid, struct found *f);
/* NAME.service, .slice, .scope or .socket; a name without suffix is that of a service. */
int find_unit(const char *root, const char *name, struct found *f);
/* A name, a whole id, or its first 12 characters or more. */
int find_container(const char *root, const char *name, struct found *f);

/* For the above: what is mounted, and what of it is named as @match likes, the topmost of each. */
struct find_mount {
	char dir[PATH_MAX]; /* with @root */
	char part[PATH_MAX]; /* of the hierarchy that is mounted there: "/", seldom less */
};
int find_mount(const char *root, struct find_mount *mount, struct found *f);
int find_below(const struct find_mount *mount, const char *cgroup, const char *what,
	       struct found *f);
typedef bool find_match(const char *name, const char *wanted);
/* -ENOENT none, without why; -ENOTUNIQ several. */
int find_named(const struct find_mount *mount, find_match *match, const char *wanted,
	       struct found *f);
int find_fail(struct found *f, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
