// SPDX-License-Identifier: GPL-2.0-only
#include "control.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <string.h>

#include "pins.h"

int control_open(const char *bpffs)
{
	return pins_program(bpffs, "clatch_control");
}

/* As many as one packet holds. */
static long run_batch(int program, const struct clatch_order *orders, size_t count)
{
	char packet[ETH_HLEN + CLATCH_MAX_ORDERS * sizeof(*orders)] = {};
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = packet,
		    .data_size_in = ETH_HLEN + count * sizeof(*orders));

	memcpy(packet + ETH_HLEN, orders, count * sizeof(*orders));
	if (bpf_prog_test_run_opts(program, &run))
		return -errno;
	return run.retval;
}

long control_run(int program, const struct clatch_order *orders, size_t count)
{
	long found = 0;

	for (size_t done = 0; done < count;) {
		size_t batch = count - done;
		long ret;

		if (batch > CLATCH_MAX_ORDERS)
			batch = CLATCH_MAX_ORDERS;
		ret = run_batch(program, orders + done, batch);
		if (ret < 0)
			return ret;
		found += ret;
		done += batch;
	}
	return found;
}
