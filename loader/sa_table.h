/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The SA table clatch_sas: the facts of every SA, and who is at its ends.  The kernel tells the
 * facts, others tell the ends (the IKE daemon, `identity add`), each without losing the others'.
 */
#ifndef CLATCH_SA_TABLE_H
#define CLATCH_SA_TABLE_H

#include <clatch/sa.h>
#include "cli.h"

struct sa_table {
	int sas; /* file descriptors of the maps */
	int generation; /* clatch_generation */
};

#define SA_TABLE_INIT                                                                              \
	{                                                                                          \
		-1, -1                                                                             \
	}

/* The pinned ones.  0 or -errno. */
int sa_table_open(struct sa_table *table, const struct cli *cli);
void sa_table_close(struct sa_table *table);

/* Whatever was told of this very SA, by its key_tag, goes into sa->who. */
void sa_table_recall(const struct sa_table *table, const struct clatch_sa_key *key,
		     struct clatch_sa *sa);

/* 0; -ENOSPC there is no room; -errno. */
int sa_table_put(const struct sa_table *table, const struct clatch_sa_key *key,
		 const struct clatch_sa *sa);
int sa_table_remove(const struct sa_table *table, const struct clatch_sa_key *key);

/* What others told meanwhile shows by another number here.  0 or -errno. */
int sa_table_generation(const struct sa_table *table, __u32 *generation);

/*
 * Tells who is at the ends of the SA whose key has this @tag, @after_us after it came (0 = not
 * known).  0 also if it was known; -ENOENT no such entry; -ESTALE it is another SA's by now; -errno.
 */
int sa_table_tell(const struct sa_table *table, const struct clatch_sa_key *key, __u32 tag,
		  struct clatch_who who, __u32 after_us);
/* Takes back what was told of whatever SA has the entry.  The same, without -ESTALE. */
int sa_table_forget(const struct sa_table *table, const struct clatch_sa_key *key);

#endif
