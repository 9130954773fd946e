/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How the gateway programs are set: what of a packet they use, and how long a forwarded connection
 * may be still.  Value of clatch_gateway[0].  Shared by bpf/ and loader/.
 */
#ifndef CLATCH_GATEWAY_H
#define CLATCH_GATEWAY_H

#include <linux/types.h>

/* What is known of a forwarded connection's end, and so how long it is kept without a packet. */
enum clatch_stage {
	CLATCH_STAGE_NEW, /* its record is just being made */
	CLATCH_STAGE_OPENING, /* TCP: a SYN that nobody answered yet */
	CLATCH_STAGE_OPEN, /* TCP: also half closed */
	CLATCH_STAGE_ENDED, /* TCP: both ends have sent a FIN */
	CLATCH_STAGE_RESET,
	CLATCH_STAGE_DATAGRAMS, /* UDP */
	CLATCH_STAGES,
};

/* What the two bits of a packet's mark say, from the container to the uplink. */
enum clatch_carried {
	CLATCH_CARRIES_NOTHING,
	CLATCH_CARRIES_NUMBER, /* its hash is the number of its connection */
	CLATCH_CARRIES_DOUBT, /* whose it is could not be told: it must not leave in clear */
};

#define CLATCH_DEFAULT_MARK_MASK 0x3000

struct clatch_gateway {
	__u32 mark_mask; /* two neighbouring bits */
	__u32 pad;
	__u64 still_ns[CLATCH_STAGES]; /* by stage */
};

_Static_assert(sizeof(struct clatch_gateway) == 56, "layout shared with pinned maps");

#endif
