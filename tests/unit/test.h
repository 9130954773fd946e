/* SPDX-License-Identifier: GPL-2.0-only */
/* What every unit test includes first, in the order that cmocka needs. */
#ifndef CLATCH_UNIT_TEST_H
#define CLATCH_UNIT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

/* For tests that go through rows: says which one. */
#define assert_row(name, condition)                                                                \
	do {                                                                                       \
		if (!(condition))                                                                  \
			fail_msg("row '%s': %s", name, #condition);                                \
	} while (0)

#endif
