// SPDX-License-Identifier: GPL-2.0-only
#include "map.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdbool.h>

#include "cleanup.h"

#define FIRST_BATCH 1024

struct batch {
	int fd;
	size_t key_size;
	size_t value_size;
	char *keys;
	char *values;
	__u32 room;
	__u64 position; /* the kernel's: a bucket's number or a key, both of ours fit */
	bool started;
};

static int batch_room(struct batch *b, __u32 room)
{
	char *keys = reallocarray(b->keys, room, b->key_size);
	char *values;

	if (!keys)
		return -ENOMEM;
	b->keys = keys;
	values = reallocarray(b->values, room, b->value_size);
	if (!values)
		return -ENOMEM;
	b->values = values;
	b->room = room;
	return 0;
}

static void batch_end(struct batch *b)
{
	free(b->keys);
	free(b->values);
}

/* The next entries into b->keys and b->values: 0, or -ENOENT with the last ones. */
static int batch_read(struct batch *b, __u32 *count)
{
	__u64 next = 0;
	int err;

	for (;;) {
		*count = b->room;
		err = bpf_map_lookup_batch(b->fd, b->started ? &b->position : NULL, &next, b->keys,
					   b->values, count, NULL);
		if (err != -ENOSPC)
			break;
		err = batch_room(b, 2 * b->room); /* one hash bucket has more than we have room */
		if (err)
			return err;
	}
	b->position = next;
	b->started = true;
	return err;
}

static int batch_visit(const struct batch *b, __u32 count, map_visit *visit, void *context)
{
	int ret = 0;

	for (__u32 i = 0; i < count && !ret; i++)
		ret = visit(context, b->keys + i * b->key_size, b->values + i * b->value_size);
	return ret;
}

int map_each(int fd, size_t key_size, size_t value_size, map_visit *visit, void *context)
{
	__attribute__((cleanup(batch_end))) struct batch b = {
		.fd = fd,
		.key_size = key_size,
		.value_size = value_size,
	};
	int err = batch_room(&b, FIRST_BATCH), ret;
	__u32 count;

	while (!err) {
		err = batch_read(&b, &count);
		if (err && err != -ENOENT)
			return err;
		ret = batch_visit(&b, count, visit, context);
		if (ret)
			return ret;
	}
	return err == -ENOENT ? 0 : err;
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
