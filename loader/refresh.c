// SPDX-License-Identifier: GPL-2.0-only
#include "refresh.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <unistd.h>

#define SOON_US 1000000ULL
#define LATER_US (10 * 1000000ULL) /* how long a namespace that is not used is kept */

static void refresh_in(struct refresh *r, uint64_t after)
{
	uint64_t now;

	if (sd_event_now(r->loop, CLOCK_MONOTONIC, &now) < 0 || now + after >= r->due)
		return;
	r->due = now + after;
	sd_event_source_set_time(r->timer, r->due);
	sd_event_source_set_enabled(r->timer, SD_EVENT_ONESHOT);
}

void refresh_soon(struct refresh *r)
{
	refresh_in(r, SOON_US);
}

void refresh_later(struct refresh *r)
{
	refresh_in(r, LATER_US);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *context)
{
	struct refresh *r = context;

	(void)source, (void)usec;
	r->due = UINT64_MAX;
	domains_refresh(r->domains);
	return 0;
}

static int on_mounts(sd_event_source *source, int fd, uint32_t revents, void *context)
{
	(void)source, (void)fd, (void)revents;
	refresh_soon(context);
	return 0;
}

static int on_ended(sd_event_source *source, int fd, uint32_t revents, void *context)
{
	(void)source, (void)fd, (void)revents;
	refresh_later(context);
	return 0;
}

/* The kernel tells once that mounts have changed, and knows of each reader what it was told. */
static void watch_mounts(struct refresh *r)
{
	int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (sd_event_add_io(r->loop, &r->mounts, fd, EPOLLPRI, on_mounts, r) < 0)
		close(fd);
	else
		sd_event_source_set_io_fd_own(r->mounts, true);
}

/* A thread that is not its process's first has none. */
static bool watch_process(struct refresh *r, struct domain *domain, pid_t pid)
{
	int fd = pidfd_open(pid, 0);

	if (fd < 0)
		return false;
	if (sd_event_add_io(r->loop, &domain->holder_source, fd, EPOLLIN, on_ended, r) < 0) {
		close(fd);
		return false;
	}
	sd_event_source_set_io_fd_own(domain->holder_source, true);
	return sd_event_source_set_enabled(domain->holder_source, SD_EVENT_ONESHOT) >= 0;
}

static bool is_watched(const struct domain *domain)
{
	return domain->holder_source &&
	       sd_event_source_get_enabled(domain->holder_source, NULL) > 0;
}

void refresh_held(struct refresh *r, struct domain *domain, pid_t holder)
{
	if (holder && is_watched(domain))
		return;
	domain->holder_source = sd_event_source_disable_unref(domain->holder_source);
	if (holder ? !watch_process(r, domain, holder) : !r->mounts)
		refresh_later(r);
}

int refresh_open(struct refresh *r, sd_event *loop, struct domains *domains)
{
	int err;

	*r = (struct refresh){ .domains = domains, .loop = loop, .due = UINT64_MAX };
	err = sd_event_add_time(loop, &r->timer, CLOCK_MONOTONIC, 0, 0, on_timer, r);
	if (err >= 0)
		err = sd_event_source_set_enabled(r->timer, SD_EVENT_OFF);
	if (err >= 0)
		watch_mounts(r);
	return err < 0 ? err : 0;
}

void refresh_close(struct refresh *r)
{
	sd_event_source_disable_unref(r->mounts);
	sd_event_source_disable_unref(r->timer);
	*r = (struct refresh){};
}
