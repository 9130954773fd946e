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

/* What SAs of a class have in common. */
struct sa_class {
	struct clatch_sa sa; /* spi: of the one that came last */
	struct xfrm_selector selector; /* prefix lengths 0 = wide; padding and user are zero */
	__u32 mark;
	__u32 mark_mask;
	size_t count; /* SAs in it */
};

struct sa_set;

struct sa_set *sa_set_new(void); /* NULL = no memory */
void sa_set_free(struct sa_set *set);

/*
 * An SA was added or changed, or has gone.  1 = a class has come or gone: latches are to be judged
 * anew; 0 = not; -ENOMEM.
 */
int sa_set_put(struct sa_set *set, const struct clatch_sa_key *key, const struct sa_class *sa);
int sa_set_remove(struct sa_set *set, const struct clatch_sa_key *key);

/* A dump: what was there before sa_set_begin() and is not put again until sa_set_end() has gone. */
void sa_set_begin(struct sa_set *set);
int sa_set_end(struct sa_set *set); /* 1 or 0 as above */

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
