/* SPDX-License-Identifier: GPL-2.0-only */
/* A latch's slot on the fast path (fast.h), and how that is closed. */
#ifndef CLATCH_BPF_SLOT_H
#define CLATCH_BPF_SLOT_H

#include "event.h"

#define FAST_GONE (~0U) /* in place of a slot, where the latch has gone: it gets none any more */

static __always_inline struct clatch_fast *fast_get(__u32 slot)
{
	return slot ? bpf_map_lookup_elem(&clatch_fast, &slot) : NULL;
}

static __always_inline void fast_close(struct clatch_fast *fast)
{
	__sync_lock_test_and_set(&fast->side[CLATCH_IN].latch, 0);
	__sync_lock_test_and_set(&fast->side[CLATCH_OUT].latch, 0);
}

/*
 * Nothing goes this way any more, until a packet that passes opens it again.  What the latch is now
 * was written before; the slot is read with a barrier, so that whoever takes one meanwhile sees it.
 */
static __always_inline void fast_stop(struct clatch_latch *l)
{
	struct clatch_fast *fast = fast_get(__sync_fetch_and_add(&l->fast, 0));

	if (fast)
		fast_close(fast);
}

/* The latch goes, and its slot with it. */
static __always_inline void fast_release(struct clatch_latch *l)
{
	__u32 slot = __sync_lock_test_and_set(&l->fast, FAST_GONE);
	struct clatch_fast *fast = fast_get(slot);

	if (!fast)
		return;
	fast_close(fast);
	bpf_map_push_elem(&clatch_fast_free, &slot, BPF_ANY);
}

#endif
