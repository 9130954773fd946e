// SPDX-License-Identifier: GPL-2.0-only
/* Somebody else's program on a cgroup: nothing leaves. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("cgroup_skb/egress")
int drop(struct __sk_buff *skb)
{
	(void)skb;
	return 0;
}

char _license[] SEC("license") = "GPL";
