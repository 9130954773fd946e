// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "kernel.h"
#include "load.h"
#include "object.h"
#include "pins.h"
#include "rules.h"
#include "sad.h"
#include "targets.h"
#include "unload.h"

static int check_system(const struct cli *cli)
{
	int err = pins_may_change(cli);

	if (err)
		return err;
	err = kernel_btf();
	if (err)
		return cli_fail(cli,
				"Couldn't load: kernel has no BTF (CONFIG_DEBUG_INFO_BTF), "
				"/sys/kernel/btf/vmlinux: %s",
				strerror(-err));
	if (kernel_locked_down())
		return cli_fail(cli, "Couldn't load: the kernel is locked down (confidentiality, "
				     "see /sys/kernel/security/lockdown), and lets no program read "
				     "its SAs");
	err = pins_check(cli->bpffs);
	if (err)
		return cli_fail(cli, "Couldn't use '%s' for pins: %s", cli->bpffs,
				pins_strerror(err));
	return 0;
}

static int say_load_error(const struct cli *cli, int err, unsigned int max_latches)
{
	const struct kernel_feature *missing = kernel_missing();

	if (missing)
		return cli_fail(cli,
				"Couldn't load the BPF programs: this kernel has no %s, "
				"needed %s",
				missing->name, missing->why);
	if (err == -ENOMEM)
		return cli_fail(cli, "Couldn't load: not enough memory for %u latches",
				max_latches);
	return cli_fail(cli, "Couldn't load the BPF programs: %s\n%s", strerror(-err),
			object_log());
}

static int fill_sas(const struct cli *cli, struct bpf_object *object)
{
	const struct sa_table table = {
		.sas = bpf_object__find_map_fd_by_name(object, "clatch_sas"),
		.generation = bpf_object__find_map_fd_by_name(object, ".data.clatch_generation"),
	};
	struct sad *sad;
	int err = sad_open(&sad, &table, 0);

	if (!err) {
		err = sad_fill(sad);
		sad_close(sad);
	}
	if (err == -ENOSPC)
		cli_warn(cli, "The SA table clatch_sas is full: what comes under the SAs that are "
			      "not in it may be dropped as unknown-sa");
	else if (err)
		return cli_fail(cli, "Couldn't read the kernel's SAs: %s", strerror(-err));
	return 0;
}

static int put_in_force(const struct cli *cli, const struct policy *policy)
{
	int err = rules_replace(cli, policy);

	return err ? rules_fail(cli, err) : 0;
}

static int pin_and_attach(const struct cli *cli, struct bpf_object *object,
			  const struct clatch_meta *meta, const struct policy *policy,
			  const struct targets *targets)
{
	int status, err = pins_make_directories(cli->bpffs);

	if (!err)
		err = object_pin(object, cli->bpffs);
	if (err)
		return cli_fail(cli, "Couldn't make pins at %s: %s", cli->bpffs,
				pins_strerror(err));
	/* the first packet seen may need the SAs and rules already */
	status = fill_sas(cli, object);
	if (!status)
		status = put_in_force(cli, policy);
	if (!status)
		status = targets_attach(cli, targets);
	if (status)
		return status;
	err = object_finish(object, cli->bpffs, meta);
	if (err)
		return cli_fail(cli, "Couldn't make pins at %s: %s", cli->bpffs,
				pins_strerror(err));
	return 0;
}

/* All of it, or nothing is left; the directory is locked, and there is nothing in it. */
static int load_all(const struct cli *cli, const struct load_options *options,
		    const struct targets *targets, bool made)
{
	struct clatch_meta meta = {
		.magic = CLATCH_MAGIC,
		.layout = CLATCH_LAYOUT,
		.audit = options->audit,
		.max_latches = options->max_latches ? options->max_latches : LOAD_DEFAULT_LATCHES,
	};
	struct bpf_object *object;
	struct stat before;
	int status, err = stat(cli->bpffs, &before) ? -errno : object_load(&object, &meta);

	if (err) {
		if (made)
			rmdir(cli->bpffs);
		return say_load_error(cli, err, meta.max_latches);
	}
	status = pin_and_attach(cli, object, &meta, &options->policy, targets);
	bpf_object__close(object);
	if (status) {
		unload_instance(cli, made);
		if (!made)
			chmod(cli->bpffs, before.st_mode & 07777);
	}
	return status;
}

static int load_targets(const struct cli *cli, const struct load_options *options,
			const struct targets *targets)
{
	bool made = false;
	_cleanup_close_ int lock = pins_lock(cli->bpffs, &made);
	struct clatch_meta meta;
	int status = 0;

	if (lock < 0)
		return cli_fail(cli, "Couldn't make directory '%s': %s", cli->bpffs,
				pins_strerror(lock));
	if (pins_loaded(cli->bpffs)) {
		status = pins_open(cli, &meta);
		return status ? status : cli_fail(cli, "Already loaded at %s", cli->bpffs);
	}
	if (pins_any(cli->bpffs)) {
		cli_warn(cli, "Removing what a load or unload left at %s", cli->bpffs);
		status = unload_instance(cli, false);
	}
	return status ? status : load_all(cli, options, targets, made);
}

int load_perform(struct cli *cli, const struct load_options *options)
{
	struct targets targets = {};
	int status = check_system(cli);

	if (!status)
		status = targets_find(cli, &options->names, &targets);
	if (!status)
		status = load_targets(cli, options, &targets);
	if (!status && !targets.cgroup_count && !targets.device_count)
		cli_warn(cli, "Nothing is guarded yet: no --cgroup and no --dev was given "
			      "(see attach)");
	targets_free(&targets);
	return status;
}

int load_read_policy(const struct cli *cli, struct load_options *options)
{
	int status = 0;

	if (options->policy_file)
		status = policy_read(cli, &options->policy, options->policy_file);
	if (options->policy.mode == POLICY_MODE_AUDIT)
		options->audit = true;
	if (!options->max_latches)
		options->max_latches = options->policy.max_latches;
	return status;
}

void load_options_free(struct load_options *options)
{
	policy_free(&options->policy);
	target_names_free(&options->names);
}

int cmd_load(struct cli *cli, int argc, char **argv)
{
	struct load_options options = LOAD_OPTIONS_INIT;
	const struct cli_option table[] = { LOAD_OPTION_ENTRIES(&options), {} };
	int words, status = cli_parse(cli, table, argc, argv, 0, &words);

	if (!status)
		status = load_read_policy(cli, &options);
	if (!status)
		status = load_perform(cli, &options);
	load_options_free(&options);
	return status < 0 ? EXIT_DONE : status;
}
