/* SPDX-License-Identifier: GPL-2.0-only */
/* The rules that are loaded: replacing them in one step, and reading what is in force. */
#ifndef CLATCH_RULES_H
#define CLATCH_RULES_H

#include "policy.h"

/*
 * Puts the rules of @policy, and its reset-after, in place of those in force, between two packets.
 * Whoever calls holds the lock (pins_lock()).  Rules that a latch was made under stay, others that
 * are older than those just replaced go.  0; -E2BIG no room, as latches hold too many old rules;
 * -EOVERFLOW numbers are used up; -errno.  Where it fails, what was in force stays.
 */
int rules_replace(const struct cli *cli, const struct policy *policy);

/* Says why rules_replace() failed; an exit status. */
int rules_fail(const struct cli *cli, int err);

/* What is in force, rules and reset-after, and its generation.  0 or -errno. */
int rules_read(const struct cli *cli, struct policy *policy, __u32 *generation);

/* Maps the policy to read it again and again; NULL with errno.  To be let go by rules_unwatch(). */
const struct clatch_policy *rules_watch(const struct cli *cli);
void rules_unwatch(const struct clatch_policy *in_force);

#endif
