// SPDX-License-Identifier: GPL-2.0-only
/* Units: what systemd tells, and what is done where it cannot be asked. */
#include "find_world.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>

#define SYSTEMD "org.freedesktop.systemd1"
#define UNITS "/org/freedesktop/systemd1/unit/"

static int get_unit(sd_bus_message *call, void *context, sd_bus_error *error)
{
	const char *name;

	(void)context;
	assert_true(sd_bus_message_read(call, "s", &name) >= 0);
	if (!strcmp(name, "web.service"))
		return sd_bus_reply_method_return(call, "o", UNITS "web");
	if (!strcmp(name, "off.service"))
		return sd_bus_reply_method_return(call, "o", UNITS "off");
	return sd_bus_error_set(error, SYSTEMD ".NoSuchUnit", "Unit not loaded.");
}

static int get_cgroup(sd_bus *bus, const char *path, const char *interface, const char *property,
		      sd_bus_message *reply, void *context, sd_bus_error *error)
{
	(void)bus;
	(void)interface;
	(void)property;
	(void)context;
	(void)error;
	return sd_bus_message_append(reply, "s",
				     strcmp(path, UNITS "web") ? "" : "/system.slice/web.service");
}

static const sd_bus_vtable manager[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("GetUnit", "s", "o", get_unit, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

static const sd_bus_vtable service[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("ControlGroup", "s", get_cgroup, 0, 0),
	SD_BUS_VTABLE_END,
};

/* Serves one connection after the other, until it is killed. */
static void serve(int listener)
{
	sd_id128_t id = {};

	while (true) {
		sd_bus *bus;
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		assert_true(sd_bus_new(&bus) >= 0 && sd_bus_set_fd(bus, fd, fd) >= 0);
		assert_true(sd_bus_set_server(bus, 1, id) >= 0 && sd_bus_start(bus) >= 0);
		assert_true(sd_bus_add_object_vtable(bus, NULL, "/org/freedesktop/systemd1",
						     SYSTEMD ".Manager", manager, NULL) >= 0);
		assert_true(sd_bus_add_object_vtable(bus, NULL, UNITS "web", SYSTEMD ".Service",
						     service, NULL) >= 0);
		assert_true(sd_bus_add_object_vtable(bus, NULL, UNITS "off", SYSTEMD ".Service",
						     service, NULL) >= 0);
		while (sd_bus_process(bus, NULL) >= 0 && sd_bus_wait(bus, UINT64_MAX) >= 0)
			;
		sd_bus_close_unref(bus);
	}
}

/* In place of systemd: another process, as the client's calls block. */
static pid_t start_systemd(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t pid;

	make_dir("/run/systemd");
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/run/systemd/private", root);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 5), 0);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(listener);
		_exit(1);
	}
	close(listener);
	return pid;
}

static void test_systemd_tells(void **state)
{
	pid_t pid = start_systemd();

	(void)state;
	make_mount(UNIFIED, "/");
	assert_not_found(find_unit, "web.service", -ENOENT, "is not there");
	make_dir(UNIFIED "/system.slice/web.service");
	make_dir(UNIFIED "/user.slice/web.service"); /* of another manager */
	make_dir(UNIFIED "/system.slice/none.service");
	assert_found(find_unit, "web.service", UNIFIED "/system.slice/web.service");
	assert_found(find_unit, "web", UNIFIED "/system.slice/web.service");
	assert_not_found(find_unit, "off.service", -ESRCH, "no cgroup now");
	assert_not_found(find_unit, "none.service", -ENOENT, "list-units");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void test_without_systemd(void **state)
{
	(void)state;
	make_mount(HYBRID, "/");
	make_dir(HYBRID "/system.slice/system-web.slice/web@1.service/sub");
	assert_found(find_unit, "web@1.service",
		     HYBRID "/system.slice/system-web.slice/web@1.service");
	assert_found(find_unit, "system-web.slice", HYBRID "/system.slice/system-web.slice");
	assert_not_found(find_unit, "web.service", -ENOENT, "systemd cannot be asked");
	make_dir(HYBRID "/user.slice/web@1.service");
	assert_not_found(find_unit, "web@1.service", -ENOTUNIQ, "several cgroups");
}

static void test_what_is_no_unit(void **state)
{
	static const char *const names[] = { "", "../a.service", "a.timer", "a.target" };

	(void)state;
	make_mount(UNIFIED, "/");
	for (size_t i = 0; i < COUNT(names); i++)
		assert_not_found(find_unit, names[i], -EINVAL, "is not");
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, make_world, remove_world)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_WORLD(test_systemd_tells),
		IN_WORLD(test_without_systemd),
		IN_WORLD(test_what_is_no_unit),
	};

	return cmocka_run_group_tests_name("find_unit", tests, NULL, NULL);
}
