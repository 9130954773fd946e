// SPDX-License-Identifier: GPL-2.0-only
/* Processes and containers: which cgroup they are in. */
#include "find_world.h"

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define OTHER "0123456789abcdee0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_process(void **state)
{
	static const char *const mounts[] = { UNIFIED, HYBRID };
	char wanted[PATH_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT(mounts); i++) {
		make_mount(mounts[i], "/");
		make_process("42", mounts[i], "/a.slice/b.service/nested", 7);
		snprintf(wanted, sizeof(wanted), "%s/a.slice/b.service/nested", mounts[i]);
		assert_found(find_pid, "42", wanted);
	}
}

static void test_process_that_has_no_cgroup(void **state)
{
	(void)state;
	assert_not_found(find_pid, "42", -ENOENT, "/proc/self/mountinfo");
	make_file("/proc/self/mountinfo", "20 1 0:5 / /proc rw - proc proc rw\n");
	assert_not_found(find_pid, "42", -ENOENT, "mount -t cgroup2");
	make_mount(UNIFIED, "/");
	assert_not_found(find_pid, "42", -ESRCH, "no process 42");
	make_file("/proc/42/cgroup", "4:memory:/a\n");
	assert_not_found(find_pid, "42", -ENODATA, "no cgroup of version 2");
	make_process("43", UNIFIED, "/", 7);
	assert_not_found(find_pid, "43", -ENOTSUP, "root cgroup");
	make_process("44", NULL, "/a.slice (deleted)", 7);
	assert_not_found(find_pid, "44", -ESRCH, "has ended");
	make_process("45", NULL, "/../../host.slice", 7);
	assert_not_found(find_pid, "45", -EXDEV, "cgroup namespace");
	make_process("46", NULL, "/not/there", 7);
	assert_not_found(find_pid, "46", -ENOENT, "is not there");
}

static void test_what_is_no_process(void **state)
{
	static const char *const names[] = { "", "0", "-1", "1x", "../1", "99999999999" };

	(void)state;
	make_mount(UNIFIED, "/");
	for (size_t i = 0; i < COUNT(names); i++)
		assert_not_found(find_pid, names[i], -EINVAL, "not the number of a process");
}

static void test_part_of_the_hierarchy(void **state)
{
	(void)state;
	make_mount(UNIFIED, "/machine.slice");
	make_dir(UNIFIED "/a");
	make_process("42", NULL, "/machine.slice/a", 7);
	assert_found(find_pid, "42", UNIFIED "/a");
	make_process("43", NULL, "/machine.slice2/a", 7);
	assert_not_found(find_pid, "43", -EXDEV, "cannot be seen from here");
}

/* What each runtime keeps, with the driver that it uses most. */
static const struct runtime {
	const char *name, *cgroup, *above, *file, *text;
} runtimes[] = {
	{ "crun, cgroupfs", "/" ID, "/" ID, "/run/crun/" ID "/status",
	  "{\"pid\":42,\"process-start-time\":7,\"cgroup-path\":\"/" ID "\"}" },
	{ "crun, systemd in the container",
	  "/machine.slice/libpod-" ID ".scope/container/init.scope",
	  "/machine.slice/libpod-" ID ".scope/container", "/run/crun/" ID "/status",
	  "{\"pid\":42,\"process-start-time\":7,"
	  "\"cgroup-path\":\"/machine.slice/libpod-" ID ".scope/container\"}" },
	{ "crun, without the path", "/machine.slice/libpod-" ID ".scope/container",
	  "/machine.slice/libpod-" ID ".scope", "/run/crun/" ID "/status", "{\"pid\":42}" },
	{ "runc, nested", "/kubepods.slice/kubepods-pod1.slice/cri-containerd-" ID ".scope/sub",
	  "/kubepods.slice/kubepods-pod1.slice/cri-containerd-" ID ".scope",
	  "/run/containerd/runc/k8s.io/" ID "/state.json",
	  "{\"init_process_pid\":42,\"init_process_start\":7}" },
	{ "runc, cgroupfs", "/kubepods/besteffort/pod1/" ID, "/kubepods/besteffort/pod1/" ID,
	  "/run/runc/" ID "/state.json", "{\"init_process_pid\":42,\"init_process_start\":7}" },
	{ "containerd", "/system.slice/containerd.service/kubepods:cri:" ID,
	  "/system.slice/containerd.service/kubepods:cri:" ID,
	  "/run/containerd/io.containerd.runtime.v2.task/k8s.io/" ID "/init.pid", "42\n" },
	{ "docker", "/system.slice/docker-" ID ".scope", "/system.slice/docker-" ID ".scope",
	  "/run/docker/runtime-runc/moby/" ID "/state.json", "{\"init_process_pid\":42}" },
};

static void test_container(void **state)
{
	char wanted[PATH_MAX];

	for (size_t i = 0; i < COUNT(runtimes); i++) {
		const struct runtime *r = &runtimes[i];

		print_message("%s\n", r->name);
		make_mount(HYBRID, "/");
		make_process("42", HYBRID, r->cgroup, 7);
		make_file(r->file, r->text);
		snprintf(wanted, sizeof(wanted), "%s%s", HYBRID, r->above);
		assert_found(find_container, ID, wanted);
		assert_found(find_container, "0123456789ab", wanted);
		remove_world(state);
		make_world(state);
	}
}

static void test_container_by_name(void **state)
{
	(void)state;
	make_mount(UNIFIED, "/");
	make_process("42", UNIFIED, "/machine.slice/libpod-" ID ".scope", 7);
	make_file("/run/crun/" ID "/status", "{\"pid\":42,\"process-start-time\":7}");
	make_file("/var/lib/containers/storage/overlay-containers/containers.json",
		  "[{\"id\":\"" OTHER "\"},{\"id\":\"" ID "\",\"names\":[\"other\",\"web\"]}]");
	assert_found(find_container, "web", UNIFIED "/machine.slice/libpod-" ID ".scope");
	make_process("43", UNIFIED, "/docker/" OTHER, 7);
	make_file("/run/docker/runtime-runc/moby/" OTHER "/state.json",
		  "{\"init_process_pid\":43}");
	make_file("/var/lib/docker/containers/" OTHER "/config.v2.json",
		  "{\"ID\":\"" OTHER "\",\"Name\":\"/db\"}");
	assert_found(find_container, "db", UNIFIED "/docker/" OTHER);
	/* both begin with these */
	assert_not_found(find_container, "0123456789abc", -ENOTUNIQ, "is several containers");
}

static void test_container_by_cgroup_alone(void **state)
{
	(void)state;
	make_mount(UNIFIED, "/");
	make_dir(UNIFIED "/machine.slice/libpod-conmon-" ID ".scope");
	make_dir(UNIFIED "/machine.slice/libpod-" ID ".scope/container/" ID);
	assert_found(find_container, ID, UNIFIED "/machine.slice/libpod-" ID ".scope");
	assert_found(find_container, "0123456789ab", UNIFIED "/machine.slice/libpod-" ID ".scope");
	make_dir(UNIFIED "/other/" ID);
	assert_not_found(find_container, ID, -ENOTUNIQ, "the name of several cgroups");
	make_dir(UNIFIED "/web-5");
	make_dir(UNIFIED "/web-5x");
	assert_found(find_container, "web-5", UNIFIED "/web-5");
}

static void test_container_that_is_not_there(void **state)
{
	(void)state;
	make_mount(UNIFIED, "/");
	assert_not_found(find_container, "web", -ENOENT, "/var/lib/docker");
	make_process("41", UNIFIED, "/other", 7);
	make_file("/run/user/1000/crun/web/status", "{\"pid\":41}"); /* what a user made up */
	assert_not_found(find_container, "web", -ENOENT, "/run/crun");
	assert_not_found(find_container, "../web", -EINVAL, "not the name");
	assert_not_found(find_container, "w*", -EINVAL, "not the name");
	/* the number of its process is another's by now */
	make_process("42", UNIFIED, "/other", 8);
	make_file("/run/crun/web/status", "{\"pid\":42,\"process-start-time\":7}");
	assert_not_found(find_container, "web", -ESRCH, "process 42");
	make_file("/run/crun/web/status", "{\"pid\":0}");
	assert_not_found(find_container, "web", -ESRCH, "does not run");
	make_file("/run/crun/web/status", "no JSON");
	assert_not_found(find_container, "web", -ESRCH, "does not run");
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, make_world, remove_world)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_WORLD(test_process),
		IN_WORLD(test_process_that_has_no_cgroup),
		IN_WORLD(test_what_is_no_process),
		IN_WORLD(test_part_of_the_hierarchy),
		IN_WORLD(test_container),
		IN_WORLD(test_container_by_name),
		IN_WORLD(test_container_by_cgroup_alone),
		IN_WORLD(test_container_that_is_not_there),
	};

	return cmocka_run_group_tests_name("find", tests, NULL, NULL);
}
