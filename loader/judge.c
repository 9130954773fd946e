// SPDX-License-Identifier: GPL-2.0-only
#include "judge.h"

#include "conflict.h"

static bool has_judgement(const struct clatch_latch *latch)
{
	return latch->id && (latch->state == CLATCH_LARVAL || latch->state == CLATCH_ESTABLISHED ||
			     latch->state == CLATCH_BROKEN);
}

/*
 * What our own packets have shown is over when the SPD demands again what is latched.  Where a
 * route decides (xfrm interfaces, by if_id or mark) it says nothing: then a packet has to show it.
 */
static bool is_well_again(const struct clatch_latch *latch, const struct conflict *found)
{
	return !found->causes && (found->flags & CLATCH_POLICED_OUT) && !latch->out.sa[0].if_id &&
	       !latch->out.mark;
}

static __u8 cleared(const struct clatch_latch *latch, const struct conflict *found, bool changed)
{
	__u8 gone = latch->causes & CLATCH_CAUSES_JUDGED & ~found->causes;

	if (changed && is_well_again(latch, found))
		gone |= latch->causes & CLATCH_CAUSES_SEEN;
	return gone;
}

static struct clatch_order order_of(const struct clatch_tuple *tuple,
				    const struct clatch_latch *latch, const struct conflict *c)
{
	return (struct clatch_order){
		.tuple = *tuple,
		.id = latch->id,
		.type = CLATCH_ORDER_CAUSES,
		.direction = c->causes ? c->direction : CLATCH_OUT,
		.reason = c->reason,
		.fields = c->fields,
		.got_count = c->got_count,
		.got = c->got,
	};
}

bool judge(const struct domain *domain, struct latches *latches, const struct clatch_tuple *tuple,
	   const struct clatch_latch *latch, bool changed, struct clatch_order *order)
{
	struct clatch_sa in[CLATCH_MAX_NEST], out[CLATCH_MAX_NEST]; /* as many as the sides have */
	struct conflict_latch l = { .tuple = tuple, .latch = latch, .in = in, .out = out };
	struct conflict found = {};
	__u8 set, clear;
	__u32 flags;

	if (!has_judgement(latch))
		return false;
	latches_resolve(latches, in, &latch->in);
	latches_resolve(latches, out, &latch->out);
	conflict_judge(domain->spd, sad_set(domain->sad), &l, &found);
	set = found.causes & ~latch->causes;
	clear = cleared(latch, &found, changed);
	flags = found.flags & ~latch->flags;
	if (!set && !clear && !flags)
		return false;
	*order = order_of(tuple, latch, &found);
	order->set = set;
	order->clear = clear;
	order->flags = flags;
	return true;
}
