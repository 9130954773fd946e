// SPDX-License-Identifier: GPL-2.0-only
#include "judge.h"

#include <string.h>

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
	return !found->causes && (found->flags & CLATCH_POLICED_OUT) && !latch->held.out.sa.if_id &&
	       !latch->held.out.mark;
}

static __u8 cleared(const struct clatch_latch *latch, const struct conflict *found, bool changed)
{
	__u8 gone = latch->causes & CLATCH_CAUSES_JUDGED & ~found->causes;

	if (changed && is_well_again(latch, found))
		gone |= latch->causes & CLATCH_CAUSES_SEEN;
	return gone;
}

static bool is_news(struct clatch_who who, struct clatch_who recorded)
{
	return (who.peer_id && !recorded.peer_id) || (who.local_id && !recorded.local_id);
}

/* Can it be the one that was recorded?  Its SPI may be another's by now, of another peer. */
static bool is_recorded(const struct clatch_sa *sa, const struct clatch_sa *recorded)
{
	return !memcmp(&sa->suite, &recorded->suite, sizeof(sa->suite)) &&
	       sa->reqid == recorded->reqid && sa->if_id == recorded->if_id;
}

/*
 * Who the ends are of the SA that was recorded, where the latch does not know it yet: a connection
 * that is still would not hear of it before the SA is replaced.  The table is asked once more, as
 * our copy of it may be a second old.
 */
static bool tell(struct clatch_order *order, const struct sad *sad, const struct latch_side *side,
		 enum clatch_dir dir)
{
	const struct clatch_sa *recorded = &side->sa[0];
	const struct clatch_sa_key key = {
		.netns = order->tuple.netns,
		.dst = recorded->dst,
		.spi = recorded->spi,
		.proto = recorded->suite.proto,
	};
	const struct sa_class *sa = side->count ? sa_set_find(sad_set(sad), &key) : NULL;
	struct clatch_who who;

	if (!sa || !is_news(sa->sa.who, recorded->who) || !is_recorded(&sa->sa, recorded))
		return false;
	who = sad_who(sad, &key);
	if (!is_news(who, recorded->who))
		return false;
	order->who[dir] = who;
	order->spi[dir] = recorded->spi;
	return true;
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
	struct latch_side in, out;
	struct conflict_latch l = { .tuple = tuple, .latch = latch, .in = &in, .out = &out };
	struct conflict found = {};
	bool told;

	if (!has_judgement(latch))
		return false;
	latches_resolve(latches, &in, latch, CLATCH_IN);
	latches_resolve(latches, &out, latch, CLATCH_OUT);
	conflict_judge(domain->spd, sad_set(domain->sad), &l, &found);
	*order = order_of(tuple, latch, &found);
	order->set = found.causes & ~latch->causes;
	order->clear = cleared(latch, &found, changed);
	order->flags = found.flags & ~latch->flags;
	told = tell(order, domain->sad, &in, CLATCH_IN);
	told |= tell(order, domain->sad, &out, CLATCH_OUT);
	return order->set || order->clear || order->flags || told;
}
