// SPDX-License-Identifier: GPL-2.0-only
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include "netns.h"

#define NO_PINS "/nonexistent"

static int first; /* the namespace that the test began in: a file descriptor */

static int ask_own(void *context)
{
	return netns_own(context);
}

static void test_own(void **state)
{
	__u64 one = 0, two = 0;

	(void)state;
	assert_int_equal(netns_own(&one), 0);
	assert_int_equal(netns_own(&two), 0);
	assert_true(one && one == two);
}

static ino_t here(void)
{
	struct stat st;

	assert_int_equal(stat("/proc/thread-self/ns/net", &st), 0);
	return st.st_ino;
}

static int fail_inside(void *context)
{
	(void)context;
	return -ENOTTY;
}

static void test_inside(void **state)
{
	__u64 own, other = 0;
	ino_t home = here();

	(void)state;
	assert_int_equal(netns_own(&own), 0);
	assert_int_equal(netns_inside(first, ask_own, &other), 0);
	assert_true(other && other != own);
	assert_int_equal(netns_inside(first, fail_inside, NULL), -ENOTTY);
	assert_true(here() == home);
	assert_int_equal(netns_own(&other), 0);
	assert_true(own == other);
}

static void test_not_a_namespace(void **state)
{
	int fd = open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC);
	ino_t home = here();

	(void)state;
	assert_int_equal(netns_inside(fd, fail_inside, NULL), -EINVAL);
	close(fd);
	assert_int_equal(netns_inside(-1, fail_inside, NULL), -EBADF);
	assert_true(here() == home);
}

static void test_find(void **state)
{
	__u64 own, found = 0;
	pid_t holder = -1;
	struct stat st;
	int fd;

	(void)state;
	assert_int_equal(netns_own(&own), 0);
	fd = netns_find(NO_PINS, own, &holder);
	assert_true(fd >= 0 && !fstat(fd, &st) && st.st_ino == here());
	assert_int_equal(holder, 0);
	assert_int_equal(netns_inside(fd, ask_own, &found), 0);
	assert_true(found == own);
	close(fd);
	assert_int_equal(netns_find(NO_PINS, UINT64_MAX, NULL), -ENOENT);
}

static int count(void *context, int fd, __u64 cookie, pid_t holder)
{
	__u64 *own = context, inside = 0;

	assert_int_equal(netns_inside(fd, ask_own, &inside), 0);
	assert_true(inside == cookie);
	assert_int_equal(holder, 0); /* nothing is guarded */
	own[1] += cookie == own[0];
	return 0;
}

static int stop(void *context, int fd, __u64 cookie, pid_t holder)
{
	(void)holder;
	(void)fd;
	(void)cookie;
	++*(int *)context;
	return 42;
}

static void test_each(void **state)
{
	__u64 own[2] = {};
	int visits = 0;

	(void)state;
	assert_int_equal(netns_own(&own[0]), 0);
	assert_int_equal(netns_each(NO_PINS, count, own), 0);
	assert_int_equal(own[1], 1);
	assert_int_equal(netns_each(NO_PINS, stop, &visits), 42);
	assert_int_equal(visits, 1);
}

static int enter(void **state)
{
	(void)state;
	first = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	return first < 0 || unshare(CLONE_NEWNET);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_own),
		cmocka_unit_test(test_inside),
		cmocka_unit_test(test_not_a_namespace),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_each),
	};

	return cmocka_run_group_tests_name("netns", tests, enter, NULL);
}
