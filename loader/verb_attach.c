// SPDX-License-Identifier: GPL-2.0-only
#include <stdlib.h>
#include <string.h>

#include "attach_device.h"
#include "cleanup.h"
#include "gateway.h"
#include "pins.h"
#include "targets.h"

static int drop_guarded(const struct cli *cli, struct targets *targets)
{
	int err = targets_drop_guarded(cli->bpffs, targets);

	return err ? cli_fail(cli, "Couldn't read what is attached: %s", strerror(-err)) : 0;
}

struct wanted {
	struct target_names names;
	const char *mark_mask;
	bool ensure;
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

/* The programs for what is behind veths and uplinks are loaded only if there is any. */
static int load_gateway(const struct cli *cli, unsigned int mask)
{
	struct clatch_meta meta;
	int status = pins_open(cli, &meta);

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
	bool gateway = targets_forward(&wanted->names);
	unsigned int mask = wanted->mark_mask ? parse_mask(wanted->mark_mask) : 0;
	_cleanup_close_ int lock = -1;
	struct targets targets = {};
	int status;

	if (!targets_named(&wanted->names))
		return cli_usage(cli, "Nothing to attach to: give --cgroup, --pid, --unit, "
				      "--container, --dev, --veth or --uplink");
	if (wanted->mark_mask && !mask)
		return cli_usage(cli, "Not a mark mask of two neighbouring bits: '%s'",
				 wanted->mark_mask);
	status = pins_open_locked(cli, &lock);
	if (!status)
		status = targets_find(cli, &wanted->names, &targets);
	if (!status && wanted->ensure)
		status = drop_guarded(cli, &targets);
	if (!status && gateway)
		status = load_gateway(cli, mask);
	if (!status)
		status = targets_attach(cli, &targets);
	pins_tell(cli);
	if (!status && gateway)
		warn_of_half(cli);
	targets_free(&targets);
	return status;
}

int cmd_attach(struct cli *cli, int argc, char **argv)
{
	struct wanted wanted = {};
	const struct cli_option table[] = {
		TARGET_OPTION_ENTRIES(&wanted.names, "guard"),
		FORWARD_OPTION_ENTRIES(&wanted.names, "guard"),
		{ "mark-mask", "BITS",
		  "two bits of the packet mark, for the way from veth to uplink (0x3000)",
		  OPT_STRING, &wanted.mark_mask, 0, 0 },
		{ "ensure", NULL, "what is guarded already is no error", OPT_FLAG, &wanted.ensure,
		  0, 0 },
		{},
	};
	int words, status = cli_parse(cli, table, argc, argv, 0, &words);

	if (!status)
		status = attach(cli, &wanted);
	target_names_free(&wanted.names);
	return status < 0 ? EXIT_DONE : status;
}
