// SPDX-License-Identifier: GPL-2.0-only
#include "veth.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <libmnl/libmnl.h>
#include <limits.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "netns.h"

/* One veth: this end, and the other's ifindex in whatever namespace that is. */
struct end {
	unsigned int ifindex, peer;
	char name[IFNAMSIZ];
};

struct ends {
	unsigned int count;
	struct end end[VETHS_MAX];
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
	const struct ifinfomsg *link = mnl_nlmsg_get_payload(message);
	const struct nlattr *attr;
	struct ends *ends = context;
	struct end end = { .ifindex = link->ifi_index };
	bool veth = false;

	mnl_attr_for_each(attr, message, sizeof(*link))
	{
		if (mnl_attr_get_type(attr) == IFLA_LINK && mnl_attr_get_payload_len(attr) >= 4)
			end.peer = mnl_attr_get_u32(attr);
		else if (mnl_attr_get_type(attr) == IFLA_IFNAME &&
			 !mnl_attr_validate(attr, MNL_TYPE_NUL_STRING))
			snprintf(end.name, sizeof(end.name), "%s", mnl_attr_get_str(attr));
		else if (mnl_attr_get_type(attr) == IFLA_LINKINFO)
			veth = is_veth(attr);
	}
	if (veth && end.peer && ends->count < VETHS_MAX)
		ends->end[ends->count++] = end;
	return MNL_CB_OK;
}

static void cleanup_socket(struct mnl_socket **socket)
{
	if (*socket)
		mnl_socket_close(*socket);
}

/* The veths of the namespace that this runs in; @ifindex: that device alone, 0 = all. */
static int list(unsigned int ifindex, struct ends *ends)
{
	__attribute__((cleanup(cleanup_socket))) struct mnl_socket *socket =
		mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	char buffer[32768];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct ifinfomsg *link;
	int length, more = 1;

	if (!socket || mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID))
		return -errno;
	request->nlmsg_type = RTM_GETLINK;
	request->nlmsg_flags = NLM_F_REQUEST | (ifindex ? NLM_F_ACK : NLM_F_DUMP);
	request->nlmsg_seq = 1;
	link = mnl_nlmsg_put_extra_header(request, sizeof(*link));
	link->ifi_index = ifindex;
	if (mnl_socket_sendto(socket, request, request->nlmsg_len) < 0)
		return -errno;
	while (more > 0) {
		length = mnl_socket_recvfrom(socket, buffer, sizeof(buffer));
		if (length < 0)
			return -errno;
		more = mnl_cb_run(buffer, length, 1, mnl_socket_get_portid(socket), on_link, ends);
	}
	return more < 0 ? -errno : 0;
}

static int list_inside(void *ends)
{
	return list(0, ends);
}

static int cookie_inside(void *cookie)
{
	return netns_own(cookie);
}

/* Is there a veth here whose other end is @inner? */
static void find_outer(const struct end *inner, struct veths *v)
{
	struct ends outer = {};

	if (list(inner->peer, &outer) || outer.count != 1 || outer.end[0].peer != inner->ifindex)
		return;
	memcpy(v->names[v->count++], outer.end[0].name, IFNAMSIZ);
}

int veths_of_process(const char *pid, struct veths *v)
{
	_cleanup_close_ int fd = -1;
	struct ends inner = {};
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
		err = netns_inside(fd, list_inside, &inner);
	if (err)
		return fail(v, err, "couldn't read the devices of process %s: %s", pid,
			    strerror(-err));
	for (unsigned int i = 0; i < inner.count; i++)
		find_outer(&inner.end[i], v);
	return v->count ? 0
			: fail(v, -ENODEV,
			       "no veth in this network namespace has its other end in that of "
			       "process %s (it has %u; see: ip -n, ip link)",
			       pid, inner.count);
}

/* The first line of a cgroup.procs. */
static bool first_process(const char *path, char pid[16])
{
	FILE *file = fopen(path, "re");
	bool any = file && fgets(pid, 16, file);

	if (file)
		fclose(file);
	if (!any)
		return false;
	pid[strcspn(pid, "\n")] = '\0';
	return *pid && strcmp(pid, "0"); /* 0: of another pid namespace */
}

int veths_of_cgroup(const char *cgroup, struct veths *v)
{
	char *const paths[] = { (char *)cgroup, NULL };
	FTS *tree = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	char pid[16] = "";
	FTSENT *entry;

	*v = (struct veths){};
	if (!tree)
		return fail(v, -errno, "couldn't read '%s': %s", cgroup, strerror(errno));
	while (!*pid && (entry = fts_read(tree)))
		if (entry->fts_info == FTS_F && !strcmp(entry->fts_name, "cgroup.procs") &&
		    !first_process(entry->fts_path, pid))
			*pid = '\0';
	fts_close(tree);
	if (!*pid)
		return fail(v, -ESRCH, "there is no process in '%s'", cgroup);
	return veths_of_process(pid, v);
}
