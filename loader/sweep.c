// SPDX-License-Identifier: GPL-2.0-only
#include "sweep.h"

#include <time.h>

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000ULL + now.tv_nsec / 1000;
}

static void sweep_at(struct sweep *s, uint64_t time)
{
	if (time < s->rest_until)
		time = s->rest_until;
	if (time >= s->due)
		return;
	s->due = time;
	sd_event_source_set_time(s->source, time);
	sd_event_source_set_enabled(s->source, SD_EVENT_ONESHOT);
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
	s->broken = true;
}

static int on_due(sd_event_source *source, uint64_t usec, void *context)
{
	struct sweep *s = context;
	uint64_t begun = now_us(), ended;
	int err;

	(void)source, (void)usec;
	s->due = UINT64_MAX;
	s->broken = false;
	err = s->judge_all(s->context);
	ended = now_us();
	s->rest_until = ended + (ended - begun) / 8;
	if (err)
		sweep_again(s);
	return 0;
}

int sweep_open(struct sweep *s, sd_event *loop, int (*judge_all)(void *context), void *context)
{
	int err;

	*s = (struct sweep){ .judge_all = judge_all, .context = context };
	err = sd_event_add_time(loop, &s->source, CLOCK_MONOTONIC, 0, 1, on_due, s);
	return err < 0 ? err : 0;
}

void sweep_close(struct sweep *s)
{
	sd_event_source_disable_unref(s->source);
	s->source = NULL;
}
