// SPDX-License-Identifier: GPL-2.0-only
/* clatch-loader policy: looks at a policy file, puts it in force, or prints what is in force. */
#include <stdio.h>

#include "cleanup.h"
#include "pins.h"
#include "policy.h"
#include "policy_print.h"
#include "rules.h"

static int check(const struct cli *cli, const void *path)
{
	struct policy policy = POLICY_INIT;
	int status = policy_read(cli, &policy, path);

	policy_free(&policy);
	return status;
}

/*
 * What is fixed when the programs are loaded.  The rules are put in force all the same: the command
 * line may have won over the same file when it was loaded.
 */
static void warn_of_settings(const struct cli *cli, const struct clatch_meta *meta,
			     const struct policy *policy)
{
	if (policy->mode == (meta->audit ? POLICY_MODE_ENFORCE : POLICY_MODE_AUDIT))
		cli_warn(cli, "What is loaded at %s %s: mode = %s would need unload first",
			 cli->bpffs, meta->audit ? "audits, and drops nothing" : "enforces",
			 meta->audit ? "enforce" : "audit");
	if (policy->max_latches && policy->max_latches != meta->max_latches)
		cli_warn(cli,
			 "What is loaded at %s has room for %u latches: max-latches = %u would "
			 "need unload first",
			 cli->bpffs, meta->max_latches, policy->max_latches);
}

static int replace(const struct cli *cli, const struct policy *policy)
{
	_cleanup_close_ int lock = -1;
	int err, status = pins_open_locked(cli, &lock);
	struct clatch_meta meta;

	if (!status)
		status = pins_open(cli, &meta);
	if (status)
		return status;
	err = rules_replace(cli, policy);
	if (err)
		return rules_fail(cli, err);
	pins_tell(cli);
	warn_of_settings(cli, &meta, policy);
	return EXIT_DONE;
}

static int load(const struct cli *cli, const void *path)
{
	struct policy policy = POLICY_INIT;
	int status = policy_read(cli, &policy, path);

	if (!status)
		status = replace(cli, &policy);
	policy_free(&policy);
	return status;
}

static int read_in_force(const struct cli *cli, struct policy *policy, __u32 *generation)
{
	struct clatch_meta meta;
	int err, status = pins_open(cli, &meta);

	if (status)
		return status;
	err = rules_read(cli, policy, generation);
	if (err)
		return cli_fail(cli, "Couldn't read the policy: %s", pins_strerror(err));
	policy->mode = meta.audit ? POLICY_MODE_AUDIT : POLICY_MODE_ENFORCE;
	policy->max_latches = meta.max_latches;
	return 0;
}

static int show(const struct cli *cli, const void *path)
{
	struct policy policy = POLICY_INIT;
	__u32 generation;
	int status = read_in_force(cli, &policy, &generation);

	(void)path;
	if (!status && cli->json)
		policy_print_json(stdout, &policy, generation);
	else if (!status)
		policy_print_text(stdout, &policy);
	policy_free(&policy);
	return status ? status : cli_flush(cli);
}

static const struct cli_word words[] = {
	{ "check", "FILE", "name every mistake in a policy file, and change nothing", check },
	{ "load", "FILE", "put the rules of a file in force, in one step", load },
	{ "show", "", "print what is in force, as a policy file", show },
	{},
};

static int dispatch(const struct cli *cli, int count, char **argv)
{
	const struct cli_word *word = count ? cli_find_word(cli, argv[1]) : NULL;
	int files = word && *word->argument;

	if (!count)
		return cli_usage(cli, "Which of check FILE, show and load FILE?");
	if (!word)
		return cli_usage(cli, "Unknown word '%s': expected check, show or load", argv[1]);
	if (count - 1 < files)
		return cli_usage(cli, "policy %s needs a FILE", word->name);
	if (count - 1 > files)
		return cli_usage(cli, "Unexpected argument '%s'", argv[2]);
	return word->run(cli, argv[2]);
}

int cmd_policy(struct cli *cli, int argc, char **argv)
{
	int count, status;

	cli->words = words;
	status = cli_parse(cli, NULL, argc, argv, 2, &count);
	if (status)
		return status < 0 ? EXIT_DONE : status;
	return dispatch(cli, count, argv);
}
