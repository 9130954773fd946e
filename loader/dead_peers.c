// SPDX-License-Identifier: GPL-2.0-only
#include "dead_peers.h"

#include <clatch/identity.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define AGAIN_US 1000000ULL

static bool has_dead(const struct dead_peers *d, const struct clatch_latch *latch,
		     enum clatch_dir dir)
{
	struct latch_side side;

	latches_resolve(d->latches, &side, latch, dir);
	for (__u32 i = 0; i < side.count; i++) {
		__u64 died = d->died[side.sa[i].who.peer_id];

		if (died && latch->since_ns <= died)
			return true;
	}
	return false;
}

static int break_for_good(void *context, const struct clatch_tuple *tuple,
			  const struct clatch_latch *latch)
{
	const struct dead_peers *d = context;
	const struct clatch_order order = {
		.tuple = *tuple,
		.id = latch->id,
		.type = CLATCH_ORDER_CAUSES,
		.direction = CLATCH_OUT,
		.set = CLATCH_CAUSE_DEAD_PEER,
	};

	if (tuple->netns != d->netns || (latch->causes & CLATCH_CAUSE_DEAD_PEER))
		return 0;
	if (has_dead(d, latch, CLATCH_IN) || has_dead(d, latch, CLATCH_OUT))
		orders_give(d->orders, &order);
	return 0;
}

/* A connection that began before may be latched to the peer as it was started anew. */
static void forget(struct dead_peers *d)
{
	for (__u32 number = 0; number <= CLATCH_MAX_IDS; number++)
		if (d->died[number]) /* else it takes no memory yet */
			d->died[number] = 0;
}

static void break_all(struct dead_peers *d)
{
	int err = latches_walk(d->latches, break_for_good, d);
	int failed = orders_finish(d->orders);

	if (!err)
		err = failed;
	if (err) {
		if (!d->said)
			cli_warn(d->cli,
				 "Couldn't break all latches of a dead peer: %s; it is tried again "
				 "each second",
				 strerror(-err));
		sd_event_source_set_time_relative(d->again, AGAIN_US);
		sd_event_source_set_enabled(d->again, SD_EVENT_ONESHOT);
	} else {
		forget(d);
	}
	d->said = err;
}

static int on_again(sd_event_source *source, uint64_t usec, void *context)
{
	(void)source, (void)usec;
	break_all(context);
	return 0;
}

void dead_peers_note(struct dead_peers *d, __u64 netns, __u16 peer_id)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	d->netns = netns;
	d->died[peer_id] = now.tv_sec * 1000000000ULL + now.tv_nsec;
	break_all(d);
}

int dead_peers_open(struct dead_peers *d, sd_event *loop)
{
	int err;

	d->died = calloc(CLATCH_MAX_IDS + 1, sizeof(*d->died));
	if (!d->died)
		return -ENOMEM;
	err = sd_event_add_time(loop, &d->again, CLOCK_MONOTONIC, 0, 0, on_again, d);
	if (err >= 0)
		err = sd_event_source_set_enabled(d->again, SD_EVENT_OFF);
	return err < 0 ? err : 0;
}

void dead_peers_close(struct dead_peers *d)
{
	sd_event_source_disable_unref(d->again);
	free(d->died);
}
