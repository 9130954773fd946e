/* SPDX-License-Identifier: GPL-2.0-only */
/* The identity table clatch_ids: texts by small number, and the way back (RFC 5660 R33). */
#ifndef CLATCH_IDS_H
#define CLATCH_IDS_H

#include <clatch/identity.h>
#include <stdbool.h>

struct ids; /* a copy of the table, as far as it was asked for */

/* Of the map @fd, which must stay open.  NULL = no memory. */
struct ids *ids_new(int fd);
void ids_free(struct ids *ids);

/* Can it be an identity: some text, UTF-8, no control characters, and not too long? */
bool ids_is_text(const char *text);

/*
 * The number of a text, a new one if it has none.  -EINVAL it can be no identity; -ENOSPC the table
 * is full; -EUCLEAN the table is damaged; -errno.  Several processes may do so at once.
 */
int ids_number(struct ids *ids, const char *text);

/*
 * What the table says now.  NULL where there is no such number, or its entry is damaged.  Valid until
 * ids_free().
 */
const char *ids_text(struct ids *ids, unsigned int number);

/*
 * From now on what was read once is not read again, for who reads much and soon ends: `list`.
 */
void ids_remember(struct ids *ids);

/*
 * @highest: a number that is in use, and so must be there, as all before it.  0; -EUCLEAN an entry
 * has changed or gone, or is damaged; -errno.
 */
int ids_check(struct ids *ids, unsigned int highest);

#endif
