// SPDX-License-Identifier: GPL-2.0-only
#include "map.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#define FIRST_BATCH 1024

struct map_walk {
	int fd;
	size_t key_size;
	size_t value_size;
	char *keys;
	char *values;
	__u32 room;
	__u64 position; /* the kernel's: a bucket's number or a key, both of ours fit */
	bool started;
};

static int batch_room(struct map_walk *w, __u32 room)
{
	char *keys = reallocarray(w->keys, room, w->key_size);
	char *values;

	if (!keys)
		return -ENOMEM;
	w->keys = keys;
	values = reallocarray(w->values, room, w->value_size);
	if (!values)
		return -ENOMEM;
	w->values = values;
	w->room = room;
	return 0;
}

/* The next entries into w->keys and w->values: 0, or -ENOENT with the last ones. */
static int batch_read(struct map_walk *w, __u32 *count)
{
	__u64 next = 0;
	int err;

	for (;;) {
		*count = w->room;
		err = bpf_map_lookup_batch(w->fd, w->started ? &w->position : NULL, &next, w->keys,
					   w->values, count, NULL);
		if (err != -ENOSPC)
			break;
		err = batch_room(w, 2 * w->room); /* one hash bucket has more than we have room */
		if (err)
			return err;
	}
	w->position = next;
	w->started = true;
	return err;
}

static int batch_visit(const struct map_walk *w, __u32 count, map_visit *visit, void *context)
{
	int ret = 0;

	for (__u32 i = 0; i < count && !ret; i++)
		ret = visit(context, w->keys + i * w->key_size, w->values + i * w->value_size);
	return ret;
}

int map_walk_begin(struct map_walk **walk, int fd, size_t key_size, size_t value_size)
{
	struct map_walk *w = calloc(1, sizeof(*w));
	int err;

	if (!w)
		return -ENOMEM;
	w->fd = fd;
	w->key_size = key_size;
	w->value_size = value_size;
	err = batch_room(w, FIRST_BATCH);
	if (err) {
		map_walk_end(w);
		return err;
	}
	*walk = w;
	return 0;
}

int map_walk_step(struct map_walk *w, map_visit *visit, void *context, bool *more)
{
	__u32 count;
	int err = batch_read(w, &count);

	*more = !err;
	if (err && err != -ENOENT)
		return err;
	return batch_visit(w, count, visit, context);
}

void map_walk_end(struct map_walk *w)
{
	if (!w)
		return;
	free(w->keys);
	free(w->values);
	free(w);
}

static void cleanup_walk(struct map_walk **walk)
{
	map_walk_end(*walk);
}

int map_each(int fd, size_t key_size, size_t value_size, map_visit *visit, void *context)
{
	__attribute__((cleanup(cleanup_walk))) struct map_walk *walk = NULL;
	int err = map_walk_begin(&walk, fd, key_size, value_size);
	bool more = true;

	while (!err && more)
		err = map_walk_step(walk, visit, context, &more);
	return err;
}

int map_id(int fd, __u32 *id)
{
	struct bpf_map_info info = {};
	__u32 length = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &length))
		return -errno;
	*id = info.id;
	return 0;
}
