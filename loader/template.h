/* SPDX-License-Identifier: GPL-2.0-only */
/* Do a policy's templates allow the SAs that a latch holds?  Pure. */
#ifndef CLATCH_TEMPLATE_H
#define CLATCH_TEMPLATE_H

#include "spd.h"

/*
 * enum clatch_field: in what @sa is not as the template wants it, 0 = it is.  @dir is XFRM_POLICY_IN
 * or _OUT.  Outer addresses are not compared, as MOBIKE and NAT move them, nor SPIs, as rekeying
 * changes them.
 */
__u32 template_differs(const struct spd_template *t, const struct clatch_sa *sa, __u8 dir);

struct template_match {
	size_t count; /* templates, IPComp's left out, as latches do not record it */
	size_t mandatory; /* of these, not optional */
	const struct spd_template *outer; /* which the outermost SA meets, NULL = none */
	__u32 fields; /* 0 = met: each that is mandatory by an SA, in order, and each SA by one */
	const struct spd_template *failed; /* what is not met, where fields is not 0 */
};

/* @sas: what is latched, outermost first, @count of them.  count 0 in the result: the policy wants no protection. */
void template_match(struct template_match *m, const struct spd_policy *policy,
		    const struct clatch_sa *sas, size_t count);

#endif
