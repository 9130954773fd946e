/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Policies, arranged so that a flow's is found without looking at all of them.
 *
 * For each field that is compared (an address, a port …) the ends of the policies' ranges cut what
 * values there are into intervals, and each interval has a bit for every policy: can it match here?
 * The bits that are set in the intervals of all the flow's fields are the policies to look at, in
 * the kernel's order.  The cost hardly depends on what the policies look like.
 */
#ifndef CLATCH_SPD_INDEX_H
#define CLATCH_SPD_INDEX_H

#include "spd.h"

struct spd_index;

/*
 * How the kernel chooses between policies of equal priority that are in different lists of its own
 * (addresses fixed entirely, in part, one of them, none).  Within a list the older one comes first.
 */
enum spd_ties {
	SPD_TIES_BY_AGE, /* from 6.12 on */
	SPD_TIES_EXACT_FIRST, /* before */
};

/* Of @policies, which must stay where they are.  0 and *index, or -ENOMEM. */
int spd_index_new(struct spd_index **index, enum spd_ties ties, const struct spd_policy *policies,
		  size_t count);
void spd_index_free(struct spd_index *index);

/* The policy that the kernel would take, or NULL. */
const struct spd_policy *spd_index_find(const struct spd_index *index, const struct spd_flow *flow);

#endif
