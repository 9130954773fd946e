// SPDX-License-Identifier: GPL-2.0-only
#include "veth.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <libmnl/libmnl.h>
#include <limits.h>
#include <linux/if_link.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "netns.h"

#define NETNS_MAX 64

/* What a dump of our devices is searched for: veths whose other end is in the namespace @nsid. */
struct search {
	struct veths *veths;
	int nsid;
	bool too_many;
};

__attribute__((format(printf, 3, 4))) static int fail(struct veths *v, int err, const char *format,
						      ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(v->why, sizeof(v->why), format, args);
	va_end(args);
	return err;
}

static bool is_veth(const struct nlattr *info)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(
		attr,
		info) if (mnl_attr_get_type(attr) == IFLA_INFO_KIND &&
			  !mnl_attr_validate(
				  attr, MNL_TYPE_NUL_STRING)) return !strcmp(mnl_attr_get_str(attr),
									     "veth");
	return false;
}

static int on_link(const struct nlmsghdr *message, void *context)
{
	const struct nlattr *attr, *name = NULL;
	struct search *search = context;
	struct veths *v = search->veths;
	bool veth = false;
	int nsid = -1;

	mnl_attr_for_each(attr, message, sizeof(struct ifinfomsg))
	{
		if (mnl_attr_get_type(attr) == IFLA_LINK_NETNSID &&
		    !mnl_attr_validate(attr, MNL_TYPE_U32))
			nsid = mnl_attr_get_u32(attr);
		else if (mnl_attr_get_type(attr) == IFLA_IFNAME &&
			 !mnl_attr_validate(attr, MNL_TYPE_NUL_STRING))
			name = attr;
		else if (mnl_attr_get_type(attr) == IFLA_LINKINFO)
			veth = is_veth(attr);
	}
	if (!veth || !name || nsid < 0 || nsid != search->nsid)
		return MNL_CB_OK;
	if (v->count < VETHS_MAX)
		snprintf(v->names[v->count++], IFNAMSIZ, "%s", mnl_attr_get_str(name));
	else
		search->too_many = true;
	return MNL_CB_OK;
}

static int on_nsid(const struct nlmsghdr *message, void *context)
{
	const struct nlattr *attr;
	int *nsid = context;

	mnl_attr_for_each(
		attr, message,
		sizeof(struct rtgenmsg)) if (mnl_attr_get_type(attr) == NETNSA_NSID &&
					     !mnl_attr_validate(attr, MNL_TYPE_U32)) *nsid =
		mnl_attr_get_u32(attr);
	return MNL_CB_OK;
}

static void cleanup_socket(struct mnl_socket **socket)
{
	if (*socket)
		mnl_socket_close(*socket);
}

/* Sends @request and gives each answer to @take.  0 or -errno. */
static int exchange(struct nlmsghdr *request, mnl_cb_t take, void *context)
{
	__attribute__((cleanup(cleanup_socket))) struct mnl_socket *socket =
		mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	char answer[32768];
	int length, more = 1;

	if (!socket || mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID))
		return -errno;
	request->nlmsg_seq = 1;
	if (mnl_socket_sendto(socket, request, request->nlmsg_len) < 0)
		return -errno;
	while (more > 0) {
		length = mnl_socket_recvfrom(socket, answer, sizeof(answer));
		if (length < 0)
			return -errno;
		more = mnl_cb_run(answer, length, 1, mnl_socket_get_portid(socket), take, context);
	}
	return more < 0 ? -errno : 0;
}

static int dump_links(struct search *search)
{
	char buffer[256];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);

	request->nlmsg_type = RTM_GETLINK;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	mnl_nlmsg_put_extra_header(request, sizeof(struct ifinfomsg));
	return exchange(request, on_link, search);
}

/* By what number our devices' other ends in the namespace of @fd are told; -1 if it has none yet. */
static int find_nsid(int fd, int *nsid)
{
	char buffer[256];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);

	request->nlmsg_type = RTM_GETNSID;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	mnl_nlmsg_put_extra_header(request, sizeof(struct rtgenmsg));
	mnl_attr_put_u32(request, NETNSA_FD, fd);
	*nsid = -1;
	return exchange(request, on_nsid, nsid);
}

/*
 * The kernel itself says in which namespace the other end of each of our veths is, so that nothing a
 * container does inside can name another's.  It numbers namespaces as devices are listed.
 */
static int find_veths(int fd, struct veths *v)
{
	struct search search = { .veths = v, .nsid = -1 };
	int err = dump_links(&search);

	if (!err)
		err = find_nsid(fd, &search.nsid);
	if (!err && search.nsid >= 0)
		err = dump_links(&search);
	return !err && search.too_many ? -E2BIG : err;
}

static int cookie_inside(void *cookie)
{
	return netns_own(cookie);
}

int veths_of_process(const char *pid, struct veths *v)
{
	_cleanup_close_ int fd = -1;
	char path[PATH_MAX];
	__u64 here, there;
	int err;

	*v = (struct veths){};
	if (!*pid || strlen(pid) > 10 || pid[strspn(pid, "0123456789")] || *pid == '0')
		return fail(v, -EINVAL, "'%.32s' is not the number of a process", pid);
	snprintf(path, sizeof(path), "/proc/%s/ns/net", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fail(v, -errno, "couldn't open '%s': %s", path, strerror(errno));
	err = netns_own(&here);
	if (!err)
		err = netns_inside(fd, cookie_inside, &there);
	if (!err && here == there)
		return fail(v, -ENODEV,
			    "process %s is in the host's network namespace and has no veth; "
			    "guard it without --uplink",
			    pid);
	if (!err)
		err = find_veths(fd, v);
	if (err == -E2BIG)
		return fail(v, err, "it has more than %d; name them by --veth", VETHS_MAX);
	if (err)
		return fail(v, err, "couldn't read the devices of this network namespace: %s",
			    strerror(-err));
	return v->count ? 0
			: fail(v, -ENODEV,
			       "no veth in this network namespace has its other end in that of "
			       "process %s",
			       pid);
}

/* The namespaces of a cgroup's processes, each once: whoever is inside may have made more of them. */
struct seen {
	unsigned int count;
	ino_t netns[NETNS_MAX];
};

static bool is_new(struct seen *seen, const char *pid)
{
	char path[PATH_MAX];
	struct stat netns;

	snprintf(path, sizeof(path), "/proc/%s/ns/net", pid);
	if (stat(path, &netns) || seen->count == NETNS_MAX)
		return false; /* it has ended */
	for (unsigned int i = 0; i < seen->count; i++)
		if (seen->netns[i] == netns.st_ino)
			return false;
	seen->netns[seen->count++] = netns.st_ino;
	return true;
}

/* Adds what the processes of one cgroup.procs have; v->why is that of the last that has none. */
static void add_processes(const char *path, struct seen *seen, struct veths *v)
{
	FILE *file = fopen(path, "re");
	struct veths one;
	char pid[16];

	while (file && fgets(pid, sizeof(pid), file)) {
		pid[strcspn(pid, "\n")] = '\0';
		if (!is_new(seen, pid))
			continue;
		if (veths_of_process(pid, &one))
			memcpy(v->why, one.why, sizeof(v->why));
		for (unsigned int i = 0; i < one.count && v->count < VETHS_MAX; i++)
			memcpy(v->names[v->count++], one.names[i], IFNAMSIZ);
	}
	if (file)
		fclose(file);
}

int veths_of_cgroup(const char *cgroup, struct veths *v)
{
	char *const paths[] = { (char *)cgroup, NULL };
	FTS *tree = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	struct seen seen = {};
	FTSENT *entry;

	*v = (struct veths){};
	if (!tree)
		return fail(v, -errno, "couldn't read '%s': %s", cgroup, strerror(errno));
	while ((entry = fts_read(tree)))
		if (entry->fts_info == FTS_F && !strcmp(entry->fts_name, "cgroup.procs"))
			add_processes(entry->fts_path, &seen, v);
	fts_close(tree);
	if (!seen.count)
		return fail(v, -ESRCH, "there is no process in '%s'", cgroup);
	return v->count ? 0 : -ENODEV;
}
