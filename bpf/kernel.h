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
	struct hlist_head *state_byspi;
	unsigned int state_hmask;
};
struct net {
	__u64 net_cookie;
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
};
struct xfrm_algo_auth {
	char alg_name[64];
	unsigned int alg_key_len;
	unsigned int alg_trunc_len;
};
struct xfrm_algo_aead {
	char alg_name[64];
	unsigned int alg_key_len;
	unsigned int alg_icv_len;
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
	struct hlist_node byspi;
	struct xfrm_id id;
	__u32 if_id;
	struct xfrm_state_props props;
	struct xfrm_algo_auth *aalg;
	struct xfrm_algo *ealg;
	struct xfrm_algo_aead *aead;
	struct xfrm_encap_tmpl *encap;
	struct xfrm_replay_state_esn *replay_esn;
	struct hrtimer mtimer;
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

struct dst_entry {
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
struct sock {
	struct sock_common __sk_common;
	struct dst_entry *sk_dst_cache;
	struct socket *sk_socket;
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
struct inet_sock {
	__be16 inet_sport;
};
struct rtnl_link_ops {
	char *kind;
};
struct net_device {
	possible_net_t nd_net;
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
};

#pragma clang attribute pop

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
 * read from a typed object has one already.  kskb() is the packet behind a context.
 */
#if PLAIN_LOADS
#define kcast(type, address)                                                                       \
	((type *)bpf_rdonly_cast((void *)(address), bpf_core_type_id_kernel(type)))
#define kskb(ctx) ((struct sk_buff *)bpf_cast_to_kern_ctx(ctx))
#define kread(ptr, field) ((ptr)->field)
#else
#define kcast(type, address) ((type *)(address))
#define kskb(ctx) ((struct sk_buff *)(ctx))
#define kread(ptr, field)                                                                          \
	({                                                                                         \
		typeof((ptr)->field) value_;                                                       \
		bpf_probe_read_kernel(&value_, sizeof(value_), &(ptr)->field);                     \
		value_;                                                                            \
	})
#endif

#endif
