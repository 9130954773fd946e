/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Writes JSON as it goes.  json-c builds an object first, which takes most of the time of a list of a
 * million latches.
 */
#ifndef CLATCH_JSON_WRITER_H
#define CLATCH_JSON_WRITER_H

#include <linux/types.h>
#include <stdbool.h>
#include <stdio.h>

struct json_object;

struct json_writer {
	FILE *file;
	bool more; /* a comma goes before what comes next */
};

/* @key: a literal that needs no escapes; NULL in a list, and for the outermost. */
void put_begin(struct json_writer *w, const char *key);
void put_end(struct json_writer *w);
void put_begin_list(struct json_writer *w, const char *key);
void put_end_list(struct json_writer *w);

/* UTF-8; NULL = null */
void put_string(struct json_writer *w, const char *key, const char *value);
void put_number(struct json_writer *w, const char *key, __u64 value);
void put_bool(struct json_writer *w, const char *key, bool value);
/* What json-c has built, and is freed; NULL = null */
void put_built(struct json_writer *w, const char *key, struct json_object *value);

#endif
