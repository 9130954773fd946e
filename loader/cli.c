// SPDX-License-Identifier: GPL-2.0-only
#include <ctype.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* How many bytes the character at @text has, 0 where it is none in UTF-8 (RFC 3629). */
static int utf8_length(const unsigned char *text)
{
	static const unsigned int least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	int length = 2 + (*text >= 0xe0) + (*text >= 0xf0);
	unsigned int c = *text & (0xff >> (length + 1));

	if (*text < 0x80)
		return 1;
	if (*text < 0xc0 || *text >= 0xf8)
		return 0;
	for (int i = 1; i < length; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (text[i] & 0x3f);
	}
	return c < least[length] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : length;
}

bool cli_is_utf8(const char *text)
{
	int length;

	for (; *text; text += length) {
		length = utf8_length((const unsigned char *)text);
		if (!length)
			return false;
	}
	return true;
}

char *cli_utf8(char *text)
{
	for (char *at = text; *at;) {
		int length = utf8_length((unsigned char *)at);

		if (!length)
			*at = '?';
		at += length ? length : 1;
	}
	return text;
}

static void say(const struct cli *cli, const char *kind, const char *format, va_list args)
{
	struct json_object *line;
	char *text = NULL;

	if (vasprintf(&text, format, args) < 0)
		return;
	if (cli->json) {
		line = json_object_new_object();
		json_object_object_add(line, kind, json_object_new_string(cli_utf8(text)));
		fprintf(stderr, "%s\n",
			json_object_to_json_string_ext(
				line, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
		json_object_put(line);
	} else {
		fprintf(stderr, "%s: %s%s\n", cli->program,
			strcmp(kind, "warning") ? "" : "warning: ", text);
	}
	free(text);
}

int cli_fail(const struct cli *cli, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(cli, "error", format, args);
	va_end(args);
	return EXIT_FAILED;
}

int cli_usage(const struct cli *cli, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(cli, "error", format, args);
	va_end(args);
	if (!cli->json)
		fprintf(stderr, "Try '%s%s%s --help'.\n", cli->program, cli->verb ? " " : "",
			cli->verb ? cli->verb : "");
	return EXIT_USAGE;
}

int cli_flush(const struct cli *cli)
{
	if (fflush(stdout))
		return cli_fail(cli, "Couldn't write: %s", strerror(errno));
	return ferror(stdout) ? cli_fail(cli, "Couldn't write all of it") : 0;
}

void cli_warn(const struct cli *cli, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(cli, "warning", format, args);
	va_end(args);
}

static void print_line(const char *dashes, const char *name, const char *argument, const char *help)
{
	char left[64];

	snprintf(left, sizeof(left), "%s%s%s%s", dashes, name, *argument ? " " : "", argument);
	printf("  %-20s  %s\n", left, help);
}

static void print_words(const struct cli_word *table)
{
	if (table)
		printf("\nWords:\n");
	for (; table && table->name; table++)
		print_line("", table->name, table->argument, table->help);
}

static void print_options(const struct cli_option *table)
{
	for (; table && table->name; table++)
		print_line("--", table->name, table->argument ? table->argument : "", table->help);
}

static void print_help(const struct cli *cli, const struct cli_option *table,
		       const struct cli_option *globals)
{
	const struct cli_verb *verb = cli->entry;

	printf("Usage: %s %s [OPTION]...%s%s\n", cli->program, cli->verb,
	       verb && *verb->arguments ? " " : "", verb ? verb->arguments : "");
	if (verb)
		printf("%c%s.\n", toupper(verb->help[0]), verb->help + 1);
	print_words(cli->words);
	printf("\nOptions:\n");
	print_options(table);
	print_options(globals);
}

static int take_number(const struct cli *cli, const struct cli_option *option, const char *word)
{
	unsigned long number;
	char *end;

	errno = 0;
	number = strtoul(word, &end, 10);
	/* strtoul() takes blanks and signs, and makes -1 a large number */
	if (!isdigit((unsigned char)*word) || *end || errno || number < option->min ||
	    number > option->max)
		return cli_usage(cli, "Wrong number '%s' for --%s: must be from %lu to %lu", word,
				 option->name, option->min, option->max);
	*(unsigned long *)option->value = number;
	return 0;
}

static int take_item(const struct cli *cli, struct cli_list *list, const char *word)
{
	const char **items = reallocarray(list->items, list->count + 1, sizeof(*items));

	if (!items)
		return cli_fail(cli, "Out of memory");
	list->items = items;
	list->items[list->count++] = word;
	return 0;
}

static int take_value(const struct cli *cli, const struct cli_option *option, const char *word)
{
	if (option->type == OPT_NUMBER)
		return take_number(cli, option, word);
	if (!*word)
		return cli_usage(cli, "Option '--%s' is empty: expected --%s %s", option->name,
				 option->name, option->argument);
	if (option->type == OPT_LIST)
		return take_item(cli, option->value, word);
	*(const char **)option->value = word;
	return 0;
}

static const struct cli_option *find_option(const struct cli_option *table, const char *name,
					    size_t length)
{
	for (; table && table->name; table++)
		if (strlen(table->name) == length && !strncmp(table->name, name, length))
			return table;
	return NULL;
}

static const struct cli_option *find_letter(const struct cli_option *globals, const char *word)
{
	if (!strcmp(word, "-j"))
		return find_option(globals, "json", 4);
	if (!strcmp(word, "-h"))
		return find_option(globals, "help", 4);
	return NULL;
}

/* The next word as a value; another option is none, so that a forgotten value is noticed. */
static const char *next_value(int argc, char **argv)
{
	if (argc < 2)
		return NULL;
	if (argv[1][0] == '-' && argv[1][1] && !isdigit((unsigned char)argv[1][1]))
		return NULL;
	return argv[1];
}

/* Takes the option at argv[0]: the number of words it took, or an exit status, negated. */
static int take_option(const struct cli *cli, const struct cli_option *table,
		       const struct cli_option *globals, int argc, char **argv)
{
	const char *name = argv[0] + 2, *value = strchr(argv[0], '=');
	size_t length;
	const struct cli_option *option;
	int words = 1;

	if (argv[0][1] != '-') {
		option = find_letter(globals, argv[0]);
	} else {
		length = value ? (size_t)(value - name) : strlen(name);
		option = find_option(table, name, length);
		if (!option)
			option = find_option(globals, name, length);
	}
	if (!option)
		return -cli_usage(cli, "Unknown option '%s'", argv[0]);
	if (option->type == OPT_FLAG) {
		if (value)
			return -cli_usage(cli, "Option '--%s' takes no value", option->name);
		*(bool *)option->value = true;
		return 1;
	}
	if (value) {
		value++;
	} else {
		value = next_value(argc, argv);
		words = 2;
	}
	if (!value)
		return -cli_usage(cli, "Option '--%s' needs a value: --%s %s", option->name,
				  option->name, option->argument);
	return take_value(cli, option, value) ? -EXIT_USAGE : words;
}

#define GLOBALS 4

static void global_options(struct cli *cli, bool *help, struct cli_option table[GLOBALS])
{
	const struct cli_option options[GLOBALS] = {
		{ "bpffs", "DIR", "where the pins are (default " CLATCH_DEFAULT_BPFFS ")",
		  OPT_STRING, &cli->bpffs, 0, 0 },
		{ "json", NULL, "speak JSON; also -j", OPT_FLAG, &cli->json, 0, 0 },
		{ "help", NULL, "this text; also -h", OPT_FLAG, help, 0, 0 },
		{},
	};

	memcpy(table, options, sizeof(options));
}

int cli_parse(struct cli *cli, const struct cli_option *table, int argc, char **argv,
	      int max_positionals, int *positionals)
{
	bool help = false, only_words = false;
	struct cli_option globals[GLOBALS];
	int words = 0, taken;

	global_options(cli, &help, globals);
	for (int i = 1; i < argc; i += taken) {
		taken = 1;
		if (!only_words && !strcmp(argv[i], "--")) {
			only_words = true;
		} else if (only_words || argv[i][0] != '-' || !argv[i][1]) {
			argv[++words] = argv[i];
		} else {
			taken = take_option(cli, table, globals, argc - i, argv + i);
			if (taken < 0)
				return EXIT_USAGE;
		}
	}
	if (help) {
		print_help(cli, table, globals);
		return -1;
	}
	if (words > max_positionals)
		return cli_usage(cli, "Unexpected argument '%s'", argv[1 + max_positionals]);
	*positionals = words;
	return 0;
}

int cli_parse_global(struct cli *cli, int argc, char **argv)
{
	bool help = false;
	struct cli_option globals[GLOBALS];
	int taken;

	global_options(cli, &help, globals);
	taken = take_option(cli, NULL, globals, argc, argv);
	if (taken < 0)
		return -EXIT_USAGE;
	return help ? 0 : taken;
}

const struct cli_word *cli_find_word(const struct cli *cli, const char *name)
{
	for (const struct cli_word *word = cli->words; word && word->name; word++)
		if (!strcmp(word->name, name))
			return word;
	return NULL;
}

void cli_list_free(struct cli_list *list)
{
	free(list->items);
	*list = (struct cli_list){};
}
