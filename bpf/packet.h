/* SPDX-License-Identifier: GPL-2.0-only */
/* What a packet says of itself: addresses, ports, SPI. */
#ifndef CLATCH_BPF_PACKET_H
#define CLATCH_BPF_PACKET_H

#include "kernel.h"
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <clatch/latch.h>

#define AF_INET 2
#define AF_INET6 10
#define MAX_EXT_HEADERS 6

struct packet {
	__u32 proto; /* behind all extension headers; 0 = not IP, or a later fragment */
	__be32 spi; /* ESP and AH; UDP: the first word of the payload */
	__be16 sport; /* UDP: source port, behind which ESP may be */
	__u16 routed; /* the sender named places on the way: remote may not be where it ends */
	__u32 first; /* TCP: byte 13 of its header, the flags; SCTP: the type of its first chunk */
};

#define TCP_FLAG_BYTE_SYN 0x02
#define TCP_FLAG_BYTE_ACK 0x10

static __always_inline bool is_syn(const struct packet *p)
{
	return p->proto == IPPROTO_TCP &&
	       (p->first & (TCP_FLAG_BYTE_SYN | TCP_FLAG_BYTE_ACK)) == TCP_FLAG_BYTE_SYN;
}

/* An address as four words. */
static __always_inline __u32 *words(struct clatch_addr *a)
{
	return (__u32 *)a->b;
}

static __always_inline const __u32 *const_words(const struct clatch_addr *a)
{
	return (const __u32 *)a->b;
}

static __always_inline void addr_v4(struct clatch_addr *a, __be32 v4)
{
	words(a)[0] = 0;
	words(a)[1] = 0;
	words(a)[2] = bpf_htonl(0xffff);
	words(a)[3] = v4;
}

static __always_inline bool addr_is_v4(const struct clatch_addr *a)
{
	const __u32 *w = const_words(a);

	return !w[0] && !w[1] && w[2] == bpf_htonl(0xffff);
}

static __always_inline bool addr_equal(const struct clatch_addr *a, const struct clatch_addr *b)
{
	const __u32 *x = const_words(a), *y = const_words(b);

	return x[3] == y[3] && x[2] == y[2] && x[1] == y[1] && x[0] == y[0];
}

static __always_inline void addr_v6(struct clatch_addr *a, const __be32 *v6)
{
	for (int i = 0; i < 4; i++)
		words(a)[i] = v6[i];
}

/* Ports, TCP flags or SPI at @l4.  0, or -1 where the header is not all there. */
static __always_inline int packet_transport(struct packet *p, struct clatch_tuple *t, void *l4,
					    void *end, enum clatch_dir dir)
{
	__be16 *port = l4;

	switch (p->proto) {
	case IPPROTO_TCP:
		if (l4 + 14 > end)
			return -1;
		p->first = ((__u8 *)l4)[13];
		break;
	case IPPROTO_SCTP:
		if (l4 + 13 > end)
			return -1;
		p->first = ((__u8 *)l4)[12];
		break;
	case IPPROTO_UDP:
		if (l4 + 8 > end)
			return -1;
		p->spi = l4 + 12 > end ? 0 : *(__be32 *)(l4 + 8);
		p->sport = port[0];
		break;
	case IPPROTO_ESP:
		if (l4 + 4 > end)
			return -1;
		p->spi = *(__be32 *)l4;
		return 0;
	case IPPROTO_AH:
		if (l4 + 8 > end)
			return -1;
		p->spi = *(__be32 *)(l4 + 4);
		return 0;
	default:
		t->local_port = 0;
		t->remote_port = 0;
		return 0;
	}
	t->local_port = bpf_ntohs(port[dir == CLATCH_IN]);
	t->remote_port = bpf_ntohs(port[dir == CLATCH_OUT]);
	return 0;
}

static __always_inline int packet_v4(struct packet *p, struct clatch_tuple *t, void *nh, void *end,
				     enum clatch_dir dir)
{
	struct iphdr *ip = nh;

	if (nh + sizeof(*ip) > end)
		return -1;
	addr_v4(&t->local, dir == CLATCH_IN ? ip->daddr : ip->saddr);
	addr_v4(&t->remote, dir == CLATCH_IN ? ip->saddr : ip->daddr);
	if (ip->frag_off & bpf_htons(0x1fff))
		return 0;
	p->proto = ip->protocol;
	p->routed = ip->ihl > 5; /* options, whatever they are */
	return packet_transport(p, t, nh + ip->ihl * 4, end, dir);
}

/* Steps over extension headers; what it does not know is the transport protocol. */
verified_once int packet_v6(struct __sk_buff *ctx, struct packet *p, struct clatch_tuple *t,
			    __u32 link, enum clatch_dir dir)
{
	void *nh = (void *)(long)ctx->data + (link & 0xff);
	void *end = (void *)(long)ctx->data_end;
	struct ipv6hdr *ip = nh;
	__u32 next, offset = sizeof(*ip);

	if (!p || !t || nh + sizeof(*ip) > end)
		return -1;
	addr_v6(&t->local, (dir == CLATCH_IN ? &ip->daddr : &ip->saddr)->s6_addr32);
	addr_v6(&t->remote, (dir == CLATCH_IN ? &ip->saddr : &ip->daddr)->s6_addr32);
	next = ip->nexthdr;
	for (int i = 0; i < MAX_EXT_HEADERS; i++) {
		__u8 *ext = nh + (offset & 0x3fff);

		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS &&
		    next != IPPROTO_FRAGMENT)
			break;
		if ((void *)ext + 8 > end)
			return -1;
		if (next == IPPROTO_FRAGMENT && (*(__be16 *)(ext + 2) & bpf_htons(0xfff8)))
			return 0;
		p->routed |= next == IPPROTO_ROUTING;
		offset += next == IPPROTO_FRAGMENT ? 8 : (ext[1] + 1) * 8;
		next = ext[0];
	}
	p->proto = next;
	return packet_transport(p, t, nh + (offset & 0x3fff), end, dir);
}

static __always_inline __u64 net_cookie(struct net *net)
{
	return kread(net, net_cookie);
}

static __always_inline __u64 device_netns(struct net_device *dev)
{
	return net_cookie(kread(dev, nd_net.net));
}

/*
 * Reads the headers of a packet whose network header is @link bytes into its data.  @t, zeroed,
 * gets the namespace, the addresses of this header (behind ESP in tunnel mode the gateways') and
 * TCP's or UDP's ports.  0, or -1 where a header is cut off.
 */
static __always_inline int packet_parse(struct __sk_buff *ctx, struct packet *p,
					struct clatch_tuple *t, __u32 link, enum clatch_dir dir)
{
	void *nh = (void *)(long)ctx->data + (link & 0xff);
	void *end = (void *)(long)ctx->data_end;

	t->netns = device_netns(kread(kskb(ctx), dev));
	if (ctx->protocol == bpf_htons(ETH_P_IP))
		return packet_v4(p, t, nh, end, dir);
	if (ctx->protocol == bpf_htons(ETH_P_IPV6))
		return packet_v6(ctx, p, t, link, dir);
	return 0;
}

/* The connection of a full socket.  False where it has none: a listener, unconnected UDP. */
static __always_inline bool socket_tuple(struct clatch_tuple *t, struct bpf_sock *sk)
{
	if (!sk->dst_port)
		return false;
	if (sk->family == AF_INET) {
		addr_v4(&t->local, sk->src_ip4);
		addr_v4(&t->remote, sk->dst_ip4);
	} else {
		for (int i = 0; i < 4; i++) {
			words(&t->local)[i] = sk->src_ip6[i];
			words(&t->remote)[i] = sk->dst_ip6[i];
		}
	}
	t->local_port = sk->src_port;
	t->remote_port = bpf_ntohs(sk->dst_port);
	return true;
}

/*
 * The same where a hook has no struct bpf_sock to offer: of the kernel's socket at @address.  Its ports
 * first, which may be all that needs to be known.
 */
static __always_inline bool kernel_socket_ports(struct clatch_tuple *t, __u64 address)
{
	struct sock_common *sk = kcast(struct sock_common, address);

	t->remote_port = bpf_ntohs(kread(sk, skc_dport));
	t->local_port = kread(sk, skc_num);
	if (!t->local_port) /* closed, the port given back */
		t->local_port = bpf_ntohs(kread(kcast(struct inet_sock, address), inet_sport));
	return t->remote_port;
}

static __always_inline void kernel_socket_rest(struct clatch_tuple *t, __u64 address)
{
	struct sock_common *sk = kcast(struct sock_common, address);

	if (kread(sk, skc_family) == AF_INET) {
		addr_v4(&t->local, kread(sk, skc_rcv_saddr));
		addr_v4(&t->remote, kread(sk, skc_daddr));
	} else {
		t->local = kread(sk, skc_v6_rcv_saddr);
		t->remote = kread(sk, skc_v6_daddr);
	}
	t->netns = net_cookie(kread(sk, skc_net.net));
}

static __always_inline bool kernel_socket_tuple(struct clatch_tuple *t, __u64 address)
{
	if (!kernel_socket_ports(t, address))
		return false;
	kernel_socket_rest(t, address);
	return true;
}

#endif
