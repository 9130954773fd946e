// SPDX-License-Identifier: GPL-2.0-only
/*
 * How much of something can be done between two network namespaces in a second of CPU time.  Both
 * ends are in this one thread, and the kernel does the work of both hosts in its calls: so what else
 * the CPU does meanwhile hardly shows.
 *
 *   rate WHAT NETNS-A NETNS-B ADDR-A ADDR-B CGROUP MILLISECONDS
 *
 *   out       bytes of a TCP stream that B received from A
 *   in        the same from B to A
 *   out_blocks, in_blocks  the same, a block at a time: it is received before the next is sent, there is
 *             always room for it, and so TCP's rhythm is always the same
 *   connect   TCP connections: A connects, B accepts; B closes, then A
 *   sent      datagrams of 64 bytes that B received from A, both connected
 *   sendto    the same, neither connected
 *   received  datagrams of 64 bytes that A received from B, both connected
 *
 * No datagram is lost.  A's sockets are made in CGROUP (a cgroup.procs file's directory, v2).
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include "ends.h"

#define PAYLOAD 64
#define BATCH 32 /* datagrams, fewer than a socket keeps; and acts between two looks at the clock */
#define BLOCK 65536 /* bytes of a stream */
#define PORT_A 30001
#define PORT_B 30002

struct pair {
	int from, to; /* a listening socket until there is a connection */
	struct sockaddr_in6 peer; /* where to @from sends, or connects: @to's own; or shorter */
	socklen_t length; /* of it; 0: @from is connected */
};

/* What was accepted; @from is the other end. */
static int begin(struct pair *p)
{
	int accepted;

	p->from = socket(p->peer.sin6_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (p->from < 0 || connect(p->from, (void *)&p->peer, p->length))
		err(1, "Couldn't connect");
	accepted = accept(p->to, NULL, NULL);
	if (accepted < 0)
		err(1, "Couldn't accept");
	return accepted;
}

static long connection(struct pair *p)
{
	char byte;

	close(begin(p));
	if (read(p->from, &byte, 1))
		err(1, "The peer has not closed");
	close(p->from);
	return 1;
}

/* As much as there is room for, and then all of it. */
static long stream(struct pair *p)
{
	static char buffer[BLOCK];
	ssize_t length;
	long done = 0;

	do
		length = send(p->from, buffer, sizeof(buffer), MSG_DONTWAIT);
	while (length > 0);
	if (errno != EAGAIN)
		err(1, "Couldn't send");
	while ((length = recv(p->to, buffer, sizeof(buffer), MSG_DONTWAIT)) > 0)
		done += length;
	if (!length || errno != EAGAIN)
		err(1, "Couldn't receive");
	return done;
}

static long block(struct pair *p)
{
	static char buffer[BLOCK];

	if (send(p->from, buffer, sizeof(buffer), 0) != sizeof(buffer))
		err(1, "Couldn't send");
	if (recv(p->to, buffer, sizeof(buffer), MSG_WAITALL) != sizeof(buffer))
		err(1, "Couldn't receive");
	return sizeof(buffer);
}

static long datagrams(struct pair *p)
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
static double rate(long (*act)(struct pair *), struct pair *p, long ms)
{
	long start = nanoseconds(CLOCK_PROCESS_CPUTIME_ID), now = start, done = 0;

	while (now - start < ms * 1000000) {
		for (int i = 0; i < BATCH; i++)
			done += act(p);
		now = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
	}
	return done * 1e9 / (now - start);
}

/* Room for some blocks, so that TCP does not find out for itself how much it takes. */
static void room(int fd)
{
	int size = 16 * BLOCK, one = 1;

	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
		err(1, "Couldn't make room");
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

/* Makes the connection that is measured. */
static void join_ends(struct pair *p, bool tcp)
{
	if (tcp) {
		p->to = begin(p);
	} else {
		reach(p->from, p->to);
		reach(p->to, p->from);
	}
	p->length = 0;
}

static const struct what {
	const char *name;
	long (*act)(struct pair *);
	int type;
	bool from_b, unjoined; /* @act sends from B to A; is given what is not connected yet */
} whats[] = {
	{ .name = "out", .act = stream, .type = SOCK_STREAM },
	{ .name = "in", .act = stream, .type = SOCK_STREAM, .from_b = true },
	{ .name = "out_blocks", .act = block, .type = SOCK_STREAM },
	{ .name = "in_blocks", .act = block, .type = SOCK_STREAM, .from_b = true },
	{ .name = "connect", .act = connection, .type = SOCK_STREAM, .unjoined = true },
	{ .name = "sent", .act = datagrams, .type = SOCK_DGRAM },
	{ .name = "sendto", .act = datagrams, .type = SOCK_DGRAM, .unjoined = true },
	{ .name = "received", .act = datagrams, .type = SOCK_DGRAM, .from_b = true },
};

static const struct what *what(const char *name)
{
	for (size_t i = 0; i < sizeof(whats) / sizeof(whats[0]); i++)
		if (!strcmp(whats[i].name, name))
			return &whats[i];
	errx(2, "What is '%s'?", name);
}

int main(int argc, char **argv)
{
	struct pair p = { .from = -1 };
	const struct what *w;
	long ms;

	if (argc != 8)
		errx(2, "usage: rate WHAT NETNS-A NETNS-B ADDR-A ADDR-B CGROUP MILLISECONDS");
	w = what(argv[1]);
	ms = atol(argv[7]);
	prepare(&p, argv, w->type);
	if (!w->unjoined)
		join_ends(&p, w->type == SOCK_STREAM);
	if (w->act == block) {
		room(p.from);
		room(p.to);
	}
	if (w->from_b)
		p = (struct pair){ .from = p.to, .to = p.from };
	rate(w->act, &p, ms / 8); /* caches, conntrack */
	printf("%.0f\n", rate(w->act, &p, ms));
	return 0;
}
