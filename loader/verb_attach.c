// SPDX-License-Identifier: GPL-2.0-only
#include "cleanup.h"
#include "pins.h"
#include "targets.h"

static int attach(const struct cli *cli, const struct cli_list *cgroups,
		  const struct cli_list *devices)
{
	_cleanup_close_ int lock = -1;
	struct targets targets = {};
	int status;

	if (!cgroups->count && !devices->count)
		return cli_usage(cli, "Nothing to attach to: give --cgroup or --dev");
	status = pins_open_locked(cli, &lock);
	if (!status)
		status = targets_find(cli, cgroups, devices, &targets);
	if (!status)
		status = targets_attach(cli, &targets);
	targets_free(&targets);
	return status;
}

int cmd_attach(struct cli *cli, int argc, char **argv)
{
	struct cli_list cgroups = {}, devices = {};
	const struct cli_option table[] = {
		{ "cgroup", "PATH", "guard the processes in this cgroup v2 (several times)",
		  OPT_LIST, &cgroups, 0, 0 },
		{ "dev", "NAME", "guard what passes this device without a socket (several times)",
		  OPT_LIST, &devices, 0, 0 },
		{},
	};
	int words, status = cli_parse(cli, table, argc, argv, 0, &words);

	if (!status)
		status = attach(cli, &cgroups, &devices);
	cli_list_free(&cgroups);
	cli_list_free(&devices);
	return status < 0 ? EXIT_DONE : status;
}
