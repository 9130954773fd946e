// SPDX-License-Identifier: GPL-2.0-only
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "clatch.skel.h"
#include "object.h"
#include "pins.h"

struct object {
	struct clatch_bpf *skeleton;
};

/* libbpf's print callback is given no context, so what it says can only be kept here. */
static char log_tail[1024];

/* Appends, and drops from the front: the verifier's reason is at the end of a long log. */
static int keep_log(enum libbpf_print_level level, const char *format, va_list args)
{
	char *text = NULL;
	size_t kept = strlen(log_tail), length, room = sizeof(log_tail) - 1;

	if (level > LIBBPF_WARN || vasprintf(&text, format, args) < 0)
		return 0;
	length = strlen(text);
	if (length >= room) {
		memcpy(log_tail, text + length - room, room + 1);
	} else {
		size_t drop = kept + length > room ? kept + length - room : 0;

		memmove(log_tail, log_tail + drop, kept - drop);
		memcpy(log_tail + kept - drop, text, length + 1);
	}
	free(text);
	return 0;
}

void object_capture_log(void)
{
	libbpf_set_print(keep_log);
}

const char *object_log(void)
{
	const char *line = log_tail;

	if (strlen(log_tail) == sizeof(log_tail) - 1) { /* cut off: begin with a whole line */
		line = strchr(log_tail, '\n');
		line = line ? line + 1 : log_tail;
	}
	return line;
}

int object_load(struct object **object, const struct clatch_meta *meta)
{
	struct clatch_bpf *skeleton = clatch_bpf__open();
	int err;

	if (!skeleton)
		return -errno;
	skeleton->rodata->audit = meta->audit;
	err = bpf_map__set_max_entries(skeleton->maps.clatch_latches, meta->max_latches);
	if (!err)
		err = clatch_bpf__load(skeleton);
	if (!err) {
		*object = malloc(sizeof(**object));
		err = *object ? 0 : -ENOMEM;
	}
	if (err)
		clatch_bpf__destroy(skeleton);
	else
		(*object)->skeleton = skeleton;
	return err;
}

void object_free(struct object *object)
{
	if (object)
		clatch_bpf__destroy(object->skeleton);
	free(object);
}

static int pin(int fd, const char *dir, const char *below, const char *name)
{
	char path[PATH_MAX];
	int err = pins_path(path, dir, "%s%s", below, name);

	if (!err && bpf_obj_pin(fd, path))
		err = -errno;
	return err;
}

int object_pin(struct object *object, const char *dir)
{
	struct clatch_bpf *skeleton = object->skeleton;
	struct bpf_program *program;
	struct bpf_map *map;
	int err = 0;

	bpf_object__for_each_map(map, skeleton->obj)
		if (!err && map != skeleton->maps.clatch_meta && !bpf_map__is_internal(map))
			err = pin(bpf_map__fd(map), dir, "", bpf_map__name(map));
	bpf_object__for_each_program(program, skeleton->obj)
		if (!err)
			err = pin(bpf_program__fd(program), dir, "progs/",
				  bpf_program__name(program));
	return err;
}

int object_finish(struct object *object, const char *dir, const struct clatch_meta *meta)
{
	int fd = bpf_map__fd(object->skeleton->maps.clatch_meta);
	__u32 zero = 0;

	if (bpf_map_update_elem(fd, &zero, meta, BPF_ANY))
		return -errno;
	return pin(fd, dir, "", "clatch_meta");
}

int object_map(struct object *object, const char *name)
{
	return bpf_object__find_map_fd_by_name(object->skeleton->obj, name);
}
