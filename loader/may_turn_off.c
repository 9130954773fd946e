// SPDX-License-Identifier: GPL-2.0-only
#include "may_turn_off.h"

#include <bpf/bpf.h>
#include <clatch/rule.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cgroup.h"
#include "cleanup.h"
#include "map.h"
#include "pins.h"

#define MAP "clatch_may_turn_off"
#define BLANKS " \t"

static int write_one(const struct cli *cli, int map, const char *path, __u32 generation)
{
	struct clatch_may_turn_off key = { .generation = generation };
	_cleanup_close_ int fd = cgroup_open(path, &key.cgroup);
	__u32 value = 1;

	if (fd < 0) {
		cli_fail(cli,
			 "Couldn't load the policy: may-turn-off names '%s', which is no cgroup: "
			 "%s",
			 path, strerror(fd == -EMEDIUMTYPE ? ENOTDIR : -fd));
		return -ESRCH;
	}
	return bpf_map_update_elem(map, &key, &value, BPF_ANY) ? -errno : 0;
}

int may_turn_off_write(const struct cli *cli, const char *paths, __u32 generation)
{
	_cleanup_close_ int map = pins_map(cli, MAP);
	_cleanup_free_ char *copy = paths ? strdup(paths) : NULL;
	char *rest = copy, *path;
	int err = map < 0 ? map : 0;

	if (paths && !copy)
		return -ENOMEM;
	while (!err && (path = strsep(&rest, BLANKS)))
		if (*path)
			err = write_one(cli, map, path, generation);
	return err;
}

struct others {
	int map;
	__u32 generation;
	struct clatch_may_turn_off *keys;
	size_t count;
};

static int note_other(void *context, const void *key, const void *value)
{
	struct others *o = context;
	struct clatch_may_turn_off *grown;

	(void)value;
	if (((const struct clatch_may_turn_off *)key)->generation == o->generation)
		return 0;
	grown = reallocarray(o->keys, o->count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	o->keys = grown;
	memcpy(&o->keys[o->count++], key, sizeof(*grown));
	return 0;
}

int may_turn_off_keep(const struct cli *cli, __u32 generation)
{
	_cleanup_close_ int map = pins_map(cli, MAP);
	struct others o = { .map = map, .generation = generation };
	int err = map < 0 ? map
			  : map_each(map, sizeof(struct clatch_may_turn_off), sizeof(__u32),
				     note_other, &o);

	for (size_t i = 0; !err && i < o.count; i++)
		if (bpf_map_delete_elem(map, &o.keys[i]))
			err = -errno;
	free(o.keys);
	return err;
}

struct reading {
	FILE *text;
	__u32 generation;
	unsigned int count;
};

static int print_one(void *context, const void *key, const void *value)
{
	const struct clatch_may_turn_off *k = key;
	struct reading *r = context;
	char path[PATH_MAX];

	(void)value;
	if (k->generation != r->generation)
		return 0;
	if (cgroup_path(k->cgroup, path))
		snprintf(path, sizeof(path), "(removed: %" PRIu64 ")", (uint64_t)k->cgroup);
	fprintf(r->text, "%s%s", r->count++ ? " " : "", path);
	return 0;
}

int may_turn_off_read(const struct cli *cli, __u32 generation, char **paths)
{
	_cleanup_close_ int map = pins_map(cli, MAP);
	struct reading r = { .generation = generation };
	size_t size;
	int err = map < 0 ? map : 0;

	*paths = NULL;
	if (err)
		return err;
	r.text = open_memstream(paths, &size);
	if (!r.text)
		return -errno;
	err = map_each(map, sizeof(struct clatch_may_turn_off), sizeof(__u32), print_one, &r);
	if (fclose(r.text) && !err)
		err = -ENOMEM;
	if (!err && r.count)
		return 0;
	free(*paths);
	*paths = NULL;
	return err;
}
