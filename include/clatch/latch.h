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
	CLATCH_OPENING = 4, /* its handshake is under way: at a listener, or adopted */
	CLATCH_DEMANDED = 8, /* made before any packet, as its rule demands protection */
	/* An SPD policy was seen to demand what is latched, in and out: its absence is a conflict. */
	CLATCH_POLICED_IN = 16,
	CLATCH_POLICED_OUT = 32,
	/* TCP: a segment was refused as its SA's identity is not known yet; it is sent when it is. */
	CLATCH_HELD = 64,
	CLATCH_ASKED = 128, /* its program asked for something: see clatch_asked */
	CLATCH_FORWARDED = 256, /* its socket is not on this host's side of a veth */
	CLATCH_HAS_MORE = 512, /* there is a struct clatch_more of it */
	CLATCH_UNTIMED = 1024, /* its end is in clatch_endings, as the kernel had no timer for it */
	CLATCH_GOING = 2048, /* is being taken away */
};

/* One direction of a latch: what its first protected packet had. */
struct clatch_side {
	struct clatch_sa_ref sa; /* the outermost; those inside it are in struct clatch_more */
	__u32 mark; /* of the packet, and its device: the SPD's selectors may ask for them */
	__u32 ifindex;
};

/* The ends of an outermost SA, as recorded; shown. */
struct clatch_outer {
	struct clatch_addr local;
	struct clatch_addr remote;
	__be16 local_port; /* NAT traversal: its UDP ports, 0 = none */
	__be16 remote_port;
};

/* What a latch holds its connection to, in both directions. */
struct clatch_held {
	struct clatch_side in;
	struct clatch_side out;
	struct clatch_outer outer; /* of both; where they differ, see struct clatch_more */
};

/* As many latches may have what few have; of a larger database a sixteenth. */
#define CLATCH_FEW 65536

/*
 * What few latches have: nested SAs, or ends that differ.  Value of clatch_more, by the latch's id;
 * as long as the latch.
 */
struct clatch_more {
	struct clatch_sa_ref nested[CLATCH_DIRS][CLATCH_MAX_NEST - 1]; /* inside the outermost */
	struct clatch_outer outer[CLATCH_DIRS]; /* if they are @apart */
	__u64 apart; /* 1 = the two directions have other outer ends than the latch says */
};

/* Every byte of it counts a million times: what changes with each packet is in clatch/fast.h. */
struct clatch_latch {
	__u64 id; /* never used twice while loaded */
	__u64 since_ns; /* CLOCK_BOOTTIME */
	__u64 changed_ns; /* of its last transition: BROKEN since when */
	/*
	 * UDP, and TCP if adopted: the socket's, as several may have the 5-tuple, at once or in turn;
	 * SCTP: its announced end, ns
	 */
	__u64 cookie;
	union { /* has a name, as bpftool prints it */
		__u64 id; /* of the latch of the listener it came from, 0 = none */
		__u64 sockets; /* LISTENER: how many listen, SO_REUSEPORT allows several */
	} listener;
	__u32 rule; /* number of the rule it was made under, CLATCH_NO_RULE = none */
	__u32 flags; /* enum clatch_latch_flag */
	struct clatch_held held;
	enum clatch_state state;
	__u8 causes; /* enum clatch_cause */
	__u8 pad[2];
	struct bpf_timer end; /* runs when the connection is ending, or may never begin */
	struct bpf_spin_lock lock; /* over recording a side and over state */
	__u32 fast; /* its slot in clatch_fast (clatch/fast.h), 0 = none: a listener's */
};

_Static_assert(sizeof(struct clatch_tuple) == 48, "no padding in a hash key");
_Static_assert(sizeof(struct clatch_more) == 200, "layout shared with pinned maps");
_Static_assert(sizeof(struct clatch_latch) == 168, "layout shared with pinned maps");

#endif
