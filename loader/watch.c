// SPDX-License-Identifier: GPL-2.0-only
#include "watch.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "behind.h"
#include "cleanup.h"
#include "control.h"
#include "dead_peers.h"
#include "domains.h"
#include "end.h"
#include "identities.h"
#include "judge.h"
#include "kick.h"
#include "latches.h"
#include "look.h"
#include "orders.h"
#include "overdue.h"
#include "pins.h"
#include "refresh.h"
#include "rules.h"
#include "sweep.h"

struct watch {
	const struct cli *cli;
	sd_event *loop;
	const struct clatch_policy *policy; /* in force; others change it */
	__u32 generation; /* of the policy by which it is known what is overdue */
	struct domains domains;
	struct latches latches;
	struct sa_table table;
	struct orders orders;
	struct identities *identities;
	struct kick *kick;
	struct sweep sweep;
	struct map_walk *walk; /* the sweep's, while it is under way */
	struct behind behind;
	struct overdue overdue;
	struct dead_peers dead_peers;
	struct refresh refresh;
	struct look look;
};

static void judge_latch(struct watch *w, const struct clatch_tuple *tuple,
			const struct clatch_latch *latch, bool changed)
{
	const struct domain *domain = domains_find(&w->domains, tuple->netns);
	struct clatch_order order;

	overdue_see(&w->overdue, latch);
	if (latch->causes)
		sweep_note_broken(&w->sweep);
	if (!domain || !judge(domain, &w->latches, tuple, latch, changed, &order))
		return;
	if (order.set)
		sweep_note_broken(&w->sweep);
	orders_give(&w->orders, &order);
}

static int judge_changed(void *context, const struct clatch_tuple *tuple,
			 const struct clatch_latch *latch)
{
	judge_latch(context, tuple, latch, true);
	return 0;
}

/* Some more latches, in a walk over all of them. */
static int judge_some(void *context)
{
	struct watch *w = context;
	bool more = false;
	int err = w->walk ? 0 : latches_walk_begin(&w->latches, &w->walk), failed;

	identities_take_over(w->identities);
	if (!err)
		err = latches_walk_step(w->walk, judge_changed, w, &more);
	if (err)
		cli_warn(w->cli, "Couldn't judge all latches: %s", strerror(-err));
	failed = orders_finish(&w->orders);
	if (err || failed || !more) {
		map_walk_end(w->walk);
		w->walk = NULL;
	}
	return err ? err : failed ? failed : more;
}

/* A latch may be overdue sooner under another policy; what is overdue later is seen by itself. */
static void see_policy(struct watch *w)
{
	__u32 generation = w->policy->generation;

	if (generation != w->generation)
		sweep_after(&w->sweep, NEWS);
	w->generation = generation;
}

static void look(void *context)
{
	struct watch *w = context;

	see_policy(w);
	identities_look(w->identities);
}

/* Of the policy or identities, which is seen by looking; or something else is guarded. */
static void on_told(void *context)
{
	struct watch *w = context;

	refresh_soon(&w->refresh);
}

static int on_spd(sd_event_source *source, int fd, uint32_t revents, void *context)
{
	struct domain *domain = context;
	struct watch *w = domain->owner;
	int news = spd_receive(domain->spd);

	(void)source, (void)fd, (void)revents;
	sweep_after(&w->sweep, news);
	if (news < 0)
		behind_note(&w->behind, domain, "policies", news);
	return 0;
}

static void sad_received(void *context, struct domain *domain, int news)
{
	struct watch *w = context;

	if (news == -ENOSPC)
		domains_say_full(&w->domains);
	else if (news < 0)
		behind_note(&w->behind, domain, "SAs", news);
	sweep_after(&w->sweep, news < 0 ? NEWS : news);
}

static int on_sad(sd_event_source *source, int fd, uint32_t revents, void *context)
{
	struct domain *domain = context;
	struct watch *w = domain->owner;

	(void)source, (void)fd, (void)revents;
	sad_received(w, domain, sad_receive(domain->sad));
	if (w->identities)
		identities_changed(w->identities, domain);
	return 0;
}

static void read_again(struct domain *domain)
{
	on_spd(NULL, -1, 0, domain);
	on_sad(NULL, -1, 0, domain);
}

/*
 * What TCP was refused so far may go now.  Latches of connections that are still learn it in a walk,
 * a packet finds it by itself.
 */
static void identities_told(void *context)
{
	struct watch *w = context;

	for (struct domain *d = w->domains.first; d; d = d->next) {
		if (!d->sad)
			continue;
		(void)kick_tcp(w->kick, d->netns, sad_fd(d->sad)); /* else TCP's timers */
		sweep_after(&w->sweep, sad_news(d->sad));
	}
}

static void peer_died(void *context, __u64 netns, __u16 peer_id)
{
	struct watch *w = context;

	dead_peers_note(&w->dead_peers, netns, peer_id);
}

static int end_damaged(void *context, const struct clatch_tuple *tuple,
		       const struct clatch_latch *latch)
{
	int err = latch->state == CLATCH_CLOSED
			  ? 0
			  : ender_end(context, tuple, latch, CLATCH_END_IDENTITIES);

	return err == -ENOMEM ? err : 0; /* whatever else: nothing passes */
}

/* RFC 5660 R33: as if the administrator had closed all of them. */
static void identities_damaged(void *context)
{
	struct watch *w = context;
	struct ender *ender;
	int err = ender_open(&ender, w->cli);

	if (!err) {
		err = latches_walk(&w->latches, end_damaged, ender);
		ender_close(ender);
	}
	if (err)
		cli_warn(w->cli, "Couldn't close all connections: %s", strerror(-err));
}

static int on_added(void *context, struct domain *domain)
{
	struct watch *w = context;
	int err;

	domain->owner = w;
	err = sd_event_add_io(w->loop, &domain->spd_source, spd_fd(domain->spd), EPOLLIN, on_spd,
			      domain);
	if (err >= 0)
		err = sd_event_add_io(w->loop, &domain->sad_source, sad_fd(domain->sad), EPOLLIN,
				      on_sad, domain);
	if (w->sweep.source) /* there may have been latches in it before */
		sweep_after(&w->sweep, NEWS);
	return err < 0 ? err : 0;
}

static void on_held(void *context, struct domain *domain, pid_t holder)
{
	struct watch *w = context;

	refresh_held(&w->refresh, domain, holder);
}

static void on_failed(void *context)
{
	struct watch *w = context;

	refresh_later(&w->refresh);
}

/* A namespace that was not in use before is watched from its first event on. */
void watch_event(void *context, const struct clatch_event *event)
{
	struct watch *w = context;
	struct clatch_latch latch;

	if (event->tuple.netns)
		(void)domains_find(&w->domains, event->tuple.netns);
	if (event->type != CLATCH_EV_LATCHED && event->type != CLATCH_EV_BROKEN &&
	    event->type != CLATCH_EV_ASKED)
		return;
	if (bpf_map_lookup_elem(w->latches.latches, &event->tuple, &latch))
		return;
	identities_take_over(w->identities);
	judge_latch(w, &event->tuple, &latch, false);
	if (orders_finish(&w->orders))
		sweep_again(&w->sweep);
}

void watch_missed(void *context)
{
	struct watch *w = context;

	sweep_after(&w->sweep, NEWS);
}

static int find_gone(void *context, const struct clatch_tuple *tuple,
		     const struct clatch_latch *latch)
{
	struct watch *w = context;
	struct clatch_order order = { .tuple = *tuple,
				      .id = latch->id,
				      .type = CLATCH_ORDER_REMOVE,
				      .end = CLATCH_END_GONE };
	const struct domain *domain = domains_find(&w->domains, tuple->netns);

	/* the packet path sees by itself when what is forwarded has ended */
	if (!latch->id || !domain || (latch->flags & CLATCH_FORWARDED) ||
	    sockets_have(domain->sockets, tuple, latch))
		return 0;
	orders_give(&w->orders, &order);
	return 0;
}

long watch_reconcile(struct watch *w)
{
	long before = w->orders.given;
	int err = latches_walk(&w->latches, find_gone, w);

	orders_finish(&w->orders);
	return err ? err : w->orders.given - before;
}

static int add_timers(struct watch *w)
{
	int err = sweep_open(&w->sweep, w->loop, judge_some, w);

	if (!err)
		err = behind_open(&w->behind, w->loop, &w->domains, read_again);
	if (!err)
		err = overdue_open(&w->overdue, w->loop);
	if (!err)
		err = dead_peers_open(&w->dead_peers, w->loop);
	return err ? err : refresh_open(&w->refresh, w->loop, &w->domains);
}

static int open_identities(struct watch *w, const char *vici)
{
	const struct identities_owner owner = { sad_received, identities_told, peer_died,
						identities_damaged, w };

	return identities_open(&w->identities, w->cli, w->loop, &w->domains, vici, &owner);
}

static int open_parts(struct watch *w, const char *vici)
{
	const struct look_owner looks = { look, on_told, w };
	int err = latches_open(&w->latches, w->cli);

	if (err)
		return err;
	w->policy = rules_watch(w->cli);
	if (!w->policy)
		return -errno;
	w->overdue.policy = w->policy;
	w->generation = w->policy->generation;
	err = sa_table_open(&w->table, w->cli);
	if (err)
		return err;
	w->orders.control = control_open(w->cli->bpffs);
	if (w->orders.control < 0)
		return w->orders.control;
	w->domains.table = &w->table;
	err = add_timers(w);
	if (!err)
		err = domains_open(&w->domains);
	if (!err)
		err = kick_open(&w->kick, w->cli);
	if (!err)
		err = open_identities(w, vici);
	return err ? err : look_open(&w->look, w->cli, w->loop, &looks);
}

int watch_open(struct watch **watch, const struct cli *cli, sd_event *loop,
	       const struct watch_options *options)
{
	struct watch *w = malloc(sizeof(*w));
	int err;

	if (!w)
		return -ENOMEM;
	*w = (struct watch){
		.cli = cli,
		.loop = loop,
		.domains = { .cli = cli,
			     .added = on_added,
			     .held = on_held,
			     .failed = on_failed,
			     .context = w },
		.latches = LATCHES_INIT,
		.orders = { .cli = cli, .control = -1 },
		.table = SA_TABLE_INIT,
		.dead_peers = { .cli = cli, .latches = &w->latches, .orders = &w->orders },
		.overdue = { .cli = cli, .latches = &w->latches, .own = options->reset_after },
	};
	err = open_parts(w, options->vici);
	if (err) {
		watch_close(w);
		return err;
	}
	*watch = w;
	return 0;
}

void watch_close(struct watch *w)
{
	if (!w)
		return;
	identities_close(w->identities);
	kick_close(w->kick);
	sweep_close(&w->sweep);
	map_walk_end(w->walk);
	behind_close(&w->behind);
	overdue_close(&w->overdue);
	dead_peers_close(&w->dead_peers);
	look_close(&w->look);
	domains_close(&w->domains);
	refresh_close(&w->refresh);
	latches_close(&w->latches);
	cleanup_close(&w->orders.control);
	sa_table_close(&w->table);
	rules_unwatch(w->policy);
	free(w);
}
