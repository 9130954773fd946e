/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A rule: what the administrator demands of some connections.  Value of clatch_rules, in the
 * order of matching; the first entry with used = 0 ends the list.  Shared by bpf/ and loader/.
 */
#ifndef CLATCH_RULE_H
#define CLATCH_RULE_H

#include "sa.h"

#define CLATCH_MAX_RULES 256
#define CLATCH_NO_RULE 0xffffffffU
#define CLATCH_RULE_NAME 32

enum clatch_require { CLATCH_REQUIRE_NONE, CLATCH_REQUIRE_IPSEC };

struct clatch_rule {
	char name[CLATCH_RULE_NAME];
	struct clatch_addr local; /* prefix; v4-mapped for IPv4 */
	struct clatch_addr remote;
	__u8 local_bits; /* length of the prefix out of 128; IPv4's is 96 more; 0 = any */
	__u8 remote_bits;
	__u8 proto; /* 0 = any */
	__u8 require; /* enum clatch_require */
	__u16 local_port[2]; /* first and last; 0, 65535 = any */
	__u16 remote_port[2];
	__u8 used;
	__u8 pad[3];
};

_Static_assert(sizeof(struct clatch_rule) == 80, "layout shared with pinned maps");

#endif
