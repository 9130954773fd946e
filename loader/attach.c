// SPDX-License-Identifier: GPL-2.0-only
#include <bpf/bpf.h>
#include <clatch/rule.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "attach.h"
#include "cgroup.h"
#include "cleanup.h"
#include "pins.h"

static const struct cgroup_hook {
	const char *program;
	enum bpf_attach_type type;
} cgroup_hooks[] = {
	{ "clatch_ingress", BPF_CGROUP_INET_INGRESS },
	{ "clatch_egress", BPF_CGROUP_INET_EGRESS },
	{ "clatch_sockops", BPF_CGROUP_SOCK_OPS },
	{ "clatch_connect4", BPF_CGROUP_INET4_CONNECT },
	{ "clatch_connect6", BPF_CGROUP_INET6_CONNECT },
	{ "clatch_sendmsg4", BPF_CGROUP_UDP4_SENDMSG },
	{ "clatch_sendmsg6", BPF_CGROUP_UDP6_SENDMSG },
	{ "clatch_setsockopt", BPF_CGROUP_SETSOCKOPT },
	{ "clatch_getsockopt", BPF_CGROUP_GETSOCKOPT },
	{ "clatch_sock_release", BPF_CGROUP_INET_SOCK_RELEASE },
};

#define CGROUP_HOOKS (sizeof(cgroup_hooks) / sizeof(cgroup_hooks[0]))

/* Of use under rules only, and there only then: being called at all costs senders 4 %. */
static bool rules_only(const struct cgroup_hook *hook)
{
	return hook->type == BPF_CGROUP_UDP4_SENDMSG || hook->type == BPF_CGROUP_UDP6_SENDMSG;
}

static int link_path(char path[PATH_MAX], const char *dir, __u64 id, const struct cgroup_hook *hook)
{
	return pins_path(path, dir, "links/%" PRIu64 "_%s", (uint64_t)id, hook->program);
}

/*
 * Is there a program on a cgroup above that allows those below to put theirs in its place?  It
 * would not run any more for the processes of @cgroup.
 */
static bool would_displace(int cgroup, enum bpf_attach_type type)
{
	__u32 flags, count;
	int fd = fcntl(cgroup, F_DUPFD_CLOEXEC, 0), above;
	bool found = false;

	while (fd >= 0 && !found) {
		above = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		close(fd);
		fd = above;
		count = 0; /* fails above the root: not a cgroup any more */
		if (fd < 0 || bpf_prog_query(fd, type, 0, &flags, NULL, &count))
			break;
		found = count && (flags & BPF_F_ALLOW_OVERRIDE);
	}
	cleanup_close(&fd);
	return found;
}

static int attach_hook(const char *dir, int cgroup, __u64 id, const struct cgroup_hook *hook)
{
	_cleanup_close_ int program = pins_program(dir, hook->program);
	_cleanup_close_ int link = -1;
	char path[PATH_MAX];
	int err = link_path(path, dir, id, hook);

	if (err)
		return err;
	if (program < 0)
		return program;
	if (would_displace(cgroup, hook->type))
		return -ENOTEMPTY;
	link = bpf_link_create(program, cgroup, hook->type, NULL);
	if (link < 0)
		return -errno;
	return bpf_obj_pin(link, path) ? -errno : 0;
}

static bool has_link(const char *dir, __u64 id, const struct cgroup_hook *hook)
{
	char path[PATH_MAX];

	return !link_path(path, dir, id, hook) && !access(path, F_OK);
}

static int remove_link(const char *dir, __u64 id, const struct cgroup_hook *hook)
{
	char path[PATH_MAX];
	int err = link_path(path, dir, id, hook);

	return !err && unlink(path) && errno != ENOENT ? -errno : err;
}

/* 1, 0 or -errno. */
static int rules_in_force(const char *dir)
{
	_cleanup_close_ int fd = pins_map_in(dir, "clatch_policy");
	struct clatch_policy policy;
	__u32 first = 0;

	if (fd < 0)
		return fd;
	return bpf_map_lookup_elem(fd, &first, &policy) ? -errno : policy.count != 0;
}

/* Does a cgroup lack this, with rules in force or without? */
static bool lacks(const char *dir, __u64 id, const struct cgroup_hook *hook, bool rules)
{
	return (rules || !rules_only(hook)) && !has_link(dir, id, hook);
}

int cgroup_attached(const char *dir, __u64 id)
{
	int rules = rules_in_force(dir);

	if (rules < 0)
		return rules;
	for (size_t i = 0; i < CGROUP_HOOKS; i++)
		if (lacks(dir, id, &cgroup_hooks[i], rules))
			return 0;
	return 1;
}

int detach_added(const char *dir, __u64 id, unsigned int added)
{
	int err = 0;

	for (size_t i = 0; !err && i < CGROUP_HOOKS; i++)
		if (added & 1U << i)
			err = remove_link(dir, id, &cgroup_hooks[i]);
	return err;
}

/* What is there guards, and stays all the while.  Which were added, a bit for each, or -errno. */
static int attach_lacking(const char *dir, int fd, __u64 id, bool rules)
{
	unsigned int added = 0;
	int err = 0;

	for (size_t i = 0; !err && i < CGROUP_HOOKS; i++) {
		if (!lacks(dir, id, &cgroup_hooks[i], rules))
			continue;
		err = attach_hook(dir, fd, id, &cgroup_hooks[i]);
		added |= err ? 0 : 1U << i;
	}
	if (err)
		detach_added(dir, id, added);
	return err ? err : (int)added;
}

int attach_cgroup(const char *dir, int fd, __u64 id)
{
	int rules = rules_in_force(dir);
	int added = rules < 0 ? rules : attach_lacking(dir, fd, id, rules);

	return added ? added : -EEXIST;
}

int detach_cgroup(const char *dir, __u64 id)
{
	bool any = false;
	int err = 0;

	for (size_t i = 0; !err && i < CGROUP_HOOKS; i++) {
		any |= has_link(dir, id, &cgroup_hooks[i]);
		err = remove_link(dir, id, &cgroup_hooks[i]);
	}
	return err || any ? err : -ENOENT;
}

/* To one that was removed, be it meanwhile, nothing can be attached any more. */
static int attach_for_rules(const char *dir, __u64 id)
{
	_cleanup_close_ int fd = cgroup_open_id(id);
	char path[PATH_MAX];
	int added = fd < 0 ? fd : attach_lacking(dir, fd, id, true);

	return added >= 0 || cgroup_path(id, path) == -ESTALE ? 0 : added;
}

int attach_rules(const char *dir)
{
	_cleanup_free_ __u64 *ids = NULL;
	int err = attached_cgroups(dir, &ids);

	for (__u64 *id = ids; !err && *id; id++)
		err = attach_for_rules(dir, *id);
	return err;
}

void detach_rules(const char *dir)
{
	_cleanup_free_ __u64 *ids = NULL;

	if (attached_cgroups(dir, &ids))
		return;
	for (__u64 *id = ids; *id; id++)
		for (size_t i = 0; i < CGROUP_HOOKS; i++)
			if (rules_only(&cgroup_hooks[i]))
				remove_link(dir, *id, &cgroup_hooks[i]);
}

static int add_id(__u64 **ids, size_t *count, __u64 id)
{
	__u64 *more;

	for (size_t i = 0; i < *count; i++)
		if ((*ids)[i] == id)
			return 0;
	more = reallocarray(*ids, *count + 2, sizeof(**ids));
	if (!more)
		return -ENOMEM;
	*ids = more;
	more[(*count)++] = id;
	more[*count] = 0;
	return 0;
}

int attached_cgroups(const char *dir, __u64 **ids)
{
	_cleanup_closedir_ DIR *links = NULL;
	char path[PATH_MAX];
	struct dirent *entry;
	size_t count = 0;
	int err = pins_path(path, dir, "links");
	uint64_t id;

	if (err)
		return err;
	*ids = calloc(1, sizeof(**ids));
	if (!*ids)
		return -ENOMEM;
	links = opendir(path);
	if (!links)
		return errno == ENOENT ? 0 : -errno;
	while (!err && (entry = readdir(links)))
		if (sscanf(entry->d_name, "%" SCNu64 "_clatch_", &id) == 1)
			err = add_id(ids, &count, id);
	return err;
}
