/* SPDX-License-Identifier: GPL-2.0-only */
/* Reading the latch database: clatch_latches, and the tables that its entries refer to. */
#ifndef CLATCH_LATCHES_H
#define CLATCH_LATCHES_H

#include <clatch/certificate.h>
#include <clatch/latch.h>
#include <clatch/rule.h>
#include "cli.h"
#include "filter.h"
#include "map.h"
#include "ids.h"
#include "progress.h"

/* One direction of a latch, put together from where its parts are. */
struct latch_side {
	__u32 count; /* of SAs, 0 = this direction is not known yet */
	__u32 mark;
	__u32 ifindex;
	__be16 encap_sport; /* of the outermost SA, 0 = none */
	__be16 encap_dport;
	__u64 packets;
	__u64 bytes;
	__u64 violations;
	struct clatch_sa sa[CLATCH_MAX_NEST]; /* outermost first; addresses all zero = not known */
};

/* A latch together with what it refers to: all that can be shown of it. */
struct latch_view {
	struct clatch_tuple tuple;
	struct clatch_latch latch;
	struct latch_side in;
	struct latch_side out;
	char rule[CLATCH_RULE_NAME]; /* "" = none */
	struct clatch_who who; /* the ends of its innermost SA, as soon as they are known */
	const char *local_id; /* NULL = not known; valid until latches_close() */
	const char *peer_id;
};

struct rule_name {
	__u32 number; /* 0 = no rule's */
	char name[CLATCH_RULE_NAME];
};

/* The maps' file descriptors, and a copy of the suites and rules that were asked for: none ever changes. */
struct latches {
	int latches;
	int more;
	int fast;
	int suites;
	int rules;
	int sas;
	int id_map;
	int certificates;
	int asked;
	struct ids *ids;
	struct clatch_suite *known; /* by index; proto 0 = not asked for yet */
	__u32 known_count;
	struct rule_name rule_names[CLATCH_MAX_RULES]; /* likewise: by the number's remainder */
	struct progress *progress; /* of latches_each(); NULL = none is shown */
	__u32 max; /* for it: how many latches there may be */
};

#define LATCHES_INIT                                                                               \
	{                                                                                          \
		.latches = -1, .more = -1, .fast = -1, .suites = -1, .rules = -1, .sas = -1,       \
		.id_map = -1, .certificates = -1, .asked = -1                                      \
	}

/* Opens the pinned maps. 0 or -errno. */
int latches_open(struct latches *l, const struct cli *cli);
void latches_close(struct latches *l);

/* Return 0 to go on; anything else ends the walk. */
typedef int latch_visit(void *context, const struct latch_view *view);

/* Calls @visit for every latch that @filter lets through.  0, what @visit returned, or -errno. */
int latches_each(struct latches *l, const struct filter *filter, latch_visit *visit, void *context);

/*
 * The same for all latches, as they stand in the map and only until @visit returns: no memory is
 * copied and nothing is looked up, as 100,000 of them are judged at each change of policy.
 */
typedef int latch_walk_visit(void *context, const struct clatch_tuple *tuple,
			     const struct clatch_latch *latch);
int latches_walk(const struct latches *l, latch_walk_visit *visit, void *context);

/* The same a batch at a time: see map.h. */
int latches_walk_begin(const struct latches *l, struct map_walk **walk);
int latches_walk_step(struct map_walk *walk, latch_walk_visit *visit, void *context, bool *more);

/* The certificate of identity @number.  0; -ENOENT none is known. */
int latches_certificate(const struct latches *l, __u32 number, struct clatch_certificate *c);

/* What the program of @latch asked for.  0, -ENOENT nothing, -errno. */
int latches_asked(const struct latches *l, const struct clatch_latch *latch,
		  struct clatch_demand *asked);

/*
 * What @latch has recorded of a direction, but what was counted there; a suite that is not in the
 * table is all zero, and so are the addresses of SAs inside the outermost one.
 */
void latches_resolve(struct latches *l, struct latch_side *side, const struct clatch_latch *latch,
		     enum clatch_dir dir);

#endif
