/* SPDX-License-Identifier: GPL-2.0-only */
/* Which policies match a flow, and in what order the kernel looks at them. */
#ifndef CLATCH_SPD_ORDER_H
#define CLATCH_SPD_ORDER_H

#include "spd.h"

/*
 * The kernel's lists of policies, by how much of the addresses they fix (net/xfrm/xfrm_policy.c;
 * with the thresholds of 32 and 128 bits that it starts with), in the order that it looks at them.
 */
enum spd_list {
	SPD_LIST_EXACT,
	SPD_LIST_BOTH,
	SPD_LIST_SRC,
	SPD_LIST_DST,
	SPD_LIST_ANY,
	SPD_LISTS
};
enum spd_list spd_list_of(const struct spd_policy *policy);

/* Which comes first in a list: less than 0 = @a. */
int spd_compare(const struct spd_policy *a, const struct spd_policy *b);

/* Is it such as the kernel takes? */
bool spd_is_usable(const struct spd_policy *policy);

/* @policy must be usable, and of the flow's direction. */
bool spd_matches(const struct spd_policy *policy, const struct spd_flow *flow);

/* The address that a selector's, of @family, is. */
void spd_addr(struct clatch_addr *to, const xfrm_address_t *from, __u16 family);
#define SPD_V4_BITS 96 /* of prefix, before a v4-mapped address */

#endif
