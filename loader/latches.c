// SPDX-License-Identifier: GPL-2.0-only
#include "latches.h"

#include <bpf/bpf.h>
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
		{ &l->latches, "clatch_latches" },
		{ &l->suites, "clatch_suites" },
		{ &l->rules, "clatch_rules" },
		{ &l->sas, "clatch_sas" },
	};

	for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++) {
		*maps[i].fd = pins_map(cli, maps[i].map);
		if (*maps[i].fd < 0)
			return *maps[i].fd;
	}
	return 0;
}

void latches_close(struct latches *l)
{
	cleanup_close(&l->latches);
	cleanup_close(&l->suites);
	cleanup_close(&l->rules);
	cleanup_close(&l->sas);
}

/*
 * A latch keeps the outer addresses of its outermost SA only.  Those of SAs inside it are looked
 * for where nested SAs usually end: at the same host.
 */
static void sa_addresses(const struct latches *l, struct clatch_sa *sa, __u64 netns,
			 const struct clatch_side *side)
{
	struct clatch_sa_key key = {
		.netns = netns,
		.dst = side->dst,
		.spi = sa->spi,
		.proto = sa->suite.proto,
	};
	struct clatch_sa entry;

	if (bpf_map_lookup_elem(l->sas, &key, &entry))
		return;
	sa->src = entry.src;
	sa->dst = entry.dst;
}

static void resolve_side(const struct latches *l, struct clatch_sa sas[CLATCH_MAX_NEST],
			 __u64 netns, struct clatch_side *side)
{
	if (side->count > CLATCH_MAX_NEST)
		side->count = CLATCH_MAX_NEST;
	for (__u64 i = 0; i < side->count; i++) {
		const struct clatch_sa_ref *ref = &side->sa[i];

		bpf_map_lookup_elem(l->suites, &ref->suite, &sas[i].suite);
		sas[i].spi = ref->spi;
		sas[i].reqid = ref->reqid;
		sas[i].if_id = ref->if_id;
		if (i)
			sa_addresses(l, &sas[i], netns, side);
	}
	sas[0].src = side->src;
	sas[0].dst = side->dst;
}

static void resolve_rule(const struct latches *l, char name[CLATCH_RULE_NAME], __u32 index)
{
	struct clatch_rule rule;

	if (index == CLATCH_NO_RULE || bpf_map_lookup_elem(l->rules, &index, &rule) || !rule.used)
		return;
	memcpy(name, rule.name, CLATCH_RULE_NAME - 1);
}

struct walk {
	const struct latches *latches;
	const struct filter *filter;
	latch_visit *visit;
	void *context;
};

static int visit(void *context, const void *key, const void *value)
{
	const struct walk *w = context;
	struct latch_view view = {};

	memcpy(&view.tuple, key, sizeof(view.tuple));
	memcpy(&view.latch, value, sizeof(view.latch));
	if (!view.latch.id) /* just being made */
		return 0;
	if (!filter_matches(w->filter, &view.tuple, &view.latch))
		return 0;
	resolve_side(w->latches, view.in, view.tuple.netns, &view.latch.in);
	resolve_side(w->latches, view.out, view.tuple.netns, &view.latch.out);
	resolve_rule(w->latches, view.rule, view.latch.rule);
	return w->visit(w->context, &view);
}

int latches_each(const struct latches *l, const struct filter *filter, latch_visit *visitor,
		 void *context)
{
	struct walk w = { l, filter, visitor, context };

	return map_each(l->latches, sizeof(struct clatch_tuple), sizeof(struct clatch_latch), visit,
			&w);
}
