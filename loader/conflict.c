// SPDX-License-Identifier: GPL-2.0-only
#include "conflict.h"

#include <clatch/event.h>
#include <clatch/fields.h>
#include <netinet/in.h>
#include <string.h>

#include "addr.h"
#include "template.h"

#define LOOPBACK_IFINDEX 1 /* in every network namespace */

/* One direction of a latch, and what the SPD says of it. */
struct view {
	const struct spd *spd;
	const struct sa_set *sas;
	const struct clatch_latch *latch;
	const struct latch_side *side;
	const struct clatch_sa *latched; /* outermost first */
	size_t count;
	struct spd_flow flow;
	__u64 netns;
	enum clatch_dir direction;
	const struct spd_policy *policy; /* NULL = none */
	const struct spd_template *outer; /* the one that the outermost SA meets, NULL = none */
	__u64 newest; /* of the SAs that are as latched: sa_class.newest */
	struct conflict *conflict;
};

static __u8 policed_flag(const struct view *v)
{
	return v->direction == CLATCH_IN ? CLATCH_POLICED_IN : CLATCH_POLICED_OUT;
}

/*
 * The SPD may see a forwarded connection with other addresses, as NAT makes them.  So it is believed
 * only where it was seen to demand what is latched.
 */
static bool is_known_to_spd(const struct view *v)
{
	return !(v->latch->flags & CLATCH_FORWARDED) || (v->latch->flags & policed_flag(v));
}

static void note(const struct view *v, __u8 cause, __u8 reason, __u32 fields,
		 const struct clatch_sa *got)
{
	struct conflict *c = v->conflict;

	if (!is_known_to_spd(v))
		return;
	if (!c->causes) {
		c->direction = v->direction;
		c->reason = reason;
		c->fields = fields;
		c->got_count = !!got;
		if (got)
			c->got = *got;
	}
	c->causes |= cause;
}

/* It may never have had a policy: then in this direction the packets alone decide. */
static void judge_absence(const struct view *v)
{
	if (spd_default_blocks(v->spd, v->flow.dir))
		note(v, CLATCH_CAUSE_POLICY, CLATCH_POLICY, 0, NULL);
	else if (v->latch->flags & policed_flag(v))
		note(v, CLATCH_CAUSE_POLICY, CLATCH_CLEAR, 0, NULL);
}

static void note_template(const struct view *v, const struct template_match *m)
{
	const struct clatch_sa got = {
		.suite = { .proto = m->failed->proto, .mode = m->failed->mode },
		.reqid = m->failed->reqid,
		.if_id = v->policy->if_id,
		.src = m->failed->src,
		.dst = m->failed->dst,
	};

	note(v, CLATCH_CAUSE_POLICY, CLATCH_SA_MISMATCH, m->fields, &got);
}

static void judge_templates(struct view *v)
{
	struct template_match m;

	template_match(&m, v->policy, v->latched, v->count);
	v->outer = m.outer;
	if (!m.count)
		note(v, CLATCH_CAUSE_POLICY, CLATCH_CLEAR, 0, NULL);
	else if (m.fields)
		note_template(v, &m);
	else if (m.mandatory)
		v->conflict->flags |= policed_flag(v);
}

static void judge_policy(struct view *v)
{
	v->policy = spd_find(v->spd, &v->flow);
	if (!v->policy)
		judge_absence(v);
	else if (v->policy->action != XFRM_POLICY_ALLOW)
		note(v, CLATCH_CAUSE_POLICY, CLATCH_POLICY, 0, NULL);
	else
		judge_templates(v);
}

static bool prefix_holds(const struct clatch_addr *addr, const xfrm_address_t *prefix,
			 unsigned int bits, bool v4)
{
	struct clatch_addr p;

	if (bits > (v4 ? 32 : 128))
		return false;
	if (v4)
		addr_from_v4(&p, prefix->a4);
	else
		memcpy(&p, prefix, sizeof(p));
	return addr_in_prefix(addr, &p, v4 ? bits + 96 : bits);
}

/* As the kernel's xfrm_selector_match(); a family that is not given matches all. */
static bool selector_matches(const struct xfrm_selector *s, const struct spd_flow *f)
{
	bool v4 = addr_is_v4(&f->src) && addr_is_v4(&f->dst);

	if (s->family && s->family != (v4 ? AF_INET : AF_INET6))
		return false;
	if (!prefix_holds(&f->src, &s->saddr, s->prefixlen_s, v4) ||
	    !prefix_holds(&f->dst, &s->daddr, s->prefixlen_d, v4))
		return false;
	return !((htons(f->sport) ^ s->sport) & s->sport_mask) &&
	       !((htons(f->dport) ^ s->dport) & s->dport_mask) &&
	       (!s->proto || s->proto == f->proto) &&
	       (!s->ifindex || s->ifindex == (int)f->ifindex);
}

/* Outbound the kernel compares an SA's mark with the policy's, not with the packet's. */
static bool mark_fits(const struct view *v, const struct sa_class *sa)
{
	__u32 mark = v->flow.mark;

	if (v->direction == CLATCH_OUT && v->policy)
		mark = v->policy->mark & v->policy->mark_mask;
	return (mark & sa->mark_mask) == sa->mark;
}

static bool has_spi(const struct view *v, const struct sa_class *sa, __be32 spi)
{
	const struct clatch_sa_key key = { v->netns, sa->sa.dst, spi, sa->sa.suite.proto };

	return sa_set_find(v->sas, &key) == sa;
}

static bool template_takes(const struct view *v, const struct sa_class *sa)
{
	const struct spd_template *t = v->outer;
	__u32 fields = template_differs(t, &sa->sa, v->flow.dir);

	/* Outbound the kernel does not look at the algorithms. */
	if (v->direction == CLATCH_OUT)
		fields &= ~(CLATCH_FIELD_AUTH | CLATCH_FIELD_ENC);
	return !fields && (!t->spi || t->spi == sa->sa.spi || has_spi(v, sa, t->spi));
}

/* Without a policy nothing leads to an SA but what it says of itself, or of whom it is. */
static bool could_be_used(const struct view *v, const struct sa_class *sa)
{
	const struct xfrm_selector *s = &sa->selector;

	if (sa->sa.if_id != v->latched[0].if_id || !mark_fits(v, sa) ||
	    !selector_matches(s, &v->flow))
		return false;
	if (v->outer)
		return template_takes(v, sa);
	return (s->prefixlen_s && s->prefixlen_d) || sa->sa.reqid == v->latched[0].reqid;
}

static bool is_another(const struct clatch_sa *a, const struct clatch_sa *b)
{
	return clatch_who_differs(a->who, b->who);
}

/*
 * As bpf/sa.h compares; but an SA that nobody is known of yet is no conflict: no packet comes
 * through under it, and it may turn out to be the peer's.
 */
static bool is_congruent(const struct clatch_sa *a, const struct clatch_sa *b)
{
	if (memcmp(&a->suite, &b->suite, sizeof(a->suite)) || is_another(a, b))
		return false;
	return a->who.peer_id || (a->reqid == b->reqid && a->if_id == b->if_id);
}

/* What is inside the outermost SA is often between the same addresses. */
static bool is_latched(const struct view *v, const struct clatch_sa *sa)
{
	for (size_t i = 0; i < v->count; i++)
		if (is_congruent(&v->latched[i], sa))
			return true;
	return false;
}

/* Whose ends nobody has told may be another's newest, too. */
static bool is_known_own(const struct clatch_who *own, const struct clatch_who *who)
{
	return (!own->peer_id || own->peer_id == who->peer_id) &&
	       (!own->local_id || own->local_id == who->local_id);
}

static int note_latched(void *context, const struct sa_class *sa)
{
	struct view *v = context;

	if (is_known_own(&v->latched[0].who, &sa->sa.who) && is_latched(v, &sa->sa) &&
	    could_be_used(v, sa) && v->newest < sa->newest)
		v->newest = sa->newest;
	return 0;
}

/*
 * The kernel uses the newest SA.  So one of another peer, who had the address for a while and left
 * without a word, is no conflict any more as soon as the latched peer has newer ones.
 */
static int judge_sa(void *context, const struct sa_class *sa)
{
	const struct view *v = context;

	if (is_latched(v, &sa->sa) || !could_be_used(v, sa))
		return 0;
	if (is_another(&v->latched[0], &sa->sa) && sa->newest < v->newest)
		return 0;
	note(v, CLATCH_CAUSE_SA,
	     is_another(&v->latched[0], &sa->sa) ? CLATCH_PEER_ID : CLATCH_SA_MISMATCH,
	     clatch_fields(&v->latched[0], &sa->sa), &sa->sa);
	return 1;
}

/* A policy that does not lead to what is latched leads to no SA that could conflict with it. */
static void judge_sas(struct view *v)
{
	const struct clatch_addr *src = &v->latched[0].src, *dst = &v->latched[0].dst;

	if (v->policy && !v->outer)
		return;
	if (v->outer && (v->outer->reqid || v->direction == CLATCH_OUT)) {
		sa_set_each_reqid(v->sas, src, dst, v->outer->reqid, note_latched, v);
		sa_set_each_reqid(v->sas, src, dst, v->outer->reqid, judge_sa, v);
	} else {
		sa_set_each(v->sas, src, dst, note_latched, v);
		sa_set_each(v->sas, src, dst, judge_sa, v);
	}
}

/*
 * The device that the kernel compares with a policy's: inbound always the loopback, as the lookup
 * is that of a packet for this host; else the route's, which IPv6 does not know yet outbound.
 */
static __u32 flow_ifindex(const struct view *v, const struct clatch_tuple *t)
{
	if (v->direction == CLATCH_IN)
		return v->latch->flags & CLATCH_FORWARDED ? v->side->ifindex : LOOPBACK_IFINDEX;
	return addr_is_v4(&t->remote) ? v->side->ifindex : 0;
}

static __u8 flow_dir(const struct view *v)
{
	if (v->direction == CLATCH_OUT)
		return XFRM_POLICY_OUT;
	return v->latch->flags & CLATCH_FORWARDED ? XFRM_POLICY_FWD : XFRM_POLICY_IN;
}

static void fill_flow(struct view *v, const struct clatch_tuple *t)
{
	bool out = v->direction == CLATCH_OUT;

	v->flow = (struct spd_flow){
		.src = out ? t->local : t->remote,
		.dst = out ? t->remote : t->local,
		.sport = out ? t->local_port : t->remote_port,
		.dport = out ? t->remote_port : t->local_port,
		.proto = t->proto,
		.dir = flow_dir(v),
		.mark = v->side->mark,
		.if_id = v->latched[0].if_id,
		.ifindex = flow_ifindex(v, t),
	};
}

/* False: nothing is known of this direction, or what was recorded could not be read. */
static bool fill_view(struct view *v, const struct conflict_latch *l)
{
	bool out = v->direction == CLATCH_OUT;

	v->latch = l->latch;
	v->netns = l->tuple->netns;
	v->side = out ? l->out : l->in;
	v->latched = v->side->sa;
	v->count = v->side->count;
	if (!v->count || !v->latched[0].suite.proto)
		return false;
	fill_flow(v, l->tuple);
	return true;
}

void conflict_judge(const struct spd *spd, const struct sa_set *sas,
		    const struct conflict_latch *latch, struct conflict *conflict)
{
	struct view views[] = {
		{ .spd = spd, .sas = sas, .direction = CLATCH_OUT, .conflict = conflict },
		{ .spd = spd, .sas = sas, .direction = CLATCH_IN, .conflict = conflict },
	};
	bool known[2];

	*conflict = (struct conflict){};
	for (int i = 0; i < 2; i++) {
		known[i] = fill_view(&views[i], latch);
		if (known[i])
			judge_policy(&views[i]);
	}
	for (int i = 0; i < 2; i++)
		if (known[i])
			judge_sas(&views[i]);
}
