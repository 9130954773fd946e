// SPDX-License-Identifier: GPL-2.0-only
#include "ids.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "map.h"

struct id {
	unsigned int number;
	struct id *before; /* shown only: what the entry said before the table was begun anew */
	char text[]; /* "" = the entry is damaged */
};

struct ids {
	int fd;
	struct id **known; /* [number - 1] */
	unsigned int count;
	unsigned int room;
	void *by_text; /* tsearch(3) */
	struct id **shown; /* [number - 1], NULL = not asked for yet */
	unsigned int shown_room;
	bool remember; /* what is shown is not asked for again */
};

struct ids *ids_new(int fd)
{
	struct ids *ids = calloc(1, sizeof(*ids));

	if (ids)
		ids->fd = fd;
	return ids;
}

static void free_nothing(void *id)
{
	(void)id; /* known has them all */
}

static void free_shown(struct id *id)
{
	while (id) {
		struct id *before = id->before;

		free(id);
		id = before;
	}
}

void ids_free(struct ids *ids)
{
	if (!ids)
		return;
	tdestroy(ids->by_text, free_nothing);
	for (unsigned int i = 0; i < ids->count; i++)
		free(ids->known[i]);
	free(ids->known);
	for (unsigned int i = 0; i < ids->shown_room; i++)
		free_shown(ids->shown[i]);
	free(ids->shown);
	free(ids);
}

/* ASCII's, and those of U+0080 to U+009F, which terminals obey too. */
static bool is_control(const char *at)
{
	unsigned char first = at[0], second = at[1];

	return first < ' ' || first == 0x7f || (first == 0xc2 && second < 0xa0);
}

bool ids_is_text(const char *text)
{
	if (!*text || strlen(text) >= CLATCH_ID_TEXT || !cli_is_utf8(text))
		return false;
	for (; *text; text++)
		if (is_control(text))
			return false;
	return true;
}

static bool is_sound(const struct clatch_id *entry, __u32 number)
{
	return number && entry->text[0] && !entry->text[CLATCH_ID_TEXT - 1] &&
	       entry->seal == clatch_id_seal(number, entry->text);
}

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct id *)a)->text, ((const struct id *)b)->text);
}

static struct id *new_id(unsigned int number, const char *text)
{
	struct id *id = malloc(sizeof(*id) + strlen(text) + 1);

	if (!id)
		return NULL;
	id->number = number;
	id->before = NULL;
	strcpy(id->text, text);
	return id;
}

static int make_room(struct ids *ids)
{
	unsigned int room = ids->room ? 2 * ids->room : 64;
	struct id **more;

	if (ids->count < ids->room)
		return 0;
	more = reallocarray(ids->known, room, sizeof(*more));
	if (!more)
		return -ENOMEM;
	ids->known = more;
	ids->room = room;
	return 0;
}

/* The next number's entry into the copy. */
static int keep(struct ids *ids, const struct clatch_id *entry)
{
	const char *text = is_sound(entry, ids->count + 1) ? entry->text : "";
	struct id *id = new_id(ids->count + 1, text);

	if (!id || make_room(ids)) {
		free(id);
		return -ENOMEM;
	}
	if (*text && !tsearch(id, &ids->by_text, compare)) {
		free(id);
		return -ENOMEM;
	}
	ids->known[ids->count++] = id;
	return 0;
}

/* Reads what is in the map behind what is known.  0 one more is known; -ENOENT there is none. */
static int read_next(struct ids *ids)
{
	__u32 number = ids->count + 1;
	struct clatch_id entry;

	if (bpf_map_lookup_elem(ids->fd, &number, &entry))
		return -errno;
	return keep(ids, &entry);
}

static const struct id *find(const struct ids *ids, const struct id *wanted)
{
	void *found = tfind(wanted, &ids->by_text, compare);

	return found ? *(const struct id **)found : NULL;
}

/* Others may take the number at the same time: then theirs is read, and may be the text's own. */
static int add_next(struct ids *ids, const char *text)
{
	struct clatch_id entry = {};
	__u32 number = ids->count + 1;

	if (number > CLATCH_MAX_IDS)
		return -ENOSPC;
	strcpy(entry.text, text);
	entry.seal = clatch_id_seal(number, entry.text);
	if (!bpf_map_update_elem(ids->fd, &number, &entry, BPF_NOEXIST))
		return keep(ids, &entry);
	if (errno == EEXIST)
		return read_next(ids);
	return errno == E2BIG ? -ENOSPC : -errno;
}

int ids_number(struct ids *ids, const char *text)
{
	struct {
		struct id id;
		char text[CLATCH_ID_TEXT];
	} wanted = {};
	const struct id *known;
	int err;

	if (!ids_is_text(text))
		return -EINVAL;
	strcpy(wanted.text, text);
	while (!(known = find(ids, &wanted.id))) {
		err = add_next(ids, text);
		if (err)
			return err == -ENOENT ? -EUCLEAN : err;
	}
	return known->number;
}

static struct id **shown(struct ids *ids, unsigned int number)
{
	unsigned int room = number > 2 * ids->shown_room ? number : 2 * ids->shown_room;
	struct id **more;

	if (number <= ids->shown_room)
		return &ids->shown[number - 1];
	more = reallocarray(ids->shown, room, sizeof(*more));
	if (!more)
		return NULL;
	memset(more + ids->shown_room, 0, (room - ids->shown_room) * sizeof(*more));
	ids->shown = more;
	ids->shown_room = room;
	return &more[number - 1];
}

void ids_remember(struct ids *ids)
{
	ids->remember = true;
}

static bool is_remembered(const struct ids *ids, unsigned int number)
{
	return ids->remember && number && number <= ids->shown_room && ids->shown[number - 1];
}

/* Read anew each time: `run` may have begun the table anew, where others go on. */
const char *ids_text(struct ids *ids, unsigned int number)
{
	struct clatch_id entry;
	struct id **id, *now;

	if (is_remembered(ids, number))
		return ids->shown[number - 1]->text;
	if (!number || number > CLATCH_MAX_IDS || bpf_map_lookup_elem(ids->fd, &number, &entry) ||
	    !is_sound(&entry, number))
		return NULL;
	id = shown(ids, number);
	if (!id || (*id && !strcmp((*id)->text, entry.text)))
		return id ? (*id)->text : NULL;
	now = new_id(number, entry.text);
	if (!now)
		return NULL;
	now->before = *id; /* somebody may be about to print it */
	*id = now;
	return now->text;
}

struct checking {
	const struct ids *ids;
	unsigned int found;
	__u32 highest;
};

static int check_entry(void *context, const void *key, const void *value)
{
	struct checking *c = context;
	const struct clatch_id *entry = value;
	__u32 number;

	memcpy(&number, key, sizeof(number));
	if (!is_sound(entry, number))
		return -EUCLEAN;
	if (c->highest < number)
		c->highest = number;
	if (number > c->ids->count)
		return 0;
	c->found++;
	return strcmp(entry->text, c->ids->known[number - 1]->text) ? -EUCLEAN : 0;
}

/* To the end, where others may be adding. */
static int read_all(struct ids *ids)
{
	int err;

	do {
		err = read_next(ids);
	} while (!err);
	return err == -ENOENT ? 0 : err;
}

int ids_check(struct ids *ids, unsigned int highest)
{
	struct checking c = { .ids = ids, .highest = highest };
	unsigned int count;
	int err = read_all(ids);

	count = ids->count;
	if (!err)
		err = map_each_steady(ids->fd, sizeof(__u32), sizeof(struct clatch_id), check_entry,
				      &c);
	if (!err && c.highest > count)
		err = read_all(ids); /* added meanwhile; else one before it has gone */
	if (err)
		return err;
	return c.found < count || c.highest > ids->count ? -EUCLEAN : 0;
}
