// SPDX-License-Identifier: GPL-2.0-only
#include "behind.h"

#include <string.h>
#include <time.h>

#define AGAIN_US 1000000ULL

static void wake_for(struct domain *domain, int enabled)
{
	sd_event_source_set_enabled(domain->spd_source, enabled);
	sd_event_source_set_enabled(domain->sad_source, enabled);
}

static int on_again(sd_event_source *source, uint64_t usec, void *context)
{
	struct behind *b = context;
	bool again = false;

	(void)source, (void)usec;
	for (struct domain *domain = b->domains->first; domain; domain = domain->next) {
		if (!domain->behind)
			continue;
		domain->behind = false;
		wake_for(domain, SD_EVENT_ON);
		b->read(domain);
		again |= domain->behind;
	}
	b->said &= again;
	return 0;
}

void behind_note(struct behind *b, struct domain *domain, const char *what, int err)
{
	if (!b->said)
		cli_warn(b->cli,
			 "Couldn't read the %s of network namespace %llu: %s; until that is done, "
			 "conflicts there are seen only when a packet suffers",
			 what, (unsigned long long)domain->netns, strerror(-err));
	b->said = true;
	domain->behind = true;
	wake_for(domain, SD_EVENT_OFF);
	sd_event_source_set_time_relative(b->source, AGAIN_US);
	sd_event_source_set_enabled(b->source, SD_EVENT_ONESHOT);
}

int behind_open(struct behind *b, sd_event *loop, struct domains *domains,
		void (*read)(struct domain *domain))
{
	int err;

	*b = (struct behind){ .cli = domains->cli, .domains = domains, .read = read };
	err = sd_event_add_time(loop, &b->source, CLOCK_MONOTONIC, 0, 0, on_again, b);
	if (err >= 0)
		err = sd_event_source_set_enabled(b->source, SD_EVENT_OFF);
	return err < 0 ? err : 0;
}

void behind_close(struct behind *b)
{
	sd_event_source_disable_unref(b->source);
	b->source = NULL;
}
