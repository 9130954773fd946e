/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The host's ends of the veths of a container that is in a network namespace of its own: each veth
 * here whose other end is there, as the kernel tells.
 */
#ifndef CLATCH_VETH_H
#define CLATCH_VETH_H

#include <net/if.h>

#define VETHS_MAX 16

struct veths {
	unsigned int count;
	char names[VETHS_MAX][IFNAMSIZ];
	char why[256];
};

/*
 * Of the namespace of process @pid, or of those of all processes in the cgroup at @path and below.
 * 0 and at least one, or -errno and why.
 */
int veths_of_process(const char *pid, struct veths *v);
int veths_of_cgroup(const char *path, struct veths *v);

#endif
