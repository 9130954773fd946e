/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From the container's veth to the uplink a packet may be encrypted, translated, cut into fragments
 * and sent through an xfrm interface.  What it keeps is its mark and its hash: two bits of the mark
 * say whether the hash is a connection's number.
 */
#ifndef CLATCH_BPF_CARRY_H
#define CLATCH_BPF_CARRY_H

#include "forward.h"

/* At the veth: whatever the two bits said before.  Other bits are not ours. */
static __always_inline void carry(struct __sk_buff *ctx, __u32 what, __u32 number)
{
	struct clatch_gateway *settings = gateway_settings();
	__u32 mask = settings ? settings->mark_mask : 0;
	__u32 mark = (ctx->mark & ~mask) | (what * (mask & -mask));

	if (what == CLATCH_CARRIES_NUMBER)
		bpf_set_hash(ctx, number);
	if (mark != ctx->mark)
		ctx->mark = mark;
}

/* At the uplink: an enum clatch_carried.  The two bits end here. */
static __always_inline __u32 carried(struct __sk_buff *ctx)
{
	struct clatch_gateway *settings = gateway_settings();
	__u32 mask = settings ? settings->mark_mask : 0, bits = ctx->mark & mask;

	if (!bits)
		return CLATCH_CARRIES_NOTHING;
	ctx->mark &= ~mask;
	return bits == (mask & -mask) ? CLATCH_CARRIES_NUMBER : CLATCH_CARRIES_DOUBT;
}

/* The connection whose number the packet carries, or NULL. */
static __always_inline struct clatch_tuple *carried_tuple(struct __sk_buff *ctx)
{
	__u32 number = ctx->hash;

	return bpf_map_lookup_elem(&clatch_numbers, &number);
}

#endif
