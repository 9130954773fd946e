/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The latch: the record of one connection and of the protection it started with.
 * Key and value of clatch_latches.  Shared by bpf/ and loader/.
 */
#ifndef CLATCH_LATCH_H
#define CLATCH_LATCH_H

#include <linux/bpf.h>
#include "sa.h"
#include "state.h"

enum clatch_dir { CLATCH_IN, CLATCH_OUT, CLATCH_DIRS };

/*
 * A connection, as this host sees it.  Ports in host byte order.  A listener's has remote and
 * remote_port all zero, and, where it listens on all addresses, local :: or ::ffff:0.0.0.0.
 */
struct clatch_tuple {
	__u64 netns; /* cookie: two namespaces may use the same addresses */
	struct clatch_addr local;
	struct clatch_addr remote;
	__u16 local_port;
	__u16 remote_port;
	__u32 proto; /* IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP */
};

enum clatch_latch_flag {
	CLATCH_ADOPTED = 1, /* latched in mid-flow: the connection was there before */
	CLATCH_RENEW = 2, /* UDP: connect() was called again; the next packet out latches anew */
	CLATCH_OPENING = 4, /* made by a SYN at a listener, the handshake is under way */
	CLATCH_DEMANDED = 8, /* made before any packet, as its rule demands protection */
	/* An SPD policy was seen to demand what is latched, in and out: its absence is a conflict. */
	CLATCH_POLICED_IN = 16,
	CLATCH_POLICED_OUT = 32,
	/* TCP: a segment was refused as its SA's identity is not known yet; it is sent when it is. */
	CLATCH_HELD = 64,
	CLATCH_ASKED = 128, /* its program asked for something: see clatch_asked */
	CLATCH_FORWARDED = 256, /* its socket is not on this host's side of a veth */
};

/* The SA that was last found congruent: how the packet path knows it again (bpf/sa.h). */
struct clatch_verified {
	__u64 state; /* kernel address */
	__s64 expires; /* of its timer, ns; 0 = none */
	__u32 replay_window;
	__u32 generation; /* of the SA table's identities */
};

/* One direction of a latch: what its first protected packet had, and what came since. */
struct clatch_side {
	struct clatch_sa_ref sa[CLATCH_MAX_NEST]; /* outermost first */
	__u32 count; /* SAs recorded, 0 = this direction is not known yet */
	__u32 mark; /* of the packet, and its device: the SPD's selectors may ask for them */
	struct clatch_addr src; /* of the outermost SA, as recorded; shown */
	struct clatch_addr dst;
	__be16 encap_sport; /* NAT traversal: its UDP ports, 0 = none; shown */
	__be16 encap_dport;
	__u32 ifindex;
	__u64 packets; /* that matched */
	__u64 bytes;
	__u64 violations;
	struct clatch_verified verified;
};

struct clatch_latch {
	__u64 id; /* never used twice while loaded */
	__u64 since_ns; /* CLOCK_BOOTTIME */
	__u64 changed_ns; /* of its last transition: BROKEN since when */
	__u64 cookie; /* UDP: the socket's, as several may share a 5-tuple; SCTP: its announced end, ns */
	__u64 listener; /* id of the latch of the listener it came from, 0 = none */
	__u32 rule; /* number of the rule it was made under, CLATCH_NO_RULE = none */
	enum clatch_state state;
	__u32 causes; /* enum clatch_cause */
	__u32 flags; /* enum clatch_latch_flag */
	struct clatch_side in;
	struct clatch_side out;
	struct bpf_timer end; /* runs when the connection is ending, or may never begin */
	struct bpf_spin_lock lock; /* over recording a side and over state */
	__u32 sockets; /* LISTENER: how many listen, SO_REUSEPORT allows several */
	__u32 fast; /* its slot in clatch_fast (clatch/fast.h), 0 = none */
	__u32 pad;
};

_Static_assert(sizeof(struct clatch_tuple) == 48, "no padding in a hash key");
_Static_assert(sizeof(struct clatch_side) == 176, "layout shared with pinned maps");
_Static_assert(sizeof(struct clatch_latch) == 440, "layout shared with pinned maps");

#endif
