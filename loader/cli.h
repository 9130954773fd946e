/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The command line: the table of verbs, the options each declares, and how errors are said.
 */
#ifndef CLATCH_CLI_H
#define CLATCH_CLI_H

#include <stdbool.h>
#include <stddef.h>

#define CLATCH_DEFAULT_BPFFS "/sys/fs/bpf/clatch"

enum { EXIT_DONE, EXIT_FAILED, EXIT_USAGE };

/* What every verb is given: global options and the words that follow the verb. */
struct cli {
	const char *program; /* "clatch-loader" */
	const char *verb;
	const char *bpffs; /* --bpffs DIR: the directory that holds the pins */
	bool json; /* -j, --json */
	const struct cli_verb *entry; /* the verb's own, for its --help; may be NULL */
	const struct cli_word *words; /* of a verb that has some, for its --help; else NULL */
};

/* What a verb is to do, where it can do several things: "check" in `policy check FILE`. */
struct cli_word {
	const char *name; /* ends the table when NULL */
	const char *argument; /* what follows it, or "" */
	const char *help;
	int (*run)(const struct cli *cli, const void *context);
};

/* One option of one verb; the parser, the usage text and --help all come from this table. */
enum option_type { OPT_FLAG, OPT_STRING, OPT_LIST, OPT_NUMBER };

struct cli_list {
	const char **items; /* points into argv */
	size_t count;
};

struct cli_option {
	const char *name; /* long name without dashes; ends the table when NULL */
	const char *argument; /* its name in the usage text, NULL for OPT_FLAG */
	const char *help;
	enum option_type type;
	void *value; /* bool *, const char **, struct cli_list *, unsigned long * by type */
	unsigned long min, max; /* OPT_NUMBER */
};

struct cli_verb {
	const char *name;
	const char *arguments; /* positional arguments in the usage text, or "" */
	const char *help; /* one line */
	int (*run)(struct cli *cli, int argc, char **argv); /* argv[0] is the verb */
};

/*
 * Parses argv[1…] by @table (the global options are understood everywhere).  Positional words are
 * moved to the front of argv[1…]; *positionals gets their number (more than @max_positionals is a
 * usage error).  0; EXIT_USAGE after an error was printed; -1 where --help was asked for and given
 * (the verb then returns EXIT_DONE).
 */
int cli_parse(struct cli *cli, const struct cli_option *table, int argc, char **argv,
	      int max_positionals, int *positionals);
/* One global option before the verb: the number of words it took, or as cli_parse(). */
int cli_parse_global(struct cli *cli, int argc, char **argv);
void cli_list_free(struct cli_list *list);
/* The word of that name in cli->words, or NULL. */
const struct cli_word *cli_find_word(const struct cli *cli, const char *name);

/*
 * Says an error once, on stderr: "clatch-loader: Couldn't …: …", or {"error":"Couldn't …"} with
 * --json.  The text says what failed, on what, why, and what to do.  Returns EXIT_FAILED.
 */
int cli_fail(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for a wrong command line; returns EXIT_USAGE. */
int cli_usage(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* At the end of what was printed to stdout: 0, or as cli_fail() when it could not all be written. */
int cli_flush(const struct cli *cli);
/* A warning, on stderr, as text in both forms ({"warning":…} with --json). */
void cli_warn(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Is it UTF-8 throughout? */
bool cli_is_utf8(const char *text);
/* Makes a name fit for JSON: a '?' for each byte that is not of UTF-8.  Returns @text. */
char *cli_utf8(char *text);

int cmd_load(struct cli *cli, int argc, char **argv);
int cmd_unload(struct cli *cli, int argc, char **argv);
int cmd_attach(struct cli *cli, int argc, char **argv);
int cmd_detach(struct cli *cli, int argc, char **argv);
int cmd_status(struct cli *cli, int argc, char **argv);
int cmd_list(struct cli *cli, int argc, char **argv);
int cmd_show(struct cli *cli, int argc, char **argv);
int cmd_monitor(struct cli *cli, int argc, char **argv);
int cmd_close(struct cli *cli, int argc, char **argv);
int cmd_run(struct cli *cli, int argc, char **argv);
int cmd_policy(struct cli *cli, int argc, char **argv);
int cmd_identity(struct cli *cli, int argc, char **argv);
int cmd_hook(struct cli *cli, int argc, char **argv);
int cmd_features(struct cli *cli, int argc, char **argv);

#endif
