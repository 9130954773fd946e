// SPDX-License-Identifier: GPL-2.0-only
/*
 * clatch's programs.  Each finds a packet's connection and the SAs that protect it; latch.h
 * decides.
 *
 *   hook                  sees                                       without a latch
 *   cgroup_skb/ingress    decrypted packets on their way to a socket passes
 *   cgroup_skb/egress     ESP, AH or clear packets of a full socket  passes
 *   sockops               beginning and end of TCP connections       -
 *   cgroup/connect4, 6    connect() on UDP                           -
 *   cgroup/sock_release   close() of the last descriptor             -
 *   tc ingress            clear packets from the wire, full socket or not  passes
 *   tc egress             what has no full socket: RST, TIME_WAIT, SYN-ACK passes
 *   control               orders of user space, by BPF_PROG_TEST_RUN; attached nowhere
 */
#include "control.h"
#include "sctp.h"
#include "tcp.h"
#include "udp.h"

char _license[] SEC("license") = "GPL";

#define CGROUP_DROP 0
#define CGROUP_PASS 1
#define TC_ACT_UNSPEC (-1) /* pass, and let other filters on the device decide */
#define TC_ACT_SHOT 2
#define SOCK_RAW 3
#define NEW_SYN_RECV 12 /* TCP_NEW_SYN_RECV: a request socket */

static __always_inline int cgroup_verdict(enum clatch_verdict verdict)
{
	return verdict == CLATCH_DROP ? CGROUP_DROP : CGROUP_PASS;
}

static __always_inline int tc_verdict(enum clatch_verdict verdict)
{
	return verdict == CLATCH_DROP ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

static __always_inline bool is_latched_transport(__u32 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP;
}

/* A raw socket may carry a transport's number, but not its connections. */
static __always_inline bool has_connections(struct bpf_sock *sk)
{
	return sk->type != SOCK_RAW && is_latched_transport(sk->protocol);
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

/* The first protected packet of a socket's connection. */
static __always_inline enum clatch_verdict socket_first(struct __sk_buff *ctx, struct bpf_sock *sk,
							struct flow *f, enum clatch_dir dir)
{
	bool listener =
		dir == CLATCH_IN && f->tuple.proto != IPPROTO_UDP && sk->state == BPF_TCP_LISTEN;
	struct clatch_latch *l;
	enum clatch_verdict verdict;

	if (f->tuple.proto != IPPROTO_SCTP)
		f->adopted =
			f->tuple.proto == IPPROTO_UDP ? !udp_fresh(sk) : !tcp_opening(sk->state);
	verdict = latch_first(ctx, f, dir, listener ? listener_id(ctx, f->tuple.proto) : 0, &l);
	if (l && f->tuple.proto == IPPROTO_UDP)
		udp_latched(sk, f);
	if (l && listener)
		listener_spawned(ctx, l, f->tuple.proto);
	if (l)
		adopted_end(ctx, l, sk);
	return verdict;
}

/*
 * Can this packet to the socket be the first of a latch?  Not on unconnected UDP or closed TCP; and
 * what reaches a listener without being a SYN may be the stray last segment of a connection.
 */
static __always_inline bool begins(struct bpf_sock *sk, const struct packet *p)
{
	if (sk->protocol == IPPROTO_UDP)
		return sk->state == BPF_TCP_ESTABLISHED && !udp_released(sk);
	return (sk->state != BPF_TCP_LISTEN || is_syn(p)) && sk->state != BPF_TCP_CLOSE;
}

/* A SYN in clear that opens a connection which its rule wants protected. */
static __always_inline bool tcp_refused(struct bpf_sock *sk, const struct packet *p,
					const struct clatch_tuple *tuple)
{
	return sk->protocol == IPPROTO_TCP && sk->state == BPF_TCP_LISTEN && is_syn(p) &&
	       rule_demands_protection(rule_find(tuple));
}

/* The same for SCTP, whose packets' headers alone tell the pair. */
static __always_inline enum clatch_verdict sctp_ingress(struct __sk_buff *ctx, struct bpf_sock *sk,
							struct flow *f, const struct packet *p)
{
	enum sctp_phase phase = sctp_receiving(p);
	struct clatch_latch *l = bpf_map_lookup_elem(&clatch_latches, &f->tuple);
	enum clatch_verdict verdict;

	if (!l && f->sas.count && (phase == SCTP_BEGINS || phase == SCTP_GOES_ON)) {
		f->adopted = phase == SCTP_GOES_ON;
		return socket_first(ctx, sk, f, CLATCH_IN);
	}
	if (!l)
		return f->sas.count ? CLATCH_PASS : sctp_in_clear(ctx, f, p->first == SCTP_INIT);
	if (p->first != SCTP_INIT && p->first != SCTP_INIT_ACK && f->sas.count)
		l->flags &= ~CLATCH_OPENING; /* the peer has an association */
	verdict = latch_hold(ctx, l, f, CLATCH_IN);
	if (verdict == CLATCH_PASS)
		sctp_held(ctx, l, f, phase);
	return verdict;
}

SEC("cgroup_skb/ingress")
int clatch_ingress(struct __sk_buff *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct clatch_latch *l;
	struct packet p;
	struct flow f;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (!sk || !has_connections(sk))
		return CGROUP_PASS;
	flow_init(&f, &p, CLATCH_IN, ctx->len);
	/* Whatever stands in front of the transport header: the socket knows its connection. */
	if ((packet_parse(ctx, &p, &f.tuple, 0, CLATCH_IN) || p.proto != sk->protocol) &&
	    (sk->protocol == IPPROTO_SCTP || !socket_tuple(&f.tuple, sk)))
		return cgroup_verdict(unreadable());
	f.tuple.proto = sk->protocol;
	sas_inbound(ctx, &f.sas);

	if (sk->protocol == IPPROTO_SCTP)
		return cgroup_verdict(sctp_ingress(ctx, sk, &f, &p));
	l = bpf_map_lookup_elem(&clatch_latches, &f.tuple);
	if (l && syn_replaces(l, sk, &p, &f)) {
		latch_delete(&f.tuple, CLATCH_END_REPLACED);
		l = NULL;
	}
	if (l && sk->state == BPF_TCP_CLOSE && sk->protocol == IPPROTO_UDP)
		l = udp_disconnected(l, &f, socket_cookie(ctx));
	if (l) {
		if ((l->flags & CLATCH_OPENING) && is_syn(&p))
			latch_end_in(l, LARVAL_TIME); /* repeated */
		adopted_end(ctx, l, sk);
		return cgroup_verdict(latch_hold(ctx, l, &f, CLATCH_IN));
	}
	if (!f.sas.count && tcp_refused(sk, &p, &f.tuple))
		return cgroup_verdict(unwatched(&f, CLATCH_CLEAR));
	if (!f.sas.count || !begins(sk, &p))
		return CGROUP_PASS;
	f.cookie = sk->protocol == IPPROTO_UDP ? socket_cookie(ctx) : 0;
	return cgroup_verdict(socket_first(ctx, sk, &f, CLATCH_IN));
}

/* Is this the socket's own packet in clear, and not a header put around it? */
static __always_inline bool in_clear(const struct packet *p, const struct clatch_tuple *t,
				     struct bpf_sock *sk)
{
	if (p->proto == IPPROTO_ESP || p->proto == IPPROTO_AH)
		return false;
	if (p->proto != IPPROTO_UDP || !p->spi)
		return true;
	return sk->protocol == IPPROTO_UDP && t->local_port == sk->src_port;
}

/* What a UDP socket sends whose latch was closed by order: its connection is gone, and its port. */
static __always_inline enum clatch_verdict closed_verdict(void)
{
	enum clatch_verdict verdict = audit ? CLATCH_AUDIT : CLATCH_DROP;

	count_reason(CLATCH_REASON_BROKEN, verdict);
	return verdict;
}

/* The same for SCTP, whose association tells the pair; an INIT-ACK has none yet, and no data. */
static __always_inline enum clatch_verdict sctp_egress(struct __sk_buff *ctx, struct bpf_sock *sk,
						       struct flow *f, const struct packet *p)
{
	int phase = sctp_sending(&f->tuple, (__u64)kread(kskb(ctx), sk), p->proto == IPPROTO_SCTP);
	bool clear = !f->sas.count && !f->sas.unknown;
	struct clatch_latch *l;

	if (phase == SCTP_UNKNOWN && p->proto != IPPROTO_SCTP)
		return CLATCH_PASS;
	f->tuple.proto = IPPROTO_SCTP;
	l = bpf_map_lookup_elem(&clatch_latches, &f->tuple);
	if (clear && to_xfrm_interface(kskb(ctx)))
		return CLATCH_PASS;
	if (!l && clear)
		return sctp_in_clear(ctx, f, phase == SCTP_OPENS || phase == SCTP_BEGINS);
	if (!l && phase == SCTP_ENDS)
		return CLATCH_PASS;
	if (!l && phase == SCTP_OPENS && !f->sas.unknown)
		l = sctp_opens(&f->tuple);
	if (!l) {
		f->adopted = phase == SCTP_GOES_ON;
		return socket_first(ctx, sk, f, CLATCH_OUT);
	}
	/* Dropped or not: an association that sends lives, and has ended where it says so. */
	sctp_held(ctx, l, f, phase);
	return latch_hold(ctx, l, f, CLATCH_OUT);
}

SEC("cgroup_skb/egress")
int clatch_egress(struct __sk_buff *ctx)
{
	struct sk_buff *skb = kskb(ctx);
	struct bpf_sock *sk = ctx->sk;
	struct clatch_latch *l;
	struct packet p;
	struct flow f;
	bool clear;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (!sk || !has_connections(sk))
		return CGROUP_PASS;
	if (sk->state == BPF_TCP_CLOSE && sk->protocol == IPPROTO_UDP && udp_closed(ctx, sk))
		return cgroup_verdict(closed_verdict());
	flow_init(&f, &p, CLATCH_OUT, ctx->len);
	if (packet_parse(ctx, &p, &f.tuple, 0, CLATCH_OUT))
		p.proto = 0; /* headers cut off: judged as clear, by the socket's connection */
	if (!in_clear(&p, &f.tuple, sk)) {
		if (!sk->dst_port && sk->protocol != IPPROTO_SCTP)
			return CGROUP_PASS; /* SYN-ACK: see tc egress; unconnected UDP: no latch */
		sas_outbound(ctx, &f.sas, &f.tuple.remote, &p);
	}
	if (sk->protocol == IPPROTO_SCTP)
		return cgroup_verdict(sctp_egress(ctx, sk, &f, &p));
	/* The socket decides whose packet it is: NAT may have changed the header. */
	if (!socket_tuple(&f.tuple, sk) && p.proto != sk->protocol)
		return CGROUP_PASS;
	clear = !f.sas.count && !f.sas.unknown;
	f.tuple.proto = sk->protocol;

	l = bpf_map_lookup_elem(&clatch_latches, &f.tuple);
	if (!l && clear)
		return CGROUP_PASS;
	if (clear && to_xfrm_interface(skb))
		return CGROUP_PASS;
	if (l && sk->state == BPF_TCP_CLOSE && sk->protocol == IPPROTO_UDP) {
		l = udp_disconnected(l, &f, socket_cookie(ctx));
		if (!l)
			return CGROUP_PASS;
	}
	if (sk->protocol == IPPROTO_UDP && (!l || (l->flags & CLATCH_RENEW))) {
		f.cookie = socket_cookie(ctx);
		if (l)
			l = udp_renew(l, sk, &f);
		if (!l && clear)
			return CGROUP_PASS;
	}
	if (!l && sk->protocol == IPPROTO_TCP && sk->state == BPF_TCP_CLOSE)
		return CGROUP_PASS; /* nothing begins on a closed socket */
	if (!l)
		return cgroup_verdict(socket_first(ctx, sk, &f, CLATCH_OUT));
	adopted_end(ctx, l, sk);
	return cgroup_verdict(latch_hold(ctx, l, &f, CLATCH_OUT));
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

	if (audit || !tc_parse(ctx, &p, &f, CLATCH_IN) || !is_latched_transport(p.proto))
		return TC_ACT_UNSPEC;
	l = bpf_map_lookup_elem(&clatch_latches, &f.tuple);
	if (!l)
		return TC_ACT_UNSPEC;
	sas_inbound(ctx, &f.sas);
	if (f.sas.count || f.sas.unknown)
		return TC_ACT_UNSPEC;
	return tc_verdict(latch_hold(ctx, l, &f, CLATCH_IN));
}

/* Was this packet judged by the cgroup hook?  Only asked in audit mode, which lets it come here. */
static __always_inline bool judged_before(struct sk_buff *skb, const struct clatch_tuple *t)
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

	if (!sk || kread(kcast(struct sock_common, sk), skc_state) != NEW_SYN_RECV)
		return TC_ACT_UNSPEC;
	sas_outbound_find(ctx, &f->sas, false, &f->tuple.remote, p);
	if (!kernel_socket_tuple(&f->tuple, sk))
		return TC_ACT_UNSPEC;
	f->tuple.proto = IPPROTO_TCP;
	l = bpf_map_lookup_elem(&clatch_latches, &f->tuple);
	if (!l)
		return TC_ACT_UNSPEC;
	return tc_verdict(latch_hold(ctx, l, f, CLATCH_OUT));
}

SEC("tc")
int clatch_tc_egress(struct __sk_buff *ctx)
{
	struct sk_buff *skb = kskb(ctx);
	struct clatch_latch *l;
	struct packet p;
	struct flow f;

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

SEC("sockops")
int clatch_sockops(struct bpf_sock_ops *ctx)
{
	struct tcp_sock *sk = ctx->sk ? bpf_skc_to_tcp_sock(ctx->sk) : NULL;
	struct clatch_tuple tuple = {};

	if (!sk)
		return 1;
	if (ctx->op == BPF_SOCK_OPS_TCP_LISTEN_CB) {
		listener_begins((__u64)sk, IPPROTO_TCP);
		follow_state(ctx);
		return 1;
	}
	if (ctx->op == BPF_SOCK_OPS_STATE_CB && ctx->args[0] == BPF_TCP_LISTEN) {
		listener_ends((__u64)sk, IPPROTO_TCP);
		return 1;
	}
	if (!kernel_socket_tuple(&tuple, (__u64)sk))
		return 1;
	tuple.proto = IPPROTO_TCP;
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		latch_delete(&tuple, CLATCH_END_REPLACED); /* an earlier one on this 5-tuple */
		tcp_demand(&tuple);
		follow_state(ctx);
		break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		tcp_established(&tuple);
		follow_state(ctx);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ctx->args[1] == BPF_TCP_CLOSE)
			tcp_closed(&tuple, ctx->args[0]);
		break;
	}
	return 1;
}

SEC("cgroup/connect4")
int clatch_connect4(struct bpf_sock_addr *ctx)
{
	struct clatch_addr wanted;

	addr_v4(&wanted, ctx->user_ip4);
	if (ctx->protocol == IPPROTO_UDP)
		udp_connect(ctx, &wanted);
	return 1;
}

SEC("cgroup/connect6")
int clatch_connect6(struct bpf_sock_addr *ctx)
{
	struct clatch_addr wanted;

	words(&wanted)[0] = ctx->user_ip6[0];
	words(&wanted)[1] = ctx->user_ip6[1];
	words(&wanted)[2] = ctx->user_ip6[2];
	words(&wanted)[3] = ctx->user_ip6[3];
	if (ctx->protocol == IPPROTO_UDP)
		udp_connect(ctx, &wanted);
	return 1;
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
