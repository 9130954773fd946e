/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Is what protects a connection what its rule, or its program, demands?  Asked when a latch is
 * recorded.
 */
#ifndef CLATCH_BPF_DEMAND_H
#define CLATCH_BPF_DEMAND_H

#include "identity.h"
#include <clatch/suite.h>

#define XFRM_MODE_TRANSPORT 0 /* linux/xfrm.h */
#define XFRM_MODE_TUNNEL 1

static __always_inline bool requirement_met(__u32 require, const struct clatch_suite *s)
{
	switch (require) {
	case CLATCH_REQUIRE_NONE:
	case CLATCH_REQUIRE_IPSEC:
		return true;
	case CLATCH_REQUIRE_ESP:
		return s->proto == IPPROTO_ESP;
	case CLATCH_REQUIRE_AH:
		return s->proto == IPPROTO_AH;
	case CLATCH_REQUIRE_ENCRYPTED:
		return s->proto == IPPROTO_ESP && clatch_encrypts(s);
	default:
		return false;
	}
}

static __always_inline bool mode_met(__u32 mode, const struct clatch_suite *s)
{
	return mode == CLATCH_MODE_ANY ||
	       (mode == CLATCH_MODE_TRANSPORT && s->mode == XFRM_MODE_TRANSPORT) ||
	       (mode == CLATCH_MODE_TUNNEL && s->mode == XFRM_MODE_TUNNEL);
}

/* Does this one suite meet all of it?  Of nested SAs one has to.  Without a demand, any does. */
verified_once int demand_met(const struct clatch_demand *d, __u32 suite)
{
	struct clatch_suite *s = bpf_map_lookup_elem(&clatch_suites, &suite);

	if (!d)
		return true;
	return s && requirement_met(d->require, s) && mode_met(d->mode, s) &&
	       (!d->min_key_bits || clatch_key_bits(s) >= d->min_key_bits);
}

/* Does it admit connections between these two?  An enum clatch_reason. */
verified_once int demand_ends(const struct clatch_demand *d, __u32 local_id, __u32 peer_id)
{
	int reason;

	if (!d)
		return CLATCH_OK;
	reason = id_check(d->peer_id, peer_id);
	return reason == CLATCH_OK ? id_check(d->local_id, local_id) : reason;
}

#endif
