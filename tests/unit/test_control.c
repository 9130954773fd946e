// SPDX-License-Identifier: GPL-2.0-only
/* With a program of the test's own, which says how many bytes it was given. */
#include "test.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <stdlib.h>
#include <unistd.h>

#include "control.h"

static int program = -1;

static long bytes(size_t orders)
{
	size_t packets = (orders + CLATCH_MAX_ORDERS - 1) / CLATCH_MAX_ORDERS;

	return packets * ETH_HLEN + orders * sizeof(struct clatch_order);
}

static void test_any_number(void **state)
{
	static const size_t rows[] = {
		0, 1, CLATCH_MAX_ORDERS, CLATCH_MAX_ORDERS + 1, 2 * CLATCH_MAX_ORDERS, 1000,
	};
	struct clatch_order *orders = calloc(1000, sizeof(*orders));

	(void)state;
	assert_non_null(orders);
	for (size_t i = 0; i < COUNT(rows); i++)
		assert_int_equal(control_run(program, orders, rows[i]), bytes(rows[i]));
	free(orders);
}

static void test_no_program(void **state)
{
	struct clatch_order order = {};

	(void)state;
	assert_int_equal(control_run(-1, &order, 1), -EBADF);
	assert_int_equal(control_open("/nonexistent"), -ENOENT);
}

static int load(void **state)
{
	const struct bpf_insn code[] = {
		{ .code = BPF_LDX | BPF_MEM | BPF_W,
		  .dst_reg = BPF_REG_0,
		  .src_reg = BPF_REG_1,
		  .off = offsetof(struct __sk_buff, len) },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	(void)state;
	program = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "length", "GPL", code, COUNT(code), NULL);
	return program < 0;
}

static int unload(void **state)
{
	(void)state;
	return close(program);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_any_number),
		cmocka_unit_test(test_no_program),
	};

	return cmocka_run_group_tests_name("control", tests, load, unload);
}
