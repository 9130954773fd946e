/* SPDX-License-Identifier: MIT */
/*
 * Connection latching for programs: socket options with which a program asks how its connection is
 * protected, and demands how it shall be.  No privilege is needed, and there is nothing to link.
 *
 *	struct clatch_requirement want = { .version = CLATCH_VERSION_1,
 *					   .protection = CLATCH_ENCRYPTED };
 *	setsockopt(fd, SOL_CLATCH, CLATCH_SO_REQUIRE, &want, sizeof(want));
 *	connect(fd, …);			   fails, or is protected
 *	struct clatch_inquiry now;
 *	socklen_t size = sizeof(now);
 *	getsockopt(fd, SOL_CLATCH, CLATCH_SO_INQUIRE, &now, &size);
 *
 * For TCP, UDP and SCTP over IPv4 and IPv6.  Where no clatch guards the program's cgroup, each option
 * fails with ENOPROTOOPT or EOPNOTSUPP: a program that must be protected takes that for a refusal.
 * An unknown option fails with ENOPROTOOPT.
 *
 * Every struct begins with its version.  A later version only adds fields at the end: what was built
 * with this header works with a later clatch.  Addresses and SPIs are in network byte order, an IPv4
 * address is ::ffff:a.b.c.d; all else is in host order.  Source: https://www.rfc-editor.org/rfc/rfc5660
 */
#ifndef CLATCH_H
#define CLATCH_H

#include <linux/types.h>

#define SOL_CLATCH 0x434c /* the level of these options */
#define CLATCH_VERSION_1 1
#define CLATCH_IDENTITY_SIZE 512

enum clatch_socket_option {
	/*
	 * getsockopt: struct clatch_inquiry, what is known of the socket's latch now.  That there is
	 * none is an answer: CLATCH_IS_LATCHED is not set.
	 * EINVAL: less room than for version 1.
	 */
	CLATCH_SO_INQUIRE = 1,
	/*
	 * struct clatch_requirement: what the connections of this socket must have, before connect()
	 * or listen(); accepted sockets inherit it (SCTP's: their latch alone).  Beside it the
	 * administrator's policy holds.
	 * EACCES: the policy demands more than this; connect() says so too, once the peer is known.
	 * EISCONN: too late.  EINVAL: wrong size, version or value; no protection, but a key length.
	 * connect() fails with EPERM where it is known that nothing would protect; else packets are
	 * dropped until something does.
	 */
	CLATCH_SO_REQUIRE = 2,
	/* struct clatch_disposition: what is done when the latch breaks; at any time.  EINVAL. */
	CLATCH_SO_DISPOSITION = 3,
	/*
	 * int: 1 = this socket's connections are not latched, and no rule is for them; before
	 * connect() or listen(), and only where the policy (may-turn-off) names the program's cgroup.
	 * EACCES: it does not.  EISCONN: too late.  EINVAL: wrong size or value.
	 */
	CLATCH_SO_OFF = 4,
	/*
	 * getsockopt: who is at the ends of the latch, as IKE authenticated them; text ended by a NUL,
	 * "" = not known, or not latched.  EINVAL: less room than CLATCH_IDENTITY_SIZE.
	 */
	CLATCH_SO_LOCAL_ID = 5,
	CLATCH_SO_PEER_ID = 6
};

/* Protection: each demands what it names, and never less than IPsec. */
enum clatch_protection {
	CLATCH_UNPROTECTED, /* nothing is demanded */
	CLATCH_PROTECTED, /* any SA */
	CLATCH_ESP,
	CLATCH_AH,
	CLATCH_ENCRYPTED /* ESP, and with more than null encryption */
};

enum clatch_mode { CLATCH_ANY_MODE, CLATCH_TRANSPORT, CLATCH_TUNNEL };

#define CLATCH_PEER_ID_SIZE 128

struct clatch_requirement {
	__u16 version; /* CLATCH_VERSION_1 */
	__u8 protection; /* enum clatch_protection */
	__u8 mode; /* enum clatch_mode */
	__u16 min_key_bits; /* of the cipher; 0 = any */
	__u16 reserved; /* 0 */
	/* As IKE prints it, ended by a NUL; '*' stands for any text; "" = anybody */
	char peer_id[CLATCH_PEER_ID_SIZE];
};

enum clatch_action {
	CLATCH_DEFAULT, /* as the policy says */
	CLATCH_HOLD, /* wait, for ever, until it is whole again */
	CLATCH_RESET, /* end the connection at once */
	CLATCH_RESET_AFTER /* … if it is still broken after so many milliseconds */
};

/* Carried out by the daemon, `clatch-loader run`. */
struct clatch_disposition {
	__u16 version; /* CLATCH_VERSION_1 */
	__u16 action; /* enum clatch_action */
	__u32 milliseconds; /* of CLATCH_RESET_AFTER, else 0 */
};

enum clatch_latch_state { /* RFC 5660, 2.3 */
			  CLATCH_STATE_NONE,
			  CLATCH_STATE_LISTENER,
			  CLATCH_STATE_LARVAL, /* not yet protected both ways */
			  CLATCH_STATE_ESTABLISHED,
			  CLATCH_STATE_BROKEN, /* nothing is sent or received: see causes */
			  CLATCH_STATE_CLOSED
};

enum clatch_inquiry_flag {
	CLATCH_IS_LATCHED = 1, /* else all that follows is 0 */
	CLATCH_IS_ADOPTED = 2, /* it was under way before it was latched */
	CLATCH_IS_DEMANDED = 4, /* a rule or the program demands protection */
	CLATCH_IS_AUDIT = 8, /* nothing is enforced: what would be dropped passes */
	CLATCH_HAS_BINDING = 16
};

enum clatch_broken_cause { /* bits */
			   CLATCH_BROKEN_OUT_CLEAR = 1, /* our packet would have left in clear */
			   CLATCH_BROKEN_OUT_MISMATCH =
				   2, /* … under an SA that is not as latched */
			   CLATCH_BROKEN_POLICY = 4, /* the SPD was changed */
			   CLATCH_BROKEN_SA = 8, /* a conflicting SA could be used */
			   CLATCH_BROKEN_DEAD_PEER = 16 /* for good */
};

enum clatch_sa_flag {
	CLATCH_SA_AEAD = 1, /* encryption names an AEAD, which authenticates as well */
	CLATCH_SA_ESN = 2,
	CLATCH_SA_REPLAY = 4 /* replays are detected */
};

/* The parameters of one SA, which its successors share. */
struct clatch_sa_parameters {
	char encryption[32]; /* the kernel's name, "" = none */
	char integrity[32]; /* "" = none, or an AEAD's */
	__u16 encryption_key_bits; /* an AEAD's salt is not counted */
	__u16 integrity_key_bits;
	__u16 icv_bits;
	__u8 protocol; /* IPPROTO_ESP or IPPROTO_AH */
	__u8 mode; /* enum clatch_mode; 0 = another */
	__u8 encapsulation; /* UDP_ENCAP_*, 0 = none */
	__u8 flags; /* enum clatch_sa_flag */
	__u16 reserved;
	__u32 spi;
	__u32 reqid;
	__u32 if_id;
};

#define CLATCH_SAS 4 /* nested, at most */

struct clatch_direction {
	struct clatch_sa_parameters sa[CLATCH_SAS]; /* outermost first */
	__u8 src[16]; /* outer addresses of the outermost, as latched */
	__u8 dst[16];
	__u16 nat_sport; /* NAT traversal, network byte order, 0 = none */
	__u16 nat_dport;
	__u32 sas; /* how many; 0 = this direction is not known yet */
	__u64 packets; /* that matched */
	__u64 bytes;
	__u64 violations; /* packets that did not */
};

#define CLATCH_BINDING_SIZE 32

struct clatch_inquiry {
	__u16 version; /* of clatch: 1 or later */
	__u16 size; /* bytes that were filled in; all of them are of this struct or a later one */
	__u32 flags; /* enum clatch_inquiry_flag */
	__u64 id; /* as `clatch-loader show ID` takes it */
	__u32 state; /* enum clatch_latch_state */
	__u32 causes; /* enum clatch_broken_cause */
	struct clatch_direction in;
	struct clatch_direction out;
	/* End-point channel binding, draft-ietf-btns-channel-binding-api: CLATCH_HAS_BINDING. */
	__u8 binding[CLATCH_BINDING_SIZE];
};

#endif
