/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The policy file: INI, read with libinih a line at a time, so that the mistakes of all lines are
 * told in one run, each with its line.
 *
 *   [clatch]                    settings, at most once
 *   mode = enforce              or audit
 *   [rule NAME]                 the first rule that holds for a connection is its rule
 *   remote = 10.20.0.0/16       which connections: proto, local, remote, local-port, remote-port
 *   require = ipsec             what of them: require, mode, min-key-bits, local-id, peer-id
 *
 * Comments begin with ; or, at the start of a line, with #.
 */
#ifndef CLATCH_POLICY_H
#define CLATCH_POLICY_H

#include <clatch/rule.h>
#include <stddef.h>
#include "cli.h"

#define POLICY_MAX_SIZE (1 << 20) /* bytes: 256 rules that use all of their room are less */

enum policy_mode { POLICY_MODE_UNSET, POLICY_MODE_ENFORCE, POLICY_MODE_AUDIT };

struct policy_mistake {
	unsigned int line; /* from 1 */
	char *key; /* NULL where it is of a whole line or section */
	char *text; /* what is wrong, and what was expected */
};

struct policy {
	enum policy_mode mode;
	unsigned int max_latches; /* 0 = not said */
	__u64 reset_after; /* ns, or CLATCH_RESET_* */
	char *may_turn_off; /* paths of cgroups, a blank between them; NULL = none */
	unsigned int may_turn_off_count;
	struct clatch_rule *rules; /* in the order of the file */
	unsigned int rule_count;
	struct policy_mistake *mistakes; /* by line; with any, the rest is not to be used */
	unsigned int mistake_count;
};

#define POLICY_INIT                                                                                \
	{                                                                                          \
		.reset_after = CLATCH_RESET_DEFAULT                                                \
	}

/* Reads the @length bytes of @text.  0, whatever mistakes are in it; or -ENOMEM. */
int policy_parse(struct policy *policy, const char *text, size_t length);

/*
 * Reads a file, and says its mistakes on stderr: "FILE:LINE: key: …", or with --json one line,
 * {"errors":[{"file":…,"line":…,"key":…,"error":…}]}.  0, or an exit status after errors were said.
 */
int policy_read(const struct cli *cli, struct policy *policy, const char *path);
void policy_free(struct policy *policy);

#endif
