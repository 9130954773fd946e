// SPDX-License-Identifier: GPL-2.0-only
#include "test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "look.h"

#define SECOND_US 1000000ULL

struct world {
	char dir[32];
	struct cli cli;
	sd_event *loop;
	struct look look;
	int looks;
	int told;
};

static void look(void *context)
{
	struct world *w = context;

	w->looks++;
}

static void on_told(void *context)
{
	struct world *w = context;

	w->told++;
}

static int begin(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	*w = (struct world){ .dir = "/tmp/test_look-XXXXXX" };
	*state = w;
	return !mkdtemp(w->dir) || sd_event_new(&w->loop) < 0;
}

static int end(void **state)
{
	struct world *w = *state;

	look_close(&w->look);
	sd_event_unref(w->loop);
	rmdir(w->dir);
	free(w);
	return 0;
}

static void open_at(struct world *w, const char *dir)
{
	const struct look_owner owner = { look, on_told, w };

	w->cli.bpffs = dir;
	assert_int_equal(look_open(&w->look, &w->cli, w->loop, &owner), 0);
}

/* Whatever happens within that time. */
static void run_for(struct world *w, uint64_t us)
{
	uint64_t until, now;

	assert_true(sd_event_now(w->loop, CLOCK_MONOTONIC, &now) >= 0);
	for (until = now + us; now < until;) {
		assert_true(sd_event_run(w->loop, until - now) >= 0);
		assert_true(sd_event_now(w->loop, CLOCK_MONOTONIC, &now) >= 0);
	}
}

static void test_told(void **state)
{
	struct world *w = *state;

	open_at(w, w->dir);
	run_for(w, 3 * SECOND_US);
	assert_int_equal(w->looks, 1);
	assert_int_equal(w->told, 0);
	assert_int_equal(utimensat(AT_FDCWD, w->dir, NULL, 0), 0);
	while (w->looks < 2)
		assert_true(sd_event_run(w->loop, 10000000) > 0);
	assert_int_equal(w->told, 1);
}

/* Nothing tells: then it is as if told each second. */
static void test_not_told(void **state)
{
	struct world *w = *state;

	open_at(w, "/nonexistent");
	while (w->looks < 3)
		assert_true(sd_event_run(w->loop, 10000000) > 0);
	assert_int_equal(w->told, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_told, begin, end),
		cmocka_unit_test_setup_teardown(test_not_told, begin, end),
	};

	return cmocka_run_group_tests_name("look", tests, NULL, NULL);
}
