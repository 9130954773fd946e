// SPDX-License-Identifier: GPL-2.0-only
/*
 * Keeps a TCP connection busy, whose two ends it was given as file descriptors, until it is ended.
 *
 *   pump stream TO FROM STEP    writes to TO as fast as it can; FROM is read
 *   pump ping TO FROM STEP      one byte to TO, which FROM sends back, and so on
 *
 * Each STEP bytes it prints how many there were, the time in nanoseconds (CLOCK_MONOTONIC), and the
 * longest time since the last such line between two reads.
 */
#include <err.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static char buffer[65536];

static long nanoseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void put(int fd, size_t length)
{
	while (length) {
		ssize_t done = write(fd, buffer, length);

		if (done < 0)
			err(1, "Couldn't write");
		length -= done;
	}
}

static size_t get(int fd)
{
	ssize_t length = read(fd, buffer, sizeof(buffer));

	if (length <= 0)
		err(1, "Couldn't read");
	return length;
}

/* The other end, in a process of its own. */
static void begin(bool ping, int to, int from)
{
	pid_t parent = getpid();

	switch (fork()) {
	case -1:
		err(1, "Couldn't fork");
	case 0:
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			exit(1);
		for (;;)
			put(ping ? from : to, ping ? get(from) : sizeof(buffer));
	}
}

int main(int argc, char **argv)
{
	long step, count = 0, next, before, longest = 0;
	int to, from;
	bool ping;

	if (argc != 5)
		errx(2, "usage: pump stream|ping TO FROM STEP");
	ping = !strcmp(argv[1], "ping");
	to = atoi(argv[2]);
	from = atoi(argv[3]);
	next = step = atol(argv[4]);
	begin(ping, to, from);
	for (before = nanoseconds();;) {
		long now;

		if (ping)
			put(to, 1);
		count += get(ping ? to : from);
		now = nanoseconds();
		longest = now - before > longest ? now - before : longest;
		before = now;
		if (count < next)
			continue;
		printf("%ld %ld %ld\n", count, now, longest);
		fflush(stdout);
		longest = 0;
		next += step;
	}
}
