/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The states of a latch and how it goes from one to the next: RFC 5660 §2.3, whose fifth state is
 * LARVAL.  Shared by bpf/ and loader/; the packet path makes every transition.
 */
#ifndef CLATCH_STATE_H
#define CLATCH_STATE_H

#include <linux/types.h>

enum clatch_state {
	CLATCH_NONE, /* no latch, or one just being made */
	CLATCH_LISTENER, /* of a listening socket: 3-tuple, remote address and port all zero */
	CLATCH_LARVAL, /* not every direction is known yet */
	CLATCH_ESTABLISHED,
	CLATCH_BROKEN, /* nothing is sent or delivered; the causes say why */
	CLATCH_CLOSED, /* nothing any more; there until its connection has gone */
	CLATCH_STATES,
} __attribute__((packed)); /* a byte in a latch */

/* What happens to a latch. */
enum clatch_step {
	CLATCH_STEP_LISTEN, /* listen(): create a listener latch */
	CLATCH_STEP_OPEN, /* create a connection latch: first protected packet, or a rule's demand */
	CLATCH_STEP_KNOWN, /* both directions are known now */
	CLATCH_STEP_CONFLICT, /* a cause was set */
	CLATCH_STEP_CLEARED, /* no cause is set any more, and both directions are known */
	CLATCH_STEP_CLEARED_EARLY, /* … and a direction is not known yet */
	CLATCH_STEP_CLOSE, /* administrative close, or the end of reset-after */
	CLATCH_STEP_RELEASE, /* the connection has ended, the listener is closed */
	CLATCH_STEPS,
};

/* Why a latch is BROKEN: BROKEN while any bit is set, each cleared by its own evidence. */
enum clatch_cause {
	CLATCH_CAUSE_OUT_CLEAR = 1, /* our packet would have left in clear; until one matches */
	CLATCH_CAUSE_OUT_MISMATCH = 2, /* … under a different SA; until one matches */
	CLATCH_CAUSE_POLICY = 4, /* the SPD would give less or other; until it gives this again */
	CLATCH_CAUSE_SA = 8, /* an SA that could be used differs; until it is gone */
	CLATCH_CAUSE_DEAD_PEER = 16, /* the peer is gone, or was started anew; never cleared */
};
/* Set by the daemon's judgement, and cleared by it. */
#define CLATCH_CAUSES_JUDGED (CLATCH_CAUSE_POLICY | CLATCH_CAUSE_SA)
/* Set and cleared by the packet path; the daemon clears them too when it finds all well again. */
#define CLATCH_CAUSES_SEEN (CLATCH_CAUSE_OUT_CLEAR | CLATCH_CAUSE_OUT_MISMATCH)

/* Why a latch was closed. */
enum clatch_end {
	CLATCH_END_NONE,
	CLATCH_END_RELEASED, /* its connection ended, its listener was closed */
	CLATCH_END_REPLACED, /* a new connection on the same 5-tuple */
	CLATCH_END_EXPIRED, /* a handshake that came to nothing */
	CLATCH_END_ADMIN, /* `close` */
	CLATCH_END_RESET, /* BROKEN for longer than reset-after */
	CLATCH_END_IDENTITIES, /* the identity table was damaged (RFC 5660 R33) */
	CLATCH_END_GONE, /* found without its connection when `run` took over */
	CLATCH_ENDS,
};

/*
 * The RFC's picture: what each step makes of each state.  A step that a state does not have changes
 * nothing.  LISTENER can only be closed; BROKEN goes back where it came from; CLOSED is the end.
 */
/* clang-format off */
static const __u8 clatch_transitions[CLATCH_STATES][CLATCH_STEPS] = {
	[CLATCH_NONE] = {
		[CLATCH_STEP_LISTEN] = CLATCH_LISTENER,
		[CLATCH_STEP_OPEN] = CLATCH_LARVAL,
	},
	[CLATCH_LISTENER] = {
		[CLATCH_STEP_CLOSE] = CLATCH_CLOSED,
		[CLATCH_STEP_RELEASE] = CLATCH_CLOSED,
	},
	[CLATCH_LARVAL] = {
		[CLATCH_STEP_KNOWN] = CLATCH_ESTABLISHED,
		[CLATCH_STEP_CONFLICT] = CLATCH_BROKEN,
		[CLATCH_STEP_CLOSE] = CLATCH_CLOSED,
		[CLATCH_STEP_RELEASE] = CLATCH_CLOSED,
	},
	[CLATCH_ESTABLISHED] = {
		[CLATCH_STEP_CONFLICT] = CLATCH_BROKEN,
		[CLATCH_STEP_CLOSE] = CLATCH_CLOSED,
		[CLATCH_STEP_RELEASE] = CLATCH_CLOSED,
	},
	[CLATCH_BROKEN] = {
		[CLATCH_STEP_CLEARED] = CLATCH_ESTABLISHED,
		[CLATCH_STEP_CLEARED_EARLY] = CLATCH_LARVAL,
		[CLATCH_STEP_CLOSE] = CLATCH_CLOSED,
		[CLATCH_STEP_RELEASE] = CLATCH_CLOSED,
	},
};
/* clang-format on */

/* The one transition function.  The state after @step; @state itself where nothing changes. */
static inline __attribute__((always_inline)) __u32 clatch_next(__u32 state, __u32 step)
{
	__u32 next;

	if (state >= CLATCH_STATES || step >= CLATCH_STEPS)
		return state;
	next = clatch_transitions[state][step];
	return next ? next : state;
}

#endif
