// SPDX-License-Identifier: GPL-2.0-only
#include <string.h>

#include "cleanup.h"
#include "pins.h"
#include "targets.h"

static int drop_guarded(const struct cli *cli, struct targets *targets)
{
	int err = targets_drop_guarded(cli->bpffs, targets);

	return err ? cli_fail(cli, "Couldn't read what is attached: %s", strerror(-err)) : 0;
}

static int attach(const struct cli *cli, const struct target_names *names, bool ensure)
{
	_cleanup_close_ int lock = -1;
	struct targets targets = {};
	int status;

	if (!targets_named(names))
		return cli_usage(cli, "Nothing to attach to: give --cgroup, --pid, --unit, "
				      "--container or --dev");
	status = pins_open_locked(cli, &lock);
	if (!status)
		status = targets_find(cli, names, &targets);
	if (!status && ensure)
		status = drop_guarded(cli, &targets);
	if (!status)
		status = targets_attach(cli, &targets);
	targets_free(&targets);
	return status;
}

int cmd_attach(struct cli *cli, int argc, char **argv)
{
	struct target_names names = {};
	bool ensure = false;
	const struct cli_option table[] = {
		TARGET_OPTION_ENTRIES(&names, "guard"),
		{ "ensure", NULL, "what is guarded already is no error", OPT_FLAG, &ensure, 0, 0 },
		{},
	};
	int words, status = cli_parse(cli, table, argc, argv, 0, &words);

	if (!status)
		status = attach(cli, &names, ensure);
	target_names_free(&names);
	return status < 0 ? EXIT_DONE : status;
}
