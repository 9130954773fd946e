// SPDX-License-Identifier: GPL-2.0-only
/*
 * Cost of a round trip by UDP or TCP between two network namespaces: one packet out of and one into the
 * guarded side.  Both ends are in this process, so that nothing else is measured.
 *
 *   round_trip udp|tcp NETNS-A NETNS-B ADDR-A ADDR-B CGROUP ROUNDS
 *
 * Prints nanoseconds per round trip, the smallest of several batches.  A's socket is made in
 * CGROUP (a cgroup.procs file's directory, v2).
 */
#include <netinet/tcp.h>
#include <string.h>
#include "ends.h"

#define PAYLOAD 64
#define PORT_A 30001
#define PORT_B 30002
#define BATCHES 5

/* The peer's end of the connection: @fd, or what it accepts. */
static int peer_end(int fd, int type, int from)
{
	int one = 1, accepted;

	if (type == SOCK_DGRAM) {
		reach(fd, from);
		return fd;
	}
	accepted = accept(fd, NULL, NULL);
	if (accepted < 0)
		err(1, "Couldn't accept");
	setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(from, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return accepted;
}

static void rounds(int a, int b, long count)
{
	char payload[PAYLOAD] = "";

	for (long i = 0; i < count; i++) {
		if (send(a, payload, sizeof(payload), 0) < 0 ||
		    recv(b, payload, sizeof(payload), 0) < 0 ||
		    send(b, payload, sizeof(payload), 0) < 0 ||
		    recv(a, payload, sizeof(payload), 0) < 0)
			err(1, "Couldn't complete round trip %ld", i);
	}
}

int main(int argc, char **argv)
{
	struct timeval limit = { .tv_sec = 60 };
	long count, best = 0;
	int a, b, type;

	if (argc != 8)
		errx(2, "usage: round_trip udp|tcp NETNS-A NETNS-B ADDR-A ADDR-B CGROUP ROUNDS");
	type = strcmp(*++argv, "tcp") ? SOCK_DGRAM : SOCK_STREAM;
	count = strtol(argv[6], NULL, 10);
	if (count < 1)
		errx(2, "ROUNDS is at least 1");
	enter(argv[2]);
	b = endpoint(argv[4], PORT_B, type);
	if (type == SOCK_STREAM && listen(b, 1))
		err(1, "Couldn't listen");
	enter(argv[1]);
	join(argv[5]);
	a = endpoint(argv[3], PORT_A, type);
	reach(a, b);
	b = peer_end(b, type, a);
	setsockopt(a, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(b, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	rounds(a, b, count / 4 + 1); /* caches, latch, conntrack */
	for (int i = 0; i < BATCHES; i++) {
		long start = nanoseconds(CLOCK_MONOTONIC), took;

		rounds(a, b, count);
		took = (nanoseconds(CLOCK_MONOTONIC) - start) / count;
		best = best && best < took ? best : took;
	}
	printf("%ld\n", best);
	return 0;
}
