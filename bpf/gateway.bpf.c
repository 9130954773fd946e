// SPDX-License-Identifier: GPL-2.0-only
/*
 * clatch's programs for a gateway: the host has the IPsec, a container behind a veth the sockets.
 * Loaded when the first veth is attached; they use the maps of clatch.bpf.c.
 *
 *   hook                      sees                                    does
 *   from: veth, tc ingress    what a container sends, in clear        follows its connection, gives it
 *                                                                     the connection's number
 *   to:   veth, tc egress     what goes to it, its sec_path           holds it to its latch
 *   out:  uplink, tc egress   ESP or clear, with the number           holds it to its latch
 *
 * What has no latch passes.
 */
#include "gateway.h"

char _license[] SEC("license") = "GPL";

SEC("tc")
int clatch_gw_from(struct __sk_buff *ctx)
{
	__u32 what = CLATCH_CARRIES_NOTHING, number = 0;
	struct packet p;
	struct flow f;

	if (is_ip(ctx)) {
		if (!tc_parse(ctx, &p, &f, CLATCH_OUT) || is_unread(&p, ctx))
			what = CLATCH_CARRIES_DOUBT;
		else if (is_forwarded_transport(p.proto))
			what = outbound(ctx, &f, &p, &number);
		else if (!p.proto && !later_fragment(ctx, &number))
			what = CLATCH_CARRIES_DOUBT;
		else if (!p.proto && number)
			what = CLATCH_CARRIES_NUMBER;
	}
	carry(ctx, what, number);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int clatch_gw_to(struct __sk_buff *ctx)
{
	enum clatch_verdict verdict;
	struct clatch_latch *l;
	struct packet p;
	struct flow f;

	if (!is_ip(ctx))
		return TC_ACT_UNSPEC;
	if (!tc_parse(ctx, &p, &f, CLATCH_IN) || is_unread(&p, ctx))
		return tc_verdict(unreadable());
	if (p.proto && !is_forwarded_transport(p.proto))
		return TC_ACT_UNSPEC;
	if (p.proto)
		verdict = inbound(ctx, &f, &p, &l);
	else
		verdict = fragment_inbound(ctx, &f, &l);
	flow_forget(&f, &p);
	if (l)
		verdict = forward_hold_in(ctx, l, &f, &p);
	if (p.proto && !is_dropped(verdict))
		passed(ctx, &f.tuple, &p);
	return tc_verdict(verdict);
}

/* What left as IP and is not any more (MPLS): nothing protects it. */
static __noinline enum clatch_verdict leave_otherwise(struct __sk_buff *ctx, __u32 what)
{
	struct clatch_tuple *own = what == CLATCH_CARRIES_NUMBER ? carried_tuple(ctx) : NULL;

	if (what == CLATCH_CARRIES_NOTHING || (own && !bpf_map_lookup_elem(&clatch_latches, own)))
		return CLATCH_PASS;
	return unreadable();
}

SEC("tc")
int clatch_gw_out(struct __sk_buff *ctx)
{
	struct clatch_tuple *own;
	__u32 what;
	enum clatch_verdict verdict;
	struct packet p;
	struct flow f;

	if (to_xfrm_interface(kskb(ctx)))
		return TC_ACT_UNSPEC; /* its ESP is judged, at the next uplink */
	what = carried(ctx);
	if (!is_ip(ctx))
		return tc_verdict(leave_otherwise(ctx, what));
	if (!tc_parse(ctx, &p, &f, CLATCH_OUT))
		p.proto = 0; /* headers cut off: judged as clear */
	own = what == CLATCH_CARRIES_NUMBER ? carried_tuple(ctx) : NULL;
	if (what != CLATCH_CARRIES_NOTHING && !p.proto && fragment_of_ipsec(ctx))
		return TC_ACT_UNSPEC;
	/* Its hash was changed on the way: whose it is cannot be told any more. */
	if (what == CLATCH_CARRIES_NUMBER && !own)
		return tc_verdict(unreadable());
	if (own)
		sas_at_uplink(ctx, &f, &p, own);
	if (own && f.sas.count && p.proto == IPPROTO_UDP)
		fragment_note(ctx, 0, FRAGMENT_AT_UPLINK);
	if (own)
		f.tuple = *own;
	if (what == CLATCH_CARRIES_DOUBT && p.proto != IPPROTO_ESP && p.proto != IPPROTO_AH)
		verdict = unreadable();
	else if (own)
		verdict = leave(ctx, &f);
	else
		verdict = leave_unknown(ctx, &f);
	return tc_verdict(verdict);
}
