/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is demanded of the protection of a connection: by a rule of the administrator's, or by the
 * program whose connection it is.  Shared by bpf/ and loader/.
 */
#ifndef CLATCH_DEMAND_H
#define CLATCH_DEMAND_H

#include <linux/types.h>

#define CLATCH_RULE_ID 128

/* Each demands what it names, and never less than protection. */
enum clatch_require {
	CLATCH_REQUIRE_NONE,
	CLATCH_REQUIRE_IPSEC, /* any SA */
	CLATCH_REQUIRE_ESP,
	CLATCH_REQUIRE_AH,
	CLATCH_REQUIRE_ENCRYPTED, /* ESP, and with more than null encryption */
	CLATCH_REQUIRES,
};

enum clatch_rule_mode {
	CLATCH_MODE_ANY,
	CLATCH_MODE_TRANSPORT,
	CLATCH_MODE_TUNNEL,
	CLATCH_RULE_MODES,
};

/* clatch_demand.reset_after and clatch_policy.reset_after, beside a time in ns */
#define CLATCH_RESET_NEVER (~(__u64)0)
#define CLATCH_RESET_DEFAULT (~(__u64)0 - 1) /* a demand: the policy's; a policy: run's own */

struct clatch_demand {
	__u8 require; /* enum clatch_require */
	__u8 mode; /* enum clatch_rule_mode */
	__u16 min_key_bits; /* of the cipher, or the AEAD without its salt; 0 = any */
	__u32 off; /* 1: a program turned protection off for its socket; no rule has it */
	__u64 reset_after; /* ns, or CLATCH_RESET_* */
	char local_id[CLATCH_RULE_ID]; /* pattern, * = any text; NUL-terminated; "" = any */
	char peer_id[CLATCH_RULE_ID];
};

_Static_assert(sizeof(struct clatch_demand) == 272, "layout shared with pinned maps");

#endif
