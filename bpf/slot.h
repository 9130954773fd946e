/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A latch's slot: what its packets are counted in, and known again by.  And how the fast path (fast.h)
 * is closed.
 */
#ifndef CLATCH_BPF_SLOT_H
#define CLATCH_BPF_SLOT_H

#include "event.h"

/* The stack of the other way of reading (kernel.h) has no room for these in the hook's own frame. */
#if PLAIN_LOADS
#define fast_inline static __always_inline
#else
#define fast_inline static __noinline
#endif

static __always_inline struct clatch_fast *fast_get(__u32 slot)
{
	return slot ? bpf_map_lookup_elem(&clatch_fast, &slot) : NULL;
}

/* A direction's part of the latch's slot. */
static __always_inline struct clatch_fast_side *fast_side(const struct clatch_latch *l, __u32 dir)
{
	struct clatch_fast *fast = fast_get(l->fast);

	return fast ? &fast->side[dir & 1] : NULL;
}

fast_inline void fast_count(const struct clatch_latch *l, __u32 dir, __u32 len)
{
	struct clatch_fast_side *side = fast_side(l, dir);

	if (!side)
		return;
	__sync_fetch_and_add(&side->packets, 1);
	__sync_fetch_and_add(&side->bytes, len);
}

/* A slot that never was used; 0 where there is none. */
static __always_inline __u32 slot_new(void)
{
	__u64 *last = last_number(CLATCH_LAST_SLOT);

	/* looked at first, so that the number does not go on without end */
	return last && fast_get(*last + 1) ? count_up(CLATCH_LAST_SLOT, ~0U) : 0;
}

/* A slot that nobody uses; 0 where there is none: as many as latches, so there is one. */
static __always_inline __u32 slot_take(void)
{
	struct clatch_fast *fast;
	__u32 slot = 0;

	if (bpf_map_pop_elem(&clatch_fast_free, &slot))
		slot = slot_new();
	fast = fast_get(slot);
	if (!fast)
		return 0;
	__builtin_memset(fast, 0, sizeof(*fast));
	return slot;
}

static __always_inline void slot_give(__u32 slot)
{
	if (slot)
		bpf_map_push_elem(&clatch_fast_free, &slot, BPF_ANY);
}

static __always_inline void fast_close(struct clatch_fast *fast)
{
	__sync_lock_test_and_set(&fast->side[CLATCH_IN].latch, 0);
	__sync_lock_test_and_set(&fast->side[CLATCH_OUT].latch, 0);
}

/*
 * Nothing goes this way any more, until a packet that passes opens it again.  What the latch is now
 * was written before.
 */
static __always_inline void fast_stop(struct clatch_latch *l)
{
	struct clatch_fast *fast = fast_get(l->fast);

	if (fast)
		fast_close(fast);
}

/* The latch goes, and its slot with it. */
static __always_inline void fast_release(struct clatch_latch *l)
{
	__u32 slot = __sync_lock_test_and_set(&l->fast, 0);
	struct clatch_fast *fast = fast_get(slot);

	if (!fast)
		return;
	fast_close(fast);
	slot_give(slot);
}

#endif
