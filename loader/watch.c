// SPDX-License-Identifier: GPL-2.0-only
#include "watch.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include "cleanup.h"
#include "control.h"
#include "domains.h"
#include "duration.h"
#include "end.h"
#include "judge.h"
#include "latches.h"
#include "orders.h"
#include "pins.h"

#define NS_PER_US 1000ULL
#define REFRESH_US (10 * 1000000ULL) /* how long a namespace that is not used is kept */

struct watch {
	const struct cli *cli;
	sd_event *loop;
	__u64 reset_after; /* ns */
	struct domains domains;
	struct latches latches;
	int control; /* the program that carries out orders */
	int sas;
	struct orders orders;
	sd_event_source *sweep;
	sd_event_source *reset; /* at the time when the first BROKEN latch is overdue */
	sd_event_source *refresh;
	__u64 reset_due; /* CLOCK_BOOTTIME, ns; DURATION_NEVER = nothing is BROKEN */
	uint64_t rest_until; /* CLOCK_MONOTONIC, us: no sweep before */
};

static __u64 boottime(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static uint64_t monotonic_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000ULL + now.tv_nsec / 1000;
}

/* All latches are to be judged: at once, but an eighth of the time is left for all else. */
static void sweep_soon(struct watch *w)
{
	sd_event_source_set_time(w->sweep, w->rest_until);
	sd_event_source_set_enabled(w->sweep, SD_EVENT_ONESHOT);
}

static void carry_out(struct watch *w)
{
	long done = control_run(w->control, w->orders.items, w->orders.count);

	if (done < 0)
		cli_warn(w->cli, "Couldn't break or restore latches: %s; what they hold stays held",
			 strerror(-done));
	w->orders.count = 0;
}

/* The time from which @latch is overdue. */
static __u64 due(const struct watch *w, const struct clatch_latch *latch)
{
	if (latch->state != CLATCH_BROKEN || w->reset_after == DURATION_NEVER)
		return DURATION_NEVER;
	return latch->changed_ns + w->reset_after;
}

static void reset_at(struct watch *w, __u64 time)
{
	if (time >= w->reset_due)
		return;
	w->reset_due = time;
	sd_event_source_set_time(w->reset, time / NS_PER_US);
	sd_event_source_set_enabled(w->reset, SD_EVENT_ONESHOT);
}

static int judge_latch(struct watch *w, const struct clatch_tuple *tuple,
		       const struct clatch_latch *latch, bool changed)
{
	const struct domain *domain = domains_find(&w->domains, tuple->netns);
	struct clatch_order order;

	reset_at(w, due(w, latch));
	if (domain && judge(domain, &w->latches, tuple, latch, changed, &order))
		return orders_add(&w->orders, &order);
	return 0;
}

static int judge_changed(void *context, const struct clatch_tuple *tuple,
			 const struct clatch_latch *latch)
{
	return judge_latch(context, tuple, latch, true);
}

static int on_sweep(sd_event_source *source, uint64_t usec, void *context)
{
	struct watch *w = context;
	uint64_t begun = monotonic_us(), ended;
	int err = latches_walk(&w->latches, judge_changed, w);

	(void)source, (void)usec;
	if (err)
		cli_warn(w->cli, "Couldn't judge all latches: %s", strerror(-err));
	if (w->orders.count)
		carry_out(w);
	ended = monotonic_us();
	w->rest_until = ended + (ended - begun) / 8;
	return 0;
}

struct overdue {
	struct watch *watch;
	struct ender *ender;
	__u64 now;
};

static int end_overdue(void *context, const struct clatch_tuple *tuple,
		       const struct clatch_latch *latch)
{
	const struct overdue *o = context;
	struct watch *w = o->watch;
	__u64 time = due(w, latch);
	int err;

	if (time > o->now) {
		reset_at(w, time);
		return 0;
	}
	err = ender_end(o->ender, tuple, latch, CLATCH_END_RESET);
	if (err && err != -ESTALE)
		cli_warn(w->cli, "Couldn't reset the connection of latch %llu: %s; nothing passes",
			 (unsigned long long)latch->id, ender_strerror(err));
	return 0;
}

static int on_reset(sd_event_source *source, uint64_t usec, void *context)
{
	struct watch *w = context;
	struct overdue o = { .watch = w, .now = boottime() };

	int err = ender_open(&o.ender, w->cli);

	(void)source, (void)usec;
	w->reset_due = DURATION_NEVER;
	if (!err) {
		err = latches_walk(&w->latches, end_overdue, &o);
		ender_close(o.ender);
	}
	if (err)
		cli_warn(w->cli, "Couldn't reset what is BROKEN for too long: %s", strerror(-err));
	return 0;
}

static int on_refresh(sd_event_source *source, uint64_t usec, void *context)
{
	struct watch *w = context;

	(void)usec;
	if (w->domains.first && w->domains.first->next)
		domains_refresh(&w->domains);
	sd_event_source_set_time_relative(source, REFRESH_US);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* The source is disabled by the error that it returns. */
static int say_lost(const struct domain *domain, const char *what, int err)
{
	const struct watch *w = domain->owner;

	cli_warn(w->cli,
		 "Couldn't go on following the %s of network namespace %llu: %s; conflicts there "
		 "are seen only when a packet suffers",
		 what, (unsigned long long)domain->netns, strerror(-err));
	return err;
}

static int on_spd(sd_event_source *source, int fd, uint32_t revents, void *context)
{
	struct domain *domain = context;
	int changed = spd_receive(domain->spd);

	(void)source, (void)fd, (void)revents;
	if (changed > 0)
		sweep_soon(domain->owner);
	return changed < 0 ? say_lost(domain, "policies", changed) : 0;
}

static int on_sad(sd_event_source *source, int fd, uint32_t revents, void *context)
{
	struct domain *domain = context;
	struct watch *w = domain->owner;
	int changed = sad_receive(domain->sad);

	(void)source, (void)fd, (void)revents;
	if (changed == -ENOSPC)
		domains_say_full(&w->domains);
	else if (changed < 0)
		return say_lost(domain, "SAs", changed);
	if (changed)
		sweep_soon(w);
	return 0;
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
	return err < 0 ? err : 0;
}

void watch_event(void *context, const struct clatch_event *event)
{
	struct watch *w = context;
	struct clatch_latch latch;

	if (event->type != CLATCH_EV_LATCHED && event->type != CLATCH_EV_BROKEN)
		return;
	if (bpf_map_lookup_elem(w->latches.latches, &event->tuple, &latch))
		return;
	judge_latch(w, &event->tuple, &latch, false);
	if (w->orders.count)
		carry_out(w);
}

void watch_missed(void *context)
{
	sweep_soon(context);
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

	if (!latch->id || !domain || sockets_have(domain->sockets, tuple, latch))
		return 0;
	return orders_add(&w->orders, &order);
}

long watch_reconcile(struct watch *w)
{
	int err = latches_walk(&w->latches, find_gone, w);
	long count = w->orders.count;

	if (w->orders.count)
		carry_out(w);
	return err ? err : count;
}

static int add_timers(struct watch *w)
{
	int err = sd_event_add_time(w->loop, &w->sweep, CLOCK_MONOTONIC, 0, 1, on_sweep, w);

	if (err >= 0)
		err = sd_event_add_time(w->loop, &w->reset, CLOCK_BOOTTIME, 0, 1, on_reset, w);
	if (err >= 0)
		err = sd_event_source_set_enabled(w->reset, SD_EVENT_OFF);
	if (err >= 0)
		err = sd_event_add_time_relative(w->loop, &w->refresh, CLOCK_MONOTONIC, REFRESH_US,
						 0, on_refresh, w);
	return err < 0 ? err : 0;
}

static int open_parts(struct watch *w)
{
	int err = latches_open(&w->latches, w->cli);

	if (err)
		return err;
	w->sas = pins_map(w->cli, "clatch_sas");
	if (w->sas < 0)
		return w->sas;
	w->control = control_open(w->cli->bpffs);
	if (w->control < 0)
		return w->control;
	w->domains.sas = w->sas;
	err = domains_open(&w->domains);
	return err ? err : add_timers(w);
}

int watch_open(struct watch **watch, const struct cli *cli, sd_event *loop, __u64 reset_after)
{
	struct watch *w = malloc(sizeof(*w));
	int err;

	if (!w)
		return -ENOMEM;
	*w = (struct watch){
		.cli = cli,
		.loop = loop,
		.reset_after = reset_after,
		.domains = { .cli = cli, .added = on_added, .context = w },
		.latches = LATCHES_INIT,
		.control = -1,
		.sas = -1,
		.reset_due = DURATION_NEVER,
	};
	err = open_parts(w);
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
	sd_event_source_unref(w->sweep);
	sd_event_source_unref(w->reset);
	sd_event_source_unref(w->refresh);
	domains_close(&w->domains);
	latches_close(&w->latches);
	orders_free(&w->orders);
	cleanup_close(&w->control);
	cleanup_close(&w->sas);
	free(w);
}
