/* SPDX-License-Identifier: GPL-2.0-only */
/* The life of a latch: made for one connection, gone with it. */
#ifndef CLATCH_BPF_LATCH_H
#define CLATCH_BPF_LATCH_H

#include "slot.h"
#include "rule.h"

/* Set by the loader before the programs are verified. */
struct settings {
	__u32 audit; /* 1 = what would be dropped passes, and is reported so */
};
const volatile struct settings settings SEC(".rodata.settings") = {};
#define audit (settings.audit)

/* The state as a number: whose bounds the verifier still knows where it indexes a table. */
static __always_inline __u32 latch_state(const struct clatch_latch *l)
{
	__u32 state = l->state;

	asm volatile("" : "+r"(state));
	return state;
}

/* The count of latches with ports like these, whose one XOR the other is @ports. */
static __always_inline __u32 *latches_like(__u32 ports)
{
	return bpf_map_lookup_elem(&clatch_ports, &ports);
}

/* May there be a latch of a connection of which the ports alone are known yet? */
static __always_inline bool may_be_latched(__u32 ports)
{
	volatile __u32 *count = latches_like(ports);

	return !count || *count;
}

/* An entry of zeroes, counted as long as it is there, and before and after. */
static __always_inline void latch_insert(const struct clatch_tuple *tuple)
{
	__u32 *count = latches_like(tuple->local_port ^ tuple->remote_port);

	if (!count)
		return;
	__sync_fetch_and_add(count, 1);
	if (bpf_map_update_elem(&clatch_latches, tuple, zeroes, BPF_NOEXIST))
		__sync_fetch_and_sub(count, 1);
}

/* True if it was there. */
static __always_inline bool latch_remove(const struct clatch_tuple *tuple)
{
	__u32 *count = latches_like(tuple->local_port ^ tuple->remote_port);

	if (bpf_map_delete_elem(&clatch_latches, tuple))
		return false;
	if (count)
		__sync_fetch_and_sub(count, 1);
	return true;
}

/*
 * An entry that has gone may be another latch's at once, of this 5-tuple or of another.  So of those who
 * would take away the one at @l, whose @id was read, only the first does.
 */
static __always_inline bool latch_claim(const struct clatch_tuple *tuple, struct clatch_latch *l,
					__u64 id)
{
	bool first;

	if (!id || bpf_map_lookup_elem(&clatch_latches, tuple) != l)
		return false; /* is just being made; or the id is another's */
	bpf_spin_lock(&l->lock);
	first = l->id == id && !(l->flags & CLATCH_GOING);
	if (first)
		__sync_fetch_and_or(&l->flags, CLATCH_GOING);
	bpf_spin_unlock(&l->lock);
	return first;
}

/* The latch of @tuple goes, if it is that with this @id, and @end says why. */
static __noinline void latch_delete_id(const struct clatch_tuple *tuple, __u64 id,
				       enum clatch_end end)
{
	struct clatch_latch *l = bpf_map_lookup_elem(&clatch_latches, tuple);
	struct what w = { .type = CLATCH_EV_CLOSED, .latch = id, .end = end };
	__u32 flags;

	if (!l || !latch_claim(tuple, l, id))
		return;
	w.old_state = latch_state(l);
	w.state = clatch_next(w.old_state, CLATCH_STEP_RELEASE);
	fast_release(l);
	flags = l->flags;
	if (!latch_remove(tuple)) { /* the kernel could not: whoever comes next may try again */
		__sync_fetch_and_and(&l->flags, ~CLATCH_GOING);
		return;
	}
	if (w.old_state != w.state)
		report(tuple, NULL, NULL, &w);
	if (flags & CLATCH_HAS_MORE)
		bpf_map_delete_elem(&clatch_more, &w.latch);
	if (flags & CLATCH_UNTIMED)
		bpf_map_delete_elem(&clatch_endings, &w.latch);
	/* last: who asks for something meanwhile looks whether the latch still stands (ask.h) */
	bpf_map_delete_elem(&clatch_asked, &w.latch);
}

/* The same of whichever it is; inline, as 6.1 takes no more calls inside each other. */
static __always_inline void latch_delete(const struct clatch_tuple *tuple, enum clatch_end end)
{
	struct clatch_latch *l = bpf_map_lookup_elem(&clatch_latches, tuple);

	if (l)
		latch_delete_id(tuple, l->id, end);
}

/* Takes the latch, locked, one step further, at @now.  The state it had. */
static __always_inline __u32 latch_step(struct clatch_latch *l, enum clatch_step step, __u64 now)
{
	__u32 old = latch_state(l);

	l->state = clatch_next(old, step);
	if (l->state != old)
		l->changed_ns = now;
	return old;
}

/* What a latch is made with. */
struct birth {
	enum clatch_step step; /* LISTEN or OPEN */
	__u32 flags; /* enum clatch_latch_flag */
	__u64 cookie;
	__u64 listener;
	const struct clatch_demand *asked; /* by its program, or NULL */
};

/*
 * Gives a new entry its @id and @slot; whoever comes first wins, and an entry with an id is left alone:
 * then false.
 */
static __always_inline bool latch_init(struct clatch_latch *l, const struct clatch_tuple *tuple,
				       const struct birth *birth, __u64 id, __u32 slot)
{
	__u64 now = bpf_ktime_get_boot_ns();
	__u32 rule = rule_find(tuple), flags = birth->flags;
	bool first;

	if (birth->asked)
		flags |= CLATCH_ASKED;
	bpf_spin_lock(&l->lock);
	first = !l->id;
	if (first) {
		l->since_ns = now;
		l->cookie = birth->cookie;
		l->listener.id = birth->listener;
		l->rule = rule;
		l->flags = flags;
		l->fast = slot;
		latch_step(l, birth->step, now);
		l->id = id;
	}
	bpf_spin_unlock(&l->lock);
	return first;
}

/* Room for what a latch with this id has beside it; *@slot: of a connection's. */
static __always_inline bool latch_reserve(const struct birth *birth, __u64 id, __u32 *slot)
{
	*slot = birth->step == CLATCH_STEP_LISTEN ? 0 : slot_take();
	if (!*slot && birth->step != CLATCH_STEP_LISTEN)
		return false;
	if (!birth->asked || !bpf_map_update_elem(&clatch_asked, &id, birth->asked, BPF_ANY))
		return true;
	slot_give(*slot);
	return false;
}

/* NULL where the database is full, or another CPU is just taking away an earlier one. */
static __noinline struct clatch_latch *latch_create(const struct clatch_tuple *tuple,
						    const struct birth *birth)
{
	__u64 id = count_up(CLATCH_LAST_LATCH, ~0ULL);
	__u32 slot;
	bool room = latch_reserve(birth, id, &slot);
	struct clatch_latch *l;

	if (room)
		latch_insert(tuple);
	l = bpf_map_lookup_elem(&clatch_latches, tuple);
	if (!room)
		return l && l->id ? l : NULL; /* another CPU had the last one */
	if (!l || l->id || !latch_init(l, tuple, birth, id, slot)) {
		slot_give(slot);
		if (birth->asked)
			bpf_map_delete_elem(&clatch_asked, &id);
	}
	return l && l->flags & CLATCH_GOING ? NULL : l;
}

#endif
