// SPDX-License-Identifier: GPL-2.0-only
#include "sweep.h"

#include <time.h>

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000ULL + now.tv_nsec / 1000;
}

static void wake_at(struct sweep *s, uint64_t time)
{
	sd_event_source_set_time(s->source, time);
	sd_event_source_set_enabled(s->source, SD_EVENT_ONESHOT);
}

static void sweep_at(struct sweep *s, uint64_t time)
{
	if (time < s->rest_until)
		time = s->rest_until;
	if (time >= s->due)
		return;
	s->due = time;
	if (!s->under_way)
		wake_at(s, time);
}

void sweep_after(struct sweep *s, int news)
{
	if (news == NEWS || (news == NEWS_OF_REKEY && s->broken))
		sweep_at(s, 0);
	else if (news == NEWS_OF_REKEY)
		sweep_at(s, now_us() + SWEEP_LATER_US);
}

void sweep_again(struct sweep *s)
{
	sweep_at(s, now_us() + SWEEP_AGAIN_US);
}

void sweep_note_broken(struct sweep *s)
{
	s->broken = s->found = true;
}

static void begin(struct sweep *s)
{
	s->due = UINT64_MAX;
	s->took = 0;
	s->found = false;
	s->under_way = true;
}

/* What became news behind the sweep's back is for another one. */
static void finish(struct sweep *s, uint64_t now)
{
	s->under_way = false;
	s->broken = s->found;
	s->rest_until = now + s->took / 8;
	if (s->due == UINT64_MAX)
		return;
	if (s->due < s->rest_until)
		s->due = s->rest_until;
	wake_at(s, s->due);
}

static int on_due(sd_event_source *source, uint64_t usec, void *context)
{
	struct sweep *s = context;
	uint64_t begun = now_us(), now;
	int more;

	(void)source, (void)usec;
	if (!s->under_way)
		begin(s);
	more = s->judge(s->context);
	now = now_us();
	s->took += now - begun;
	if (more > 0)
		wake_at(s, 0);
	else
		finish(s, now);
	if (more < 0)
		sweep_again(s);
	return 0;
}

int sweep_open(struct sweep *s, sd_event *loop, sweep_slice *judge, void *context)
{
	int err;

	*s = (struct sweep){ .judge = judge, .context = context };
	err = sd_event_add_time(loop, &s->source, CLOCK_MONOTONIC, 0, 1, on_due, s);
	return err < 0 ? err : 0;
}

void sweep_close(struct sweep *s)
{
	sd_event_source_disable_unref(s->source);
	s->source = NULL;
}
