// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "tc.h"

static int receive_all(struct mnl_socket *socket, unsigned int seq, mnl_cb_t each, void *data)
{
	/* a page more than libmnl's proposal: a filter's dump may carry its statistics */
	char buffer[32768];
	ssize_t length;
	int more;

	do {
		length = mnl_socket_recvfrom(socket, buffer, sizeof(buffer));
		if (length < 0)
			return -errno;
		more = mnl_cb_run(buffer, length, seq, mnl_socket_get_portid(socket), each, data);
		if (more < 0)
			return -errno;
	} while (more > MNL_CB_STOP);
	return 0;
}

/* Dumps the qdiscs or filters of a device to each(). */
static int dump(unsigned int type, unsigned int ifindex, __u32 parent, mnl_cb_t each, void *data)
{
	char buffer[MNL_NLMSG_HDRLEN + MNL_ALIGN(sizeof(struct tcmsg))];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct tcmsg *tc = mnl_nlmsg_put_extra_header(request, sizeof(*tc));
	struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	int err = 0;

	if (!socket)
		return -errno;
	request->nlmsg_type = type;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	request->nlmsg_seq = time(NULL);
	tc->tcm_ifindex = ifindex;
	tc->tcm_parent = parent;
	if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) ||
	    mnl_socket_sendto(socket, request, request->nlmsg_len) < 0)
		err = -errno;
	else
		err = receive_all(socket, request->nlmsg_seq, each, data);
	mnl_socket_close(socket);
	return err;
}

static const struct nlattr *find_attr(const struct nlmsghdr *message, unsigned int type)
{
	const struct nlattr *attr;

	mnl_attr_for_each(attr, message,
			  sizeof(struct tcmsg)) if (mnl_attr_get_type(attr) == type) return attr;
	return NULL;
}

static bool is_kind(const struct nlmsghdr *message, const char *kind)
{
	const struct nlattr *attr = find_attr(message, TCA_KIND);

	return attr && !strcmp(mnl_attr_get_str(attr), kind);
}

/* The id of the program that a filter of kind bpf runs. */
static __u32 filter_program(const struct nlmsghdr *message)
{
	const struct nlattr *options = find_attr(message, TCA_OPTIONS), *attr;

	if (options)
		mnl_attr_for_each_nested(attr,
					 options) if (mnl_attr_get_type(attr) ==
						      TCA_BPF_ID) return mnl_attr_get_u32(attr);
	return 0;
}

static int each_filter(const struct nlmsghdr *message, void *data)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(message);
	__u32 priority = TC_H_MAJ(tc->tcm_info) >> 16;
	struct tc_side *side = data;

	if (!side->first || priority < side->first)
		side->first = priority;
	if (!is_kind(message, "bpf")) {
		side->others++;
	} else if (tc->tcm_handle && filter_program(message) == side->program) {
		side->ours++;
		side->handle = tc->tcm_handle;
		side->priority = priority;
	} else if (tc->tcm_handle) { /* without a handle it is the head of the list */
		side->others++;
	}
	return MNL_CB_OK;
}

int tc_look(unsigned int ifindex, struct tc_side *side)
{
	__u32 minor = side->point == BPF_TC_INGRESS ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS;

	side->ours = side->others = side->first = 0;
	return dump(RTM_GETTFILTER, ifindex, TC_H_MAKE(TC_H_CLSACT, minor), each_filter, side);
}

static int remove_one(unsigned int ifindex, const struct tc_side *side)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = side->point);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = side->handle, .priority = side->priority);

	return bpf_tc_detach(&hook, &opts);
}

int tc_remove(unsigned int ifindex, struct tc_side *side)
{
	unsigned int removed = 0;
	int err = tc_look(ifindex, side);

	while (!err && side->ours) {
		err = remove_one(ifindex, side);
		if (!err)
			err = tc_look(ifindex, side);
		removed++;
	}
	side->ours = removed;
	return err;
}

struct qdisc {
	__u32 ifindex;
	bool clsact, ingress;
};

static int each_qdisc(const struct nlmsghdr *message, void *data)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(message);
	struct qdisc *found = data;

	/* the kernel dumps the qdiscs of all devices, whichever was asked for */
	if ((__u32)tc->tcm_ifindex == found->ifindex) {
		found->clsact |= is_kind(message, "clsact");
		found->ingress |= is_kind(message, "ingress");
	}
	return MNL_CB_OK;
}

int tc_make_qdisc(unsigned int ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex,
		    .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	struct qdisc found = { .ifindex = ifindex };
	int err = dump(RTM_GETQDISC, ifindex, 0, each_qdisc, &found);

	if (err)
		return err;
	if (found.ingress)
		return -EBUSY;
	return found.clsact ? -EEXIST : bpf_tc_hook_create(&hook);
}

int tc_remove_qdisc(unsigned int ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex,
		    .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);

	return bpf_tc_hook_destroy(&hook);
}

/*
 * Left to itself, the kernel puts a filter behind those of priority below 0x8000.  Of priority 1
 * there may be several, the newest first, if all are of kind bpf.
 */
int tc_add(unsigned int ifindex, struct tc_side *side, int program_fd)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = side->point);
	LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = program_fd);
	int err = tc_look(ifindex, side);

	if (err)
		return err;
	opts.priority = side->first > 1 ? side->first - 1 : side->first;
	err = bpf_tc_attach(&hook, &opts);
	if (err == -EINVAL && side->first == 1)
		err = -EADDRINUSE;
	side->handle = opts.handle;
	side->priority = opts.priority;
	return err;
}
