/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Must a connection be protected: does its program ask for it, or its rule demand it?  Asked of what
 * is in clear and has no latch.
 */
#ifndef CLATCH_BPF_MUST_H
#define CLATCH_BPF_MUST_H

#include "packet.h"
#include "rule.h"

#define ARPHRD_LOOPBACK 772 /* linux/if_arp.h */
#define XFRM_POLICY_ALLOW 0 /* linux/xfrm.h */
#define XFRM_POLICY_OUT 1

/* Protection that is turned off is turned on again by a policy that does not allow it any more. */
static __noinline void request_recheck(struct request *r)
{
	struct clatch_may_turn_off key = { .cgroup = r->off_by,
					   .generation = policy_in_force().generation };

	if (!bpf_map_lookup_elem(&clatch_may_turn_off, &key))
		r->now.off = 0;
}

/* What is kept of its program's requests; most programs make none. */
#define request_kept(sk)                                                                           \
	({                                                                                         \
		volatile __u64 *made_ = last_number(CLATCH_LAST_REQUEST);                          \
		!made_ || *made_ ? bpf_sk_storage_get(&clatch_requests, sk, NULL, 0) : NULL;       \
	})

/* What its program asked for, or NULL; @sk is a socket in any of a helper's types. */
#define request_of(sk)                                                                             \
	({                                                                                         \
		struct request *request_ = request_kept(sk);                                       \
		if (request_ && request_->now.off)                                                 \
			request_recheck(request_);                                                 \
		request_ ? &request_->now : NULL;                                                  \
	})

static __always_inline bool both_of(const struct clatch_tuple *t, __u16 one, __u16 other)
{
	return (t->local_port == one || t->local_port == other) &&
	       (t->remote_port == one || t->remote_port == other);
}

/*
 * DHCP's ports, which as a rule only the privileged can have: who has no address yet has no SA
 * either.
 */
static __always_inline bool is_dhcp(const struct clatch_tuple *t)
{
	return t->proto == IPPROTO_UDP &&
	       (is_v4(&t->local) || is_v4(&t->remote) ? both_of(t, 67, 68) : both_of(t, 546, 547));
}

/*
 * IKE daemons have the kernel let the packets of their sockets past the SPD, which takes
 * CAP_NET_ADMIN.  @address: of a full socket.
 */
static __always_inline bool has_bypass(__u64 address)
{
	struct xfrm_policy *p = kread(kcast(struct sock, address), sk_policy[XFRM_POLICY_OUT]);

	return p && kread(p, action) == XFRM_POLICY_ALLOW && !kread(p, xfrm_nr);
}

static __always_inline bool is_loopback(struct net_device *dev)
{
	return dev && kread(dev, type) == ARPHRD_LOOPBACK;
}

/* What no rule catches, though it holds for it. */
static __always_inline bool exempt(const struct clatch_tuple *t, __u64 sk, struct net_device *dev)
{
	return is_loopback(dev) || is_dhcp(t) || (t->proto == IPPROTO_UDP && has_bypass(sk));
}

static __always_inline bool must_protect(const struct clatch_demand *asked,
					 const struct clatch_tuple *t, __u64 sk,
					 struct net_device *dev)
{
	if (asked && (asked->off || asked->require))
		return !asked->off;
	return rule_demands_protection(rule_find(t)) && !exempt(t, sk, dev);
}

/* The same of a packet at a full socket. */
verified_once int packet_must(struct __sk_buff *ctx, const struct clatch_tuple *t)
{
	struct bpf_sock *sk = ctx->sk;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (!sk || !t)
		return true;
	return must_protect(request_of(sk), t, (__u64)kread(kskb(ctx), sk), kread(kskb(ctx), dev));
}

#endif
