/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The fast path: a connected socket remembers its latch's slot in clatch_fast, and a packet under the
 * very SA that was found congruent last passes without its headers being read or its latch being
 * looked up.  It is no verdict of its own: hold.h opens it after a packet that check() let pass, and
 * whatever stops the latch or takes it away closes it (slot.h); in doubt a packet goes the long way.
 */
#ifndef CLATCH_BPF_FAST_H
#define CLATCH_BPF_FAST_H

#include "hold.h"

/*
 * What the packets of this flow's direction are recognized by: one SA, and outbound, where the packet
 * itself must show its SPI, plain ESP.
 */
static __always_inline bool fast_suits(const struct flow *f)
{
	struct xfrm_state *x = kcast(struct xfrm_state, f->sas.state[0]);

	if (f->sas.count != 1 || f->sas.unknown || !f->sas.state[0])
		return false;
	return f->dir == CLATCH_IN || (kread(x, id.proto) == IPPROTO_ESP && !kread(x, encap));
}

/* The socket's place, or NULL without memory.  Written in the order that fast_pass() reads against. */
static __always_inline bool fast_place(struct bpf_sock *sk, const struct flow *f, __u64 id,
				       __u32 slot)
{
	volatile struct place *place =
		bpf_sk_storage_get(&clatch_places, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);

	if (!place)
		return false;
	place->latch = 0;
	place->slot = slot;
	place->local_port = f->tuple.local_port;
	place->remote_port = bpf_htons(f->tuple.remote_port);
#pragma unroll
	for (int i = 0; i < 4; i++)
		place->remote[i] = const_words(&f->tuple.remote)[i];
	place->latch = id;
	return true;
}

static __always_inline bool fast_may(const struct clatch_latch *l, __u64 id)
{
	return l->id == id && l->state == CLATCH_ESTABLISHED &&
	       !(l->flags & (CLATCH_OPENING | CLATCH_RENEW));
}

/*
 * Opens the fast path for the socket's packets of this direction, one of which has passed.  Whoever
 * stops the latch first changes it and then closes the path; so what is true of it after the path
 * was opened is true until that is closed.
 */
static __noinline void fast_open(struct bpf_sock *sk, struct clatch_latch *l, const struct flow *f)
{
	struct clatch_fast_side *side = fast_side(l, f->dir);
	struct xfrm_state *x = kcast(struct xfrm_state, f->sas.state[0]);
	__u64 id = l->id;
	__u32 slot = l->fast;

	if (!side || sk->state != BPF_TCP_ESTABLISHED || !fast_suits(f) || !fast_may(l, id) ||
	    !sa_verified(&side->verified, id, x, kread(x, id.spi)) || !fast_place(sk, f, id, slot))
		return;
	__sync_lock_test_and_set(&side->latch, id);
	if (bpf_map_lookup_elem(&clatch_latches, &f->tuple) != l || l->fast != slot ||
	    !fast_may(l, id))
		__sync_lock_test_and_set(&side->latch, 0);
}

/* Is it still connected as it was when it got its place? */
static __always_inline bool fast_connected(volatile struct place *place, struct bpf_sock *sk)
{
	if (sk->dst_port != place->remote_port || sk->src_port != place->local_port)
		return false;
	if (sk->family == AF_INET)
		return sk->dst_ip4 == place->remote[3];
	return sk->dst_ip6[3] == place->remote[3] && sk->dst_ip6[2] == place->remote[2] &&
	       sk->dst_ip6[1] == place->remote[1] && sk->dst_ip6[0] == place->remote[0];
}

/*
 * A packet of @sk, whatever socket that is, whose one SA is @x, with this SPI: counted, and true if it
 * passes.  Only full sockets are in this state, and only of TCP and UDP have a place.
 */
static __always_inline bool fast_pass(struct __sk_buff *ctx, struct bpf_sock *sk,
				      struct xfrm_state *x, __be32 spi, enum clatch_dir dir)
{
	volatile struct place *place;
	struct clatch_fast_side *side;
	struct clatch_fast *fast;
	__u64 id;

	if (sk->state != BPF_TCP_ESTABLISHED)
		return false;
	place = bpf_sk_storage_get(&clatch_places, sk, NULL, 0);
	if (!place)
		return false;
	id = place->latch;
	if (!id || !fast_connected(place, sk))
		return false;
	fast = bpf_map_lookup_elem(&clatch_fast, (void *)&place->slot);
	if (!fast)
		return false;
	side = &fast->side[dir];
	if (side->latch != id || !sa_verified(&side->verified, id, x, spi))
		return false;
	__sync_fetch_and_add(&side->packets, 1);
	__sync_fetch_and_add(&side->bytes, ctx->len);
	return true;
}

fast_inline bool fast_inbound(struct __sk_buff *ctx, struct bpf_sock *sk)
{
	struct sk_buff *skb = kskb_trusted(ctx);
	__u64 id = bpf_core_enum_value(enum skb_ext_id, SKB_EXT_SEC_PATH);
	struct xfrm_state *x;
	struct sec_path *sp;

	if (!(kread(skb, active_extensions) & (1 << id)))
		return false;
	sp = sec_path(skb, id);
	if (kread(sp, len) != 1)
		return false;
	x = kread(sp, xvec[0]);
	return fast_pass(ctx, sk, x, kread(x, id.spi), CLATCH_IN);
}

/* The SPI of a packet that is ESP behind a plain IP header; else 0, which is no SA's. */
static __always_inline __be32 esp_spi(struct __sk_buff *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ipv6hdr *v6 = data;
	struct iphdr *v4 = data;

	if (data + sizeof(*v6) + sizeof(__be32) > end)
		return 0;
	if (*(__u8 *)data == 0x45 && v4->protocol == IPPROTO_ESP &&
	    !(v4->frag_off & bpf_htons(0x1fff)))
		return *(__be32 *)(v4 + 1);
	if (v6->version == 6 && v6->nexthdr == IPPROTO_ESP)
		return *(__be32 *)(v6 + 1);
	return 0;
}

fast_inline bool fast_outbound(struct __sk_buff *ctx, struct bpf_sock *sk)
{
	struct sock *ksk = kread(kskb_trusted(ctx), sk);
	struct dst_entry *dst = ksk ? kread(ksk, sk_dst_cache) : NULL;
	struct xfrm_state *x = dst ? kread(dst, xfrm) : NULL;
	__be32 spi = x ? esp_spi(ctx) : 0;

	return spi && kread(x, id.spi) == spi && fast_pass(ctx, sk, x, spi, CLATCH_OUT);
}

/* connect(): what the socket's place says of it may be over. */
static __always_inline void fast_leave(void *sk)
{
	volatile struct place *place = bpf_sk_storage_get(&clatch_places, sk, NULL, 0);

	if (place)
		place->latch = 0;
}

#endif
