// SPDX-License-Identifier: GPL-2.0-only
#include "output.h"

#include <errno.h>
#include <time.h>

#include "output_forms.h"

static __s64 now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

__s64 output_utc_offset(void)
{
	return now_ns(CLOCK_REALTIME) - now_ns(CLOCK_BOOTTIME);
}

void output_list_begin(struct output *o)
{
	if (o->json)
		fputs("{\"latches\":[", o->file);
	else
		text_list_head(o);
}

void output_list_latch(struct output *o, const struct latch_view *view)
{
	if (!o->json) {
		text_list_latch(o, view);
		return;
	}
	if (o->begun)
		fputs(",\n", o->file);
	o->begun = true;
	json_latch(o, view, NULL);
}

void output_list_end(struct output *o)
{
	if (o->json)
		fputs("]}\n", o->file);
}

void output_latch(struct output *o, const struct latch_view *view, const struct latch_proof *proof)
{
	if (!o->json) {
		text_latch(o, view, proof);
		return;
	}
	json_latch(o, view, proof);
	putc('\n', o->file);
}

void output_event(struct output *o, const struct clatch_event *event)
{
	if (o->json)
		json_event(o, event);
	else
		text_event(o, event);
}

void output_lost(struct output *o, __u64 count)
{
	__s64 now = now_ns(CLOCK_REALTIME);

	if (o->json)
		json_lost(o, now, count);
	else
		text_lost(o, now, count);
}

int output_flush(struct output *o)
{
	if (fflush(o->file))
		return -errno;
	return ferror(o->file) ? -EIO : 0;
}
