// SPDX-License-Identifier: GPL-2.0-only
/*
 * A program that goes on sending what is refused.
 *
 *   flood FD ADDR|- PORT COUNT RATE
 *   flood -NS - 0 COUNT RATE
 *
 * Sends COUNT datagrams, 0 = until SIGTERM, on the socket FD to ADDR and PORT, or where it is connected
 * to; RATE a second, a thousandth of them each millisecond, 0 = as fast as it can.  Or it sends nothing,
 * and keeps its CPU busy instead for NS nanoseconds each.  Prints nanoseconds per datagram, how many
 * there were, how many of them were refused, and nanoseconds of CPU time per datagram.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static volatile sig_atomic_t ended;

static void end(int number)
{
	(void)number;
	ended = 1;
}

static long nanoseconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void sleep_until(long time)
{
	struct timespec t = { time / 1000000000L, time % 1000000000L };

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

static void keep_busy(long time)
{
	long until = nanoseconds(CLOCK_MONOTONIC) + time;

	while (nanoseconds(CLOCK_MONOTONIC) < until)
		;
}

static int refused(int fd, const struct sockaddr_in *to)
{
	socklen_t length = to->sin_port ? sizeof(*to) : 0;

	if (sendto(fd, "flood", 5, 0, length ? (const void *)to : NULL, length) >= 0)
		return 0;
	if (errno != EPERM)
		err(1, "Couldn't send");
	return 1;
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	long count, rate, batch, begun, i, no = 0;
	int fd;

	if (argc != 6)
		errx(2, "usage: flood FD ADDR|- PORT COUNT RATE");
	fd = atoi(argv[1]);
	if (strcmp(argv[2], "-") && inet_pton(AF_INET, argv[2], &to.sin_addr) != 1)
		errx(2, "'%s' is no address", argv[2]);
	to.sin_port = strcmp(argv[2], "-") ? htons(atoi(argv[3])) : 0;
	count = strtol(argv[4], NULL, 10);
	rate = strtol(argv[5], NULL, 10);
	batch = rate / 1000 ? rate / 1000 : 1;
	signal(SIGTERM, end);
	begun = nanoseconds(CLOCK_MONOTONIC);
	for (i = 0; !ended && (!count || i < count); i++) {
		if (rate && i % batch == 0)
			sleep_until(begun + i * (1000000000L / rate));
		if (fd >= 0)
			no += refused(fd, &to);
		else
			keep_busy(-fd);
	}
	printf("%ld %ld %ld %ld\n", i ? (nanoseconds(CLOCK_MONOTONIC) - begun) / i : 0, i, no,
	       i ? nanoseconds(CLOCK_PROCESS_CPUTIME_ID) / i : 0);
	return 0;
}
