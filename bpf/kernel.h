/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's own structs, cut down to the fields that clatch reads, and how it reads them.
 * Field offsets come from the running kernel's BTF (CO-RE), so a build needs no BTF.
 */
#ifndef CLATCH_KERNEL_H
#define CLATCH_KERNEL_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <clatch/sa.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct list_head {
	struct list_head *next;
};
struct hlist_node {
	struct hlist_node *next;
};
struct hlist_head {
	struct hlist_node *first;
};

struct netns_xfrm {
	struct list_head policy_all;
	struct hlist_head *state_byspi;
	unsigned int state_hmask;
};
struct net {
	__u64 net_cookie;
	struct list_head dev_base_head;
	struct netns_xfrm xfrm;
};
typedef struct {
	struct net *net;
} possible_net_t;

typedef union {
	__be32 a4;
	__be32 a6[4];
} xfrm_address_t;
struct xfrm_id {
	xfrm_address_t daddr;
	__be32 spi;
	__u8 proto;
};
struct xfrm_algo {
	char alg_name[64];
	unsigned int alg_key_len;
	char alg_key[1];
};
struct xfrm_algo_auth {
	char alg_name[64];
	unsigned int alg_key_len;
	unsigned int alg_trunc_len;
	char alg_key[1];
};
struct xfrm_algo_aead {
	char alg_name[64];
	unsigned int alg_key_len;
	unsigned int alg_icv_len;
	char alg_key[1];
};
struct xfrm_lifetime_cur {
	__u64 add_time;
};
struct xfrm_encap_tmpl {
	__u16 encap_type;
	__be16 encap_sport;
	__be16 encap_dport;
};
struct xfrm_replay_state_esn {
	__u32 replay_window;
};
struct timerqueue_node {
	__s64 expires;
};
struct hrtimer {
	struct timerqueue_node node;
};
/* Anonymous in the kernel, so it is never cast to by name: only ever reached through xfrm_state. */
struct xfrm_state_props {
	__u32 reqid;
	__u8 mode;
	__u8 replay_window;
	__u8 flags;
	__u16 family;
	xfrm_address_t saddr;
};
struct xfrm_state {
	possible_net_t xs_net;
	struct hlist_node byspi;
	struct xfrm_id id;
	__u32 if_id;
	struct xfrm_state_props props;
	struct xfrm_algo_auth *aalg;
	struct xfrm_algo *ealg;
	struct xfrm_algo_aead *aead;
	struct xfrm_encap_tmpl *encap;
	struct xfrm_replay_state_esn *replay_esn;
	struct xfrm_lifetime_cur curlft;
	struct hrtimer mtimer;
};

struct xfrm_selector {
	xfrm_address_t daddr;
	xfrm_address_t saddr;
	__be16 dport;
	__be16 dport_mask;
	__be16 sport;
	__be16 sport_mask;
	__u8 prefixlen_d;
	__u8 prefixlen_s;
	__u8 proto;
	int ifindex;
};
struct xfrm_mark {
	__u32 m;
};
struct xfrm_policy_walk_entry {
	struct list_head all;
	__u8 dead;
};
struct xfrm_policy {
	__u32 priority;
	__u32 index;
	struct xfrm_mark mark;
	__u32 if_id;
	struct xfrm_selector selector;
	struct xfrm_policy_walk_entry walk;
	__u8 action;
	__u8 xfrm_nr;
	__u16 family;
};

struct sec_path {
	int len;
	struct xfrm_state *xvec[6];
};
enum skb_ext_id {
	SKB_EXT_SEC_PATH = 1, /* differs by kernel configuration: relocated */
};
struct skb_ext {
	__u8 offset[1];
};

struct net_device;
struct dst_entry {
	unsigned short flags;
	short obsolete;
	struct net_device *dev;
	struct xfrm_state *xfrm;
};
struct xfrm_dst {
	union {
		struct dst_entry dst;
	} u;
	struct dst_entry *child;
};
struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	unsigned char skc_state;
	struct {
		__s64 counter;
	} skc_cookie;
	possible_net_t skc_net;
	struct clatch_addr skc_v6_daddr;
	struct clatch_addr skc_v6_rcv_saddr;
};
struct socket;
struct kernfs_node {
	__u64 id;
};
struct cgroup;
/* A cgroup begins with its own: what this points to is the parent, cgroup and css alike. */
struct cgroup_subsys_state {
	struct cgroup_subsys_state *parent;
};
struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
};
struct sock_cgroup_data {
	struct cgroup *cgroup;
};
struct sock {
	struct sock_common __sk_common;
	struct dst_entry *sk_dst_cache;
	struct xfrm_policy *sk_policy[2];
	struct socket *sk_socket;
	struct sock_cgroup_data sk_cgrp_data;
};

/* SCTP: the types of its module are in the kernel's own BTF. */
struct sockaddr_in___sctp {
	__u16 sin_family;
	struct {
		__be32 s_addr;
	} sin_addr;
};
struct sockaddr_in6___sctp {
	struct clatch_addr sin6_addr;
};
union sctp_addr {
	struct sockaddr_in___sctp v4;
	struct sockaddr_in6___sctp v6;
};
enum sctp_state { SCTP_STATE_ANY };
struct sctp_transport {
	struct list_head transports;
	union sctp_addr ipaddr;
	union sctp_addr saddr;
	struct dst_entry *dst;
	int state;
};
struct sctp_bind_addr {
	__u16 port;
};
struct sctp_ep_common {
	struct sctp_bind_addr bind_addr;
};
struct sctp_association {
	struct sctp_ep_common base;
	struct list_head asocs;
	struct {
		__u16 port;
		struct list_head transport_addr_list;
		struct sctp_transport *last_sent_to;
	} peer;
	enum sctp_state state;
};
struct sctp_endpoint {
	struct list_head asocs;
};
struct sctp_sock {
	struct sctp_endpoint *ep;
};
struct bpf_iter__tcp {
	struct sock_common *sk_common;
};
struct inet_sock {
	__be16 inet_sport;
};
struct tcp_sock {
	__u8 bpf_sock_ops_cb_flags;
};
struct udp_sock {
	int pending;
};
struct rtnl_link_ops {
	char *kind;
};
struct in_ifaddr {
	struct in_ifaddr *ifa_next;
	__be32 ifa_local;
};
struct in_device {
	struct in_ifaddr *ifa_list;
};
struct inet6_ifaddr {
	struct clatch_addr addr;
	struct list_head if_list;
};
struct inet6_dev {
	struct list_head addr_list;
};
struct net_device {
	possible_net_t nd_net;
	struct list_head dev_list;
	struct in_device *ip_ptr;
	struct inet6_dev *ip6_ptr;
	unsigned short type;
	struct rtnl_link_ops *rtnl_link_ops;
};
struct sk_buff {
	struct sock *sk;
	struct net_device *dev;
	struct skb_ext *extensions;
	__u8 active_extensions;
	__u16 transport_header;
	__u16 network_header;
	__u16 mac_header;
	char cb[48];
};

/* What IPv4 and IPv6 keep in cb while a packet is theirs. */
struct inet_skb_parm {
	__u16 flags;
};

struct inet6_skb_parm {
	__u16 flags;
};

#pragma clang attribute pop

#define IPSKB_XFRM_TRANSFORMED 4
#define IP6SKB_XFRM_TRANSFORMED 1
#define XFRM_STATE_ESN 128 /* linux/xfrm.h, which cannot be included beside these types */

/*
 * A function that the verifier checks once, by itself, and not again at every call: without this
 * the programs have more paths than it will follow.  It takes scalars, the context, and pointers
 * to initialised memory, which may be NULL; pointers do not survive inside that memory.
 */
#define verified_once __attribute__((noinline))

void *bpf_cast_to_kern_ctx(void *obj) __ksym;
void *bpf_rdonly_cast(void *obj, __u32 btf_id) __ksym;

/*
 * One reading of the code, two ways of loading, chosen by the loader: with PLAIN_LOADS (6.3 and
 * later) a pointer has a type and is loaded from directly, where a fault reads as 0; without, each
 * read is a helper call.  kcast() gives a type to an address that has none; a pointer that was
 * read from a typed object has one already.  kskb() is the packet behind a context.  kskb_trusted() is
 * too, and its fields are loaded without the address being checked first: faster, but each time that
 * the verifier comes by a pointer loaded so, it looks for three names in all of the kernel's BTF.  That
 * took a third of the time of loading: so it is for the shortest ways alone.
 */
#if PLAIN_LOADS
#define kcast(type, address)                                                                       \
	((type *)bpf_rdonly_cast((void *)(address), bpf_core_type_id_kernel(type)))
#define kskb(ctx) kcast(struct sk_buff, ctx)
#define kskb_trusted(ctx) ((struct sk_buff *)bpf_cast_to_kern_ctx(ctx))
#define kread(ptr, field) ((ptr)->field)
#else
#define kcast(type, address) ((type *)(address))
#define kskb(ctx) ((struct sk_buff *)(ctx))
#define kskb_trusted(ctx) kskb(ctx)
#define kread(ptr, field)                                                                          \
	({                                                                                         \
		typeof((ptr)->field) value_;                                                       \
		bpf_probe_read_kernel(&value_, sizeof(value_), &(ptr)->field);                     \
		value_;                                                                            \
	})
#endif

/* A pointer as a number: functions that are verified once take no pointer into the kernel. */
#define kaddress(ptr, field)                                                                       \
	({                                                                                         \
		__u64 address_ = 0;                                                                \
		bpf_probe_read_kernel(&address_, sizeof(address_), &(ptr)->field);                 \
		address_;                                                                          \
	})

/*
 * Zero, which the verifier must not know.  Up to 6.6 it looks at a loop's function once, as it is
 * called first, and takes out what cannot be reached then: whatever is for a later round.  Later
 * ones look at it until nothing new comes: at once if anything may be there from the first, but
 * round for round if it counts up from a known number.
 */
static __always_inline __u32 unknown_zero(void)
{
	static volatile __u32 zero;

	return zero;
}

/*
 * The address of the socket behind the context of an address or option hook.  What these hooks are
 * given begins with it; struct bpf_sock does not tell.
 */
#define context_socket(ctx)                                                                        \
	({                                                                                         \
		__u64 address_ = 0;                                                                \
		bpf_probe_read_kernel(&address_, sizeof(address_), ctx);                           \
		address_;                                                                          \
	})

#endif
