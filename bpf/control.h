/* SPDX-License-Identifier: GPL-2.0-only */
/* Orders of user space (clatch/control.h), carried out as the packet path would. */
#ifndef CLATCH_BPF_CONTROL_H
#define CLATCH_BPF_CONTROL_H

#include "hold.h"
#include <clatch/control.h>

/* Who the ends are of the SA that the latch has recorded, if it is still that one. */
static __always_inline void order_who(struct clatch_side *side, struct clatch_who who, __be32 spi)
{
	struct clatch_sa_ref *ref = &side->sa;

	if (ref->count && ref->spi == spi && !clatch_who_differs(ref->who, who))
		ref->who = who_merge(ref->who, who);
}

/* All of an order but the SA that is shown in its event, which has no room on the stack. */
#define ORDER_HEAD __builtin_offsetof(struct clatch_order, got)

/* The daemon's judgement of a latch; @got is the conflicting SA. */
static __noinline void order_causes(struct clatch_latch *l, const struct clatch_order *o,
				    const struct clatch_sa *got)
{
	struct what w = { .direction = o->direction, .reason = o->reason, .fields = o->fields };
	struct clatch_tuple tuple = o->tuple;
	__u32 fresh;

	__sync_fetch_and_or(&l->flags, o->flags);
	order_who(&l->held.in, o->who[CLATCH_IN], o->spi[CLATCH_IN]);
	order_who(&l->held.out, o->who[CLATCH_OUT], o->spi[CLATCH_OUT]);
	fresh = latch_causes(l, o->set, o->clear & ~CLATCH_CAUSE_DEAD_PEER, &w);
	if (fresh && w.state == CLATCH_BROKEN) {
		w.type = CLATCH_EV_BROKEN;
		report_found(&tuple, &l->held, NULL, &w, o->got_count ? got : NULL);
	} else if (w.old_state == CLATCH_BROKEN && w.state != CLATCH_BROKEN) {
		w.type = CLATCH_EV_RESTORED;
		report(&tuple, &l->held, NULL, &w);
	}
}

/* Nothing passes any more; the latch stays until its connection has gone. */
static __noinline void order_close(struct clatch_latch *l, const struct clatch_order *o)
{
	struct what w = { .type = CLATCH_EV_CLOSED, .end = o->end, .latch = l->id };
	__u64 now = bpf_ktime_get_boot_ns();
	struct clatch_tuple tuple = o->tuple;

	bpf_spin_lock(&l->lock);
	w.old_state = latch_step(l, CLATCH_STEP_CLOSE, now);
	w.state = l->state;
	bpf_spin_unlock(&l->lock);
	fast_stop(l);
	if (w.old_state != w.state)
		report(&tuple, NULL, NULL, &w);
}

/*
 * The order at @index of the packet.  1 if it found its latch.  Another program of user space may come
 * in between on the same CPU: what it could spoil is what an event shows, not what is done.
 */
verified_once int order_carry_out(struct __sk_buff *ctx, __u32 index)
{
	__u32 zero = 0, at = ETH_HLEN + index * sizeof(struct clatch_order);
	struct clatch_sa *got = bpf_map_lookup_elem(&clatch_found, &zero);
	__u64 head[ORDER_HEAD / sizeof(__u64)];
	const struct clatch_order *o = (const void *)head;
	struct clatch_tuple tuple;
	struct clatch_latch *l;

	if (!got || index >= CLATCH_MAX_ORDERS || bpf_skb_load_bytes(ctx, at, head, sizeof(head)) ||
	    bpf_skb_load_bytes(ctx, at + ORDER_HEAD, got, sizeof(*got)))
		return 0;
	tuple = o->tuple;
	l = bpf_map_lookup_elem(&clatch_latches, &tuple);
	if (!l || l->id != o->id)
		return 0;
	switch (o->type) {
	case CLATCH_ORDER_CAUSES:
		order_causes(l, o, got);
		break;
	case CLATCH_ORDER_CLOSE:
		order_close(l, o);
		break;
	case CLATCH_ORDER_REMOVE:
		latch_delete(&tuple, o->end);
		break;
	}
	return 1;
}

#endif
