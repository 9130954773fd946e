// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "policy.h"

/* One byte more than a policy may have, so that a longer one is noticed.  0 or -errno. */
static int read_file(const char *path, char **text, size_t *length)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *read_text = NULL;
	ssize_t more = 1;

	if (fd < 0)
		return -errno;
	read_text = malloc(POLICY_MAX_SIZE + 1);
	if (!read_text)
		return -ENOMEM;
	for (*length = 0; more > 0 && *length <= POLICY_MAX_SIZE; *length += more) {
		more = read(fd, read_text + *length, POLICY_MAX_SIZE + 1 - *length);
		if (more < 0)
			return -errno;
	}
	if (*length > POLICY_MAX_SIZE)
		return -EFBIG;
	*text = read_text;
	read_text = NULL;
	return 0;
}

static struct json_object *string_or_null(char *text)
{
	return text ? json_object_new_string(cli_utf8(text)) : NULL;
}

static void say_as_json(const struct policy *policy, const char *path)
{
	struct json_object *line = json_object_new_object(), *errors = json_object_new_array();
	_cleanup_free_ char *file = strdup(path);

	json_object_object_add(line, "errors", errors);
	for (unsigned int i = 0; i < policy->mistake_count; i++) {
		const struct policy_mistake *m = &policy->mistakes[i];
		struct json_object *error = json_object_new_object();

		json_object_object_add(error, "file", string_or_null(file));
		json_object_object_add(error, "line", json_object_new_int64(m->line));
		json_object_object_add(error, "key", string_or_null(m->key));
		json_object_object_add(error, "error", string_or_null(m->text));
		json_object_array_add(errors, error);
	}
	fprintf(stderr, "%s\n",
		json_object_to_json_string_ext(line, JSON_C_TO_STRING_PLAIN |
							     JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(line);
}

static void say_as_text(const struct policy *policy, const char *path)
{
	for (unsigned int i = 0; i < policy->mistake_count; i++) {
		const struct policy_mistake *m = &policy->mistakes[i];

		fprintf(stderr, "%s:%u: %s%s%s\n", path, m->line, m->key ? m->key : "",
			m->key ? ": " : "", m->text);
	}
}

int policy_read(const struct cli *cli, struct policy *policy, const char *path)
{
	_cleanup_free_ char *text = NULL;
	size_t length = 0;
	int err = read_file(path, &text, &length);

	if (err == -EFBIG)
		return cli_fail(cli, "Couldn't read '%s': a policy has at most %d bytes", path,
				POLICY_MAX_SIZE);
	if (!err)
		err = policy_parse(policy, text, length);
	if (err)
		return cli_fail(cli, "Couldn't read '%s': %s", path, strerror(-err));
	if (!policy->mistake_count)
		return 0;
	if (cli->json)
		say_as_json(policy, path);
	else
		say_as_text(policy, path);
	return EXIT_FAILED;
}
