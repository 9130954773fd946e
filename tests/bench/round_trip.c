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
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PAYLOAD 64
#define PORT_A 30001
#define PORT_B 30002
#define BATCHES 5

static void enter(const char *netns)
{
	int fd = open(netns, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNET))
		err(1, "Couldn't enter '%s'", netns);
	close(fd);
}

static void join(const char *cgroup)
{
	char path[4096];
	FILE *procs;

	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
	procs = fopen(path, "w");
	if (!procs || fprintf(procs, "%d", getpid()) < 0 || fclose(procs))
		err(1, "Couldn't join '%s'", cgroup);
}

static struct sockaddr_in6 address(const char *text, int port)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	char mapped[64];

	snprintf(mapped, sizeof(mapped), "::ffff:%s", text);
	if (inet_pton(AF_INET6, text, &a.sin6_addr) != 1 &&
	    inet_pton(AF_INET6, mapped, &a.sin6_addr) != 1)
		errx(1, "'%s' is no address", text);
	return a;
}

/* A socket bound to @own; an IPv4 address gives an IPv4 socket, as the cost differs. */
static int endpoint(const char *own, int port, int type)
{
	struct linger at_once = { .l_onoff = 1 };
	struct sockaddr_in6 a = address(own, port);
	struct sockaddr_in a4 = { .sin_family = AF_INET, .sin_port = a.sin6_port };
	int v4 = inet_pton(AF_INET, own, &a4.sin_addr) == 1, one = 1, fd;

	fd = socket(v4 ? AF_INET : AF_INET6, type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		err(1, "Couldn't make a socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	if (v4 ? bind(fd, (void *)&a4, sizeof(a4)) : bind(fd, (void *)&a, sizeof(a)))
		err(1, "Couldn't bind '%s'", own);
	return fd;
}

static void reach(int fd, int to)
{
	struct sockaddr_in6 peer; /* or shorter */
	socklen_t length = sizeof(peer);

	if (getsockname(to, (void *)&peer, &length) || connect(fd, (void *)&peer, length))
		err(1, "Couldn't connect");
}

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

static long nanoseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
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
		long start = nanoseconds(), took;

		rounds(a, b, count);
		took = (nanoseconds() - start) / count;
		best = best && best < took ? best : took;
	}
	printf("%ld\n", best);
	return 0;
}
