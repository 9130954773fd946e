// SPDX-License-Identifier: GPL-2.0-only
#include <json-c/json.h>
#include <stdio.h>

#include "cli.h"
#include "kernel.h"

static const char *const answers[] = {
	[KERNEL_NO] = "no",
	[KERNEL_YES] = "yes",
	[KERNEL_UNKNOWN] = "unknown",
};

static struct json_object *feature_json(const struct kernel_feature *feature,
					enum kernel_answer answer, const char *detail)
{
	struct json_object *line = json_object_new_object();

	json_object_object_add(line, "name", json_object_new_string(feature->name));
	json_object_object_add(
		line, "available",
		answer == KERNEL_UNKNOWN ? NULL : json_object_new_boolean(answer == KERNEL_YES));
	json_object_object_add(line, "required", json_object_new_boolean(feature->required));
	json_object_object_add(line, "detail", *detail ? json_object_new_string(detail) : NULL);
	json_object_object_add(line, "why", json_object_new_string(feature->why));
	return line;
}

static void feature_text(const struct kernel_feature *feature, enum kernel_answer answer,
			 const char *detail)
{
	printf("%-17s %-8s%s%s%s%s%s\n", feature->name, answers[answer],
	       feature->required ? "" : "(optional) ", feature->why, *detail ? " [" : "", detail,
	       *detail ? "]" : "");
}

int cmd_features(struct cli *cli, int argc, char **argv)
{
	const struct kernel_feature *feature = kernel_features;
	struct json_object *root, *list;
	bool all = true, unknown = false;
	char detail[PATH_MAX];
	int words, status = cli_parse(cli, NULL, argc, argv, 0, &words);

	if (status)
		return status < 0 ? EXIT_DONE : status;
	root = json_object_new_object();
	list = json_object_new_array();
	json_object_object_add(root, "features", list);
	for (; feature->name; feature++) {
		enum kernel_answer answer = kernel_probe(feature, detail);

		all = all && (answer == KERNEL_YES || !feature->required);
		unknown = unknown || answer == KERNEL_UNKNOWN;
		if (cli->json)
			json_object_array_add(list, feature_json(feature, answer, detail));
		else
			feature_text(feature, answer, detail);
	}
	json_object_object_add(root, "complete", json_object_new_boolean(all));
	if (cli->json)
		puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PLAIN |
								  JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(root);
	if (unknown)
		cli_warn(cli, "Some features could not be probed: run as root");
	status = cli_flush(cli);
	return all ? status : EXIT_FAILED;
}
