/* SPDX-License-Identifier: GPL-2.0-only */
/* Forwarded packets and their latches: the same check() as for packets of this host. */
#ifndef CLATCH_BPF_GATEWAY_H
#define CLATCH_BPF_GATEWAY_H

#include "carry.h"
#include "follow.h"
#include "fragment.h"

static __always_inline bool is_ip(struct __sk_buff *ctx)
{
	return ctx->protocol == bpf_htons(ETH_P_IP) || ctx->protocol == bpf_htons(ETH_P_IPV6);
}

/*
 * More extension headers than are read: what is behind them may be anything.  (Hop-by-hop's number is
 * 0, as a later fragment's: fragment.h finds that odd.)
 */
static __always_inline bool is_unread(const struct packet *p, struct __sk_buff *ctx)
{
	return ctx->protocol == bpf_htons(ETH_P_IPV6) &&
	       (p->proto == IPPROTO_ROUTING || p->proto == IPPROTO_DSTOPTS ||
		p->proto == IPPROTO_FRAGMENT);
}

/* Must a connection that begins be protected? */
static __always_inline bool forward_must(const struct clatch_tuple *t)
{
	return policy_in_force().count && rule_demands_protection(rule_find(t)) && !is_dhcp(t);
}

static __noinline struct clatch_latch *forward_latch(const struct clatch_tuple *tuple, __u32 flags)
{
	struct birth birth = { .step = CLATCH_STEP_OPEN, .flags = CLATCH_FORWARDED | flags };

	return latch_create(tuple, &birth);
}

static __always_inline __u32 birth_flags(const struct forward *fw)
{
	return fw->flags & FORWARD_ADOPTED ? CLATCH_ADOPTED : 0;
}

/*
 * The first protected packet of a forwarded connection makes its latch.  Its record may go at the same
 * time, on another CPU: then the latch goes too.
 */
static __always_inline struct clatch_latch *forward_first(const struct flow *f,
							  const struct forward *fw)
{
	struct clatch_latch *l = forward_latch(&f->tuple, birth_flags(fw));

	if (l && !forward_find(&f->tuple)) {
		latch_delete(&f->tuple, CLATCH_END_RELEASED);
		return NULL;
	}
	return l;
}

/* Is it a segment of its connection that brings nothing new? */
static __noinline bool is_stale(struct __sk_buff *ctx, const struct clatch_tuple *tuple)
{
	struct segment s = {};

	segment_read(ctx, &s, link_length(ctx));
	return segment_stale(forward_find(tuple), &s);
}

/* latch_hold(), but what is stale is known by the record of the connection, not by a socket. */
static __always_inline enum clatch_verdict forward_hold_in(struct __sk_buff *ctx,
							   struct clatch_latch *l,
							   const struct flow *f,
							   const struct packet *p)
{
	if (l->state == CLATCH_BROKEN && !(l->causes & ~CLATCH_CAUSES_SEEN) &&
	    p->proto == IPPROTO_TCP && is_stale(ctx, &f->tuple) &&
	    check_all(l, &f->sas, CLATCH_IN) == CLATCH_OK) {
		fast_count(l, CLATCH_IN, f->len);
		return CLATCH_PASS;
	}
	return latch_hold(ctx, l, f, CLATCH_IN);
}

/* A later fragment: the connection's number, 0 where it is of none; false: not to be let in clear. */
static __always_inline bool later_fragment(struct __sk_buff *ctx, __u32 *number)
{
	*number = 0;
	return fragment_number(ctx, number);
}

/*
 * To the container: a later fragment is held to the latch of its datagram's first, which is *@l.  Where
 * it has none, this is the verdict.
 */
static __always_inline enum clatch_verdict fragment_inbound(struct __sk_buff *ctx, struct flow *f,
							    struct clatch_latch **l)
{
	struct clatch_tuple *tuple;
	__u32 number;

	*l = NULL;
	if (!later_fragment(ctx, &number))
		return unreadable();
	tuple = number ? bpf_map_lookup_elem(&clatch_numbers, &number) : NULL;
	if (!tuple)
		return number ? unreadable() : CLATCH_PASS;
	f->tuple = *tuple;
	sas_inbound(ctx, &f->sas);
	*l = bpf_map_lookup_elem(&clatch_latches, &f->tuple);
	return CLATCH_PASS;
}

/* To the container, without a latch: in clear it passes, if no rule demands more. */
static __always_inline enum clatch_verdict inbound_clear(const struct flow *f,
							 const struct packet *p)
{
	if ((p->proto == IPPROTO_UDP || is_syn(p)) && forward_must(&f->tuple))
		return unwatched(f, CLATCH_CLEAR, true);
	return CLATCH_PASS;
}

/* A connection that begins outside, or was there before. */
static __noinline struct forward *forward_begin(const struct clatch_tuple *tuple,
						const struct packet *p)
{
	struct forward *fw = forward_make(tuple);
	struct segment s = {};

	if (fw)
		follow(fw, p, &s, CLATCH_IN);
	return fw;
}

/* To the container, protected, and without a latch: it gets one, or this is the verdict. */
static __always_inline enum clatch_verdict inbound_first(const struct flow *f,
							 const struct packet *p, struct forward *fw,
							 struct clatch_latch **l)
{
	if (p->proto == IPPROTO_TCP && (p->first & SEGMENT_RST) && !fw)
		return CLATCH_PASS; /* of nothing that is known */
	if (f->sas.unknown)
		return unwatched(f, CLATCH_UNKNOWN_SA, forward_must(&f->tuple));
	if (!fw)
		fw = forward_begin(&f->tuple, p);
	if (fw)
		*l = forward_first(f, fw);
	return *l ? CLATCH_PASS : unwatched(f, CLATCH_TABLE_FULL, forward_must(&f->tuple));
}

/* To the container: *@l is the packet's latch.  Where it has none, this is the verdict. */
static __always_inline enum clatch_verdict inbound(struct __sk_buff *ctx, struct flow *f,
						   const struct packet *p, struct clatch_latch **l)
{
	struct forward *fw = forward_find(&f->tuple);

	*l = bpf_map_lookup_elem(&clatch_latches, &f->tuple);
	sas_inbound(ctx, &f->sas);
	if (fw && f->sas.count && replaces(fw, p)) {
		forward_renew(&f->tuple, fw);
		*l = NULL;
	}
	if (*l)
		return CLATCH_PASS;
	if (!f->sas.count && !f->sas.unknown)
		return inbound_clear(f, p);
	return inbound_first(f, p, fw, l);
}

/* To the container: it passed. */
static __noinline void passed(struct __sk_buff *ctx, const struct clatch_tuple *tuple,
			      const struct packet *p)
{
	struct forward *fw = forward_find(tuple);
	struct segment s = {};

	if (p->proto == IPPROTO_TCP)
		segment_read(ctx, &s, link_length(ctx));
	if (fw)
		follow(fw, p, &s, CLATCH_IN);
	fragment_note(ctx, fw ? fw->number : 0, 0);
}

/*
 * From the container: what the packet carries to the uplink, an enum clatch_carried.  Nothing is
 * dropped here, as it is not known yet what will protect it, and where it goes.
 */
static __always_inline __u32 outbound(struct __sk_buff *ctx, struct flow *f, struct packet *p,
				      __u32 *number)
{
	struct forward *fw = forward_find(&f->tuple);
	bool begins = !fw;
	struct segment s = {};

	if (p->proto == IPPROTO_TCP)
		segment_read(ctx, &s, link_length(ctx));
	if (fw && opens_anew(fw, p, &s)) {
		forward_renew(&f->tuple, fw);
		begins = true;
	}
	if (!fw && p->proto == IPPROTO_TCP && (p->first & SEGMENT_RST))
		return CLATCH_CARRIES_NOTHING; /* of nothing that is known */
	if (!fw)
		fw = forward_make(&f->tuple);
	if (!fw || (begins && forward_must(&f->tuple) &&
		    !latch_demand(&f->tuple, 0, NULL, CLATCH_FORWARDED))) {
		bool must = forward_must(&f->tuple);

		unwatched(f, CLATCH_TABLE_FULL, must);
		return must ? CLATCH_CARRIES_DOUBT : CLATCH_CARRIES_NOTHING;
	}
	follow(fw, p, &s, CLATCH_OUT);
	*number = fw->number;
	fragment_note(ctx, *number, 0);
	return CLATCH_CARRIES_NUMBER;
}

/*
 * Is the packet at the uplink the connection's own, in clear, and not ESP in UDP?  It goes where the
 * connection goes, whatever its payload looks like.
 */
static __always_inline bool is_its_own(const struct clatch_tuple *own,
				       const struct clatch_tuple *header, const struct packet *p)
{
	return own->proto == IPPROTO_UDP && p->proto == IPPROTO_UDP &&
	       own->remote_port == header->remote_port && addr_equal(&own->remote, &header->remote);
}

/* At the uplink: what protects a packet of the connection @own. */
static __always_inline void sas_at_uplink(struct __sk_buff *ctx, struct flow *f, struct packet *p,
					  const struct clatch_tuple *own)
{
	struct clatch_addr dst = f->tuple.remote;

	if (p->proto == IPPROTO_ESP || p->proto == IPPROTO_AH ||
	    (p->proto == IPPROTO_UDP && p->spi && !is_its_own(own, &f->tuple, p)))
		sas_outbound_find(ctx, &f->sas, false, &dst, p);
}

/* At the uplink: a packet of a connection that is known. */
static __always_inline enum clatch_verdict leave(struct __sk_buff *ctx, struct flow *f)
{
	struct clatch_latch *l = bpf_map_lookup_elem(&clatch_latches, &f->tuple);
	struct forward *fw;

	if (!l) {
		fw = forward_find(&f->tuple);
		if (!fw || (!f->sas.count && !f->sas.unknown))
			return CLATCH_PASS;
		if (f->sas.unknown)
			return unwatched(f, CLATCH_UNKNOWN_SA, forward_must(&f->tuple));
		l = forward_first(f, fw);
		if (!l)
			return unwatched(f, CLATCH_TABLE_FULL, forward_must(&f->tuple));
	}
	return latch_hold(ctx, l, f, CLATCH_OUT);
}

/* At the uplink: a packet that carries nothing, as somebody took it away; its header may tell. */
static __always_inline enum clatch_verdict leave_unknown(struct __sk_buff *ctx, struct flow *f)
{
	struct clatch_latch *l = bpf_map_lookup_elem(&clatch_latches, &f->tuple);

	if (!l || !(l->flags & CLATCH_FORWARDED))
		return CLATCH_PASS;
	return latch_hold(ctx, l, f, CLATCH_OUT);
}

#endif
