// SPDX-License-Identifier: GPL-2.0-only
#include "overdue.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include "duration.h"
#include "end.h"

#define NS_PER_US 1000ULL
#define AGAIN_NS 1000000000ULL /* after an error */
#define DEFAULT_RESET_AFTER (30 * 1000000000ULL)

static __u64 boottime(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

/* What its program says of @latch; else its rule, else our own option, else the policy. */
static __u64 reset_after(const struct overdue *o, const struct clatch_latch *latch)
{
	__u64 in_policy = o->policy->reset_after;
	struct clatch_demand asked;
	struct clatch_rule rule;

	if (!latches_asked(o->latches, latch, &asked) && asked.reset_after != CLATCH_RESET_DEFAULT)
		return asked.reset_after;
	if (latch->rule != CLATCH_NO_RULE &&
	    !bpf_map_lookup_elem(o->latches->rules, &latch->rule, &rule) &&
	    rule.demand.reset_after != CLATCH_RESET_DEFAULT)
		return rule.demand.reset_after;
	if (o->own != CLATCH_RESET_DEFAULT)
		return o->own;
	return in_policy == CLATCH_RESET_DEFAULT ? DEFAULT_RESET_AFTER : in_policy;
}

/* The time from which @latch is overdue. */
static __u64 due(const struct overdue *o, const struct clatch_latch *latch)
{
	__u64 after = latch->state == CLATCH_BROKEN ? reset_after(o, latch) : CLATCH_RESET_NEVER;

	return after == CLATCH_RESET_NEVER ? DURATION_NEVER : latch->changed_ns + after;
}

static void wake_at(struct overdue *o, __u64 time)
{
	if (time >= o->due)
		return;
	o->due = time;
	sd_event_source_set_time(o->source, time / NS_PER_US);
	sd_event_source_set_enabled(o->source, SD_EVENT_ONESHOT);
}

void overdue_see(struct overdue *o, const struct clatch_latch *latch)
{
	wake_at(o, due(o, latch));
}

struct resetting {
	struct overdue *overdue;
	struct ender *ender;
	__u64 now;
};

static int end_overdue(void *context, const struct clatch_tuple *tuple,
		       const struct clatch_latch *latch)
{
	const struct resetting *r = context;
	struct overdue *o = r->overdue;
	__u64 time = due(o, latch);
	int err;

	if (time > r->now) {
		wake_at(o, time);
		return 0;
	}
	err = ender_end(r->ender, tuple, latch, CLATCH_END_RESET);
	if (err && err != -ESTALE)
		cli_warn(o->cli, "Couldn't reset the connection of latch %llu: %s; nothing passes",
			 (unsigned long long)latch->id, ender_strerror(err));
	return 0;
}

static int on_due(sd_event_source *source, uint64_t usec, void *context)
{
	struct overdue *o = context;
	struct resetting r = { .overdue = o, .now = boottime() };
	int err = ender_open(&r.ender, o->cli);

	(void)source, (void)usec;
	o->due = DURATION_NEVER;
	if (!err) {
		err = latches_walk(o->latches, end_overdue, &r);
		ender_close(r.ender);
	}
	if (err) {
		cli_warn(o->cli, "Couldn't reset what is BROKEN for too long: %s", strerror(-err));
		wake_at(o, r.now + AGAIN_NS);
	}
	return 0;
}

int overdue_open(struct overdue *o, sd_event *loop)
{
	int err = sd_event_add_time(loop, &o->source, CLOCK_BOOTTIME, 0, 1, on_due, o);

	o->due = DURATION_NEVER;
	if (err >= 0)
		err = sd_event_source_set_enabled(o->source, SD_EVENT_OFF);
	return err < 0 ? err : 0;
}

void overdue_close(struct overdue *o)
{
	sd_event_source_unref(o->source);
}
