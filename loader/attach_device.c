// SPDX-License-Identifier: GPL-2.0-only
#include "attach_device.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "pins.h"
#include "tc.h"

/* By direction: what comes in, what goes out. */
static const char *const role_programs[CLATCH_ROLES][2] = {
	[CLATCH_ROLE_HOST] = { "clatch_tc_ingress", "clatch_tc_egress" },
	[CLATCH_ROLE_VETH] = { "clatch_gw_from", "clatch_gw_to" },
	[CLATCH_ROLE_UPLINK] = { NULL, "clatch_gw_out" },
};
static const enum bpf_tc_attach_point points[] = { BPF_TC_INGRESS, BPF_TC_EGRESS };

#define SIDES (sizeof(points) / sizeof(points[0]))

static __u64 own_netns(void)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint64_t cookie = 0;
	socklen_t length = sizeof(cookie);

	getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length);
	return cookie;
}

static __u32 program_id(int fd)
{
	struct bpf_prog_info info = {};
	__u32 length = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &length) ? 0 : info.id;
}

static bool has_side(enum clatch_role role, size_t side)
{
	return role < CLATCH_ROLES && role_programs[role][side];
}

/* One direction of a device; without a program nothing is taken for ours. */
static int open_side(const char *dir, enum clatch_role role, size_t i, struct tc_side *side)
{
	int fd = pins_program(dir, role_programs[role][i]);

	*side = (struct tc_side){ .point = points[i], .program = fd < 0 ? 0 : program_id(fd) };
	return fd;
}

static bool has_filters(const char *dir, unsigned int ifindex, enum clatch_role role)
{
	struct tc_side side;

	for (size_t i = 0; i < SIDES; i++) {
		_cleanup_close_ int program = -1;

		if (!has_side(role, i))
			continue;
		program = open_side(dir, role, i, &side);
		if (program < 0 || !side.program || tc_look(ifindex, &side) || !side.ours)
			return false;
	}
	return true;
}

enum device_state device_state(const char *dir, struct clatch_device *device)
{
	char name[IF_NAMESIZE];

	if (device->netns != own_netns())
		return DEVICE_ELSEWHERE;
	if (!if_indextoname(device->ifindex, name) ||
	    !has_filters(dir, device->ifindex, device->role))
		return DEVICE_GONE;
	memcpy(device->name, name, sizeof(device->name));
	return DEVICE_GUARDED;
}

int attached_devices(const char *dir, struct clatch_device devices[CLATCH_MAX_DEVICES],
		     unsigned int *count)
{
	_cleanup_close_ int fd = pins_map_in(dir, "clatch_devices");

	*count = 0;
	if (fd < 0)
		return fd;
	for (__u32 i = 0; i < CLATCH_MAX_DEVICES; i++) {
		if (bpf_map_lookup_elem(fd, &i, &devices[*count]))
			return -errno;
		*count += devices[*count].ifindex != 0;
	}
	return 0;
}

static bool is_record(const struct clatch_device *d, const struct clatch_device *wanted)
{
	return d->ifindex == wanted->ifindex &&
	       (!wanted->ifindex || (d->netns == wanted->netns && d->role == wanted->role));
}

/* The slot of a device in its role, or with ifindex 0 a free one. */
static int find_slot(int map, const struct clatch_device *wanted, __u32 *slot)
{
	struct clatch_device device;

	for (*slot = 0; *slot < CLATCH_MAX_DEVICES; (*slot)++) {
		if (bpf_map_lookup_elem(map, slot, &device))
			return -errno;
		if (is_record(&device, wanted))
			return 0;
	}
	return -ENOENT;
}

/* Forgets one device that is gone, as a container's veth is at its end.  0, -ENFILE or -errno. */
static int free_slot(const char *dir, int map, __u32 *slot)
{
	struct clatch_device device;

	for (*slot = 0; *slot < CLATCH_MAX_DEVICES; (*slot)++) {
		if (bpf_map_lookup_elem(map, slot, &device))
			return -errno;
		if (device_state(dir, &device) == DEVICE_GONE)
			return detach_device(dir, &device);
	}
	return -ENFILE;
}

/* A record of which a filter is missing, or all as the device was removed, is done away with. */
static int choose_slot(const char *dir, int map, const struct clatch_device *device, __u32 *slot)
{
	static const struct clatch_device none;
	struct clatch_device old;
	int err = find_slot(map, device, slot);

	if (!err && has_filters(dir, device->ifindex, device->role))
		return -EEXIST;
	if (!err)
		return bpf_map_lookup_elem(map, slot, &old) ? -errno : detach_device(dir, &old);
	if (err == -ENOENT)
		err = find_slot(map, &none, slot);
	return err == -ENOENT ? free_slot(dir, map, slot) : err;
}

static int add_filters(const char *dir, struct clatch_device *device)
{
	struct tc_side sides[SIDES] = {};
	int err = 0;

	for (size_t i = 0; !err && i < SIDES; i++) {
		_cleanup_close_ int program = -1;

		if (!has_side(device->role, i))
			continue;
		program = open_side(dir, device->role, i, &sides[i]);
		err = program < 0 ? program : tc_add(device->ifindex, &sides[i], program);
	}
	device->ingress_handle = sides[0].handle;
	device->ingress_priority = sides[0].priority;
	device->egress_handle = sides[1].handle;
	device->egress_priority = sides[1].priority;
	return err;
}

int attach_device(const char *dir, unsigned int ifindex, enum clatch_role role)
{
	_cleanup_close_ int map = pins_map_in(dir, "clatch_devices");
	struct clatch_device device = { .netns = own_netns(), .ifindex = ifindex, .role = role };
	__u32 slot;
	int err;

	if (map < 0)
		return map;
	err = choose_slot(dir, map, &device, &slot);
	if (err)
		return err;
	if (!if_indextoname(ifindex, device.name))
		return -errno;
	err = tc_make_qdisc(ifindex);
	if (err && err != -EEXIST)
		return err;
	device.made_qdisc = !err;
	/* recorded before it is done, so that whatever happens it can be found and undone */
	err = bpf_map_update_elem(map, &slot, &device, BPF_ANY) ? -errno : 0;
	if (!err)
		err = add_filters(dir, &device);
	if (!err)
		err = bpf_map_update_elem(map, &slot, &device, BPF_ANY) ? -errno : 0;
	if (err)
		detach_device(dir, &device);
	return err;
}

/* The qdisc that we made goes with the last of our roles on the device. */
static int leave_qdisc(int map, const struct clatch_device *device)
{
	struct clatch_device other;

	for (__u32 slot = 0; slot < CLATCH_MAX_DEVICES; slot++) {
		if (bpf_map_lookup_elem(map, &slot, &other))
			return -errno;
		if (other.ifindex != device->ifindex || other.netns != device->netns ||
		    other.role == device->role)
			continue;
		other.made_qdisc = 1;
		return bpf_map_update_elem(map, &slot, &other, BPF_ANY) ? -errno : 0;
	}
	return 0;
}

static int remove_filters(const char *dir, int map, const struct clatch_device *device)
{
	unsigned int ours = 0, others = 0;
	struct tc_side side;
	int err = 0;

	for (size_t i = 0; !err && i < SIDES; i++) {
		_cleanup_close_ int program = -1;

		side = (struct tc_side){ .point = points[i] };
		if (has_side(device->role, i)) {
			program = open_side(dir, device->role, i, &side);
			if (program < 0 || !side.program)
				return program < 0 ? program : -EIO;
			err = tc_remove(device->ifindex, &side);
		} else {
			err = tc_look(device->ifindex, &side);
		}
		ours += side.ours;
		others += side.others;
	}
	/* without any of our filters, and once finished, this is another device by now */
	if (!err && device->made_qdisc && !others && (ours || !device->egress_priority))
		err = tc_remove_qdisc(device->ifindex);
	else if (!err && device->made_qdisc && others)
		err = leave_qdisc(map, device);
	return err == -ENODEV ? 0 : err;
}

int detach_device(const char *dir, const struct clatch_device *device)
{
	_cleanup_close_ int map = pins_map_in(dir, "clatch_devices");
	static const struct clatch_device none;
	int err = 0, here = device->netns == own_netns();
	__u32 slot;

	if (map < 0)
		return map;
	if (here)
		err = remove_filters(dir, map, device);
	if (!err && !find_slot(map, device, &slot))
		err = bpf_map_update_elem(map, &slot, &none, BPF_ANY) ? -errno : 0;
	return !err && !here ? -EXDEV : err;
}
