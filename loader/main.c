// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "object.h"

static const struct cli_verb verbs[] = {
	{ "load", "", "load the programs, attach them and return", cmd_load },
	{ "unload", "", "take everything away again", cmd_unload },
	{ "attach", "", "guard more cgroups or devices", cmd_attach },
	{ "detach", "", "stop guarding cgroups or devices", cmd_detach },
	{ "status", "", "say what is loaded, what is guarded, and what was dropped", cmd_status },
	{ "list", "", "list the latches", cmd_list },
	{ "show", "ID", "show one latch in full, by the ID that list prints", cmd_show },
	{ "close", "[ID]...", "end connections, as if their peers had reset them", cmd_close },
	{ "monitor", "", "print events as they happen", cmd_monitor },
	{ "run", "", "stay, follow the kernel's SAs and print events; load first if need be",
	  cmd_run },
	{ "policy", "WORD", "rules: check FILE, load FILE, or show what is in force", cmd_policy },
	{ "identity", "WORD", "who is at the ends of an SA: add, del, or list what is known",
	  cmd_identity },
	{ "hook", "", "guard a container, called by its OCI runtime: its state is on stdin",
	  cmd_hook },
	{ "features", "", "say what this kernel has of what clatch needs", cmd_features },
};

#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static void print_usage(FILE *out, const char *program)
{
	char left[32];

	fprintf(out,
		"Usage: %s COMMAND [OPTION]...\n"
		"Holds each connection to the IPsec protection it started with.\n\n"
		"Commands:\n",
		program);
	for (size_t i = 0; i < VERBS; i++) {
		snprintf(left, sizeof(left), "%s %s", verbs[i].name, verbs[i].arguments);
		fprintf(out, "  %-13s %s\n", left, verbs[i].help);
	}
	fprintf(out, "  %-13s %s\n  %-13s %s\n\n", "help", "this text, or that of a command",
		"--version", "the version");
	fprintf(out, "Every command: -j, --json; --bpffs DIR (default " CLATCH_DEFAULT_BPFFS
		     "); -h, --help\nExit status: 0 done, 1 failed, 2 wrong command line\n");
}

static const struct cli_verb *find_verb(const char *name)
{
	for (size_t i = 0; i < VERBS; i++)
		if (!strcmp(verbs[i].name, name))
			return &verbs[i];
	return NULL;
}

/* Known before the command line is parsed: a mistake in it is to be said in JSON as well. */
static bool wants_json(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
		if (!strcmp(argv[i], "-j") || !strcmp(argv[i], "--json"))
			return true;
	return false;
}

static int dispatch(struct cli *cli, int argc, char **argv)
{
	cli->entry = find_verb(argv[0]);
	if (!cli->entry)
		return cli_usage(cli, "Unknown command '%s'", argv[0]);
	cli->verb = cli->entry->name;
	return cli->entry->run(cli, argc, argv);
}

/* "help VERB" is "VERB --help". */
static int help(struct cli *cli, int argc, char **argv)
{
	char option[] = "--help", *words[] = { argc > 1 ? argv[1] : NULL, option, NULL };

	if (argc > 1 && argv[1][0] != '-')
		return dispatch(cli, 2, words);
	print_usage(stdout, cli->program);
	return EXIT_DONE;
}

int main(int argc, char **argv)
{
	struct cli cli = {
		.program = "clatch-loader",
		.bpffs = CLATCH_DEFAULT_BPFFS,
		.json = wants_json(argc, argv),
	};
	int at = 1, taken;

	object_capture_log();
	for (; at < argc && argv[at][0] == '-'; at += taken) {
		if (!strcmp(argv[at], "--version")) {
			printf("clatch-loader %s\n", CLATCH_VERSION);
			return EXIT_DONE;
		}
		taken = cli_parse_global(&cli, argc - at, argv + at);
		if (taken < 0)
			return EXIT_USAGE;
		if (!taken)
			return help(&cli, 0, NULL);
	}
	if (at >= argc) {
		if (cli.json)
			return cli_usage(&cli, "No command");
		print_usage(stderr, cli.program);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[at], "help"))
		return help(&cli, argc - at, argv + at);
	return dispatch(&cli, argc - at, argv + at);
}
