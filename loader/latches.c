// SPDX-License-Identifier: GPL-2.0-only
#include "latches.h"

#include <bpf/bpf.h>
#include <clatch/fast.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "map.h"
#include "pins.h"

int latches_open(struct latches *l, const struct cli *cli)
{
	const struct {
		int *fd;
		const char *map;
	} maps[] = {
		{ &l->latches, "clatch_latches" }, { &l->more, "clatch_more" },
		{ &l->fast, "clatch_fast" },	   { &l->suites, "clatch_suites" },
		{ &l->rules, "clatch_rules" },	   { &l->sas, "clatch_sas" },
		{ &l->id_map, "clatch_ids" },	   { &l->certificates, "clatch_certificates" },
		{ &l->asked, "clatch_asked" },
	};

	for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++) {
		*maps[i].fd = pins_map(cli, maps[i].map);
		if (*maps[i].fd < 0)
			return *maps[i].fd;
	}
	l->ids = ids_new(l->id_map);
	return l->ids ? 0 : -ENOMEM;
}

void latches_close(struct latches *l)
{
	cleanup_close(&l->latches);
	cleanup_close(&l->more);
	cleanup_close(&l->fast);
	cleanup_close(&l->suites);
	cleanup_close(&l->rules);
	cleanup_close(&l->sas);
	cleanup_close(&l->id_map);
	cleanup_close(&l->certificates);
	cleanup_close(&l->asked);
	ids_free(l->ids);
	free(l->known);
}

/* Room for the suite @index, which the table has: so there is a limit. */
static int make_room(struct latches *l, __u32 index)
{
	__u32 count = index + 1 > 2 * l->known_count ? index + 1 : 2 * l->known_count;
	struct clatch_suite *known = reallocarray(l->known, count, sizeof(*known));

	if (!known)
		return -ENOMEM;
	memset(known + l->known_count, 0, (count - l->known_count) * sizeof(*known));
	l->known = known;
	l->known_count = count;
	return 0;
}

static void find_suite(struct latches *l, struct clatch_suite *suite, __u32 index)
{
	if (index < l->known_count && l->known[index].proto) {
		*suite = l->known[index];
		return;
	}
	if (bpf_map_lookup_elem(l->suites, &index, suite)) {
		*suite = (struct clatch_suite){};
		return;
	}
	if (index < l->known_count || !make_room(l, index))
		l->known[index] = *suite;
}

static void resolve_sa(struct latches *l, struct clatch_sa *sa, const struct clatch_sa_ref *ref)
{
	*sa = (struct clatch_sa){
		.spi = ref->spi,
		.reqid = ref->reqid,
		.if_id = ref->if_id,
		.who = ref->who,
	};
	find_suite(l, &sa->suite, ref->suite);
}

static void resolve_outer(struct latch_side *side, const struct clatch_outer *outer,
			  enum clatch_dir dir)
{
	bool in = dir == CLATCH_IN;

	side->sa[0].src = in ? outer->remote : outer->local;
	side->sa[0].dst = in ? outer->local : outer->remote;
	side->encap_sport = in ? outer->remote_port : outer->local_port;
	side->encap_dport = in ? outer->local_port : outer->remote_port;
}

void latches_resolve(struct latches *l, struct latch_side *side, const struct clatch_latch *latch,
		     enum clatch_dir dir)
{
	const struct clatch_side *from = dir == CLATCH_IN ? &latch->held.in : &latch->held.out;
	struct clatch_more more = {};

	/* the flags may have been copied before the count was written */
	if ((latch->flags & CLATCH_HAS_MORE) || from->sa.count > 1)
		(void)bpf_map_lookup_elem(l->more, &latch->id, &more); /* else it has gone */
	side->count = from->sa.count < CLATCH_MAX_NEST ? from->sa.count : CLATCH_MAX_NEST;
	side->mark = from->mark;
	side->ifindex = from->ifindex;
	side->packets = side->bytes = side->violations = 0;
	resolve_sa(l, &side->sa[0], &from->sa);
	resolve_outer(side, more.apart ? &more.outer[dir] : &latch->held.outer, dir);
	for (__u32 i = 1; i < side->count; i++)
		resolve_sa(l, &side->sa[i], &more.nested[dir][i - 1]);
}

/*
 * A latch keeps the outer addresses of its outermost SA only.  Those of SAs inside it are looked
 * for where nested SAs usually end: at the same host.
 */
static void sa_addresses(const struct latches *l, struct clatch_sa *sa, __u64 netns,
			 const struct clatch_addr *dst)
{
	struct clatch_sa_key key = {
		.netns = netns,
		.dst = *dst,
		.spi = sa->spi,
		.proto = sa->suite.proto,
	};
	struct clatch_sa entry;

	if (bpf_map_lookup_elem(l->sas, &key, &entry))
		return;
	sa->src = entry.src;
	sa->dst = entry.dst;
}

static void resolve_side(struct latches *l, struct latch_side *side, const struct latch_view *view,
			 enum clatch_dir dir)
{
	latches_resolve(l, side, &view->latch, dir);
	for (__u32 i = 1; i < side->count; i++)
		sa_addresses(l, &side->sa[i], view->tuple.netns, &side->sa[0].dst);
}

static void resolve_rule(struct latches *l, char name[CLATCH_RULE_NAME], __u32 number)
{
	struct rule_name *known = &l->rule_names[number % CLATCH_MAX_RULES];
	struct clatch_rule rule;

	if (number == CLATCH_NO_RULE)
		return;
	if (!number || known->number != number) {
		if (bpf_map_lookup_elem(l->rules, &number, &rule))
			return;
		known->number = number;
		memcpy(known->name, rule.name, CLATCH_RULE_NAME - 1);
	}
	memcpy(name, known->name, CLATCH_RULE_NAME);
}

/* Both directions have the same ends; one may not know them yet. */
static void resolve_who(struct latches *l, struct latch_view *view)
{
	const struct latch_side *in = &view->in, *out = &view->out;

	if (in->count)
		view->who = in->sa[in->count - 1].who;
	if (out->count && !view->who.peer_id)
		view->who = out->sa[out->count - 1].who;
	view->local_id = ids_text(l->ids, view->who.local_id);
	view->peer_id = ids_text(l->ids, view->who.peer_id);
}

int latches_certificate(const struct latches *l, __u32 number, struct clatch_certificate *c)
{
	if (!number)
		return -ENOENT;
	return bpf_map_lookup_elem(l->certificates, &number, c) ? -errno : 0;
}

int latches_asked(const struct latches *l, const struct clatch_latch *latch,
		  struct clatch_demand *asked)
{
	if (!(latch->flags & CLATCH_ASKED))
		return -ENOENT;
	return bpf_map_lookup_elem(l->asked, &latch->id, asked) ? -errno : 0;
}

struct walk {
	struct latches *latches;
	const struct filter *filter;
	latch_visit *visit;
	void *context;
	size_t seen;
};

static void take_counts(struct latch_side *side, const struct clatch_fast_side *from)
{
	side->packets = from->packets;
	side->bytes = from->bytes;
	side->violations = from->violations;
}

static void resolve_counts(const struct latches *l, struct latch_view *view)
{
	struct clatch_fast fast;

	if (!view->latch.fast || bpf_map_lookup_elem(l->fast, &view->latch.fast, &fast))
		return;
	take_counts(&view->in, &fast.side[CLATCH_IN]);
	take_counts(&view->out, &fast.side[CLATCH_OUT]);
}

static int visit(void *context, const void *key, const void *value)
{
	const struct clatch_latch *latch = value;
	struct walk *w = context;
	struct latch_view view = {};

	if (w->latches->progress)
		progress_show(w->latches->progress, "Read: %zu latches, of at most %u", ++w->seen,
			      w->latches->max);
	if (!latch->id) /* just being made */
		return 0;
	if (!filter_matches(w->filter, key, latch))
		return 0;
	memcpy(&view.tuple, key, sizeof(view.tuple));
	memcpy(&view.latch, latch, sizeof(view.latch));
	resolve_side(w->latches, &view.in, &view, CLATCH_IN);
	resolve_side(w->latches, &view.out, &view, CLATCH_OUT);
	resolve_counts(w->latches, &view);
	resolve_who(w->latches, &view);
	resolve_rule(w->latches, view.rule, view.latch.rule);
	return w->visit(w->context, &view);
}

int latches_each(struct latches *l, const struct filter *filter, latch_visit *visitor,
		 void *context)
{
	struct walk w = { l, filter, visitor, context, 0 };

	return map_each(l->latches, sizeof(struct clatch_tuple), sizeof(struct clatch_latch), visit,
			&w);
}

struct raw_walk {
	latch_walk_visit *visit;
	void *context;
};

static int visit_raw(void *context, const void *key, const void *value)
{
	const struct raw_walk *w = context;
	const struct clatch_latch *latch = value;

	return latch->id ? w->visit(w->context, key, latch) : 0; /* 0: just being made */
}

int latches_walk_begin(const struct latches *l, struct map_walk **walk)
{
	return map_walk_begin(walk, l->latches, sizeof(struct clatch_tuple),
			      sizeof(struct clatch_latch), true);
}

int latches_walk_step(struct map_walk *walk, latch_walk_visit *visitor, void *context, bool *more)
{
	struct raw_walk w = { visitor, context };

	return map_walk_step(walk, visit_raw, &w, more);
}

int latches_walk(const struct latches *l, latch_walk_visit *visitor, void *context)
{
	struct raw_walk w = { visitor, context };

	return map_each(l->latches, sizeof(struct clatch_tuple), sizeof(struct clatch_latch),
			visit_raw, &w);
}
