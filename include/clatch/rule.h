/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A rule: what the administrator demands of some connections; and the policy: which rules are in
 * force.  Shared by bpf/ and loader/.
 *
 * Every load of a policy file is a generation of rules.  A rule's number is its generation times
 * CLATCH_MAX_RULES, plus its place in the file, from 0; no number is used twice while loaded.  So a
 * latch keeps the rule that it was made under, whatever is loaded later.  A generation is written
 * in full before struct clatch_policy names it, in one store: no packet sees half a policy.
 */
#ifndef CLATCH_RULE_H
#define CLATCH_RULE_H

#include "demand.h"
#include "sa.h"

#define CLATCH_MAX_RULES 256 /* of one generation */
#define CLATCH_MAX_GENERATION 0xfffffeU /* so that no rule's number is CLATCH_NO_RULE */
#define CLATCH_NO_RULE 0xffffffffU
#define CLATCH_RULE_NAME 32 /* NUL included */

/* Value of clatch_rules; its key is the rule's number. */
struct clatch_rule {
	char name[CLATCH_RULE_NAME];
	struct clatch_addr local; /* prefix; v4-mapped for IPv4 */
	struct clatch_addr remote;
	__u8 local_bits; /* length of the prefix out of 128; IPv4's is 96 more; 0 = any */
	__u8 remote_bits;
	__u8 ipv6; /* 1 = not for IPv4, whose addresses a short prefix of IPv6 covers as well */
	__u8 proto; /* 0 = any */
	__u16 local_port[2]; /* first and last; 0, 65535 = any */
	__u16 remote_port[2];
	__u32 pad;
	struct clatch_demand demand;
};

/*
 * Value of clatch_policy[0]: what is in force.  Generation and count are written, by mmap(), and
 * read as one word of 8 bytes.  Generation 0 is of before the first policy, and has no rules.
 */
struct clatch_policy {
	__u32 generation;
	__u32 count; /* of its rules */
	__u64 reset_after; /* ns, or CLATCH_RESET_* */
} __attribute__((aligned(8)));

#define CLATCH_MAX_MAY_TURN_OFF 64 /* cgroups, of one policy */

/* Key of clatch_may_turn_off; the value says nothing. */
struct clatch_may_turn_off {
	__u64 cgroup; /* id */
	__u32 generation; /* of the policy that names it */
	__u32 pad;
};

static inline __u32 clatch_rule_number(__u32 generation, __u32 index)
{
	return generation * CLATCH_MAX_RULES + index;
}

_Static_assert(sizeof(struct clatch_rule) == 352, "layout shared with pinned maps");
_Static_assert(__builtin_offsetof(struct clatch_rule, demand) == 80, "no hidden padding");
_Static_assert(sizeof(struct clatch_policy) == 16, "layout shared with pinned maps");

#endif
