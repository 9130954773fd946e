// SPDX-License-Identifier: GPL-2.0-only
#include "ids_in_use.h"

#include <clatch/latch.h>
#include <clatch/sa.h>
#include "map.h"

static void note_who(unsigned int *highest, struct clatch_who who)
{
	if (*highest < who.peer_id)
		*highest = who.peer_id;
	if (*highest < who.local_id)
		*highest = who.local_id;
}

static int note_latch(void *context, const void *key, const void *value)
{
	const struct clatch_latch *latch = value;

	(void)key;
	if (latch->state == CLATCH_CLOSED) /* its numbers may be of a table that was before */
		return 0;
	for (int i = 0; i < CLATCH_MAX_NEST; i++) {
		note_who(context, latch->in.sa[i].who);
		note_who(context, latch->out.sa[i].who);
	}
	return 0;
}

static int note_sa(void *context, const void *key, const void *value)
{
	const struct clatch_sa *sa = value;

	(void)key;
	note_who(context, sa->who);
	return 0;
}

/* SAs first: a latch takes its numbers from them, and they from nothing that is looked at here. */
int ids_in_use(int sas, int latches, unsigned int *highest)
{
	int err;

	*highest = 0;
	err = map_each(sas, sizeof(struct clatch_sa_key), sizeof(struct clatch_sa), note_sa,
		       highest);
	return err ? err
		   : map_each(latches, sizeof(struct clatch_tuple), sizeof(struct clatch_latch),
			      note_latch, highest);
}
