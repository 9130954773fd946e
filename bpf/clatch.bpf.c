// SPDX-License-Identifier: GPL-2.0-only
/*
 * clatch's programs.  Each finds a packet's connection and the SAs that protect it; latch.h
 * decides.
 *
 *   hook                  sees                                       without a latch
 *   cgroup_skb/ingress    decrypted packets on their way to a socket passes
 *   cgroup_skb/egress     ESP, AH or clear packets of a full socket  passes
 *   sockops               beginning and end of TCP connections       -
 *   cgroup/connect4, 6    connect()                                  refuses what is known
 *   cgroup/sendmsg4, 6    sendmsg() to an address, on UDP            -
 *   cgroup/set, getsockopt  options of clatch.h                      the kernel's own
 *   cgroup/sock_release   close() of the last descriptor             -
 *   tc ingress            clear packets from the wire, full socket or not  passes
 *   tc egress             what has no full socket: RST, TIME_WAIT, SYN-ACK passes
 *   control               orders of user space, by BPF_PROG_TEST_RUN; attached nowhere
 *   iter/tcp              each TCP socket of a namespace, when user space asks: sends what was held
 */
#include "clear.h"
#include "control.h"
#include "datagram.h"
#include "device.h"
#include "inbound.h"
#include "kick.h"
#include "option.h"
#include "outbound.h"

char _license[] SEC("license") = "GPL";

SEC("cgroup_skb/ingress")
int clatch_ingress(struct __sk_buff *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct clatch_latch *l;
	struct packet p;
	struct flow f;

	if (sk && fast_inbound(ctx, sk))
		return CGROUP_PASS;
	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (!sk || !has_connections(sk) || clear_inbound(ctx, sk))
		return CGROUP_PASS;
	flow_init(&f, &p, CLATCH_IN, ctx->len);
	/* Whatever stands in front of the transport header: the socket knows its connection. */
	if ((packet_parse(ctx, &p, &f.tuple, 0, CLATCH_IN) || p.proto != sk->protocol) &&
	    (sk->protocol == IPPROTO_SCTP || !socket_tuple(&f.tuple, sk)))
		return ingress_verdict(unreadable());
	f.tuple.proto = sk->protocol;
	sas_inbound(ctx, &f.sas);
	flow_forget(&f, &p);

	if (sk->protocol == IPPROTO_SCTP)
		return ingress_verdict(sctp_ingress(ctx, sk, &f, &p));
	l = bpf_map_lookup_elem(&clatch_latches, &f.tuple);
	if (l && syn_replaces(l, sk, &p, &f)) {
		latch_delete(&f.tuple, CLATCH_END_REPLACED);
		l = NULL;
	}
	if (l && sk->state == BPF_TCP_CLOSE && sk->protocol == IPPROTO_UDP)
		l = udp_disconnected(l, &f, socket_cookie(ctx));
	if (l) {
		if ((l->flags & CLATCH_OPENING) && is_syn(&p))
			latch_end_in(&f.tuple, l, LARVAL_TIME); /* repeated */
		return ingress_verdict(socket_hold(ctx, l, sk, &f, CLATCH_IN));
	}
	if (!f.sas.count && clear_refused(ctx, sk, &f.tuple))
		return ingress_verdict(unwatched(&f, CLATCH_CLEAR, true));
	if (!f.sas.count || !begins(sk, &p))
		return ingress_verdict(sk->protocol == IPPROTO_UDP && f.sas.count
					       ? datagram_received(ctx, sk, &f)
					       : CLATCH_PASS);
	f.cookie = sk->protocol == IPPROTO_UDP ? socket_cookie(ctx) : 0;
	return ingress_verdict(socket_first(ctx, sk, &f, CLATCH_IN));
}

SEC("cgroup_skb/egress")
int clatch_egress(struct __sk_buff *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct clatch_latch *l;
	struct packet p;
	struct flow f;
	bool clear;

	if (sk && fast_outbound(ctx, sk))
		return CGROUP_PASS;
	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (!sk || !has_connections(sk))
		return CGROUP_PASS;
	if (sk->state == BPF_TCP_CLOSE && sk->protocol == IPPROTO_UDP && udp_closed(ctx, sk))
		return egress_verdict(closed_verdict());
	if (clear_outbound(ctx, sk))
		return CGROUP_PASS;
	flow_init(&f, &p, CLATCH_OUT, ctx->len);
	if (packet_parse(ctx, &p, &f.tuple, 0, CLATCH_OUT))
		p.proto = 0; /* headers cut off: judged as clear, by the socket's connection */
	if (!in_clear(ctx, &p)) {
		if (!sk->dst_port && sk->protocol == IPPROTO_UDP)
			return egress_verdict(datagram_sent(ctx, sk, &f, &p));
		if (!sk->dst_port && sk->protocol != IPPROTO_SCTP)
			return CGROUP_PASS; /* SYN-ACK: see tc egress */
		sas_outbound(ctx, &f.sas, &f.tuple.remote, &p);
	}
	flow_forget(&f, &p);
	if (sk->protocol == IPPROTO_SCTP)
		return egress_verdict(sctp_egress(ctx, sk, &f, &p));
	clear = !f.sas.count && !f.sas.unknown;
	if (clear && p.proto == IPPROTO_UDP && sk->protocol == IPPROTO_UDP) {
		f.tuple.proto = IPPROTO_UDP;
		if (strays(ctx, &f.tuple, p.routed) && !to_xfrm_interface(kskb(ctx)))
			return egress_verdict(unwatched(&f, CLATCH_CLEAR, true));
	}
	/* The socket decides whose packet it is: NAT may have changed the header. */
	if (!socket_tuple(&f.tuple, sk) && p.proto != sk->protocol)
		return CGROUP_PASS;
	f.tuple.proto = sk->protocol;

	l = bpf_map_lookup_elem(&clatch_latches, &f.tuple);
	if (sk->protocol == IPPROTO_UDP)
		l = udp_current(ctx, l, sk, &f);
	if (!l && clear) {
		if (!unlatched(ctx, sk, &f.tuple) || to_xfrm_interface(kskb(ctx)))
			return CGROUP_PASS;
		l = demand_latch(ctx, sk, &f);
		if (!l)
			return egress_verdict(unwatched(
				&f, sk->dst_port ? CLATCH_TABLE_FULL : CLATCH_CLEAR, true));
	}
	if (clear && to_xfrm_interface(kskb(ctx)))
		return CGROUP_PASS;
	if (!l && sk->protocol == IPPROTO_TCP && sk->state == BPF_TCP_CLOSE)
		return CGROUP_PASS; /* nothing begins on a closed socket */
	if (!l)
		return egress_verdict(socket_first(ctx, sk, &f, CLATCH_OUT));
	return egress_verdict(socket_hold(ctx, l, sk, &f, CLATCH_OUT));
}

/*
 * Inbound in clear on a latched 5-tuple, whoever would take it.  What has a sec_path is left to
 * the cgroup hook, which knows the socket.  Audit mode drops nothing, and counts there too.
 */
SEC("tc")
int clatch_tc_ingress(struct __sk_buff *ctx)
{
	struct clatch_latch *l;
	struct packet p;
	struct flow f;

	if (audit || tc_protected(ctx) || !tc_parse(ctx, &p, &f, CLATCH_IN) ||
	    !is_latched_transport(p.proto))
		return TC_ACT_UNSPEC;
	l = bpf_map_lookup_elem(&clatch_latches, &f.tuple);
	if (!l)
		return TC_ACT_UNSPEC;
	sas_inbound(ctx, &f.sas);
	if (f.sas.count || f.sas.unknown)
		return TC_ACT_UNSPEC;
	return tc_verdict(latch_hold(ctx, l, &f, CLATCH_IN));
}

SEC("tc")
int clatch_tc_egress(struct __sk_buff *ctx)
{
	struct sk_buff *skb = kskb(ctx);
	struct clatch_latch *l;
	struct packet p;
	struct flow f;

	if (tc_protected(ctx) && !is_request(ctx))
		return TC_ACT_UNSPEC;
	if (!tc_parse(ctx, &p, &f, CLATCH_OUT))
		return TC_ACT_UNSPEC;
	if (p.proto == IPPROTO_ESP || p.proto == IPPROTO_AH)
		return tc_syn_ack(ctx, &p, &f);
	if (!is_latched_transport(p.proto))
		return TC_ACT_UNSPEC;
	l = bpf_map_lookup_elem(&clatch_latches, &f.tuple);
	if (!l)
		return p.proto == IPPROTO_UDP && p.spi ? tc_syn_ack(ctx, &p, &f) : TC_ACT_UNSPEC;
	if (to_xfrm_interface(skb))
		return TC_ACT_UNSPEC;
	if (audit && judged_before(skb, &f.tuple))
		return TC_ACT_UNSPEC;
	return tc_verdict(latch_hold(ctx, l, &f, CLATCH_OUT));
}

static __always_inline void follow_state(struct bpf_sock_ops *ctx)
{
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

static __always_inline void state_changes(struct bpf_sock_ops *ctx, struct tcp_sock *sk)
{
	struct clatch_tuple tuple = {};

	if (ctx->args[0] == BPF_TCP_LISTEN)
		listener_ends((__u64)sk, IPPROTO_TCP);
	else if (ctx->args[1] == BPF_TCP_CLOSE && kernel_socket_ports(&tuple, (__u64)sk))
		tcp_closed(&tuple, (__u64)sk, ctx->args[0]);
}

/* Has it a latch, or may it have one soon? */
static __always_inline bool connection_tells(struct bpf_sock_ops *ctx, struct tcp_sock *sk)
{
	struct clatch_tuple tuple = {};

	tuple.local_port = ctx->local_port;
	tuple.remote_port = bpf_ntohl(ctx->remote_port);
	if (!tuple.remote_port)
		return false;
	if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB)
		return tcp_begins(&tuple, sk) || route_may_protect((__u64)sk);
	return tcp_established(&tuple, (__u64)sk);
}

static __noinline void socket_tells(struct bpf_sock_ops *ctx)
{
	struct tcp_sock *sk = ctx->sk ? bpf_skc_to_tcp_sock(ctx->sk) : NULL;

	if (!sk)
		return;
	if (ctx->op == BPF_SOCK_OPS_STATE_CB) {
		state_changes(ctx, sk);
		return;
	}
	if (ctx->op == BPF_SOCK_OPS_TCP_LISTEN_CB)
		listener_begins((__u64)sk, IPPROTO_TCP);
	else if (!connection_tells(ctx, sk))
		return;
	follow_state(ctx);
}

/* Each connection calls many times; nearly all of it is nothing to us. */
SEC("sockops")
int clatch_sockops(struct bpf_sock_ops *ctx)
{
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_LISTEN_CB:
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
	case BPF_SOCK_OPS_STATE_CB:
		socket_tells(ctx);
	}
	return 1;
}

/* @ctx's address, which lies elsewhere for each family. */
static __always_inline void address_v6(struct bpf_sock_addr *ctx, struct clatch_addr *a)
{
	words(a)[0] = ctx->user_ip6[0];
	words(a)[1] = ctx->user_ip6[1];
	words(a)[2] = ctx->user_ip6[2];
	words(a)[3] = ctx->user_ip6[3];
}

static __always_inline int connects(struct bpf_sock_addr *ctx, const struct clatch_addr *remote)
{
	if (!is_latched_transport(ctx->protocol))
		return 1;
	if (!connect_begins(ctx, remote))
		return 0;
	if (ctx->protocol == IPPROTO_UDP)
		udp_connect(ctx, remote);
	return 1;
}

SEC("cgroup/connect4")
int clatch_connect4(struct bpf_sock_addr *ctx)
{
	struct clatch_addr remote;

	addr_v4(&remote, ctx->user_ip4);
	return connects(ctx, &remote);
}

SEC("cgroup/connect6")
int clatch_connect6(struct bpf_sock_addr *ctx)
{
	struct clatch_addr remote;

	address_v6(ctx, &remote);
	return connects(ctx, &remote);
}

SEC("cgroup/sendmsg4")
int clatch_sendmsg4(struct bpf_sock_addr *ctx)
{
	struct clatch_tuple tuple = {};

	addr_v4(&tuple.local, ctx->msg_src_ip4);
	addr_v4(&tuple.remote, ctx->user_ip4);
	return datagram_sends(ctx, &tuple);
}

SEC("cgroup/sendmsg6")
int clatch_sendmsg6(struct bpf_sock_addr *ctx)
{
	struct clatch_tuple tuple = {};

	for (int i = 0; i < 4; i++)
		words(&tuple.local)[i] = ctx->msg_src_ip6[i];
	address_v6(ctx, &tuple.remote);
	return datagram_sends(ctx, &tuple);
}

SEC("cgroup/setsockopt")
int clatch_setsockopt(struct bpf_sockopt *ctx)
{
	int err;

	if (!is_ours(ctx))
		return 1;
	err = set_option(ctx, context_socket(ctx));
	if (err)
		bpf_set_retval(-err);
	else
		ctx->optlen = -1; /* done: the kernel is not asked */
	return !err;
}

SEC("cgroup/getsockopt")
int clatch_getsockopt(struct bpf_sockopt *ctx)
{
	int err;

	if (!is_ours(ctx))
		return 1;
	err = get_option(ctx, context_socket(ctx));
	ctx->retval = 0;
	if (err)
		bpf_set_retval(-err);
	return !err;
}

SEC("cgroup/sock_release")
int clatch_sock_release(struct bpf_sock *ctx)
{
	if (ctx->protocol == IPPROTO_UDP)
		udp_release(ctx);
	else if (ctx->protocol == IPPROTO_TCP)
		tcp_release(ctx);
	else if (ctx->protocol == IPPROTO_SCTP)
		sctp_release(ctx);
	return 1;
}

SEC("tc")
int clatch_control(struct __sk_buff *ctx)
{
	int found = 0;

	for (__u32 i = 0; i < CLATCH_MAX_ORDERS; i++)
		if (ctx->len >= ETH_HLEN + (i + 1) * sizeof(struct clatch_order))
			found += order_carry_out(ctx, i);
	return found;
}

SEC("iter/tcp")
int clatch_kick(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	struct tcp_sock *sk = skc ? bpf_skc_to_tcp_sock(skc) : NULL;

	if (sk) /* neither the end of all sockets, nor a handshake's, nor in TIME_WAIT */
		kick(sk);
	return 0;
}
