// SPDX-License-Identifier: GPL-2.0-only
#include "sa_table.h"

#include <bpf/bpf.h>
#include <errno.h>

#include "cleanup.h"
#include "pins.h"

int sa_table_open(struct sa_table *t, const struct cli *cli)
{
	t->sas = pins_map(cli, "clatch_sas");
	if (t->sas < 0)
		return t->sas;
	t->generation = pins_map(cli, "clatch_generation");
	return t->generation < 0 ? t->generation : 0;
}

void sa_table_close(struct sa_table *t)
{
	cleanup_close(&t->sas);
	cleanup_close(&t->generation);
	*t = (struct sa_table)SA_TABLE_INIT;
}

void sa_table_recall(const struct sa_table *t, const struct clatch_sa_key *key,
		     struct clatch_sa *sa)
{
	struct clatch_sa entry;

	if (!bpf_map_lookup_elem(t->sas, key, &entry) && entry.key_tag == sa->key_tag) {
		sa->who = entry.who;
		sa->told_us = entry.told_us;
	}
}

/* E2BIG is a full map's word, ENOSPC is ours. */
int sa_table_put(const struct sa_table *t, const struct clatch_sa_key *key,
		 const struct clatch_sa *sa)
{
	int err = bpf_map_update_elem(t->sas, key, sa, BPF_ANY);

	return err == -E2BIG ? -ENOSPC : err;
}

int sa_table_remove(const struct sa_table *t, const struct clatch_sa_key *key)
{
	int err = bpf_map_delete_elem(t->sas, key);

	return err == -ENOENT ? 0 : err;
}

int sa_table_generation(const struct sa_table *t, __u32 *generation)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(t->generation, &zero, generation);
}

/*
 * The packet path looks again at what it found congruent before.  Two at once may write the same
 * number: each wrote its entry before it read the old one, so both entries are seen by then.
 */
static int raise_generation(const struct sa_table *t)
{
	__u32 zero = 0, generation;
	int err = sa_table_generation(t, &generation);

	if (err)
		return err;
	generation++;
	return bpf_map_update_elem(t->generation, &zero, &generation, BPF_ANY);
}

static int change(const struct sa_table *t, const struct clatch_sa_key *key,
		  struct clatch_sa *entry, struct clatch_who who, __u32 after_us)
{
	int err;

	if (entry->who.local_id == who.local_id && entry->who.peer_id == who.peer_id)
		return 0;
	entry->who = who;
	entry->told_us = after_us;
	err = bpf_map_update_elem(t->sas, key, entry, BPF_EXIST);
	return err ? err : raise_generation(t);
}

/*
 * Another SA's entry that came in between is lost; what stands there then has the key_tag of the one
 * that has gone, and so is of nobody for whoever asks.
 */
int sa_table_tell(const struct sa_table *t, const struct clatch_sa_key *key, __u32 tag,
		  struct clatch_who who, __u32 after_us)
{
	struct clatch_sa entry;
	int err = bpf_map_lookup_elem(t->sas, key, &entry);

	if (err)
		return err;
	return entry.key_tag == tag ? change(t, key, &entry, who, after_us) : -ESTALE;
}

int sa_table_forget(const struct sa_table *t, const struct clatch_sa_key *key)
{
	const struct clatch_who nobody = {};
	struct clatch_sa entry;
	int err = bpf_map_lookup_elem(t->sas, key, &entry);

	return err ? err : change(t, key, &entry, nobody, 0);
}
