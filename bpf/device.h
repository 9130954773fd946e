/* SPDX-License-Identifier: GPL-2.0-only */
/* Packets on a device, where there may be no full socket. */
#ifndef CLATCH_BPF_DEVICE_H
#define CLATCH_BPF_DEVICE_H

#include "hook.h"

/*
 * ESP, AH behind a plain IP header, told at once: what most packets on a device are, and nothing is
 * asked of them but whether they are a SYN-ACK.
 */
static __always_inline bool tc_protected(struct __sk_buff *ctx)
{
	struct sk_buff *skb = kskb(ctx);
	__u32 link = (__u16)(kread(skb, network_header) - kread(skb, mac_header)) & 0xff;
	void *nh = (void *)(long)ctx->data + link, *end = (void *)(long)ctx->data_end;
	__u8 proto = 0;

	if (ctx->protocol == bpf_htons(ETH_P_IP) && nh + sizeof(struct iphdr) <= end)
		proto = ((struct iphdr *)nh)->protocol;
	else if (ctx->protocol == bpf_htons(ETH_P_IPV6) && nh + sizeof(struct ipv6hdr) <= end)
		proto = ((struct ipv6hdr *)nh)->nexthdr;
	return proto == IPPROTO_ESP || proto == IPPROTO_AH;
}

/* Is it of a handshake that the listener's hook could not tell apart? */
static __always_inline bool is_request(struct __sk_buff *ctx)
{
	__u64 sk = (__u64)kread(kskb(ctx), sk);

	return sk && kread(kcast(struct sock_common, sk), skc_state) == NEW_SYN_RECV;
}

/* Was this packet judged by the cgroup hook?  Only asked in audit mode, which lets it come here. */
static __noinline bool judged_before(struct sk_buff *skb, const struct clatch_tuple *t)
{
	__u64 address = (__u64)kread(skb, sk);
	struct sock_common *sk;
	__u32 state;

	if (!address)
		return false;
	sk = kcast(struct sock_common, address);
	if (t->proto == IPPROTO_SCTP)
		return true; /* whatever pair it is of */
	state = kread(sk, skc_state);
	return state != BPF_TCP_TIME_WAIT && kread(sk, skc_num) == t->local_port &&
	       kread(sk, skc_dport) == bpf_htons(t->remote_port);
}

/* A SYN-ACK under ESP or AH: the listener's hook could not tell whose it is, its request can. */
static __always_inline int tc_syn_ack(struct __sk_buff *ctx, struct packet *p, struct flow *f)
{
	__u64 sk = (__u64)kread(kskb(ctx), sk);
	struct clatch_latch *l;

	if (!is_request(ctx))
		return TC_ACT_UNSPEC;
	sas_outbound_find(ctx, &f->sas, false, &f->tuple.remote, p);
	if (!kernel_socket_tuple(&f->tuple, sk))
		return TC_ACT_UNSPEC;
	f->tuple.proto = IPPROTO_TCP;
	l = bpf_map_lookup_elem(&clatch_latches, &f->tuple);
	if (!l)
		return TC_ACT_UNSPEC;
	/* It shows its outermost SA alone: of nested ones nothing is recorded, the first data does. */
	if (l->held.in.sa.count > 1 && !l->held.out.sa.count)
		return TC_ACT_UNSPEC;
	return tc_verdict(latch_hold(ctx, l, f, CLATCH_OUT));
}

#endif
