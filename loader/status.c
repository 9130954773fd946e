// SPDX-License-Identifier: GPL-2.0-only
#include <bpf/bpf.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include <clatch/event.h>
#include <clatch/latch.h>
#include "attach.h"
#include "attach_device.h"
#include "cgroup.h"
#include "cleanup.h"
#include "daemon.h"
#include "kernel.h"
#include "map.h"
#include "names.h"
#include "output.h"
#include "parts.h"
#include "pins.h"
#include "rules.h"

/* Both forms, text and JSON, are made of this object. */
typedef struct json_object json;

struct counts {
	int64_t latches; /* of connections */
	int64_t listeners;
	int64_t broken;
};

static int count_latch(void *context, const void *key, const void *value)
{
	const struct clatch_latch *latch = value;
	struct counts *counts = context;

	if (!latch->id) /* being made */
		return 0;
	if (tuple_is_listener(key))
		counts->listeners++;
	else
		counts->latches++;
	counts->broken += latch->state == CLATCH_BROKEN;
	return 0;
}

static int add_latches(const struct cli *cli, json *status)
{
	_cleanup_close_ int fd = pins_map(cli, "clatch_latches");
	struct counts counts = {};
	int err;

	if (fd < 0)
		return fd;
	err = map_each(fd, sizeof(struct clatch_tuple), sizeof(struct clatch_latch), count_latch,
		       &counts);
	json_object_object_add(status, "latches", json_object_new_int64(counts.latches));
	json_object_object_add(status, "listeners", json_object_new_int64(counts.listeners));
	json_object_object_add(status, "broken", json_object_new_int64(counts.broken));
	return err;
}

/* Packets under SAs so new that nobody had told yet whose they are. */
static int add_kept_back(int fd, json *status)
{
	__u32 key = CLATCH_OK;
	struct clatch_stat stat = {};

	if (bpf_map_lookup_elem(fd, &key, &stat) && errno != ENOENT)
		return -errno;
	json_object_object_add(status, "kept_back",
			       json_object_new_int64(stat.dropped + stat.passed));
	return 0;
}

static int add_counters(const struct cli *cli, json *status)
{
	_cleanup_close_ int fd = pins_map(cli, "clatch_stats");
	json *counters = json_object_new_object();

	json_object_object_add(status, "counters", counters);
	if (fd < 0)
		return fd;
	for (__u32 reason = CLATCH_OK + 1; reason < CLATCH_REASONS; reason++) {
		struct clatch_stat stat = {}; /* stays so for a reason that never was one */

		if (bpf_map_lookup_elem(fd, &reason, &stat) && errno != ENOENT)
			return -errno;
		json_object_object_add(counters, name_reason(reason),
				       json_object_new_int64(stat.dropped + stat.passed));
	}
	return add_kept_back(fd, status);
}

static int add_rules(const struct cli *cli, json *status)
{
	const struct clatch_policy *policy = rules_watch(cli);

	if (!policy)
		return -errno;
	json_object_object_add(status, "rules", json_object_new_int64(policy->count));
	rules_unwatch(policy);
	return 0;
}

static int add_cgroups(const struct cli *cli, json *status, json *gone)
{
	json *here = json_object_new_array(), *removed = json_object_new_array();
	_cleanup_free_ __u64 *ids = NULL;
	int err = attached_cgroups(cli->bpffs, &ids);
	char path[PATH_MAX];

	json_object_object_add(status, "cgroups", here);
	json_object_object_add(gone, "cgroups", removed);
	for (__u64 *id = ids; !err && *id; id++) {
		if (!cgroup_path(*id, path))
			json_object_array_add(here, json_object_new_string(cli_utf8(path)));
		else
			json_object_array_add(removed, json_object_new_int64(*id));
	}
	return err;
}

/* What a device is guarded as, in both forms. */
static const struct {
	const char *name, *title;
} roles[CLATCH_ROLES] = {
	[CLATCH_ROLE_HOST] = { "devices", "device" },
	[CLATCH_ROLE_VETH] = { "veths", "veth" },
	[CLATCH_ROLE_UPLINK] = { "uplinks", "uplink" },
};

static int add_devices(const struct cli *cli, json *status, json *gone)
{
	struct clatch_device devices[CLATCH_MAX_DEVICES];
	unsigned int count = 0;
	int err = attached_devices(cli->bpffs, devices, &count);

	for (int role = 0; role < CLATCH_ROLES; role++) {
		json_object_object_add(status, roles[role].name, json_object_new_array());
		json_object_object_add(gone, roles[role].name, json_object_new_array());
	}
	for (unsigned int i = 0; i < count; i++) {
		enum device_state state = device_state(cli->bpffs, &devices[i]);
		const char *name = roles[devices[i].role % CLATCH_ROLES].name;

		json_object_array_add(
			json_object_object_get(state == DEVICE_GONE ? gone : status, name),
			json_object_new_string(cli_utf8(devices[i].name)));
	}
	return err;
}

/* null: there is no `run`, or it is not to ask an IKE daemon. */
static void add_vici(json *status, const struct clatch_meta *meta)
{
	json *vici = NULL;
	char since[TIME_TEXT];

	if (daemon_alive(meta) && meta->ike != CLATCH_IKE_NONE) {
		time_text(since, meta->ike_since_ns + output_utc_offset(), false);
		vici = json_object_new_object();
		json_object_object_add(vici, "connected",
				       json_object_new_boolean(meta->ike == CLATCH_IKE_CONNECTED));
		json_object_object_add(vici, "since", json_object_new_string(since));
	}
	json_object_object_add(status, "vici", vici);
}

static void add_kernel(json *status)
{
	json *kernel = json_object_new_object();
	struct utsname name;

	uname(&name);
	json_object_object_add(kernel, "release", json_object_new_string(name.release));
	json_object_object_add(kernel, "btf", json_object_new_boolean(!kernel_btf()));
	json_object_object_add(kernel, "plain_loads",
			       json_object_new_boolean(kernel_has("plain_loads")));
	json_object_object_add(status, "kernel", kernel);
}

static int fill(const struct cli *cli, json *status, const struct clatch_meta *meta)
{
	json *gone = json_object_new_object();
	int err;

	json_object_object_add(status, "loaded", json_object_new_boolean(true));
	json_object_object_add(status, "mode",
			       json_object_new_string(meta->audit ? "audit" : "enforce"));
	err = add_cgroups(cli, status, gone);
	if (!err)
		err = add_devices(cli, status, gone);
	json_object_object_add(status, "gone", gone);
	if (!err)
		err = add_latches(cli, status);
	json_object_object_add(status, "max_latches", json_object_new_int64(meta->max_latches));
	if (!err)
		err = add_rules(cli, status);
	json_object_object_add(status, "daemon", json_object_new_boolean(daemon_alive(meta)));
	add_vici(status, meta);
	if (!err)
		err = add_counters(cli, status);
	add_kernel(status);
	return err;
}

static void print_json(json *object)
{
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN |
							    JSON_C_TO_STRING_NOSLASHESCAPE));
}

static const char *text(json *object, const char *key)
{
	return json_object_get_string(json_object_object_get(object, key));
}

static void print_names(json *object, const char *key, const char *label, const char *after)
{
	json *names = json_object_object_get(object, key);

	for (size_t i = 0; i < json_object_array_length(names); i++)
		printf("%-13s %s%s\n", label,
		       json_object_get_string(json_object_array_get_idx(names, i)), after);
}

static void print_vici(json *vici)
{
	bool connected = json_object_get_boolean(json_object_object_get(vici, "connected"));

	if (vici)
		printf("%-13s %s since %s\n", "IKE daemon",
		       connected ? "connected" : "not reachable", text(vici, "since"));
	else
		printf("%-13s not asked\n", "IKE daemon");
}

static void print_text(const struct cli *cli, json *status)
{
	json *gone = json_object_object_get(status, "gone");
	json *kernel = json_object_object_get(status, "kernel");
	bool daemon = json_object_get_boolean(json_object_object_get(status, "daemon"));
	bool plain = json_object_get_boolean(json_object_object_get(kernel, "plain_loads"));

	printf("%-13s at %s, %s\n", "loaded", cli->bpffs,
	       strcmp(text(status, "mode"), "audit") ? "enforcing" : "audit: drops nothing");
	print_names(status, "cgroups", "cgroup", "");
	print_names(gone, "cgroups", "cgroup", " (an id; removed since)");
	for (int role = 0; role < CLATCH_ROLES; role++) {
		print_names(status, roles[role].name, roles[role].title, "");
		print_names(gone, roles[role].name, roles[role].title,
			    " (removed since, or its filters were)");
	}
	printf("%-13s %s of at most %s, %s broken\n", "latches", text(status, "latches"),
	       text(status, "max_latches"), text(status, "broken"));
	printf("%-13s %s\n", "listeners", text(status, "listeners"));
	printf("%-13s %s\n", "rules", text(status, "rules"));
	printf("%-13s %s\n", "daemon", daemon ? "running" : "not running");
	print_vici(json_object_object_get(status, "vici"));
	json_object_object_foreach(json_object_object_get(status, "counters"), reason, count)
		printf("%-13s %-17s %s\n", "refused", reason, json_object_get_string(count));
	printf("%-13s %s, until it was known whose their SA is\n", "kept back",
	       text(status, "kept_back"));
	printf("%-13s %s, %s\n", "kernel", text(kernel, "release"),
	       plain ? "plain loads" : "no plain loads");
}

static int print_status(const struct cli *cli, const struct clatch_meta *meta)
{
	json *status = json_object_new_object();
	int err = fill(cli, status, meta);

	if (err)
		cli_fail(cli, "Couldn't read the pins at %s: %s", cli->bpffs, pins_strerror(err));
	else if (cli->json)
		print_json(status);
	else
		print_text(cli, status);
	json_object_put(status);
	return err ? EXIT_FAILED : cli_flush(cli);
}

int cmd_status(struct cli *cli, int argc, char **argv)
{
	struct clatch_meta meta;
	int words, status = cli_parse(cli, NULL, argc, argv, 0, &words);

	if (status)
		return status < 0 ? EXIT_DONE : status;
	if (cli->json && pins_read(cli->bpffs, &meta) == -ENOENT) {
		puts("{\"loaded\":false}"); /* an answer, not an error; the exit status tells too */
		return EXIT_FAILED;
	}
	status = pins_open(cli, &meta);
	return status ? status : print_status(cli, &meta);
}
