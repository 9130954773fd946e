// SPDX-License-Identifier: GPL-2.0-only
#include "map.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_BATCH 1024
#define FEW 32 /* entries of a map that is as good as empty */

struct map_walk {
	int fd;
	size_t key_size;
	size_t value_size;
	char *keys;
	char *values;
	__u32 room;
	bool steady; /* nothing is put anew */
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

static bool is_seen(const struct map_walk *w, const void *key, __u32 count)
{
	for (__u32 i = 0; i < count; i++)
		if (!memcmp(w->keys + i * w->key_size, key, w->key_size))
			return true;
	return false;
}

/*
 * All keys: 0, or -E2BIG where they are not few.  Who goes on from one that has gone begins anew.  One that
 * is put anew is moved in its bucket, and might be missed.
 */
static int few_keys(const struct map_walk *w, __u32 *count)
{
	const char *last = NULL;
	int err;

	for (*count = 0; *count < FEW; ++*count) {
		char *key = w->keys + *count * w->key_size;

		err = bpf_map_get_next_key(w->fd, last, key);
		if (err || is_seen(w, key, *count))
			return err == -ENOENT ? 0 : err ? err : -E2BIG;
		last = key;
	}
	return -E2BIG;
}

/*
 * All entries, where they are few: the kernel goes over a bucket that has none twice as fast for
 * the next key as for a batch.
 */
static int few_read(const struct map_walk *w, __u32 *count)
{
	__u32 keys, found = 0;
	int err = few_keys(w, &keys);

	for (__u32 i = 0; i < keys && !err; i++) {
		memmove(w->keys + found * w->key_size, w->keys + i * w->key_size, w->key_size);
		err = bpf_map_lookup_elem(w->fd, w->keys + found * w->key_size,
					  w->values + found * w->value_size);
		found += !err;
		err = err == -ENOENT ? 0 : err;
	}
	*count = found;
	return err;
}

static int batch_visit(const struct map_walk *w, __u32 count, map_visit *visit, void *context)
{
	int ret = 0;

	for (__u32 i = 0; i < count && !ret; i++)
		ret = visit(context, w->keys + i * w->key_size, w->values + i * w->value_size);
	return ret;
}

int map_walk_begin(struct map_walk **walk, int fd, size_t key_size, size_t value_size, bool steady)
{
	struct map_walk *w = calloc(1, sizeof(*w));
	int err;

	if (!w)
		return -ENOMEM;
	w->fd = fd;
	w->key_size = key_size;
	w->value_size = value_size;
	w->steady = steady;
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
	int err = w->started || !w->steady ? -E2BIG : few_read(w, &count);

	*more = false;
	if (err == -E2BIG) {
		err = batch_read(w, &count);
		*more = !err;
	}
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

static int walk_all(struct map_walk *walk, map_visit *visit, void *context)
{
	bool more = true;
	int err = 0;

	while (!err && more)
		err = map_walk_step(walk, visit, context, &more);
	return err;
}

int map_each(int fd, size_t key_size, size_t value_size, map_visit *visit, void *context)
{
	__attribute__((cleanup(cleanup_walk))) struct map_walk *walk = NULL;
	int err = map_walk_begin(&walk, fd, key_size, value_size, false);

	return err ? err : walk_all(walk, visit, context);
}

int map_each_steady(int fd, size_t key_size, size_t value_size, map_visit *visit, void *context)
{
	__attribute__((cleanup(cleanup_walk))) struct map_walk *walk = NULL;
	int err = map_walk_begin(&walk, fd, key_size, value_size, true);

	return err ? err : walk_all(walk, visit, context);
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
