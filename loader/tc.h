/* SPDX-License-Identifier: GPL-2.0-only */
/* tc filters of one device, by rtnetlink in the caller's network namespace. */
#ifndef CLATCH_TC_H
#define CLATCH_TC_H

#include <bpf/libbpf.h>

/* One direction of a device: which filters run our program, and how many do not. */
struct tc_side {
	enum bpf_tc_attach_point point;
	__u32 program; /* id of ours; asked */
	__u32 handle; /* of one of ours */
	__u32 priority;
	unsigned int ours, others;
	__u32 first; /* lowest priority of all filters, 0 = there are none */
};

/* Fills all of @side but what is asked.  A device or qdisc that is not there has no filters. */
int tc_look(unsigned int ifindex, struct tc_side *side);

/* Removes every filter that runs our program; *side then has what there was.  0 or -errno. */
int tc_remove(unsigned int ifindex, struct tc_side *side);

/*
 * Makes the clsact qdisc.  0; -EEXIST one is there; -EBUSY an ingress qdisc is there instead, whose
 * "egress" filters would in truth see inbound packets; -errno.
 */
int tc_make_qdisc(unsigned int ifindex);
int tc_remove_qdisc(unsigned int ifindex);

/*
 * Adds a filter in front of the others; side->handle and ->priority become its own.  0; -EADDRINUSE
 * nothing can go in front of what is there; -errno.
 */
int tc_add(unsigned int ifindex, struct tc_side *side, int program_fd);

#endif
