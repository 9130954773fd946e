/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Does a text match a pattern, in which each '*' stands for any text, also none?  All else is
 * compared byte by byte.  Step by step, as the packet path may loop only in a helper.
 */
#ifndef CLATCH_GLOB_H
#define CLATCH_GLOB_H

#include <linux/types.h>
#include "identity.h"
#include "rule.h"

enum clatch_glob_step { CLATCH_GLOB_ON, CLATCH_GLOB_MATCH, CLATCH_GLOB_NO };

struct clatch_glob {
	const char *pattern; /* CLATCH_RULE_ID bytes */
	const char *text; /* of the size that each step is told, a power of 2 */
	__u32 p; /* where we are in each */
	__u32 t;
	__u32 star; /* behind the last '*', 0 = there was none yet */
	__u32 from; /* of the text, what it began to stand for; tried one byte later each time */
};

/* More than it ever takes: each place of the text against each of the pattern. */
#define CLATCH_GLOB_STEPS (CLATCH_ID_TEXT * CLATCH_RULE_ID)

static inline __attribute__((always_inline)) int clatch_glob_step(struct clatch_glob *g, __u32 size)
{
	char p = g->pattern[g->p & (CLATCH_RULE_ID - 1)];
	char t = g->text[g->t & (size - 1)];

	if (g->p >= CLATCH_RULE_ID || g->t >= size)
		return CLATCH_GLOB_NO; /* one has no end */
	if (p == '*') {
		g->star = ++g->p;
		g->from = g->t;
	} else if (p == t) {
		if (!p)
			return CLATCH_GLOB_MATCH;
		g->p++;
		g->t++;
	} else if (g->star && t) {
		g->p = g->star;
		g->t = ++g->from;
	} else {
		return CLATCH_GLOB_NO;
	}
	return CLATCH_GLOB_ON;
}

_Static_assert(!(CLATCH_RULE_ID & (CLATCH_RULE_ID - 1)), "used as a mask");
_Static_assert(!(CLATCH_ID_TEXT & (CLATCH_ID_TEXT - 1)), "used as a mask");

#endif
