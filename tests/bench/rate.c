// SPDX-License-Identifier: GPL-2.0-only
/*
 * How often a second something is done between two network namespaces.  Both ends are in this one
 * thread, so that nothing else is measured; and the work of both hosts is.
 *
 *   rate WHAT NETNS-A NETNS-B ADDR-A ADDR-B CGROUP MILLISECONDS
 *
 *   connect   A connects by TCP, B accepts; B closes, then A
 *   sent      datagrams of 64 bytes from A to B, both connected
 *   received  the same from B to A
 *   sendto    from A to B, neither connected
 *
 * A datagram is counted when it has been received; all are.  A's sockets are made in CGROUP (a
 * cgroup.procs file's directory, v2).
 */
#include <stdbool.h>
#include <string.h>
#include "ends.h"

#define PAYLOAD 64
#define BATCH 32 /* datagrams: fewer than a socket keeps */
#define PORT_A 30001
#define PORT_B 30002

struct pair {
	int from, to;
	struct sockaddr_in6 peer; /* where to @from sends, or connects: @to's own; or shorter */
	socklen_t length; /* of it; 0: @from is connected */
};

static int connection(struct pair *p)
{
	int from = socket(p->peer.sin6_family, SOCK_STREAM | SOCK_CLOEXEC, 0), accepted;
	char byte;

	if (from < 0 || connect(from, (void *)&p->peer, p->length))
		err(1, "Couldn't connect");
	accepted = accept(p->to, NULL, NULL);
	if (accepted < 0)
		err(1, "Couldn't accept");
	close(accepted);
	if (read(from, &byte, 1))
		err(1, "The peer has not closed");
	close(from);
	return 1;
}

static int datagrams(struct pair *p)
{
	char payload[PAYLOAD] = "";

	for (int i = 0; i < BATCH; i++)
		if (sendto(p->from, payload, sizeof(payload), 0,
			   p->length ? (void *)&p->peer : NULL, p->length) < 0)
			err(1, "Couldn't send");
	for (int i = 0; i < BATCH; i++)
		if (recv(p->to, payload, sizeof(payload), 0) < 0)
			err(1, "Couldn't receive");
	return BATCH;
}

/* A second of it, from what is done in @ms. */
static double rate(int (*act)(struct pair *), struct pair *p, long ms)
{
	long start = nanoseconds(), now = start, done = 0;

	while (now - start < ms * 1000000) {
		done += act(p);
		now = nanoseconds();
	}
	return done * 1e9 / (now - start);
}

/* What @from sends to; TCP's connections are made later. */
static void prepare(struct pair *p, char **argv, int type)
{
	struct timeval limit = { .tv_sec = 60 };
	struct linger orderly = {};

	enter(argv[3]);
	p->to = endpoint(argv[5], PORT_B, type);
	if (type == SOCK_STREAM && listen(p->to, 1))
		err(1, "Couldn't listen");
	setsockopt(p->to, SOL_SOCKET, SO_LINGER, &orderly, sizeof(orderly));
	enter(argv[2]);
	join(argv[6]);
	if (type == SOCK_DGRAM)
		p->from = endpoint(argv[4], PORT_A, type);
	setsockopt(p->to, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(p->from, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	p->length = sizeof(p->peer);
	if (getsockname(p->to, (void *)&p->peer, &p->length))
		err(1, "Couldn't read the peer's address");
}

/* Both ends are connected, and no datagram needs an address. */
static void connected(struct pair *p)
{
	reach(p->from, p->to);
	reach(p->to, p->from);
	p->length = 0;
}

int main(int argc, char **argv)
{
	struct pair p = { .from = -1 };
	const char *what = argv[1];
	bool tcp;
	long ms;

	if (argc != 8)
		errx(2, "usage: rate WHAT NETNS-A NETNS-B ADDR-A ADDR-B CGROUP MILLISECONDS");
	tcp = !strcmp(what, "connect");
	ms = atol(argv[7]);
	prepare(&p, argv, tcp ? SOCK_STREAM : SOCK_DGRAM);
	if (!strcmp(what, "sent") || !strcmp(what, "received"))
		connected(&p);
	if (!strcmp(what, "received"))
		p = (struct pair){ .from = p.to, .to = p.from };
	rate(tcp ? connection : datagrams, &p, ms / 8); /* caches, conntrack */
	printf("%.0f\n", rate(tcp ? connection : datagrams, &p, ms));
	return 0;
}
