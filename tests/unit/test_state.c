// SPDX-License-Identifier: GPL-2.0-only
/* RFC 5660 §2.3's picture, drawn a second time: what each step makes of each state. */
#include "test.h"

#include <clatch/state.h>

/* clang-format off */
#define NONE        CLATCH_NONE
#define LISTENER    CLATCH_LISTENER
#define LARVAL      CLATCH_LARVAL
#define ESTABLISHED CLATCH_ESTABLISHED
#define BROKEN      CLATCH_BROKEN
#define CLOSED      CLATCH_CLOSED
#define ON(step)    [CLATCH_STEP_##step]

static const enum clatch_state picture[][CLATCH_STATES] = {
	/* in:                NONE      LISTENER  LARVAL       ESTABLISHED  BROKEN       CLOSED */
	ON(LISTEN)        = { LISTENER, LISTENER, LARVAL,      ESTABLISHED, BROKEN,      CLOSED },
	ON(OPEN)          = { LARVAL,   LISTENER, LARVAL,      ESTABLISHED, BROKEN,      CLOSED },
	ON(KNOWN)         = { NONE,     LISTENER, ESTABLISHED, ESTABLISHED, BROKEN,      CLOSED },
	ON(CONFLICT)      = { NONE,     LISTENER, BROKEN,      BROKEN,      BROKEN,      CLOSED },
	ON(CLEARED)       = { NONE,     LISTENER, LARVAL,      ESTABLISHED, ESTABLISHED, CLOSED },
	ON(CLEARED_EARLY) = { NONE,     LISTENER, LARVAL,      ESTABLISHED, LARVAL,      CLOSED },
	ON(CLOSE)         = { NONE,     CLOSED,   CLOSED,      CLOSED,      CLOSED,      CLOSED },
	ON(RELEASE)       = { NONE,     CLOSED,   CLOSED,      CLOSED,      CLOSED,      CLOSED },
};
/* clang-format on */

_Static_assert(COUNT(picture) == CLATCH_STEPS, "every step is in the picture");

static void test_every_state_and_step(void **state)
{
	(void)state;
	for (unsigned int step = 0; step < CLATCH_STEPS; step++) {
		for (unsigned int from = 0; from < CLATCH_STATES; from++) {
			unsigned int to = clatch_next(from, step);

			if (to != picture[step][from])
				fail_msg("step %u in state %u: %u", step, from, to);
		}
	}
}

/* What the RFC says in words. */
static void test_listener_can_only_be_closed(void **state)
{
	(void)state;
	for (unsigned int step = 0; step < CLATCH_STEPS; step++) {
		unsigned int to = clatch_next(LISTENER, step);

		assert_true(to == LISTENER || to == CLOSED);
	}
}

static void test_closed_is_the_end(void **state)
{
	(void)state;
	for (unsigned int step = 0; step < CLATCH_STEPS; step++)
		assert_int_equal(clatch_next(CLOSED, step), CLOSED);
}

/* A latch that is there never becomes none again. */
static void test_none_is_only_a_beginning(void **state)
{
	(void)state;
	for (unsigned int from = LISTENER; from < CLATCH_STATES; from++)
		for (unsigned int step = 0; step < CLATCH_STEPS; step++)
			assert_int_not_equal(clatch_next(from, step), NONE);
}

static void test_out_of_range(void **state)
{
	static const unsigned int wild[] = { 0, 1, 7, 8, 255, 256, 1U << 31, ~0U };

	(void)state;
	for (size_t i = 0; i < COUNT(wild); i++) {
		for (unsigned int step = 0; step < CLATCH_STEPS; step++) {
			if (wild[i] >= CLATCH_STATES)
				assert_int_equal(clatch_next(wild[i], step), wild[i]);
		}
		for (unsigned int from = 0; from < CLATCH_STATES; from++) {
			if (wild[i] >= CLATCH_STEPS)
				assert_int_equal(clatch_next(from, wild[i]), from);
		}
	}
	assert_int_equal(clatch_next(CLATCH_STATES, CLATCH_STEP_CLOSE), CLATCH_STATES);
	assert_int_equal(clatch_next(ESTABLISHED, CLATCH_STEPS), ESTABLISHED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_state_and_step),
		cmocka_unit_test(test_listener_can_only_be_closed),
		cmocka_unit_test(test_closed_is_the_end),
		cmocka_unit_test(test_none_is_only_a_beginning),
		cmocka_unit_test(test_out_of_range),
	};

	return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
