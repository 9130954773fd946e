// SPDX-License-Identifier: GPL-2.0-only
#include "vici_message.h"

#include <errno.h>
#include <string.h>

#define LENGTH_SIZE 4 /* before a packet */

enum token_type {
	SECTION_START = 1,
	SECTION_END,
	KEY_VALUE,
	LIST_START,
	LIST_ITEM,
	LIST_END,
};

struct token {
	__u8 type;
	struct vici_bytes name;
	struct vici_bytes value;
};

static bool take(struct vici_bytes *rest, size_t size, struct vici_bytes *taken)
{
	if (rest->size < size)
		return false;
	*taken = (struct vici_bytes){ rest->data, size };
	rest->data += size;
	rest->size -= size;
	return true;
}

/* A big endian length of @width bytes, and that many bytes. */
static bool take_counted(struct vici_bytes *rest, size_t width, struct vici_bytes *taken)
{
	struct vici_bytes length;
	size_t size = 0;

	if (!take(rest, width, &length))
		return false;
	for (size_t i = 0; i < width; i++)
		size = size << 8 | length.data[i];
	return take(rest, size, taken);
}

static bool take_name(struct vici_bytes *rest, struct vici_bytes *name)
{
	return take_counted(rest, 1, name);
}

static bool take_value(struct vici_bytes *rest, struct vici_bytes *value)
{
	return take_counted(rest, 2, value);
}

static bool take_token(struct vici_bytes *rest, struct token *token)
{
	struct vici_bytes type;

	if (!take(rest, 1, &type))
		return false;
	*token = (struct token){ .type = type.data[0] };
	switch (token->type) {
	case SECTION_START:
	case LIST_START:
		return take_name(rest, &token->name);
	case KEY_VALUE:
		return take_name(rest, &token->name) && take_value(rest, &token->value);
	case LIST_ITEM:
		return take_value(rest, &token->value);
	case SECTION_END:
	case LIST_END:
		return true;
	}
	return false;
}

struct place {
	unsigned int depth; /* sections around */
	bool list;
};

/* Goes past a token of @type, where it may stand. */
static bool move(struct place *p, __u8 type)
{
	switch (type) {
	case SECTION_START:
		return !p->list && ++p->depth <= VICI_MAX_DEPTH;
	case SECTION_END:
		return !p->list && p->depth--;
	case KEY_VALUE:
		return !p->list;
	case LIST_START:
		p->list = !p->list;
		return p->list;
	case LIST_ITEM:
		return p->list;
	case LIST_END:
		p->list = !p->list;
		return !p->list;
	}
	return false;
}

static bool is_well_formed(struct vici_bytes rest)
{
	struct place place = {};
	struct token token;

	while (rest.size)
		if (!take_token(&rest, &token) || !move(&place, token.type))
			return false;
	return !place.depth && !place.list;
}

static bool has_name(enum vici_type type)
{
	return type == VICI_CMD_REQUEST || type == VICI_EVENT_REGISTER ||
	       type == VICI_EVENT_UNREGISTER || type == VICI_EVENT;
}

int vici_parse(struct vici_packet *packet, const void *body, size_t size)
{
	struct vici_bytes type, rest = { body, size };
	struct vici_packet p = {};

	if (!take(&rest, 1, &type) || type.data[0] > VICI_EVENT)
		return -EBADMSG;
	p.type = type.data[0];
	if (has_name(p.type) && !take_name(&rest, &p.name))
		return -EBADMSG;
	if (!is_well_formed(rest))
		return -EBADMSG;
	p.message.bytes = rest;
	*packet = p;
	return 0;
}

/* What stands before the end that belongs to a start just taken, which goes too. */
static struct vici_section take_inside(struct vici_bytes *rest)
{
	struct vici_section inside = { { rest->data, 0 } };
	unsigned int open = 1;
	struct token token;

	while (open && take_token(rest, &token)) {
		if (token.type == SECTION_START || token.type == LIST_START)
			open++;
		else if (token.type == SECTION_END || token.type == LIST_END)
			open--;
		if (open)
			inside.bytes.size = rest->data - inside.bytes.data;
	}
	return inside;
}

bool vici_next(struct vici_section *rest, struct vici_element *element)
{
	static const enum vici_kind kinds[] = {
		[SECTION_START] = VICI_SECTION,
		[KEY_VALUE] = VICI_VALUE,
		[LIST_START] = VICI_LIST,
		[LIST_ITEM] = VICI_ITEM,
	};
	struct token token;

	if (!take_token(&rest->bytes, &token) || token.type == SECTION_END ||
	    token.type == LIST_END)
		return false;
	*element = (struct vici_element){
		.kind = kinds[token.type],
		.name = token.name,
		.value = token.value,
	};
	if (token.type == SECTION_START || token.type == LIST_START)
		element->inside = take_inside(&rest->bytes);
	return true;
}

bool vici_is(struct vici_bytes bytes, const char *text)
{
	return bytes.data && bytes.size == strlen(text) && !memcmp(bytes.data, text, bytes.size);
}

static bool find(struct vici_section section, enum vici_kind kind, const char *name,
		 struct vici_element *found)
{
	struct vici_element element;
	unsigned int count = 0;

	while (vici_next(&section, &element)) {
		if (element.kind != kind || !vici_is(element.name, name))
			continue;
		*found = element;
		count++;
	}
	return count == 1;
}

struct vici_bytes vici_get(struct vici_section section, const char *key)
{
	struct vici_element found;

	if (!find(section, VICI_VALUE, key, &found))
		return (struct vici_bytes){};
	return found.value;
}

struct vici_section vici_section(struct vici_section section, const char *name)
{
	struct vici_element found;

	if (!find(section, VICI_SECTION, name, &found))
		return (struct vici_section){};
	return found.inside;
}

int vici_text(struct vici_section section, const char *key, char *to, size_t room)
{
	struct vici_bytes value = vici_get(section, key);

	to[0] = '\0';
	if (!value.data)
		return -ENOENT;
	if (value.size >= room)
		return -EMSGSIZE;
	if (memchr(value.data, '\0', value.size))
		return -EBADMSG;
	memcpy(to, value.data, value.size);
	to[value.size] = '\0';
	return 0;
}

struct writer {
	__u8 *data;
	size_t size;
	size_t room;
	bool full;
};

static void put(struct writer *w, const void *data, size_t size)
{
	if (w->full || size > w->room - w->size) {
		w->full = true;
		return;
	}
	memcpy(w->data + w->size, data, size);
	w->size += size;
}

static void put_number(struct writer *w, size_t width, size_t number)
{
	for (size_t i = width; i--;)
		put(w, &(__u8){ number >> 8 * i }, 1);
}

static void put_counted(struct writer *w, size_t width, const char *text)
{
	size_t size = strlen(text);

	if (size >> 8 * width)
		w->full = true;
	put_number(w, width, size);
	put(w, text, size);
}

long vici_build(void *to, size_t room, enum vici_type type, const char *name,
		const struct vici_pair *pairs, size_t count)
{
	struct writer length = { .data = to, .room = LENGTH_SIZE };
	struct writer w = { .data = to, .room = room };

	put_number(&w, LENGTH_SIZE, 0);
	put_number(&w, 1, type);
	put_counted(&w, 1, name);
	for (size_t i = 0; i < count; i++) {
		put_number(&w, 1, KEY_VALUE);
		put_counted(&w, 1, pairs[i].key);
		put_counted(&w, 2, pairs[i].value);
	}
	if (w.full || w.size > LENGTH_SIZE + VICI_MAX_PACKET)
		return -EMSGSIZE;
	put_number(&length, LENGTH_SIZE, w.size - LENGTH_SIZE);
	return w.size;
}
