/* SPDX-License-Identifier: GPL-2.0-only */
/* Is an address one of this host's own?  What goes there goes through loopback. */
#ifndef CLATCH_BPF_OWN_H
#define CLATCH_BPF_OWN_H

#include "packet.h"

#define OWN_MAX_STEPS 16384 /* devices and their addresses; what is behind that is not our own */

struct own_search {
	const struct clatch_addr *addr;
	__u64 device; /* its place in the list of devices, and that list's head */
	__u64 devices;
	__u64 at; /* an address of the last device, 0 = it has no more */
	__u64 head; /* IPv6: of its list */
	__u64 found;
};

/* The next device, or 0. */
static __always_inline struct net_device *own_device(struct own_search *s)
{
	struct net_device *dev;

	if (!s->device || s->device == s->devices)
		return NULL;
	dev = kcast(struct net_device,
		    s->device - bpf_core_field_offset(struct net_device, dev_list));
	s->device = (__u64)kread(dev, dev_list.next);
	return dev;
}

static long own_v4(__u32 index, struct own_search *s)
{
	struct in_ifaddr *at = kcast(struct in_ifaddr, s->at);
	struct net_device *dev;
	struct in_device *in;

	(void)index;
	if (s->at) {
		s->found = kread(at, ifa_local) == const_words(s->addr)[3];
		s->at = (__u64)kread(at, ifa_next);
		return s->found;
	}
	dev = own_device(s);
	if (!dev)
		return 1;
	in = kread(dev, ip_ptr);
	s->at = in ? (__u64)kread(in, ifa_list) : 0;
	return 0;
}

static long own_v6(__u32 index, struct own_search *s)
{
	struct inet6_ifaddr *at = kcast(
		struct inet6_ifaddr, s->at - bpf_core_field_offset(struct inet6_ifaddr, if_list));
	struct clatch_addr addr;
	struct net_device *dev;
	struct inet6_dev *in;

	(void)index;
	if (s->at && s->at != s->head) {
		addr = kread(at, addr);
		s->found = addr_equal(&addr, s->addr);
		s->at = (__u64)kread(at, if_list.next);
		return s->found;
	}
	dev = own_device(s);
	if (!dev)
		return 1;
	in = kread(dev, ip6_ptr);
	s->head = in ? (__u64)in + bpf_core_field_offset(struct inet6_dev, addr_list) : 0;
	s->at = in ? (__u64)kread(in, addr_list.next) : 0;
	return 0;
}

static __noinline bool is_own(const struct clatch_addr *addr, __u64 sk)
{
	struct net *net = kread(kcast(struct sock_common, sk), skc_net.net);
	struct own_search s = { .addr = addr };
	const __u32 *w = const_words(addr);

	if (addr_is_v4(addr) && addr->b[12] == 127)
		return true;
	/* 0.0.0.0 or ::, which connect() takes for this host */
	if (!w[0] && !w[1] && (!w[2] || addr_is_v4(addr)) && !w[3])
		return true;
	s.devices = (__u64)net + bpf_core_field_offset(struct net, dev_base_head);
	s.device = (__u64)kread(net, dev_base_head.next);
	s.at = s.head = s.found = unknown_zero();
	if (addr_is_v4(addr))
		bpf_loop(OWN_MAX_STEPS, own_v4, &s, 0);
	else
		bpf_loop(OWN_MAX_STEPS, own_v6, &s, 0);
	return s.found;
}

#endif
