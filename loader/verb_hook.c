// SPDX-License-Identifier: GPL-2.0-only
/*
 * clatch-loader hook: called by a container's runtime, with the container's state on stdin (OCI
 * runtime specification, "hooks").  At createRuntime its first process is in its cgroup and has not
 * started the container's program yet: no socket of it comes before the guard.
 */
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "cli.h"

#define ANNOTATION "clatch.latch"
#define STATE_MAX (1 << 20)

typedef struct json_object json;

static json *read_state(void)
{
	json_tokener *parser = json_tokener_new();
	size_t total = 0, length;
	json *state = NULL;
	char part[4096];

	while (parser && !state && total < STATE_MAX &&
	       (length = fread(part, 1, sizeof(part), stdin)) > 0) {
		state = json_tokener_parse_ex(parser, part, length);
		total += length;
		if (!state && json_tokener_get_error(parser) != json_tokener_continue)
			break;
	}
	if (parser)
		json_tokener_free(parser);
	return state;
}

static const char *text(json *object, const char *key)
{
	const char *value = json_object_get_string(json_object_object_get(object, key));

	return value ? value : "";
}

static int attach_to(struct cli *cli, json *state)
{
	int pid = json_object_get_int(json_object_object_get(state, "pid"));
	char attach[] = "attach", ensure[] = "--ensure", option[] = "--pid", number[16];
	char *words[] = { attach, ensure, option, number, NULL };

	if (pid <= 0)
		return cli_fail(cli,
				"Couldn't guard container '%s': its state has no pid; call "
				"this at createRuntime",
				text(state, "id"));
	snprintf(number, sizeof(number), "%d", pid);
	return cmd_attach(cli, 4, words);
}

/* At poststop; what fails here keeps nobody from anything. */
static int forget_gone(struct cli *cli)
{
	char detach[] = "detach", gone[] = "--gone";
	char *words[] = { detach, gone, NULL };

	cmd_detach(cli, 2, words);
	return EXIT_DONE;
}

/* Runtimes throw away what hooks say: then it goes to the journal, where there is one. */
static void be_heard(void)
{
	struct stat out, null;
	int journal;

	if (fstat(STDERR_FILENO, &out) || stat("/dev/null", &null) || out.st_rdev != null.st_rdev)
		return;
	journal = sd_journal_stream_fd("clatch-loader", LOG_ERR, 0);
	if (journal < 0)
		return;
	dup2(journal, STDERR_FILENO);
	close(journal);
}

/* Whatever is not understood is refused: it might have been meant to say "must". */
static int guard(struct cli *cli, json *state)
{
	json *annotations = json_object_object_get(state, "annotations"), *latch;
	bool must, stopped = !strcmp(text(state, "status"), "stopped");
	int status;

	if (!json_object_object_get_ex(annotations, ANNOTATION, &latch))
		return EXIT_DONE;
	must = latch && !strcmp(json_object_get_string(latch), "must");
	if (!stopped && !must && !(latch && !strcmp(json_object_get_string(latch), "try")))
		return cli_fail(cli,
				"Couldn't guard container '%s': annotation " ANNOTATION
				" is '%.32s': expected must or try",
				text(state, "id"), text(annotations, ANNOTATION));
	if (stopped)
		return forget_gone(cli);
	status = attach_to(cli, state);
	if (!status)
		return EXIT_DONE;
	if (must)
		return cli_fail(
			cli,
			"Container '%s' is not to start without latches (annotation " ANNOTATION
			" = must)",
			text(state, "id"));
	cli_warn(cli, "Container '%s' starts without latches (annotation " ANNOTATION " = try)",
		 text(state, "id"));
	return EXIT_DONE;
}

int cmd_hook(struct cli *cli, int argc, char **argv)
{
	int words, status = cli_parse(cli, NULL, argc, argv, 0, &words);
	json *state;

	if (status)
		return status < 0 ? EXIT_DONE : status;
	be_heard();
	state = read_state();
	if (json_object_is_type(state, json_type_object))
		status = guard(cli, state);
	else
		status = cli_fail(cli, "Couldn't read the state of a container, in JSON, from "
				       "stdin: this is to be called by its runtime");
	json_object_put(state);
	return status;
}
