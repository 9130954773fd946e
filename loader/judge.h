/* SPDX-License-Identifier: GPL-2.0-only */
/* What the SPD and the SAD of its namespace mean for one latch, as an order to the packet path. */
#ifndef CLATCH_JUDGE_H
#define CLATCH_JUDGE_H

#include <clatch/control.h>
#include <stdbool.h>
#include "domain.h"
#include "latches.h"

/*
 * Judges a latch.  True and *order where something is to be changed: causes that hold now are to be
 * set, those that hold no more are to be cleared.  @changed: because the SPD or SAD has changed.
 */
bool judge(const struct domain *domain, struct latches *latches, const struct clatch_tuple *tuple,
	   const struct clatch_latch *latch, bool changed, struct clatch_order *order);

#endif
