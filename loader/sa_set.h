/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The SAs of one network namespace, in classes: an SA and those that follow it by rekeying differ
 * in nothing but SPI and keys, and so are one class.
 */
#ifndef CLATCH_SA_SET_H
#define CLATCH_SA_SET_H

#include <clatch/sa.h>
#include <linux/xfrm.h>
#include <stdbool.h>
#include <stddef.h>
#include "news.h"

/* What SAs of a class have in common. */
struct sa_class {
	struct clatch_sa sa; /* spi: of the newest */
	struct xfrm_selector selector; /* prefix lengths 0 = wide; padding and user are zero */
	__u32 mark;
	__u32 mark_mask;
	size_t count; /* SAs in it */
	__u64 newest; /* when the last that is there came: sa_set_born() */
};

struct sa_set;

struct sa_set *sa_set_new(void); /* NULL = no memory */
void sa_set_free(struct sa_set *set);

/*
 * An SA was added or changed, or has gone.  NEWS: a class has come or gone, or another SA is the newest
 * of one that is the same as another peer's.  NEWS_OF_REKEY: a class of unknown ends, beside one that is
 * the same in all else.  Or NO_NEWS, or -ENOMEM.
 */
int sa_set_put(struct sa_set *set, const struct clatch_sa_key *key, const struct sa_class *sa);
enum news sa_set_remove(struct sa_set *set, const struct clatch_sa_key *key);

/*
 * Who is at the ends of the SA whose key has this @tag: as sa_set_put(), and NEWS_OF_REKEY at least;
 * NO_NEWS where that was known, and where there is no such SA, or another by now.
 */
int sa_set_tell(struct sa_set *set, const struct clatch_sa_key *key, __u32 tag,
		struct clatch_who who);
/* Its key_tag.  0 = no such SA, as a rule. */
__u32 sa_set_key_tag(const struct sa_set *set, const struct clatch_sa_key *key);

/* The class of an SA, and what is known of its ends in it; NULL = no such SA. */
const struct sa_class *sa_set_find(const struct sa_set *set, const struct clatch_sa_key *key);

/*
 * SAs are numbered as they come, from 1; one that follows another at the same SPI has a number of
 * its own.  0 = no such SA.
 */
__u64 sa_set_born(const struct sa_set *set, const struct clatch_sa_key *key);
/* How long it has been there, as far as we know. */
__u64 sa_set_age_us(const struct sa_set *set, const struct clatch_sa_key *key);
__u64 sa_set_last_born(const struct sa_set *set);
/* Is there an SA that came after the one numbered @born, and whose peer nobody knows? */
bool sa_set_has_unknown(const struct sa_set *set, __u64 born);

/* A dump: what was there before sa_set_begin() and is not put again until sa_set_end() has gone. */
void sa_set_begin(struct sa_set *set);
enum news sa_set_end(struct sa_set *set);

/*
 * Calls @visit for each class from @src to @dst (outer addresses), of any reqid or of @reqid.
 * What it returned, if not 0.
 */
typedef int sa_set_visit(void *context, const struct sa_class *sa);
int sa_set_each(const struct sa_set *set, const struct clatch_addr *src,
		const struct clatch_addr *dst, sa_set_visit *visit, void *context);
int sa_set_each_reqid(const struct sa_set *set, const struct clatch_addr *src,
		      const struct clatch_addr *dst, __u32 reqid, sa_set_visit *visit,
		      void *context);

#endif
