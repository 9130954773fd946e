// SPDX-License-Identifier: GPL-2.0-only
#include "policy.h"

#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "policy_key.h"

#define LINE_ROOM (INI_MAX_LINE - 3) /* libinih cuts off longer lines */
#define BLANKS " \t\v\f\r"
#define MOST_KEYS RULE_KEYS /* [clatch] has fewer */

enum section { SECTION_NONE, SECTION_UNKNOWN, SECTION_CLATCH, SECTION_RULE };

struct parser {
	struct policy *policy;
	struct policy_draft draft;
	unsigned int line;
	enum section section;
	const struct policy_key *keys; /* of this section */
	unsigned int key_lines[MOST_KEYS]; /* where each was given in this section, 0 = not yet */
	unsigned int clatch_line; /* where [clatch] is, 0 = nowhere yet */
	unsigned int rule_lines[CLATCH_MAX_RULES];
	const char *fault; /* of the line's text */
	int err; /* -ENOMEM */
};

static int add_mistake(struct policy *policy, const struct policy_mistake *mistake)
{
	struct policy_mistake *grown = reallocarray(policy->mistakes, policy->mistake_count + 1,
						    sizeof(*policy->mistakes));

	if (!grown)
		return -ENOMEM;
	policy->mistakes = grown;
	policy->mistakes[policy->mistake_count++] = *mistake;
	return 0;
}

__attribute__((format(printf, 4, 5))) static void mistake(struct parser *p, unsigned int line,
							  const char *key, const char *format, ...)
{
	struct policy_mistake m = { .line = line, .key = key ? strdup(key) : NULL };
	va_list args;

	va_start(args, format);
	if (vasprintf(&m.text, format, args) < 0)
		m.text = NULL;
	va_end(args);
	if (!m.text || (key && !m.key) || add_mistake(p->policy, &m)) {
		free(m.key);
		free(m.text);
		p->err = -ENOMEM;
	}
}

/* What keeps a text from being shown, or from being what it seems; NULL where nothing does. */
static const char *text_fault(const char *text)
{
	if (!cli_is_utf8(text))
		return "is not UTF-8: expected text in UTF-8";
	for (; *text; text++)
		if (((unsigned char)*text < ' ' && *text != '\t') || *text == 0x7f)
			return "has a control character: expected text";
	return NULL;
}

static void say_of_rule(void *context, enum rule_key key, const char *text)
{
	struct parser *p = context;

	mistake(p, p->key_lines[key], policy_rule_keys[key].name, "%s", text);
}

/* What is beyond the limit is read for its mistakes only. */
static void end_rule(struct parser *p)
{
	struct policy *policy = p->policy;

	policy_check_rule(&p->draft.rule, say_of_rule, p);
	if (policy->rule_count < CLATCH_MAX_RULES)
		policy->rules[policy->rule_count] = p->draft.rule;
	policy->rule_count++;
}

static void end_section(struct parser *p)
{
	if (p->section == SECTION_RULE)
		end_rule(p);
	p->section = SECTION_UNKNOWN;
	memset(p->key_lines, 0, sizeof(p->key_lines));
}

static void begin_clatch(struct parser *p)
{
	p->section = SECTION_CLATCH;
	p->keys = policy_settings;
	if (p->clatch_line)
		mistake(p, p->line, NULL, "[clatch] again: expected it once, as at line %u",
			p->clatch_line);
	else
		p->clatch_line = p->line;
}

/* The line of a rule before that has this name, or 0. */
static unsigned int find_name(const struct parser *p, const char *name)
{
	for (unsigned int i = 0; i < p->policy->rule_count && i < CLATCH_MAX_RULES; i++)
		if (!strcmp(p->policy->rules[i].name, name))
			return p->rule_lines[i];
	return 0;
}

/* A rule whose name is not good has none: its keys are read all the same. */
static void name_rule(struct parser *p, const char *name)
{
	unsigned int before = find_name(p, name);

	if (p->fault)
		mistake(p, p->line, NULL, "the rule's name %s", p->fault);
	else if (!*name)
		mistake(p, p->line, NULL, "a rule without a name: expected [rule NAME]");
	else if (strlen(name) >= CLATCH_RULE_NAME)
		mistake(p, p->line, NULL, "the rule's name has %zu bytes: expected at most %d",
			strlen(name), CLATCH_RULE_NAME - 1);
	else if (strpbrk(name, "[;#"))
		mistake(p, p->line, NULL, "the rule's name is '%s': expected none of [ ; # in it",
			name);
	else if (before)
		mistake(p, p->line, NULL,
			"another rule '%s': expected a name of its own, this is that of line %u",
			name, before);
	else
		strcpy(p->draft.rule.name, name);
	p->fault = NULL;
}

static void begin_rule(struct parser *p, const char *name)
{
	unsigned int count = p->policy->rule_count;

	p->section = SECTION_RULE;
	p->keys = policy_rule_keys;
	policy_rule_init(&p->draft.rule);
	if (count < CLATCH_MAX_RULES)
		p->rule_lines[count] = p->line;
	else if (count == CLATCH_MAX_RULES)
		mistake(p, p->line, NULL, "too many rules: expected at most %d", CLATCH_MAX_RULES);
	name_rule(p, name);
}

/* Cuts blanks off both ends of @text. */
static char *strip(char *text)
{
	size_t length;

	text += strspn(text, BLANKS);
	for (length = strlen(text); length && strchr(BLANKS, text[length - 1]); length--)
		text[length - 1] = '\0';
	return text;
}

/* libinih does not tell of sections without keys, so that headings are read here.  @text: past [ */
static void take_heading(struct parser *p, char *text)
{
	char *end = strchr(text, ']'), *behind, *name;

	end_section(p);
	if (!end) {
		mistake(p, p->line, NULL,
			"a section without ']': expected [clatch] or [rule NAME]");
		return;
	}
	behind = strip(end + 1);
	if (*behind && *behind != ';' && *behind != '#')
		mistake(p, p->line, NULL, "more after the section's ']': expected nothing");
	*end = '\0';
	name = strip(text);
	if (!strcmp(name, "clatch"))
		begin_clatch(p);
	else if (!strncmp(name, "rule", 4) && (!name[4] || strchr(BLANKS, name[4])))
		begin_rule(p, strip(name + 4));
	else if (!p->fault)
		mistake(p, p->line, NULL, "unknown section [%s]: expected [clatch] or [rule NAME]",
			name);
}

/* "a, b or c" */
static char *list_keys(const struct policy_key *keys)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	if (!out)
		return NULL;
	for (const struct policy_key *key = keys; key->name; key++)
		fprintf(out, "%s%s", key == keys ? "" : key[1].name ? ", " : " or ", key->name);
	fclose(out);
	return text;
}

static const struct policy_key *find_key(struct parser *p, const char *name)
{
	_cleanup_free_ char *known = NULL;

	for (const struct policy_key *key = p->keys; key->name; key++)
		if (!strcmp(key->name, name))
			return key;
	known = list_keys(p->keys);
	mistake(p, p->line, name, "unknown key: expected %s", known ? known : "another");
	return NULL;
}

static void take_value(struct parser *p, const struct policy_key *key, const char *value)
{
	unsigned int *line = &p->key_lines[key - p->keys];
	char why[POLICY_WHY] = "";

	if (*line && !key->again)
		mistake(p, p->line, key->name, "given again: expected once, as at line %u", *line);
	else
		*line = p->line;
	if (!*value || *value == ';') /* libinih: a comment only after a blank */
		mistake(p, p->line, key->name, "no value: expected %s", key->expected);
	else if (strstr(value, " #") || strstr(value, "\t#"))
		mistake(p, p->line, key->name, "'%s': expected ; before a comment after a value",
			value);
	else if (!key->take(&p->draft, value, why))
		return;
	else if (*why)
		mistake(p, p->line, key->name, "%s", why);
	else
		mistake(p, p->line, key->name, "'%s': expected %s", value, key->expected);
}

/* A line with key and value; libinih's handler: 1 = understood, or its mistake said here. */
static int take_pair(void *context, const char *section, const char *name, const char *value)
{
	const struct policy_key *key;
	struct parser *p = context;

	(void)section; /* each line is read by itself */
	if (text_fault(name))
		return 1; /* p->fault is said for the line */
	if (p->fault) {
		mistake(p, p->line, name, "%s", p->fault);
		p->fault = NULL;
		return 1;
	}
	if (!*name)
		return 0;
	if (p->section == SECTION_NONE)
		mistake(p, p->line, name,
			"a key before any section: expected [clatch] or [rule NAME]");
	if (p->section <= SECTION_UNKNOWN)
		return 1;
	key = find_key(p, name);
	if (key)
		take_value(p, key, value);
	return 1;
}

static void take_line(struct parser *p, char *line)
{
	p->fault = text_fault(line);
	line = strip(line);
	if (*line == '[')
		take_heading(p, line + 1);
	else if (ini_parse_string(line, take_pair, p) && !p->fault)
		mistake(p, p->line, NULL,
			"neither a section nor a key: expected [SECTION] or KEY = VALUE");
	if (p->fault)
		mistake(p, p->line, NULL, "the line %s", p->fault);
}

static void take_bytes(struct parser *p, const char *text, size_t length)
{
	char line[LINE_ROOM + 1];

	if (length && text[length - 1] == '\r')
		length--;
	if (length > LINE_ROOM) {
		mistake(p, p->line, NULL, "the line has %zu bytes: expected at most %d", length,
			LINE_ROOM);
		return;
	}
	if (memchr(text, '\0', length)) {
		mistake(p, p->line, NULL, "the line has a zero byte: expected text");
		return;
	}
	memcpy(line, text, length);
	line[length] = '\0';
	take_line(p, line);
}

static int by_line(const void *a, const void *b)
{
	const struct policy_mistake *x = a, *y = b;

	return (x->line > y->line) - (x->line < y->line);
}

int policy_parse(struct policy *policy, const char *text, size_t length)
{
	static const char mark[] = "\xef\xbb\xbf"; /* byte order mark of UTF-8 */
	struct parser p = { .policy = policy, .draft.policy = policy };
	const char *end = text + length, *next;

	policy->rules = calloc(CLATCH_MAX_RULES, sizeof(*policy->rules));
	if (!policy->rules)
		return -ENOMEM;
	if (length >= strlen(mark) && !memcmp(text, mark, strlen(mark)))
		text += strlen(mark);
	for (; text < end && !p.err; text = next) {
		const char *stop = memchr(text, '\n', end - text);

		next = stop ? stop + 1 : end;
		p.line++;
		take_bytes(&p, text, (stop ? stop : end) - text);
	}
	end_section(&p);
	if (policy->mistake_count)
		qsort(policy->mistakes, policy->mistake_count, sizeof(*policy->mistakes), by_line);
	return p.err;
}

void policy_free(struct policy *policy)
{
	for (unsigned int i = 0; i < policy->mistake_count; i++) {
		free(policy->mistakes[i].key);
		free(policy->mistakes[i].text);
	}
	free(policy->mistakes);
	free(policy->may_turn_off);
	free(policy->rules);
	*policy = (struct policy)POLICY_INIT;
}
