// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <string.h>

#include "attach_device.h"
#include "cleanup.h"
#include "pins.h"
#include "unload.h"

static int detach_devices(const struct cli *cli)
{
	struct clatch_device devices[CLATCH_MAX_DEVICES];
	unsigned int count;
	int err = attached_devices(cli->bpffs, devices, &count);

	for (unsigned int i = 0; !err && i < count; i++) {
		const struct clatch_device *device = &devices[i];

		err = detach_device(cli->bpffs, device);
		if (err != -EXDEV)
			continue;
		cli_warn(cli,
			 "Device '%s' (index %u) is in another network namespace: if it is "
			 "still there, remove its filters there: tc filter del dev %s ingress "
			 "pref %u; tc filter del dev %s egress pref %u",
			 device->name, device->ifindex, device->name, device->ingress_priority,
			 device->name, device->egress_priority);
		err = 0;
	}
	/* a load that did not come as far as the programs has no filters */
	return err == -ENOENT ? 0 : err;
}

int unload_instance(const struct cli *cli, bool itself)
{
	char meta[PATH_MAX];
	int err = pins_path(meta, cli->bpffs, "clatch_meta");

	if (!err && unlink(meta) && errno != ENOENT)
		err = -errno;
	if (!err)
		err = detach_devices(cli);
	if (!err)
		err = pins_remove(cli->bpffs, itself);
	if (err)
		return cli_fail(cli, "Couldn't remove all of %s: %s", cli->bpffs,
				pins_strerror(err));
	return EXIT_DONE;
}

int cmd_unload(struct cli *cli, int argc, char **argv)
{
	_cleanup_close_ int lock = -1;
	struct clatch_meta meta;
	int words, status = cli_parse(cli, NULL, argc, argv, 0, &words);

	if (!status)
		status = pins_may_change(cli);
	if (status)
		return status < 0 ? EXIT_DONE : status;
	lock = pins_lock(cli->bpffs, NULL);
	if (lock >= 0 && !pins_loaded(cli->bpffs) && pins_any(cli->bpffs))
		return unload_instance(cli, true); /* what did not get to its end has no record */
	/* without a directory there is no lock, and pins_open() finds words for it */
	status = pins_open(cli, &meta);
	if (!status && lock < 0)
		status = cli_fail(cli, "Couldn't lock '%s': %s", cli->bpffs, strerror(-lock));
	return status ? status : unload_instance(cli, true);
}
