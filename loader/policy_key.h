/* SPDX-License-Identifier: GPL-2.0-only */
/* The keys of a policy file: their names, their values, and which of them go together. */
#ifndef CLATCH_POLICY_KEY_H
#define CLATCH_POLICY_KEY_H

#include <stdbool.h>
#include "policy.h"

#define POLICY_WHY 256

/* The keys of a rule, for policy_check_rule(). */
enum rule_key {
	RULE_PROTO,
	RULE_LOCAL,
	RULE_REMOTE,
	RULE_LOCAL_PORT,
	RULE_REMOTE_PORT,
	RULE_REQUIRE,
	RULE_MODE,
	RULE_MIN_KEY_BITS,
	RULE_LOCAL_ID,
	RULE_PEER_ID,
	RULE_RESET_AFTER,
	RULE_KEYS,
};

/* Where values go. */
struct policy_draft {
	struct policy *policy; /* its settings */
	struct clatch_rule rule;
};

struct policy_key {
	const char *name; /* ends the table when NULL */
	const char *expected;
	/* 0; or -EINVAL, with a better text than "expected …" in @why where there is one */
	int (*take)(struct policy_draft *draft, const char *value, char why[POLICY_WHY]);
	bool again; /* may be given more than once, as a line is not long */
};

extern const struct policy_key policy_settings[]; /* of [clatch] */
extern const struct policy_key policy_rule_keys[]; /* by enum rule_key */

/* A rule that holds for every connection, and demands nothing. */
void policy_rule_init(struct clatch_rule *rule);

/* Do the keys of a rule go together?  Calls @say for each that does not go with another. */
typedef void policy_say(void *context, enum rule_key key, const char *text);
void policy_check_rule(const struct clatch_rule *rule, policy_say *say, void *context);

#endif
