// SPDX-License-Identifier: GPL-2.0-only
/*
 * Containers: their runtimes keep a file for each, with the number of its first process.  Where
 * there is none, the name of the cgroup tells, as all drivers put the id into it.
 */
#include <ctype.h>
#include <errno.h>
#include <glob.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "find.h"

#define SHORT_ID 12 /* characters: what runtimes print of an id */
#define ID_MAX 128

typedef struct json_object json;

static void put_json(json **object)
{
	json_object_put(*object);
}

#define _cleanup_json_ __attribute__((cleanup(put_json)))

/* None below /run/user: what is there may say any process, and be anybody's. */
static const char *const state_files[] = {
	"/run/crun/%s/status", /* podman, CRI-O */
	"/run/runc/%s/state.json",
	"/run/containerd/runc/*/%s/state.json", /* containerd, Kubernetes */
	"/run/containerd/io.containerd.runtime.v2.task/*/%s/init.pid",
	"/run/docker/runtime-*/*/%s/state.json",
};

#define STATE_FILES (sizeof(state_files) / sizeof(state_files[0]))

/* Calls @take with each file that @pattern matches, until it returns something else than 0. */
static int each_file(const char *root, const char *pattern,
		     int (*take)(const char *file, void *context), void *context)
{
	char path[PATH_MAX];
	glob_t files;
	int ret = 0;

	if (snprintf(path, sizeof(path), "%s%s", root, pattern) >= PATH_MAX)
		return -ENAMETOOLONG;
	if (glob(path, 0, NULL, &files))
		return 0;
	for (size_t i = 0; !ret && i < files.gl_pathc; i++)
		ret = take(files.gl_pathv[i], context);
	globfree(&files);
	return ret;
}

struct name {
	const char *name;
	char id[ID_MAX + 1];
};

static int take_id(struct name *n, json *id)
{
	const char *text = json_object_get_string(id);

	if (!text || strlen(text) > ID_MAX)
		return 0;
	strcpy(n->id, text);
	return 1;
}

/* Docker: one file for each container. */
static int name_of_docker(const char *file, void *context)
{
	_cleanup_json_ json *config = json_object_from_file(file);
	const char *name = json_object_get_string(json_object_object_get(config, "Name"));
	struct name *n = context;

	if (!name || strcmp(name + (*name == '/'), n->name))
		return 0;
	return take_id(n, json_object_object_get(config, "ID"));
}

/* Podman and CRI-O: one file for all. */
static int name_of_podman(const char *file, void *context)
{
	_cleanup_json_ json *all = json_object_from_file(file);
	struct name *n = context;

	if (!json_object_is_type(all, json_type_array))
		return 0;
	for (size_t i = 0; i < json_object_array_length(all); i++) {
		json *one = json_object_array_get_idx(all, i);
		json *names = json_object_object_get(one, "names");

		if (!json_object_is_type(names, json_type_array))
			continue;
		for (size_t j = 0; j < json_object_array_length(names); j++) {
			json *name = json_object_array_get_idx(names, j);

			if (name && !strcmp(json_object_get_string(name), n->name))
				return take_id(n, json_object_object_get(one, "id"));
		}
	}
	return 0;
}

/* Does the process still run that had this number when the container was made? */
static bool started_at(const char *root, const char *pid, int64_t start)
{
	_cleanup_free_ char *line = NULL;
	char path[PATH_MAX], *rest;
	unsigned long long found = 0;
	size_t size = 0;
	FILE *stat;

	snprintf(path, sizeof(path), "%s/proc/%s/stat", root, pid);
	stat = fopen(path, "re");
	if (!stat)
		return false;
	rest = getline(&line, &size, stat) > 0 ? strrchr(line, ')') : NULL;
	fclose(stat);
	/* proc(5): the name in parentheses is the second field, the start the 22nd */
	return rest &&
	       sscanf(rest,
		      ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
		      "%*d %llu",
		      &found) == 1 &&
	       found == (unsigned long long)start;
}

/* What a runtime knows of a container. */
struct state {
	char pid[16];
	int64_t start; /* of that process, in ticks since the boot; 0 = not known */
	char cgroup[PATH_MAX]; /* "" = not known */
};

static bool read_json_state(const char *file, struct state *s)
{
	_cleanup_json_ json *state = json_object_from_file(file);
	bool crun = json_object_object_get_ex(state, "pid", NULL);
	json *pid = json_object_object_get(state, crun ? "pid" : "init_process_pid");
	json *start =
		json_object_object_get(state, crun ? "process-start-time" : "init_process_start");
	const char *cgroup = json_object_get_string(json_object_object_get(state, "cgroup-path"));

	snprintf(s->pid, sizeof(s->pid), "%d", json_object_get_int(pid));
	s->start = json_object_get_int64(start);
	if (cgroup && strlen(cgroup) < PATH_MAX)
		strcpy(s->cgroup, cgroup);
	return json_object_get_int(pid) > 0;
}

static bool read_pid(const char *file, struct state *s)
{
	FILE *text = fopen(file, "re");
	bool found = text && fscanf(text, "%15[0-9]", s->pid) == 1;

	if (text)
		fclose(text);
	return found;
}

static bool is_at_or_below(const char *path, const char *top)
{
	size_t length = strlen(top);

	return !strncmp(path, top, length) && (!path[length] || path[length] == '/');
}

/* A container's processes may be in cgroups below its own: systemd in it makes some. */
static void go_up(const struct find_mount *mount, const char *id, const char *cgroup, char *path)
{
	char top[PATH_MAX], *at;

	if (strlen(cgroup) > 1 && snprintf(top, PATH_MAX, "%s%s", mount->dir, cgroup) < PATH_MAX &&
	    is_at_or_below(path, top)) {
		strcpy(path, top);
		return;
	}
	at = strlen(id) < SHORT_ID ? NULL : strstr(path + strlen(mount->dir), id);
	if (at)
		at[strcspn(at, "/")] = '\0';
}

struct search {
	const char *root;
	struct find_mount mount;
	struct found *f;
	char id[ID_MAX + 1];
	int files; /* that tell of it */
	char path[PATH_MAX]; /* what was found so far; "" = nothing */
};

static int take_state(const char *file, void *context)
{
	bool plain = !strcmp(strrchr(file, '.') ?: "", ".pid");
	struct search *s = context;
	struct state state = {};

	s->files++;
	if (!(plain ? read_pid(file, &state) : read_json_state(file, &state)))
		return 0;
	if (state.start && !started_at(s->root, state.pid, state.start)) {
		find_fail(s->f, -ESRCH, "process %s of '%s' has ended", state.pid, file);
		return 0;
	}
	if (find_pid(s->root, state.pid, s->f))
		return 0;
	go_up(&s->mount, s->id, state.cgroup, s->f->path);
	if (*s->path && strcmp(s->path, s->f->path))
		return find_fail(
			s->f, -ENOTUNIQ,
			"'%s' is several containers: in %.200s, and by '%.200s' in %.200s; "
			"give the whole id, or --cgroup",
			s->id, s->path, file, s->f->path);
	strcpy(s->path, s->f->path);
	return 0;
}

static int search_states(struct search *s, const char *star)
{
	char id[ID_MAX + 2], pattern[PATH_MAX];
	int err = 0;

	snprintf(id, sizeof(id), "%s%s", s->id, star);
	for (size_t i = 0; !err && i < STATE_FILES; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(pattern, sizeof(pattern), state_files[i], id);
#pragma GCC diagnostic pop
		err = each_file(s->root, pattern, take_state, s);
	}
	return err;
}

/* ID, libpod-ID.scope, cri-containerd-ID.scope…; not libpod-conmon-ID.scope, its monitor's. */
static bool named_after(const char *name, const char *id)
{
	const char *at = strstr(name, id);
	size_t length = strlen(id);

	if (!at || (at != name && !strchr("-:", at[-1])) || strstr(name, "conmon"))
		return false;
	at += length >= SHORT_ID ? length + strspn(at + length, "0123456789abcdef") : length;
	return !*at || !strcmp(at, ".scope");
}

static int not_found(const struct search *s, const char *name)
{
	char why[sizeof(s->f->why)];

	if (s->files) {
		strcpy(why, s->f->why);
		return find_fail(s->f, -ESRCH, "container '%s' does not run: %.500s", name,
				 *why ? why : "its runtime knows no process of it");
	}
	return find_fail(s->f, -ENOENT,
			 "no container '%s': looked for its state in /run/crun, /run/runc, "
			 "/run/containerd and /run/docker, for its name in /var/lib/containers "
			 "and /var/lib/docker, and for a cgroup named after it below %s; give "
			 "its whole id, or --pid or --cgroup",
			 name, s->mount.dir);
}

static void find_id(const char *root, const char *name, char id[ID_MAX + 1])
{
	struct name n = { .name = name };

	strcpy(n.id, name);
	if (!each_file(root, "/var/lib/containers/storage/*-containers/containers.json",
		       name_of_podman, &n))
		each_file(root, "/var/lib/docker/containers/*/config.v2.json", name_of_docker, &n);
	strcpy(id, n.id);
}

/* Also keeps what glob(3) takes for patterns out of paths. */
static bool is_name(const char *name)
{
	if (strlen(name) > ID_MAX || !isalnum((unsigned char)*name))
		return false;
	for (; *name; name++)
		if (!isalnum((unsigned char)*name) && !strchr("_.+-", *name))
			return false;
	return true;
}

int find_container(const char *root, const char *name, struct found *f)
{
	struct search s = { .root = root, .f = f };
	int err;

	f->why[0] = '\0';
	if (!is_name(name))
		return find_fail(f, -EINVAL, "'%.64s' is not the name or id of a container", name);
	err = find_mount(root, &s.mount, f);
	if (err)
		return err;
	find_id(root, name, s.id);
	if (!is_name(s.id))
		strcpy(s.id, name);
	err = search_states(&s, "");
	if (!err && !s.files && strlen(s.id) >= SHORT_ID)
		err = search_states(&s, "*");
	if (!err && !*s.path && !s.files)
		err = find_named(&s.mount, named_after, s.id, f);
	else if (!err && *s.path)
		strcpy(f->path, s.path);
	else if (!err)
		err = -ENOENT;
	return err == -ENOENT ? not_found(&s, name) : err;
}
