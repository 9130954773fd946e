// SPDX-License-Identifier: GPL-2.0-only
#include "follow.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "cleanup.h"
#include "map.h"
#include "pins.h"

#define SECOND_US 1000000ULL

/* Whoever reads stdout stalls: events wait in the ring until it takes more. */
static int wait_for_reader(struct follow *f, bool wait)
{
	int err;

	f->stalled = wait;
	err = sd_event_source_set_enabled(f->ring, wait ? SD_EVENT_OFF : SD_EVENT_ON);

	if (err >= 0 && f->writable)
		err = sd_event_source_set_enabled(f->writable, wait ? SD_EVENT_ON : SD_EVENT_OFF);
	return err;
}

static int print_events(struct follow *f)
{
	int err = events_receive(f->events);

	if (err == -EAGAIN)
		return wait_for_reader(f, true);
	if (err && !f->error && err != -EPIPE)
		cli_warn(f->cli, "Couldn't write events: %s", strerror(-err));
	if (err)
		f->error = err;
	return err && f->write_or_end ? sd_event_exit(f->loop, 0) : 0;
}

static int in_a_second(struct follow *f)
{
	int err = sd_event_source_set_time_relative(f->second, SECOND_US);

	return err < 0 ? err : sd_event_source_set_enabled(f->second, SD_EVENT_ONESHOT);
}

static int on_events(sd_event_source *source, int fd, uint32_t revents, void *context)
{
	struct follow *f = context;
	int err = 0;

	(void)source, (void)fd, (void)revents;
	f->busy = true;
	if (!sd_event_source_get_enabled(f->second, NULL))
		err = in_a_second(f);
	return err < 0 ? err : print_events(f);
}

static int on_writable(sd_event_source *source, int fd, uint32_t revents, void *context)
{
	int err = wait_for_reader(context, false);

	(void)source, (void)fd, (void)revents;
	return err < 0 ? err : print_events(context);
}

/* The pin is gone, or is another load's. */
static bool is_gone(const struct follow *f)
{
	_cleanup_close_ int fd = pins_map(f->cli, "clatch_meta");
	__u32 id;

	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR;
	return !map_id(fd, &id) && id != f->instance;
}

static int look_if_gone(struct follow *f)
{
	f->gone = is_gone(f);
	return f->gone ? sd_event_exit(f->loop, 0) : 0;
}

static int on_unlinked(sd_event_source *source, const struct inotify_event *event, void *context)
{
	(void)source, (void)event;
	return look_if_gone(context);
}

/*
 * What was lost after the last event that there was room for; what a reader that epoll cannot wait for
 * takes now.  Where nothing happens, nobody wakes up for that.
 */
static int on_second(sd_event_source *source, uint64_t usec, void *context)
{
	struct follow *f = context;
	bool busy = f->busy;
	int err = f->polls ? look_if_gone(f) : 0;

	(void)source, (void)usec;
	if (err < 0 || f->gone)
		return err;
	if (f->stalled)
		events_missed(f->events);
	f->busy = false;
	err = wait_for_reader(f, false);
	if (err >= 0)
		err = print_events(f);
	return err >= 0 && (busy || f->stalled || f->polls) ? in_a_second(f) : err;
}

/* Where this host has too many of such watches, it is asked for instead. */
static void watch_pins(struct follow *f)
{
	const uint32_t gone =
		IN_DELETE | IN_MOVED_FROM | IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT;

	f->polls = sd_event_add_inotify(f->loop, NULL, f->cli->bpffs, gone, on_unlinked, f) < 0;
}

static int instance(const struct cli *cli, __u32 *id)
{
	_cleanup_close_ int fd = pins_map(cli, "clatch_meta");

	return fd < 0 ? fd : map_id(fd, id);
}

static int open_events(struct follow *f, int ring, __u32 lost)
{
	struct output out = OUTPUT_INIT(stdout, f->cli->json);

	f->lost_fd = pins_map(f->cli, "clatch_lost");
	if (f->lost_fd < 0)
		return f->lost_fd;
	f->id_map = pins_map(f->cli, "clatch_ids");
	if (f->id_map < 0)
		return f->id_map;
	f->ids = ids_new(f->id_map);
	if (!f->ids)
		return -ENOMEM;
	out.ids = f->ids;
	return events_open(&f->events, ring, f->lost_fd, lost, &out);
}

static int add_sources(struct follow *f)
{
	static const int signals[] = { SIGINT, SIGTERM };
	int err = 0;

	for (size_t i = 0; i < 2 && err >= 0; i++)
		err = sd_event_add_signal(f->loop, NULL, signals[i] | SD_EVENT_SIGNAL_PROCMASK,
					  NULL, NULL);
	if (err >= 0)
		err = sd_event_add_io(f->loop, &f->ring, events_fd(f->events), EPOLLIN, on_events,
				      f);
	/* a file can always be written to, and epoll takes none */
	if (err >= 0 &&
	    !sd_event_add_io(f->loop, &f->writable, STDOUT_FILENO, EPOLLOUT, on_writable, f))
		err = sd_event_source_set_enabled(f->writable, SD_EVENT_OFF);
	if (err >= 0)
		err = sd_event_add_time_relative(f->loop, &f->second, CLOCK_MONOTONIC, SECOND_US, 0,
						 on_second, f);
	if (err < 0)
		return err;
	watch_pins(f);
	return look_if_gone(f); /* unless it went before it was watched */
}

int follow_open(struct follow *f, const struct cli *cli, int ring, __u32 lost)
{
	int err;

	*f = (struct follow)FOLLOW_INIT;
	f->cli = cli;
	signal(SIGPIPE, SIG_IGN);
	err = instance(cli, &f->instance);
	if (!err)
		err = open_events(f, ring, lost);
	if (!err)
		err = sd_event_new(&f->loop);
	if (err >= 0)
		err = add_sources(f);
	return err < 0 ? err : 0;
}

int follow_run(struct follow *f)
{
	int err = sd_event_loop(f->loop);

	events_receive(f->events); /* what came in with the signal */
	return err < 0 ? err : 0;
}

void follow_close(struct follow *f)
{
	sd_event_source_unref(f->ring);
	sd_event_source_unref(f->writable);
	sd_event_source_unref(f->second);
	sd_event_unref(f->loop);
	events_close(f->events);
	ids_free(f->ids);
	cleanup_close(&f->id_map);
	cleanup_close(&f->lost_fd);
}
