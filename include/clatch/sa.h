/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * SA parameters: the facts of a security association (the kernel's xfrm_state) that a latch
 * compares, and the SA table.  Shared by bpf/ and loader/.
 *
 * Addresses are 16 bytes in network order; an IPv4 address is stored v4-mapped (::ffff:a.b.c.d).
 * SPIs are in network byte order, as on the wire.  All other numbers are in host order.
 */
#ifndef CLATCH_SA_H
#define CLATCH_SA_H

#include <linux/types.h>
#include "identity.h"

/* Longest algorithm name kept, NUL included.  The kernel's longest is rfc7539esp's, 28 bytes. */
#define CLATCH_ALG_LEN 32

/* Nested SAs a packet may carry (sec_path); the kernel's own limit is 6, IPComp not counted here. */
#define CLATCH_MAX_NEST 4

struct clatch_addr {
	__u8 b[16]; /* network order; bytes, so that bpftool prints them readably */
} __attribute__((aligned(4)));

enum clatch_suite_flag {
	CLATCH_SUITE_AEAD = 1, /* enc names an AEAD: one algorithm encrypts and authenticates */
	CLATCH_SUITE_ESN = 2, /* extended sequence numbers */
	CLATCH_SUITE_REPLAY = 4, /* a replay window is kept */
};

/*
 * Type, mode and quality of protection: what two SAs must share to protect alike.  Compared as
 * whole words, so every byte is defined, padding included.
 */
struct clatch_suite {
	char enc[CLATCH_ALG_LEN]; /* cipher or AEAD as in /proc/crypto, "" = none (AH) */
	char auth[CLATCH_ALG_LEN]; /* integrity algorithm, "" = none (or AEAD) */
	__u16 enc_key_bits; /* as the kernel counts: an AEAD's salt included */
	__u16 auth_key_bits;
	__u16 icv_bits; /* ICV of the AEAD, or truncated length of the integrity algorithm */
	__u8 proto; /* IPPROTO_ESP or IPPROTO_AH */
	__u8 mode; /* XFRM_MODE_TRANSPORT, XFRM_MODE_TUNNEL, … (linux/xfrm.h) */
	__u8 encap; /* UDP_ENCAP_* (linux/udp.h), 0 = none */
	__u8 flags; /* enum clatch_suite_flag */
	__u8 pad[6];
};

/* One SA in full: the value of clatch_sas, and what events show. */
struct clatch_sa {
	struct clatch_suite suite;
	__be32 spi;
	__u32 reqid;
	__u32 if_id;
	struct clatch_who who; /* its two ends; told by the IKE daemon, not by the kernel */
	struct clatch_addr src; /* outer addresses: shown, never compared */
	struct clatch_addr dst;
	/*
	 * In the SA table: a hash of the SA's key.  An SPI can be used again, a key is not, so this
	 * says whether @who is of the SA that the kernel has now.  32 bits, of which nobody learns
	 * the key.
	 */
	__u32 key_tag;
	__u32 told_us; /* how long after the SA its ends were told, to `run`; 0 = not so */
};

/* key_tag: of the first 16 bytes of the key; of an SA that has none, of its add time and 0. */
static inline __u32 clatch_key_tag(__u64 first, __u64 second)
{
	__u64 hash = (first ^ 0x9e3779b97f4a7c15ULL) * 0xff51afd7ed558ccdULL;

	hash = (hash ^ (hash >> 32) ^ second) * 0xc4ceb9fe1a85ec53ULL;
	return hash >> 32;
}

/* An SA on the wire is named by destination, SPI and protocol, in one network namespace. */
struct clatch_sa_key {
	__u64 netns; /* the namespace's cookie (SO_NETNS_COOKIE) */
	struct clatch_addr dst;
	__be32 spi;
	__u32 proto;
};

/*
 * One SA inside a latch.  The suite is interned: a host has a handful of suites and many latches,
 * so the latch keeps an index into clatch_suites (0 = none).
 */
struct clatch_sa_ref {
	__u16 suite;
	__u16 count; /* the outermost's: SAs in its direction, 0 = that is not known yet */
	__u32 reqid;
	__u32 if_id;
	__be32 spi; /* last seen; shown, never compared */
	struct clatch_who who; /* as soon as it is known; then reqid and if_id are but shown */
};

/* Names of the fields that may differ, as bits; the text is in loader/names.c. */
enum clatch_field {
	CLATCH_FIELD_NESTING = 1 << 0,
	CLATCH_FIELD_PROTO = 1 << 1,
	CLATCH_FIELD_MODE = 1 << 2,
	CLATCH_FIELD_ENC = 1 << 3,
	CLATCH_FIELD_ENC_KEY = 1 << 4,
	CLATCH_FIELD_AUTH = 1 << 5,
	CLATCH_FIELD_AUTH_KEY = 1 << 6,
	CLATCH_FIELD_ICV = 1 << 7,
	CLATCH_FIELD_ESN = 1 << 8,
	CLATCH_FIELD_REPLAY = 1 << 9,
	CLATCH_FIELD_ENCAP = 1 << 10,
	CLATCH_FIELD_REQID = 1 << 11,
	CLATCH_FIELD_IF_ID = 1 << 12,
	CLATCH_FIELD_LOCAL_ID = 1 << 13,
	CLATCH_FIELD_PEER_ID = 1 << 14,
};

_Static_assert(sizeof(struct clatch_suite) == 80, "suite is compared as ten words");
_Static_assert(sizeof(struct clatch_sa) == 136, "layout shared with pinned maps");
_Static_assert(sizeof(struct clatch_sa_key) == 32, "no padding in a hash key");

#endif
