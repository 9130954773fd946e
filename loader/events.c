// SPDX-License-Identifier: GPL-2.0-only
#include "events.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#define EVENTS_AT_ONCE 1024 /* then the event loop's other sources have their turn */

struct events {
	struct ring_buffer *ring;
	struct output out;
	int lost_fd;
	__u32 lost_index;
	__u64 lost; /* reported so far */
	__u64 missed; /* of those, and later ones, which @watch was told of */
	unsigned int left; /* of EVENTS_AT_ONCE */
	int error; /* of the last line's output */
	struct events_watch watch; /* nobody's, where its functions are NULL */
};

/* A pipe that is writable takes a line whole.  Errors count: then the write will say so. */
static bool is_writable(FILE *file)
{
	struct pollfd out = { .fd = fileno(file), .events = POLLOUT };

	return poll(&out, 1, 0) != 0;
}

/* Stops where the next line would have to wait for its reader: nobody shall wait in a write. */
static int print_event(void *context, void *data, size_t size)
{
	struct events *e = context;

	if (size < sizeof(struct clatch_event))
		return 0; /* is only to wake us up: ids_note_use() */
	if (e->watch.visit)
		e->watch.visit(e->watch.context, data);
	if (((const struct clatch_event *)data)->type == CLATCH_EV_ASKED)
		return --e->left ? 0 : -EAGAIN;
	output_event(&e->out, data);
	e->error = output_flush(&e->out);
	return !e->error && --e->left && is_writable(e->out.file) ? 0 : -EAGAIN;
}

static __u64 lost(const struct events *e, __u32 index)
{
	__u64 count = 0;

	bpf_map_lookup_elem(e->lost_fd, &index, &count);
	return count;
}

int events_open(struct events **events, int ring_fd, int lost_fd, __u32 index,
		const struct output *out)
{
	struct events *e = calloc(1, sizeof(*e));
	int err;

	if (!e)
		return -ENOMEM;
	e->ring = ring_buffer__new(ring_fd, print_event, e, NULL);
	if (!e->ring) {
		err = -errno;
		free(e);
		return err;
	}
	e->out = *out;
	e->lost_fd = lost_fd;
	e->lost_index = index;
	e->lost = lost(e, index == CLATCH_LOST_RUN ? CLATCH_LOST_TOLD : index);
	e->missed = e->lost;
	*events = e;
	return 0;
}

void events_watch(struct events *e, const struct events_watch *watch)
{
	e->watch = *watch;
}

void events_close(struct events *e)
{
	if (!e)
		return;
	ring_buffer__free(e->ring);
	free(e);
}

int events_fd(const struct events *e)
{
	return ring_buffer__epoll_fd(e->ring);
}

void events_missed(const struct events *e)
{
	if (e->watch.missed)
		e->watch.missed(e->watch.context);
}

/* The next `run` is to report what comes after. */
static void note_told(const struct events *e)
{
	const __u32 told = CLATCH_LOST_TOLD;

	if (e->lost_index == CLATCH_LOST_RUN)
		bpf_map_update_elem(e->lost_fd, &told, &e->lost, BPF_ANY);
}

/* Whoever watches is to know, whether it can be printed or not. */
static void note_missed(struct events *e)
{
	__u64 now = lost(e, e->lost_index);

	if (now == e->missed)
		return;
	e->missed = now;
	events_missed(e);
}

static int print_lost(struct events *e)
{
	__u64 now = lost(e, e->lost_index);
	int err;

	if (now == e->lost)
		return 0;
	output_lost(&e->out, now - e->lost);
	err = output_flush(&e->out);
	e->lost = now;
	if (!err)
		note_told(e);
	return err;
}

int events_receive(struct events *e)
{
	if (!is_writable(e->out.file))
		return -EAGAIN;
	e->left = EVENTS_AT_ONCE;
	e->out.utc_offset = output_utc_offset();
	ring_buffer__consume(e->ring);
	note_missed(e);
	if (e->error)
		return e->error;
	return is_writable(e->out.file) ? print_lost(e) : 0;
}
