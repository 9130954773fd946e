// SPDX-License-Identifier: GPL-2.0-only
#include "look.h"

#include <sys/inotify.h>

#define SECOND_US 1000000ULL

static int in_a_second(struct look *l)
{
	int err = sd_event_source_get_enabled(l->timer, NULL);

	if (err) /* it is on its way */
		return err < 0 ? err : 0;
	err = sd_event_source_set_time_relative(l->timer, SECOND_US);
	return err < 0 ? err : sd_event_source_set_enabled(l->timer, SD_EVENT_ONESHOT);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *context)
{
	struct look *l = context;

	(void)source, (void)usec;
	l->looked = true;
	if (l->polls)
		l->owner.told(l->owner.context);
	l->owner.look(l->owner.context);
	return 0;
}

/* Comes before whatever else is pending, so that it is known what it comes after. */
static int on_heard(sd_event_source *source, void *context)
{
	struct look *l = context;
	bool looked = l->looked;

	(void)source;
	l->looked = false;
	return looked && !l->polls ? 0 : in_a_second(l);
}

static int on_told(sd_event_source *source, const struct inotify_event *event, void *context)
{
	struct look *l = context;

	(void)source, (void)event;
	l->owner.told(l->owner.context);
	return 0;
}

int look_open(struct look *l, const struct cli *cli, sd_event *loop, const struct look_owner *owner)
{
	int err;

	*l = (struct look){ .owner = *owner };
	/* where this host has too many of such watches, it is as if told each second */
	l->polls = sd_event_add_inotify(loop, &l->told, cli->bpffs, IN_ATTRIB, on_told, l) < 0;
	err = sd_event_add_time_relative(loop, &l->timer, CLOCK_MONOTONIC, 0, 0, on_timer, l);
	if (err >= 0)
		err = sd_event_add_post(loop, &l->heard, on_heard, l);
	if (err >= 0)
		err = sd_event_source_set_priority(l->heard, SD_EVENT_PRIORITY_IMPORTANT);
	return err < 0 ? err : 0;
}

void look_close(struct look *l)
{
	sd_event_source_disable_unref(l->told);
	sd_event_source_disable_unref(l->heard);
	sd_event_source_disable_unref(l->timer);
	*l = (struct look){};
}
