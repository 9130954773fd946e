// SPDX-License-Identifier: GPL-2.0-only
#include "json_writer.h"

#include <json-c/json.h>

/* Most are short: a call for each would take longer. */
static void put_text(struct json_writer *w, const char *text)
{
	while (*text)
		putc_unlocked(*text++, w->file);
}

static void begin_value(struct json_writer *w, const char *key)
{
	if (w->more)
		putc_unlocked(',', w->file);
	w->more = true;
	if (!key)
		return;
	putc_unlocked('"', w->file);
	put_text(w, key);
	put_text(w, "\":");
}

static void begin(struct json_writer *w, const char *key, char bracket)
{
	begin_value(w, key);
	putc_unlocked(bracket, w->file);
	w->more = false;
}

static void end(struct json_writer *w, char bracket)
{
	putc_unlocked(bracket, w->file);
	w->more = true;
}

void put_begin(struct json_writer *w, const char *key)
{
	begin(w, key, '{');
}

void put_end(struct json_writer *w)
{
	end(w, '}');
}

void put_begin_list(struct json_writer *w, const char *key)
{
	begin(w, key, '[');
}

void put_end_list(struct json_writer *w)
{
	end(w, ']');
}

static bool needs_escape(unsigned char c)
{
	return c < ' ' || c == '"' || c == '\\';
}

static void put_escaped(struct json_writer *w, unsigned char c)
{
	static const char letters[][2] = { "\bb", "\ff", "\nn", "\rr", "\tt", "\"\"", "\\\\" };

	for (size_t i = 0; i < sizeof(letters) / sizeof(letters[0]); i++) {
		if (letters[i][0] != c)
			continue;
		putc_unlocked('\\', w->file);
		putc_unlocked(letters[i][1], w->file);
		return;
	}
	fprintf(w->file, "\\u%04x", c);
}

void put_string(struct json_writer *w, const char *key, const char *value)
{
	begin_value(w, key);
	if (!value) {
		put_text(w, "null");
		return;
	}
	putc_unlocked('"', w->file);
	for (; *value; value++) {
		if (needs_escape(*value))
			put_escaped(w, *value);
		else
			putc_unlocked(*value, w->file);
	}
	putc_unlocked('"', w->file);
}

void put_number(struct json_writer *w, const char *key, __u64 value)
{
	char digits[21] = "", *first = digits + sizeof(digits) - 1;

	begin_value(w, key);
	do {
		*--first = '0' + value % 10;
		value /= 10;
	} while (value);
	put_text(w, first);
}

void put_bool(struct json_writer *w, const char *key, bool value)
{
	begin_value(w, key);
	put_text(w, value ? "true" : "false");
}

void put_built(struct json_writer *w, const char *key, struct json_object *value)
{
	begin_value(w, key);
	put_text(w, json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN |
								  JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(value);
}
