// SPDX-License-Identifier: GPL-2.0-only
/* What happens to a cgroup between two steps.  Needs root, and cgroup2. */
#include "test.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attach.h"
#include "cgroup.h"

static struct world {
	char dir[32], link[PATH_MAX], cgroup[PATH_MAX];
	bool removed; /* while it is being attached to */
} world;

/* In the place of libbpf's: the loader's calls come here. */
int bpf_obj_get(const char *path)
{
	(void)path;
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* What the kernel answers for a cgroup that was removed, or here for want of something else. */
int bpf_link_create(int program, int target, enum bpf_attach_type type,
		    const struct bpf_link_create_opts *opts)
{
	(void)program;
	(void)target;
	(void)type;
	(void)opts;
	if (world.removed)
		rmdir(world.cgroup);
	errno = ENOENT;
	return -1;
}

/* One cgroup, to which one hook is attached. */
static int begin(void **state)
{
	char mount[PATH_MAX], links[PATH_MAX];
	__u64 id;
	int fd;

	(void)state;
	snprintf(world.dir, sizeof(world.dir), "/tmp/clatch-XXXXXX");
	if (mount_find("cgroup2", mount) || !mkdtemp(world.dir))
		return -1;
	snprintf(world.cgroup, sizeof(world.cgroup), "%.4000s/clatch-test-%d", mount, getpid());
	fd = mkdir(world.cgroup, 0755) ? -1 : cgroup_open(world.cgroup, &id);
	if (fd < 0)
		return -1;
	close(fd);
	snprintf(links, sizeof(links), "%s/links", world.dir);
	snprintf(world.link, sizeof(world.link), "%s/links/%" PRIu64 "_clatch_egress", world.dir,
		 (uint64_t)id);
	return mkdir(links, 0700) || mknod(world.link, S_IFREG, 0);
}

static int end(void **state)
{
	char links[PATH_MAX];

	(void)state;
	rmdir(world.cgroup);
	unlink(world.link);
	snprintf(links, sizeof(links), "%s/links", world.dir);
	rmdir(links);
	return rmdir(world.dir);
}

static void test_removed_while_rules_are_loaded(void **state)
{
	(void)state;
	world.removed = true;
	assert_int_equal(attach_rules(world.dir), 0);
}

static void test_removed_before(void **state)
{
	(void)state;
	rmdir(world.cgroup);
	assert_int_equal(attach_rules(world.dir), 0);
}

static void test_same_error_of_one_that_is_there(void **state)
{
	(void)state;
	world.removed = false;
	assert_int_equal(attach_rules(world.dir), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_removed_while_rules_are_loaded, begin, end),
		cmocka_unit_test_setup_teardown(test_removed_before, begin, end),
		cmocka_unit_test_setup_teardown(test_same_error_of_one_that_is_there, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
