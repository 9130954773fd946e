// SPDX-License-Identifier: GPL-2.0-only
/* Units: systemd tells by D-Bus; where it cannot be asked, the tree of cgroups does. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-bus.h>

#include "cleanup.h"
#include "find.h"

#define SYSTEMD "org.freedesktop.systemd1"
#define TIMEOUT_US (10 * 1000000ULL)

/* What has a cgroup, and the D-Bus interface that tells which. */
static const struct unit_type {
	const char *suffix, *interface;
} types[] = {
	{ ".service", SYSTEMD ".Service" }, { ".slice", SYSTEMD ".Slice" },
	{ ".scope", SYSTEMD ".Scope" },	    { ".socket", SYSTEMD ".Socket" },
	{ ".mount", SYSTEMD ".Mount" },	    { ".swap", SYSTEMD ".Swap" },
};

static const struct unit_type *type_of(const char *unit)
{
	const char *suffix = strrchr(unit, '.');

	for (size_t i = 0; suffix && i < sizeof(types) / sizeof(types[0]); i++)
		if (!strcmp(suffix, types[i].suffix))
			return &types[i];
	return NULL;
}

/* Root talks to systemd itself, which works before D-Bus does, and without; others to the bus. */
static int open_bus(const char *root, sd_bus **bus)
{
	char address[PATH_MAX];
	int err;

	snprintf(address, sizeof(address), "%s/run/systemd/private", root);
	if (access(address, R_OK | W_OK))
		return *root ? -ENOENT : sd_bus_open_system(bus);
	snprintf(address, sizeof(address), "unix:path=%s/run/systemd/private", root);
	err = sd_bus_new(bus);
	if (err >= 0)
		err = sd_bus_set_address(*bus, address);
	if (err >= 0)
		err = sd_bus_start(*bus);
	return err;
}

/* *cgroup as systemd has it, "" where it has none, to be freed; -ENOENT no such unit. */
static int ask(sd_bus *bus, const char *unit, const char *interface, char **cgroup)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	sd_bus_message *reply = NULL;
	const char *object;
	int err;

	sd_bus_set_method_call_timeout(bus, TIMEOUT_US);
	err = sd_bus_call_method(bus, SYSTEMD, "/org/freedesktop/systemd1", SYSTEMD ".Manager",
				 "GetUnit", &error, &reply, "s", unit);
	if (err >= 0)
		err = sd_bus_message_read(reply, "o", &object);
	if (err >= 0)
		err = sd_bus_get_property_string(bus, SYSTEMD, object, interface, "ControlGroup",
						 &error, cgroup);
	if (err < 0 && sd_bus_error_has_name(&error, SYSTEMD ".NoSuchUnit"))
		err = -ENOENT;
	else if (err == -ENOENT)
		err = -EIO;
	sd_bus_error_free(&error);
	sd_bus_message_unref(reply);
	return err < 0 ? err : 0;
}

static bool same_name(const char *name, const char *wanted)
{
	return !strcmp(name, wanted);
}

static int search_tree(const struct find_mount *mount, const char *unit, struct found *f)
{
	int err = find_named(mount, same_name, unit, f);

	if (err != -ENOENT)
		return err;
	return find_fail(f, err,
			 "systemd cannot be asked (/run/systemd/private, D-Bus), and no cgroup "
			 "below %s is named '%s'; is it running? Start it, or give --cgroup",
			 mount->dir, unit);
}

static int ask_systemd(const struct find_mount *mount, sd_bus *bus, const char *unit,
		       struct found *f)
{
	_cleanup_free_ char *cgroup = NULL;
	int err = ask(bus, unit, type_of(unit)->interface, &cgroup);

	if (err == -ENOENT)
		return find_fail(f, err,
				 "systemd has no unit '%s' loaded; start it, or see: systemctl "
				 "list-units --all",
				 unit);
	if (err)
		return search_tree(mount, unit, f);
	if (!*cgroup)
		return find_fail(f, -ESRCH,
				 "unit '%s' has no cgroup now, as it is not running; start it, or "
				 "guard the slice that it will be in",
				 unit);
	return find_below(mount, cgroup, unit, f);
}

int find_unit(const char *root, const char *name, struct found *f)
{
	struct find_mount mount;
	sd_bus *bus = NULL;
	char unit[256];
	int err = find_mount(root, &mount, f);

	if (err)
		return err;
	if (!*name || strchr(name, '/') || strlen(name) > 240)
		return find_fail(f, -EINVAL, "'%.64s' is not the name of a unit", name);
	snprintf(unit, sizeof(unit), "%s%s", name, strchr(name, '.') ? "" : ".service");
	if (!type_of(unit))
		return find_fail(f, -EINVAL,
				 "'%s' is not a unit with processes: expected NAME.service, "
				 ".slice, .scope or .socket",
				 unit);
	err = open_bus(root, &bus);
	err = err < 0 ? search_tree(&mount, unit, f) : ask_systemd(&mount, bus, unit, f);
	sd_bus_close_unref(bus);
	return err;
}
