// SPDX-License-Identifier: GPL-2.0-only
#include "progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define FIRST_NS 1000000000LL
#define AGAIN_NS 200000000LL

static long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

struct progress progress_begin(const struct cli *cli)
{
	bool beside = cli->json && isatty(STDOUT_FILENO);

	return (struct progress){
		.wanted = !beside && isatty(STDERR_FILENO),
		.next = now_ns() + FIRST_NS,
	};
}

void progress_show(struct progress *p, const char *format, ...)
{
	long long now;
	va_list args;

	if (!p->wanted)
		return;
	now = now_ns();
	if (now < p->next)
		return;
	putc('\r', stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	p->shown = true;
	p->next = now + AGAIN_NS;
}

void progress_clear(struct progress *p)
{
	if (p->shown)
		fputs("\r\033[K", stderr);
	p->shown = false;
}
