// SPDX-License-Identifier: GPL-2.0-only
/* Walking over maps of the test's own: needs CAP_BPF. */
#include "test.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "map.h"

#define MOST 5000

struct seen {
	int fd;
	int delete; /* what is seen is removed */
	unsigned int times[MOST];
};

static int see(void *context, const void *key, const void *value)
{
	struct seen *seen = context;
	__u32 number, doubled;

	memcpy(&number, key, sizeof(number));
	memcpy(&doubled, value, sizeof(doubled));
	assert_true(number < MOST);
	assert_int_equal(doubled, 2 * number);
	seen->times[number]++;
	if (seen->delete)
		(void)bpf_map_delete_elem(seen->fd, &number);
	return 0;
}

static int make_map(__u32 count)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_HASH, "t_map", 4, 4, MOST, NULL);

	assert_true(fd >= 0);
	for (__u32 i = 0; i < count; i++)
		assert_int_equal(bpf_map_update_elem(fd, &i, &(__u32){ 2 * i }, BPF_NOEXIST), 0);
	return fd;
}

static bool is_empty(int fd)
{
	__u32 key;

	return bpf_map_get_next_key(fd, NULL, &key) == -ENOENT;
}

typedef int each_entry(int fd, size_t key_size, size_t value_size, map_visit *visit, void *context);

/* Each entry once, whether there are few of them or many. */
static void see_sizes(each_entry *each)
{
	static const __u32 counts[] = { 0, 1, 2, 31, 32, 33, 34, 1023, 1024, 1025, MOST };

	for (size_t c = 0; c < COUNT(counts); c++) {
		for (int delete = 0; delete < 2; delete ++) {
			struct seen seen = { .fd = make_map(counts[c]), .delete = delete };

			assert_int_equal(each(seen.fd, 4, 4, see, &seen), 0);
			for (__u32 i = 0; i < MOST; i++)
				assert_int_equal(seen.times[i], i < counts[c]);
			assert_int_equal(is_empty(seen.fd), delete || !counts[c]);
			close(seen.fd);
		}
	}
}

static void test_sizes(void **state)
{
	(void)state;
	see_sizes(map_each);
	see_sizes(map_each_steady);
}

static int end_at_third(void *context, const void *key, const void *value)
{
	int *visits = context;

	(void)key, (void)value;
	return ++*visits == 3 ? -ECANCELED : 0;
}

static void test_visitor_ends_it(void **state)
{
	static const __u32 counts[] = { 3, 32, 2000 };

	(void)state;
	for (size_t c = 0; c < COUNT(counts); c++) {
		int fd = make_map(counts[c]), visits = 0;

		assert_int_equal(map_each(fd, 4, 4, end_at_third, &visits), -ECANCELED);
		assert_int_equal(visits, 3);
		visits = 0;
		assert_int_equal(map_each_steady(fd, 4, 4, end_at_third, &visits), -ECANCELED);
		assert_int_equal(visits, 3);
		close(fd);
	}
}

/* A thousand or so at a time, so that all else has its turn in between. */
static void test_steps(void **state)
{
	struct seen seen = { .fd = make_map(MOST) };
	struct map_walk *walk;
	bool more = true;
	int steps = 0;

	(void)state;
	assert_int_equal(map_walk_begin(&walk, seen.fd, 4, 4, true), 0);
	for (; more; steps++)
		assert_int_equal(map_walk_step(walk, see, &seen, &more), 0);
	map_walk_end(walk);
	assert_in_range(steps, MOST / 1024, MOST / 256);
	for (__u32 i = 0; i < MOST; i++)
		assert_int_equal(seen.times[i], 1);
	close(seen.fd);
}

static void test_map_that_is_none(void **state)
{
	(void)state;
	assert_true(map_each(-1, 4, 4, NULL, NULL) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_visitor_ends_it),
		cmocka_unit_test(test_steps),
		cmocka_unit_test(test_map_that_is_none),
	};

	return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
