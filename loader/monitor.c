// SPDX-License-Identifier: GPL-2.0-only
/* clatch-loader monitor: events as they happen. */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>

#include "cleanup.h"
#include "follow.h"
#include "pins.h"
#include "slot.h"

#define RING_SIZE (1 << 20) /* some 900 events */

static int say_error(const struct cli *cli, int err)
{
	if (err == -EBUSY)
		return cli_fail(cli,
				"Couldn't monitor: %u monitors are running already, which is "
				"the most",
				CLATCH_MAX_MONITORS);
	return cli_fail(cli, "Couldn't monitor: %s", pins_strerror(err));
}

static int follow(const struct cli *cli, int ring, const struct slot *slot)
{
	__attribute__((cleanup(follow_close))) struct follow f = FOLLOW_INIT;
	int err = follow_open(&f, cli, ring, CLATCH_LOST_MONITOR + slot->index);

	if (err)
		return say_error(cli, err);
	f.write_or_end = true;
	if (!cli->json && isatty(STDERR_FILENO))
		fprintf(stderr, "%s: monitoring %s; end with ^C\n", cli->program, cli->bpffs);
	err = follow_run(&f);
	if (err)
		return say_error(cli, err);
	if (f.gone)
		cli_warn(cli, "Unloaded: nothing is left to monitor at %s", cli->bpffs);
	/* a reader who has seen enough is no failure; what is wrong otherwise was said */
	return f.error && f.error != -EPIPE ? EXIT_FAILED : EXIT_DONE;
}

static int monitor(const struct cli *cli)
{
	_cleanup_close_ int monitors = pins_map(cli, "clatch_monitors");
	_cleanup_close_ int ring =
		bpf_map_create(BPF_MAP_TYPE_RINGBUF, "clatch_monitor", 0, 0, RING_SIZE, NULL);
	struct slot slot = SLOT_INIT;
	int status, err;

	if (monitors < 0 || ring < 0)
		return say_error(cli, monitors < 0 ? monitors : ring);
	err = slot_take(&slot, cli->bpffs, monitors, ring);
	if (err)
		return say_error(cli, err);
	status = follow(cli, ring, &slot);
	slot_release(&slot);
	return status;
}

int cmd_monitor(struct cli *cli, int argc, char **argv)
{
	const struct cli_option table[] = { {} };
	struct clatch_meta meta;
	int positionals, status = cli_parse(cli, table, argc, argv, 0, &positionals);

	if (!status)
		status = pins_open(cli, &meta);
	if (!status)
		status = monitor(cli);
	return status < 0 ? EXIT_DONE : status;
}
