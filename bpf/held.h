/* SPDX-License-Identifier: GPL-2.0-only */
/* Where a latch has what it holds its connection to: in itself, or, of few, in clatch_more. */
#ifndef CLATCH_BPF_HELD_H
#define CLATCH_BPF_HELD_H

#include "maps.h"

/* One way for both, as the verifier follows each. */
static __always_inline struct clatch_side *latch_side(struct clatch_latch *l, __u32 dir)
{
	struct clatch_side *sides = &l->held.in;

	_Static_assert(__builtin_offsetof(struct clatch_held, out) == sizeof(*sides), "an array");
	return &sides[dir & 1];
}

/* The @i-th SA of a direction, outermost first; not of the outermost, 0. */
static __always_inline struct clatch_sa_ref *more_nested(struct clatch_more *more, __u32 dir, int i)
{
	return &more->nested[dir & 1][i - 1];
}

static __always_inline struct clatch_outer *more_outer(struct clatch_more *more, __u32 dir)
{
	return &more->outer[dir & 1];
}

static __always_inline struct clatch_more *latch_more(const struct clatch_latch *l)
{
	__u64 id = l->id;

	return bpf_map_lookup_elem(&clatch_more, &id);
}

/* The same, of any; NULL where it is not there. */
static __always_inline struct clatch_sa_ref *latch_sa(struct clatch_latch *l, __u32 dir, int i)
{
	struct clatch_more *more;

	if (!i)
		return &latch_side(l, dir)->sa;
	more = latch_more(l);
	return more ? more_nested(more, dir, i) : NULL;
}

#endif
