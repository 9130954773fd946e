// SPDX-License-Identifier: GPL-2.0-only
#include "ids_in_use.h"

#include <bpf/bpf.h>
#include <clatch/latch.h>
#include <clatch/sa.h>
#include "map.h"

struct search {
	int more;
	unsigned int highest;
};

static void note_who(struct search *s, struct clatch_who who)
{
	if (s->highest < who.peer_id)
		s->highest = who.peer_id;
	if (s->highest < who.local_id)
		s->highest = who.local_id;
}

static void note_nested(struct search *s, const struct clatch_latch *latch)
{
	struct clatch_more more;

	if (!(latch->flags & CLATCH_HAS_MORE) || bpf_map_lookup_elem(s->more, &latch->id, &more))
		return;
	for (int i = 0; i < CLATCH_MAX_NEST - 1; i++) {
		note_who(s, more.nested[CLATCH_IN][i].who);
		note_who(s, more.nested[CLATCH_OUT][i].who);
	}
}

static int note_latch(void *context, const void *key, const void *value)
{
	const struct clatch_latch *latch = value;

	(void)key;
	if (latch->state == CLATCH_CLOSED) /* its numbers may be of a table that was before */
		return 0;
	note_who(context, latch->held.in.sa.who);
	note_who(context, latch->held.out.sa.who);
	note_nested(context, latch);
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
int ids_in_use(int sas, int latches, int more, unsigned int *highest)
{
	struct search s = { .more = more };
	int err =
		map_each(sas, sizeof(struct clatch_sa_key), sizeof(struct clatch_sa), note_sa, &s);

	if (!err)
		err = map_each(latches, sizeof(struct clatch_tuple), sizeof(struct clatch_latch),
			       note_latch, &s);
	*highest = s.highest;
	return err;
}
