// SPDX-License-Identifier: GPL-2.0-only
#include <stdlib.h>

#include "attach.h"
#include "cleanup.h"
#include "gateway.h"
#include "pins.h"
#include "targets.h"

struct wanted {
	struct cli_list cgroups;
	struct cli_list devices[CLATCH_ROLES]; /* by role */
	const char *mark_mask;
};

/* Two neighbouring bits, as a number; 0 where it is not that. */
static unsigned int parse_mask(const char *text)
{
	char *end;
	unsigned long mask = strtoul(text, &end, 0);

	if (*end || end == text || mask > 0xffffffff || (mask & -mask) * 3 != mask)
		return 0;
	return mask;
}

/* What is behind veths and uplinks; the programs are loaded only if there is any. */
static int add_gateway(const struct cli *cli, const struct wanted *wanted, unsigned int mask,
		       struct targets *targets)
{
	struct clatch_meta meta;
	int status = 0;

	for (int role = CLATCH_ROLE_VETH; role < CLATCH_ROLES; role++)
		for (size_t i = 0; !status && i < wanted->devices[role].count; i++)
			status = targets_add_device(cli, wanted->devices[role].items[i], role,
						    targets);
	if (!status)
		status = pins_open(cli, &meta);
	return status ? status : gateway_load(cli, &meta, mask);
}

/* Either without the other holds nothing back. */
static void warn_of_half(const struct cli *cli)
{
	struct clatch_device devices[CLATCH_MAX_DEVICES];
	bool has[CLATCH_ROLES] = {};
	unsigned int count;

	if (attached_devices(cli->bpffs, devices, &count))
		return;
	for (unsigned int i = 0; i < count; i++)
		has[devices[i].role % CLATCH_ROLES] = true;
	if (!has[CLATCH_ROLE_UPLINK])
		cli_warn(cli, "No uplink is guarded yet: what containers send is not held");
	if (!has[CLATCH_ROLE_VETH])
		cli_warn(cli, "No veth is guarded yet: no forwarded connection is latched");
}

static int attach(const struct cli *cli, const struct wanted *wanted)
{
	bool gateway = wanted->devices[CLATCH_ROLE_VETH].count ||
		       wanted->devices[CLATCH_ROLE_UPLINK].count;
	unsigned int mask = wanted->mark_mask ? parse_mask(wanted->mark_mask) : 0;
	_cleanup_close_ int lock = -1;
	struct targets targets = {};
	int status;

	if (!wanted->cgroups.count && !wanted->devices[CLATCH_ROLE_HOST].count && !gateway)
		return cli_usage(cli, "Nothing to attach to: give --cgroup, --dev, --veth or "
				      "--uplink");
	if (wanted->mark_mask && !mask)
		return cli_usage(cli, "Not a mark mask of two neighbouring bits: '%s'",
				 wanted->mark_mask);
	status = pins_open_locked(cli, &lock);
	if (!status)
		status = targets_find(cli, &wanted->cgroups, &wanted->devices[CLATCH_ROLE_HOST],
				      &targets);
	if (!status && gateway)
		status = add_gateway(cli, wanted, mask, &targets);
	if (!status)
		status = targets_attach(cli, &targets);
	if (!status && gateway)
		warn_of_half(cli);
	targets_free(&targets);
	return status;
}

int cmd_attach(struct cli *cli, int argc, char **argv)
{
	struct wanted wanted = {};
	const struct cli_option table[] = {
		{ "cgroup", "PATH", "guard the processes in this cgroup v2 (several times)",
		  OPT_LIST, &wanted.cgroups, 0, 0 },
		{ "dev", "NAME", "guard what passes this device without a socket (several times)",
		  OPT_LIST, &wanted.devices[CLATCH_ROLE_HOST], 0, 0 },
		{ "veth", "NAME", "guard the container behind this end of its veth (several times)",
		  OPT_LIST, &wanted.devices[CLATCH_ROLE_VETH], 0, 0 },
		{ "uplink", "NAME", "where containers' packets leave the host (several times)",
		  OPT_LIST, &wanted.devices[CLATCH_ROLE_UPLINK], 0, 0 },
		{ "mark-mask", "BITS",
		  "two bits of the packet mark, for the way from veth to uplink (0x3000)",
		  OPT_STRING, &wanted.mark_mask, 0, 0 },
		{},
	};
	int words, status = cli_parse(cli, table, argc, argv, 0, &words);

	if (!status)
		status = attach(cli, &wanted);
	cli_list_free(&wanted.cgroups);
	for (int role = 0; role < CLATCH_ROLES; role++)
		cli_list_free(&wanted.devices[role]);
	return status < 0 ? EXIT_DONE : status;
}
