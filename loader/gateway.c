// SPDX-License-Identifier: GPL-2.0-only
#include "gateway.h"

#include <bpf/bpf.h>
#include <clatch/gateway.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "object.h"
#include "pins.h"

#define SECOND 1000000000ULL
#define HOUR (3600 * SECOND)

/* As long as a firewall waits, or longer: what is forgotten too early may leave in clear after. */
static const struct clatch_gateway defaults = {
	.mark_mask = CLATCH_DEFAULT_MARK_MASK,
	.still_ns = {
		[CLATCH_STAGE_NEW] = 130 * SECOND,
		[CLATCH_STAGE_OPENING] = 130 * SECOND, /* the slowest repeat of a SYN: 64 s */
		[CLATCH_STAGE_OPEN] = 5 * 24 * HOUR, /* as netfilter's */
		[CLATCH_STAGE_ENDED] = 60 * SECOND, /* TIME_WAIT */
		[CLATCH_STAGE_RESET] = 10 * SECOND,
		[CLATCH_STAGE_DATAGRAMS] = 300 * SECOND, /* RFC 4787, REQ-5 */
	},
};

static int say_in_use(const struct cli *cli, unsigned int wanted, unsigned int used)
{
	return cli_fail(cli,
			"Couldn't use mark mask 0x%x: 0x%x is in use; it can be chosen when the "
			"first veth is attached",
			wanted, used);
}

static int check_mask(const struct cli *cli, int map, unsigned int wanted)
{
	struct clatch_gateway now;
	__u32 zero = 0;

	if (bpf_map_lookup_elem(map, &zero, &now))
		return cli_fail(cli, "Couldn't read clatch_gateway: %s", strerror(errno));
	if (wanted && wanted != now.mark_mask)
		return say_in_use(cli, wanted, now.mark_mask);
	return 0;
}

static int set(struct bpf_object *object, unsigned int mark_mask)
{
	struct clatch_gateway settings = defaults;
	__u32 zero = 0;

	if (mark_mask)
		settings.mark_mask = mark_mask;
	return bpf_map_update_elem(bpf_object__find_map_fd_by_name(object, "clatch_gateway"), &zero,
				   &settings, BPF_ANY)
		       ? -errno
		       : 0;
}

static int load(const struct cli *cli, const struct clatch_meta *meta, unsigned int mark_mask)
{
	struct bpf_object *object;
	int err = object_load_gateway(&object, cli->bpffs, meta->audit);

	if (err)
		return cli_fail(cli, "Couldn't load the gateway's BPF programs: %s\n%s",
				strerror(-err), object_log());
	err = set(object, mark_mask);
	if (!err)
		err = object_pin_gateway(object, cli->bpffs);
	bpf_object__close(object);
	return err ? cli_fail(cli, "Couldn't make pins at %s: %s", cli->bpffs, pins_strerror(err))
		   : 0;
}

static bool is_loaded(const char *dir)
{
	static const char *const programs[] = { "clatch_gw_from", "clatch_gw_to", "clatch_gw_out" };

	for (size_t i = 0; i < sizeof(programs) / sizeof(*programs); i++) {
		_cleanup_close_ int fd = pins_program(dir, programs[i]);

		if (fd < 0)
			return false;
	}
	return true;
}

int gateway_load(const struct cli *cli, const struct clatch_meta *meta, unsigned int mark_mask)
{
	_cleanup_close_ int map = pins_map(cli, "clatch_gateway");

	if (map >= 0 && is_loaded(cli->bpffs))
		return check_mask(cli, map, mark_mask);
	return load(cli, meta, mark_mask);
}
