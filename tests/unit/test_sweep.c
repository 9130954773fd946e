// SPDX-License-Identifier: GPL-2.0-only
#include "test.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "sweep.h"

struct world {
	sd_event *loop;
	struct sweep sweep;
	int count;
	bool broken; /* what the next sweep finds */
	int more; /* slices of the next sweep, but the last */
	int slices;
	int others; /* times that another event had its turn */
	int error; /* what comes of it */
};

static int judge_some(void *context)
{
	struct world *w = context;

	w->slices++;
	if (w->more && w->more--)
		return 1;
	w->count++;
	if (w->broken)
		sweep_note_broken(&w->sweep);
	return w->error;
}

static int begin(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	*state = w;
	return sd_event_new(&w->loop) < 0 || sweep_open(&w->sweep, w->loop, judge_some, w);
}

static int end(void **state)
{
	struct world *w = *state;

	sweep_close(&w->sweep);
	sd_event_unref(w->loop);
	free(w);
	return 0;
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000ULL + t.tv_nsec / 1000;
}

static bool is_due(const struct world *w)
{
	return w->sweep.due <= now_us();
}

static bool is_idle(const struct world *w)
{
	return w->sweep.due == UINT64_MAX;
}

/* One sweep, and nothing is due any more. */
static void run(struct world *w)
{
	w->count = 0;
	while (!w->count)
		assert_true(sd_event_run(w->loop, UINT64_MAX) >= 0);
	assert_int_equal(w->count, 1);
	assert_true(is_idle(w));
}

static void test_news(void **state)
{
	struct world *w = *state;

	assert_true(is_due(w)); /* the first */
	run(w);
	sweep_after(&w->sweep, NO_NEWS);
	sweep_after(&w->sweep, -EIO);
	assert_true(is_idle(w));
	sweep_after(&w->sweep, NEWS);
	assert_in_range(w->sweep.due, 1, w->sweep.rest_until);
	sweep_after(&w->sweep, NEWS);
	run(w);
}

static void test_failed(void **state)
{
	struct world *w = *state;
	uint64_t begun = now_us(), due;

	w->error = -ENOMEM;
	while (!w->count)
		assert_true(sd_event_run(w->loop, UINT64_MAX) >= 0);
	due = w->sweep.due;
	assert_in_range(due, begun + SWEEP_AGAIN_US, now_us() + SWEEP_AGAIN_US);
	w->error = 0;
	run(w);
	assert_true(now_us() >= due);
}

static void test_rekeys_wait(void **state)
{
	struct world *w = *state;
	uint64_t begun, due;

	run(w);
	begun = now_us();
	sweep_after(&w->sweep, NEWS_OF_REKEY);
	due = w->sweep.due;
	assert_in_range(due, begun + SWEEP_LATER_US, now_us() + SWEEP_LATER_US);
	sweep_after(&w->sweep, NEWS_OF_REKEY); /* does not put it off */
	assert_int_equal(w->sweep.due, due);
	run(w);
	assert_true(now_us() >= due);
	sweep_after(&w->sweep, NEWS_OF_REKEY);
	due = w->sweep.due;
	sweep_after(&w->sweep, NEWS);
	assert_in_range(w->sweep.due, 1, due - 1);
	run(w);
}

static void test_nothing_waits_while_a_latch_is_broken(void **state)
{
	struct world *w = *state;

	run(w);
	sweep_note_broken(&w->sweep);
	w->broken = true;
	sweep_after(&w->sweep, NEWS_OF_REKEY);
	assert_in_range(w->sweep.due, 1, w->sweep.rest_until);
	run(w);
	w->broken = false;
	sweep_after(&w->sweep, NEWS_OF_REKEY);
	assert_in_range(w->sweep.due, 1, w->sweep.rest_until);
	run(w);
	sweep_after(&w->sweep, NEWS_OF_REKEY);
	assert_true(w->sweep.due > w->sweep.rest_until);
}

static int on_other(sd_event_source *source, int fd, uint32_t revents, void *context)
{
	struct world *w = context;

	(void)source, (void)fd, (void)revents;
	w->others++;
	return 0;
}

static void test_all_else_has_its_turn(void **state)
{
	struct world *w = *state;
	sd_event_source *other = NULL;
	int always = eventfd(1, EFD_CLOEXEC);

	run(w);
	assert_true(sd_event_add_io(w->loop, &other, always, EPOLLIN, on_other, w) >= 0);
	w->more = 3;
	w->slices = w->others = 0;
	sweep_after(&w->sweep, NEWS);
	run(w);
	assert_int_equal(w->slices, 4);
	assert_true(w->others >= 3);
	sd_event_source_disable_unref(other);
	close(always);
}

static void test_news_behind_its_back(void **state)
{
	struct world *w = *state;
	const int news[] = { NEWS, NEWS_OF_REKEY };

	run(w);
	for (size_t i = 0; i < 2; i++) {
		w->more = 1;
		w->slices = 0;
		sweep_after(&w->sweep, NEWS);
		while (!w->slices)
			assert_true(sd_event_run(w->loop, UINT64_MAX) >= 0);
		sweep_after(&w->sweep, news[i]);
		assert_false(is_idle(w));
		w->count = 0;
		while (w->count < 2)
			assert_true(sd_event_run(w->loop, UINT64_MAX) >= 0);
		assert_int_equal(w->slices, 3);
		assert_true(is_idle(w));
	}
}

static void test_broken_until_the_next_sweep_has_seen_all(void **state)
{
	struct world *w = *state;

	run(w);
	w->broken = true;
	sweep_after(&w->sweep, NEWS);
	run(w);
	w->broken = false;
	w->more = 1;
	w->slices = 0;
	sweep_after(&w->sweep, NEWS);
	while (!w->slices)
		assert_true(sd_event_run(w->loop, UINT64_MAX) >= 0);
	sweep_after(&w->sweep, NEWS_OF_REKEY);
	assert_in_range(w->sweep.due, 1, now_us());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_news, begin, end),
		cmocka_unit_test_setup_teardown(test_failed, begin, end),
		cmocka_unit_test_setup_teardown(test_rekeys_wait, begin, end),
		cmocka_unit_test_setup_teardown(test_nothing_waits_while_a_latch_is_broken, begin,
						end),
		cmocka_unit_test_setup_teardown(test_all_else_has_its_turn, begin, end),
		cmocka_unit_test_setup_teardown(test_news_behind_its_back, begin, end),
		cmocka_unit_test_setup_teardown(test_broken_until_the_next_sweep_has_seen_all,
						begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
