// SPDX-License-Identifier: GPL-2.0-only
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <clatch/latch.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "kernel.h"
#include "object.h"
#include "pins.h"

#define META "clatch_meta"

/* The whole file, between NAME_begin and NAME_end. */
/* clang-format off */
#define EMBED(name, file)                                               \
	__asm__(".pushsection .rodata\n.balign 8\n"                     \
		#name "_begin: .incbin \"" file "\"\n" #name "_end:\n"  \
		".popsection");                                         \
	extern const char name##_begin[], name##_end[]
/* clang-format on */

EMBED(plain, BPF_OBJECTS "/clatch_plain.bpf.o");
EMBED(helper, BPF_OBJECTS "/clatch_helper.bpf.o");
EMBED(gateway_plain, BPF_OBJECTS "/gateway_plain.bpf.o");
EMBED(gateway_helper, BPF_OBJECTS "/gateway_helper.bpf.o");

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

/* Writes struct settings of bpf/latch.h, which has nothing else. */
static int set_audit(struct bpf_object *object, __u32 audit)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, ".rodata.settings");

	return map ? bpf_map__set_initial_value(map, &audit, sizeof(audit)) : -ENOENT;
}

/* Before an object is loaded: what its maps are to be. */
typedef int prepare(struct bpf_object *object, const void *context);

/* How many latches may have what few have: the buckets of a large table that is empty take room too. */
static __u32 few_of(__u32 max_latches)
{
	__u32 few = max_latches / 16;

	if (few < CLATCH_FEW)
		few = CLATCH_FEW;
	return few < max_latches ? few : max_latches;
}

/* The database, and what there is of each latch beside it.  0 or -errno. */
static int set_sizes(struct bpf_object *object, const void *context)
{
	const struct clatch_meta *meta = context;
	const __u32 few = few_of(meta->max_latches);
	const struct {
		const char *map;
		__u32 entries;
	} sizes[] = {
		{ "clatch_latches", meta->max_latches },
		{ "clatch_more", few },
		{ "clatch_asked", few },
		{ "clatch_endings", few },
		{ "clatch_fast", meta->max_latches + 1 }, /* 0 is no slot */
		{ "clatch_fast_free", meta->max_latches },
	};
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(sizes) / sizeof(sizes[0]); i++)
		err = bpf_map__set_max_entries(bpf_object__find_map_by_name(object, sizes[i].map),
					       sizes[i].entries);
	return err;
}

/* Of a map's pin; NULL of a map of constants, which is the object's own.  A variable may be a map. */
static const char *pin_name(const struct bpf_map *map)
{
	const char *name = bpf_map__name(map), *of_variable = ".data.";

	if (!bpf_map__is_internal(map))
		return name;
	return strncmp(name, of_variable, strlen(of_variable)) ? NULL : name + strlen(of_variable);
}

/* The maps that are pinned already are used, the others made. */
static int use_pinned(struct bpf_object *object, const void *dir)
{
	struct bpf_map *map;
	char path[PATH_MAX];
	int err = 0;

	bpf_object__for_each_map(map, object)
	{
		const char *name = pin_name(map);
		_cleanup_close_ int fd = -1;

		if (!name)
			continue;
		err = pins_path(path, dir, "%s", name);
		fd = err ? -1 : bpf_obj_get(path);
		if (!err && fd < 0 && errno != ENOENT)
			err = -errno;
		if (fd >= 0)
			err = bpf_map__reuse_fd(map, fd);
		if (err)
			return err;
	}
	return 0;
}

static int load_from(struct bpf_object **object, const char *begin, const char *end, __u32 audit,
		     prepare *prepare, const void *context)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = "clatch");
	struct bpf_object *opened = bpf_object__open_mem(begin, end - begin, &opts);
	int err = libbpf_get_error(opened);

	if (err)
		return err;
	err = set_audit(opened, audit);
	if (!err)
		err = prepare(opened, context);
	if (!err)
		err = bpf_object__load(opened);
	if (err)
		bpf_object__close(opened);
	else
		*object = opened;
	return err;
}

int object_load(struct bpf_object **object, const struct clatch_meta *meta)
{
	if (kernel_has("plain_loads") &&
	    !load_from(object, plain_begin, plain_end, meta->audit, set_sizes, meta))
		return 0;
	log_tail[0] = '\0'; /* what counts is why the other cannot be loaded either */
	return load_from(object, helper_begin, helper_end, meta->audit, set_sizes, meta);
}

int object_load_gateway(struct bpf_object **object, const char *dir, __u32 audit)
{
	if (kernel_has("plain_loads") &&
	    !load_from(object, gateway_plain_begin, gateway_plain_end, audit, use_pinned, dir))
		return 0;
	log_tail[0] = '\0';
	return load_from(object, gateway_helper_begin, gateway_helper_end, audit, use_pinned, dir);
}

static int pin(int fd, const char *dir, const char *below, const char *name)
{
	char path[PATH_MAX];
	int err = pins_path(path, dir, "%s%s", below, name);

	if (!err && bpf_obj_pin(fd, path))
		err = -errno;
	return err;
}

static bool is_pinned(const char *dir, const char *below, const char *name)
{
	char path[PATH_MAX];

	return !pins_path(path, dir, "%s%s", below, name) && !access(path, F_OK);
}

int object_pin_gateway(struct bpf_object *object, const char *dir)
{
	struct bpf_program *program;
	struct bpf_map *map;
	int err = 0;

	bpf_object__for_each_map(map, object)
	{
		const char *name = pin_name(map);

		if (!err && name && !is_pinned(dir, "", name))
			err = pin(bpf_map__fd(map), dir, "", name);
	}
	bpf_object__for_each_program(program, object)
	{
		const char *name = bpf_program__name(program);

		if (!err && !is_pinned(dir, "progs/", name))
			err = pin(bpf_program__fd(program), dir, "progs/", name);
	}
	return err;
}

int object_pin(struct bpf_object *object, const char *dir)
{
	struct bpf_program *program;
	struct bpf_map *map;
	int err = 0;

	bpf_object__for_each_map(map, object)
	{
		const char *name = pin_name(map);

		if (!err && name && strcmp(name, META))
			err = pin(bpf_map__fd(map), dir, "", name);
	}
	bpf_object__for_each_program(program, object) if (!err) err =
		pin(bpf_program__fd(program), dir, "progs/", bpf_program__name(program));
	return err;
}

int object_finish(struct bpf_object *object, const char *dir, const struct clatch_meta *meta)
{
	int fd = bpf_object__find_map_fd_by_name(object, META);
	__u32 zero = 0;

	if (bpf_map_update_elem(fd, &zero, meta, BPF_ANY))
		return -errno;
	return pin(fd, dir, "", META);
}
