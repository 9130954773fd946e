/* SPDX-License-Identifier: GPL-2.0-only */
/* Sockets of the two hosts, for programs that hold both ends of a connection. */
#ifndef CLATCH_BENCH_ENDS_H
#define CLATCH_BENCH_ENDS_H

#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static inline void enter(const char *netns)
{
	int fd = open(netns, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNET))
		err(1, "Couldn't enter '%s'", netns);
	close(fd);
}

static inline void join(const char *cgroup)
{
	char path[4096];
	FILE *procs;

	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
	procs = fopen(path, "w");
	if (!procs || fprintf(procs, "%d", getpid()) < 0 || fclose(procs))
		err(1, "Couldn't join '%s'", cgroup);
}

static inline struct sockaddr_in6 address(const char *text, int port)
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
static inline int endpoint(const char *own, int port, int type)
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

static inline void reach(int fd, int to)
{
	struct sockaddr_in6 peer; /* or shorter */
	socklen_t length = sizeof(peer);

	if (getsockname(to, (void *)&peer, &length) || connect(fd, (void *)&peer, length))
		err(1, "Couldn't connect");
}

static inline long nanoseconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

#endif
