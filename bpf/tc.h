/* SPDX-License-Identifier: GPL-2.0-only */
/* How every packet hook begins and tc's end: for packets of this host, and for forwarded ones. */
#ifndef CLATCH_BPF_TC_H
#define CLATCH_BPF_TC_H

#include "hold.h"

#define TC_ACT_UNSPEC (-1) /* pass, and let other filters on the device decide */
#define TC_ACT_SHOT 2

static __always_inline bool is_dropped(__u32 verdict)
{
	return verdict == CLATCH_DROP || verdict == CLATCH_LOSS;
}

static __always_inline int tc_verdict(__u32 verdict)
{
	return is_dropped(verdict) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

/* What a packet's flow is before anything was read of it. */
static __always_inline void flow_init(struct flow *f, struct packet *p, enum clatch_dir dir,
				      __u32 len)
{
	if (!PLAIN_LOADS) /* before 6.3 a function may be given initialised memory only */
		__builtin_memset(f, 0, sizeof(*f));
	f->sas.count = 0;
	f->sas.unknown = 0;
	f->cookie = 0;
	f->adopted = 0;
	f->dir = dir;
	f->len = len;
	p->proto = 0;
	p->spi = 0;
	p->first = 0;
	p->routed = 0;
}

/*
 * An xfrm interface (or the older vti) shows every packet first in clear; without an SA it drops
 * it, so this pass is no leak.
 */
static __always_inline bool to_xfrm_interface(struct sk_buff *skb)
{
	struct net_device *dev = kread(skb, dev);
	struct rtnl_link_ops *ops = kread(dev, rtnl_link_ops);
	char kind[5] = {};

	if (!ops)
		return false;
	bpf_probe_read_kernel_str(kind, sizeof(kind), kread(ops, kind));
	return (kind[0] == 'x' && kind[1] == 'f' && kind[2] == 'r' && kind[3] == 'm') ||
	       (kind[0] == 'v' && kind[1] == 't' && kind[2] == 'i');
}

/*
 * A packet on a device.  Its headers stand behind whatever link layer the device has, and may lie
 * outside the linear part.  False where there is nothing to judge.
 */
static __always_inline bool tc_parse(struct __sk_buff *ctx, struct packet *p, struct flow *f,
				     enum clatch_dir dir)
{
	struct sk_buff *skb = kskb(ctx);
	__u32 link = (__u16)(kread(skb, network_header) - kread(skb, mac_header)) & 0xff;

	flow_init(f, p, dir, ctx->len);
	if (packet_parse(ctx, p, &f->tuple, link, dir)) {
		bpf_skb_pull_data(ctx, ctx->len < 256 ? ctx->len : 256);
		if (packet_parse(ctx, p, &f->tuple, link, dir))
			return false;
	}
	f->tuple.proto = p->proto;
	return true;
}

#endif
