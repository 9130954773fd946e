// SPDX-License-Identifier: GPL-2.0-only
/*
 * A program that goes on sending what is refused.
 *
 *   flood FD ADDR|- PORT COUNT RATE
 *
 * Sends COUNT datagrams, 0 = until SIGTERM, on the socket FD to ADDR and PORT, or where it is connected
 * to; RATE a second, 0 = as fast as it can.  FD -1: it keeps time and sends nothing.  Prints
 * nanoseconds per datagram, how many there were, and how many of them were refused.
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

static long nanoseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
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
	long count, rate, begun, i, no = 0;
	int fd;

	if (argc != 6)
		errx(2, "usage: flood FD ADDR|- PORT COUNT RATE");
	fd = atoi(argv[1]);
	if (strcmp(argv[2], "-") && inet_pton(AF_INET, argv[2], &to.sin_addr) != 1)
		errx(2, "'%s' is no address", argv[2]);
	to.sin_port = strcmp(argv[2], "-") ? htons(atoi(argv[3])) : 0;
	count = strtol(argv[4], NULL, 10);
	rate = strtol(argv[5], NULL, 10);
	signal(SIGTERM, end);
	begun = nanoseconds();
	for (i = 0; !ended && (!count || i < count); i++) {
		while (rate && nanoseconds() < begun + i * (1000000000L / rate))
			;
		if (fd >= 0)
			no += refused(fd, &to);
	}
	printf("%ld %ld %ld\n", i ? (nanoseconds() - begun) / i : 0, i, no);
	return 0;
}
