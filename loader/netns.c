// SPDX-License-Identifier: GPL-2.0-only
#include "netns.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "attach.h"
#include "cgroup.h"
#include "cleanup.h"
#include "pins.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

#define OWN "/proc/thread-self/ns/net"
#define NAMED "/run/netns"

static int own_cookie(void *context)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	__u64 *cookie = context;
	socklen_t length = sizeof(*cookie);

	if (fd < 0)
		return -errno;
	return getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, cookie, &length) ? -errno : 0;
}

int netns_own(__u64 *cookie)
{
	__u64 own;
	int err = own_cookie(&own);

	if (!err)
		*cookie = own;
	return err;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Whatever the process did next, it would do to the wrong namespace. */
static void go_home(int home)
{
	if (!setns(home, CLONE_NEWNET))
		return;
	fprintf(stderr, "clatch-loader: Couldn't come back to its network namespace: %s\n",
		strerror(errno));
	abort();
}

int netns_inside(int fd, int (*inside)(void *context), void *context)
{
	_cleanup_close_ int home = open(OWN, O_RDONLY | O_CLOEXEC);
	struct stat here, there;
	int ret;

	if (home < 0 || fstat(home, &here) || fstat(fd, &there))
		return -errno;
	if (same_file(&here, &there)) /* to enter even one's own takes CAP_SYS_ADMIN */
		return inside(context);
	if (setns(fd, CLONE_NEWNET))
		return -errno;
	ret = inside(context);
	go_home(home);
	return ret;
}

struct walk {
	netns_visit *visit;
	void *context;
	struct stat *seen;
	size_t count;
};

static void cleanup_walk(struct walk *w)
{
	free(w->seen);
}

static bool was_seen(const struct walk *w, const struct stat *st)
{
	for (size_t i = 0; i < w->count; i++)
		if (same_file(&w->seen[i], st))
			return true;
	return false;
}

static int note_seen(struct walk *w, const struct stat *st)
{
	struct stat *more = reallocarray(w->seen, w->count + 1, sizeof(*more));

	if (!more)
		return -ENOMEM;
	w->seen = more;
	w->seen[w->count++] = *st;
	return 0;
}

/* What cannot be entered is passed over, but not where it is us who lack something. */
static int pass_over(int err)
{
	return err == -EMFILE || err == -ENFILE || err == -ENOMEM ? err : 0;
}

/* 0, -errno, or what the visit returned. */
static int visit_path(struct walk *w, const char *path, pid_t holder)
{
	_cleanup_close_ int fd = -1;
	struct stat st;
	__u64 cookie;
	int err;

	if (stat(path, &st) || was_seen(w, &st))
		return 0;
	/* all namespaces are on one file system, and on it is nothing that blocks */
	if (w->count && st.st_dev != w->seen[0].st_dev)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return pass_over(-errno);
	if (fstat(fd, &st) || was_seen(w, &st))
		return 0;
	if (note_seen(w, &st))
		return -ENOMEM;
	err = netns_inside(fd, own_cookie, &cookie);
	if (err)
		return pass_over(err);
	return w->visit(w->context, fd, cookie, holder);
}

/*
 * Each thread may have a namespace of its own.  A process outside our PID namespace is 0 here; one
 * that has ended meanwhile has no namespace any more.
 */
static int visit_threads(struct walk *w, const char *cgroup)
{
	char path[PATH_MAX], line[32];
	unsigned int id;
	FILE *threads;
	int ret = 0;

	if (pins_path(path, cgroup, "cgroup.threads"))
		return 0;
	threads = fopen(path, "re");
	if (!threads)
		return pass_over(-errno);
	while (!ret && fgets(line, sizeof(line), threads)) {
		if (sscanf(line, "%u", &id) != 1 || !id)
			continue;
		snprintf(path, sizeof(path), "/proc/%u/ns/net", id);
		ret = visit_path(w, path, id);
	}
	fclose(threads);
	return ret;
}

static int visit_cgroup(struct walk *w, __u64 id)
{
	char path[PATH_MAX], *roots[] = { path, NULL };
	FTSENT *entry;
	FTS *tree;
	int ret;

	ret = cgroup_path(id, path);
	if (ret)
		return pass_over(ret); /* removed since */
	tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
	if (!tree)
		return -errno;
	while (!ret && (entry = fts_read(tree)))
		if (entry->fts_info == FTS_D)
			ret = visit_threads(w, entry->fts_path);
		else if (entry->fts_info == FTS_DNR)
			ret = pass_over(-entry->fts_errno);
	fts_close(tree);
	return ret;
}

static int visit_cgroups(struct walk *w, const char *bpffs)
{
	_cleanup_free_ __u64 *ids = NULL;
	int ret = attached_cgroups(bpffs, &ids);

	if (ret)
		return ret == -ENOENT ? 0 : ret;
	for (__u64 *id = ids; *id && !ret; id++)
		ret = visit_cgroup(w, *id);
	return ret;
}

static int visit_named(struct walk *w)
{
	_cleanup_closedir_ DIR *names = opendir(NAMED);
	char path[PATH_MAX];
	struct dirent *name;
	int ret = 0;

	if (!names)
		return pass_over(-errno);
	while (!ret && (name = readdir(names)))
		if (name->d_name[0] != '.' && !pins_path(path, NAMED, "%s", name->d_name))
			ret = visit_path(w, path, 0);
	return ret;
}

int netns_each(const char *bpffs, netns_visit *visit, void *context)
{
	__attribute__((cleanup(cleanup_walk))) struct walk w = {
		.visit = visit,
		.context = context,
	};
	int ret = visit_path(&w, OWN, 0);

	if (!ret && !w.count)
		return -ENOENT; /* no /proc */
	if (!ret)
		ret = visit_cgroups(&w, bpffs);
	return ret ? ret : visit_named(&w);
}

struct wanted {
	__u64 cookie;
	int fd;
	pid_t holder;
};

/* 1 ends the walk. */
static int take_wanted(void *context, int fd, __u64 cookie, pid_t holder)
{
	struct wanted *w = context;

	if (cookie != w->cookie)
		return 0;
	w->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	w->holder = holder;
	return w->fd < 0 ? -errno : 1;
}

int netns_find(const char *bpffs, __u64 cookie, pid_t *holder)
{
	struct wanted w = { .cookie = cookie, .fd = -1 };
	int ret = netns_each(bpffs, take_wanted, &w);

	if (ret < 0)
		return ret;
	if (holder)
		*holder = w.holder;
	return ret ? w.fd : -ENOENT;
}
