/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Does the SPD or the SAD of this host conflict with a latch (RFC 5660 R22-R26)?  Pure: everything
 * is decided here, nothing is asked or changed.
 */
#ifndef CLATCH_CONFLICT_H
#define CLATCH_CONFLICT_H

#include <clatch/latch.h>
#include "latches.h"
#include "sa_set.h"
#include "spd.h"

/* A latch as the judge needs it. */
struct conflict_latch {
	const struct clatch_tuple *tuple;
	const struct clatch_latch *latch;
	const struct latch_side *in;
	const struct latch_side *out;
};

/* What is wrong, of the first thing found: the policy's before the SAs', out before in. */
struct conflict {
	__u8 causes; /* CLATCH_CAUSE_POLICY, CLATCH_CAUSE_SA: all that hold */
	__u8 flags; /* CLATCH_POLICED_IN, _OUT: what was seen of the SPD, to be set in the latch */
	__u8 direction; /* enum clatch_dir, of what follows */
	/* CLEAR: a bypass, or no policy any more; POLICY: a block; SA_MISMATCH; PEER_ID */
	__u8 reason;
	__u8 got_count; /* 1: @got has what the template or the SA has, else 0 */
	__u32 fields; /* enum clatch_field: what differs */
	struct clatch_sa got;
};

void conflict_judge(const struct spd *spd, const struct sa_set *sas,
		    const struct conflict_latch *latch, struct conflict *conflict);

#endif
