// SPDX-License-Identifier: GPL-2.0-only
/* With the running kernel's sockets, in a network namespace of the test's own. */
#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "addr.h"
#include "sockets.h"

#ifndef SO_COOKIE
#define SO_COOKIE 57
#endif

/* One end of a connection, and the latch it would have. */
struct end {
	int fd;
	struct clatch_tuple tuple;
	struct clatch_latch latch;
};

struct pair {
	int listener;
	struct end client;
	struct end server;
};

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static union address address(int family, const char *text, __u16 port)
{
	union address a = { .any.sa_family = family };

	if (family == AF_INET) {
		a.v4.sin_port = htons(port);
		assert_int_equal(inet_pton(family, text, &a.v4.sin_addr), 1);
	} else {
		a.v6.sin6_port = htons(port);
		assert_int_equal(inet_pton(family, text, &a.v6.sin6_addr), 1);
	}
	return a;
}

static void to_latch(struct clatch_addr *addr, __u16 *port, const union address *a)
{
	if (a->any.sa_family == AF_INET)
		addr_from_v4(addr, a->v4.sin_addr.s_addr);
	else
		memcpy(addr, &a->v6.sin6_addr, sizeof(*addr));
	*port = ntohs(a->v4.sin_port); /* in the same place in both */
}

static __u16 port_of(int fd)
{
	union address a;
	socklen_t length = sizeof(a);

	assert_int_equal(getsockname(fd, &a.any, &length), 0);
	return ntohs(a.v4.sin_port);
}

static struct end end_of(int fd, __u32 proto)
{
	struct end e = { .fd = fd, .tuple.proto = proto };
	union address a;
	socklen_t length = sizeof(a);

	assert_int_equal(getsockname(fd, &a.any, &length), 0);
	to_latch(&e.tuple.local, &e.tuple.local_port, &a);
	length = sizeof(a);
	if (!getpeername(fd, &a.any, &length))
		to_latch(&e.tuple.remote, &e.tuple.remote_port, &a);
	length = sizeof(e.latch.cookie);
	if (proto == IPPROTO_UDP)
		assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &e.latch.cookie, &length),
				 0);
	return e;
}

static int bound(int family, int type, const char *text, __u16 port)
{
	union address a = address(family, text, port);
	int fd = socket(family, type, 0), one = 1;

	assert_true(fd >= 0);
	if (type == SOCK_STREAM)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	else
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	assert_int_equal(bind(fd, &a.any, sizeof(a)), 0);
	return fd;
}

static int listening(int family, const char *text, __u16 port)
{
	int fd = bound(family, SOCK_STREAM, text, port);

	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static struct pair tcp(int listen_family, const char *listen_on, int family, const char *connect_to,
		       const char *device)
{
	int fd = listening(listen_family, listen_on, 0);
	int client = socket(family, SOCK_STREAM, 0);
	union address a = address(family, connect_to, port_of(fd));
	struct pair p = { .listener = fd };

	if (device)
		assert_int_equal(
			setsockopt(client, SOL_SOCKET, SO_BINDTODEVICE, device, strlen(device)), 0);
	assert_int_equal(connect(client, &a.any, sizeof(a)), 0);
	p.client = end_of(client, IPPROTO_TCP);
	p.server = end_of(accept(fd, NULL, NULL), IPPROTO_TCP);
	return p;
}

static void close_pair(struct pair *p)
{
	close(p->client.fd);
	close(p->server.fd);
	close(p->listener);
}

static struct sockets *opened(void)
{
	struct sockets *s;

	assert_int_equal(sockets_open(&s), 0);
	return s;
}

static int error_of(ssize_t ret)
{
	return ret < 0 ? errno : 0;
}

static const struct {
	const char *name;
	int listen_family;
	const char *listen_on;
	int family;
	const char *connect_to;
	const char *device;
} kinds[] = {
	{ "IPv4", AF_INET, "127.0.0.1", AF_INET, "127.0.0.1", NULL },
	{ "IPv6", AF_INET6, "::1", AF_INET6, "::1", NULL },
	{ "both mapped", AF_INET6, "::", AF_INET6, "::ffff:127.0.0.1", NULL },
	{ "IPv4 to a listener on ::", AF_INET6, "::", AF_INET, "127.0.0.1", NULL },
	{ "bound to a device", AF_INET, "127.0.0.1", AF_INET, "127.0.0.1", "lo" },
	{ "IPv6, bound to a device", AF_INET6, "::1", AF_INET6, "::1", "lo" },
	{ "mapped, bound to a device", AF_INET6, "::", AF_INET6, "::ffff:127.0.0.1", "lo" },
};

static struct pair pair_of(size_t kind)
{
	return tcp(kinds[kind].listen_family, kinds[kind].listen_on, kinds[kind].family,
		   kinds[kind].connect_to, kinds[kind].device);
}

static void test_tcp(void **state)
{
	struct sockets *s = opened();
	char byte;

	(void)state;
	for (size_t i = 0; i < 2 * COUNT(kinds); i++) {
		const char *name = kinds[i / 2].name;
		struct pair p = pair_of(i / 2);
		const struct end *e = i % 2 ? &p.server : &p.client;
		const struct end *peer = i % 2 ? &p.client : &p.server;

		assert_row(name, sockets_have(s, &e->tuple, &e->latch) == 1);
		assert_row(name, sockets_destroy(s, &e->tuple, &e->latch) == 0);
		assert_row(name, error_of(recv(e->fd, &byte, 1, 0)) == ECONNABORTED);
		assert_row(name, error_of(recv(peer->fd, &byte, 1, 0)) == ECONNRESET);
		assert_row(name, sockets_have(s, &e->tuple, &e->latch) == 0);
		close_pair(&p);
	}
	sockets_close(s);
}

/* A lookup for a connection that is gone finds its listener: nothing may happen to that. */
static void test_gone(void **state)
{
	struct sockets *s = opened();

	(void)state;
	for (size_t i = 0; i < COUNT(kinds); i++) {
		struct pair p = pair_of(i);
		struct end other = p.server;

		other.tuple.remote_port ^= 1;
		assert_row(kinds[i].name, !sockets_have(s, &other.tuple, &other.latch));
		assert_row(kinds[i].name,
			   sockets_destroy(s, &other.tuple, &other.latch) == -ENOENT);
		other = end_of(p.listener, IPPROTO_TCP);
		assert_row(kinds[i].name, sockets_have(s, &other.tuple, &other.latch) == 1);
		close_pair(&p);
	}
	sockets_close(s);
}

/* TCP_DEFER_ACCEPT keeps a handshake at the server until data comes. */
static void test_handshake(void **state)
{
	struct sockets *s = opened();
	int seconds = 60;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		int fd = listening(kinds[i].listen_family, kinds[i].listen_on, 0);
		union address a = address(kinds[i].family, kinds[i].connect_to, port_of(fd));
		int client = socket(kinds[i].family, SOCK_STREAM, 0);
		struct end e, server = {};

		setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds));
		assert_int_equal(connect(client, &a.any, sizeof(a)), 0);
		e = end_of(client, IPPROTO_TCP);
		server.tuple = (struct clatch_tuple){ .local = e.tuple.remote,
						      .remote = e.tuple.local,
						      .local_port = e.tuple.remote_port,
						      .remote_port = e.tuple.local_port,
						      .proto = IPPROTO_TCP };
		assert_row(kinds[i].name, sockets_have(s, &server.tuple, &server.latch) == 1);
		assert_row(kinds[i].name, sockets_destroy(s, &server.tuple, &server.latch) == 0);
		assert_row(kinds[i].name, sockets_have(s, &server.tuple, &server.latch) == 0);
		close(client);
		close(fd);
	}
	sockets_close(s);
}

static void test_time_wait(void **state)
{
	struct sockets *s = opened();
	struct pair p = pair_of(0);
	char byte;

	(void)state;
	close(p.client.fd);
	assert_int_equal(recv(p.server.fd, &byte, 1, 0), 0);
	close(p.server.fd);
	assert_int_equal(sockets_have(s, &p.client.tuple, &p.client.latch), 1);
	assert_int_equal(sockets_have(s, &p.server.tuple, &p.server.latch), 0);
	assert_int_equal(sockets_destroy(s, &p.client.tuple, &p.client.latch), 0);
	assert_int_equal(sockets_have(s, &p.client.tuple, &p.client.latch), 0);
	close(p.listener);
	sockets_close(s);
}

static void test_listener(void **state)
{
	static const struct {
		const char *name;
		int family;
		const char *address;
	} rows[] = {
		{ "IPv4", AF_INET, "127.0.0.1" },
		{ "all of IPv4", AF_INET, "0.0.0.0" },
		{ "IPv6", AF_INET6, "::1" },
		{ "all", AF_INET6, "::" },
		{ "mapped", AF_INET6, "::ffff:127.0.0.1" },
		{ "all of IPv4, mapped", AF_INET6, "::ffff:0.0.0.0" },
	};
	struct sockets *s = opened();

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		int first = listening(rows[i].family, rows[i].address, 0);
		int second = listening(rows[i].family, rows[i].address, port_of(first));
		struct end e = end_of(first, IPPROTO_TCP);

		assert_row(rows[i].name, sockets_have(s, &e.tuple, &e.latch) == 1);
		assert_row(rows[i].name, sockets_destroy(s, &e.tuple, &e.latch) == 0);
		assert_row(rows[i].name, error_of(accept(first, NULL, NULL)) == EINVAL);
		assert_row(rows[i].name, error_of(accept(second, NULL, NULL)) == EINVAL);
		assert_row(rows[i].name, sockets_have(s, &e.tuple, &e.latch) == 0);
		assert_row(rows[i].name, sockets_destroy(s, &e.tuple, &e.latch) == -ENOENT);
		close(first);
		close(second);
	}
	sockets_close(s);
}

/* A listener on all addresses serves this one too, but the latch is not its. */
static void test_wider_listener(void **state)
{
	struct sockets *s = opened();
	int fd = listening(AF_INET6, "::", 0);
	struct end e = end_of(fd, IPPROTO_TCP);

	(void)state;
	addr_from_v4(&e.tuple.local, htonl(INADDR_ANY));
	assert_int_equal(sockets_have(s, &e.tuple, &e.latch), 0);
	addr_from_v4(&e.tuple.local, htonl(INADDR_LOOPBACK));
	assert_int_equal(sockets_have(s, &e.tuple, &e.latch), 0);
	assert_int_equal(sockets_destroy(s, &e.tuple, &e.latch), -ENOENT);
	e = end_of(fd, IPPROTO_TCP);
	assert_int_equal(sockets_have(s, &e.tuple, &e.latch), 1);
	close(fd);
	sockets_close(s);
}

static int udp(int family, const char *text, __u16 port, const union address *peer)
{
	int fd = bound(family, SOCK_DGRAM, text, port);

	assert_int_equal(connect(fd, &peer->any, sizeof(*peer)), 0);
	return fd;
}

static void test_udp(void **state)
{
	static const struct {
		const char *name;
		int family;
		const char *address;
	} rows[] = {
		{ "IPv4", AF_INET, "127.0.0.1" },
		{ "IPv6", AF_INET6, "::1" },
		{ "mapped", AF_INET6, "::ffff:127.0.0.1" },
	};
	struct sockets *s = opened();
	char byte = 0;

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		int server = bound(rows[i].family, SOCK_DGRAM, rows[i].address, 0);
		union address to = address(rows[i].family, rows[i].address, port_of(server));
		struct end e = end_of(udp(rows[i].family, rows[i].address, 7000, &to), IPPROTO_UDP);

		assert_row(rows[i].name, sockets_have(s, &e.tuple, &e.latch) == 1);
		e.latch.cookie++; /* not the socket that the latch is of */
		assert_row(rows[i].name, !sockets_have(s, &e.tuple, &e.latch));
		assert_row(rows[i].name, sockets_destroy(s, &e.tuple, &e.latch) == -ENOENT);
		e.latch.cookie--;
		assert_row(rows[i].name, sockets_destroy(s, &e.tuple, &e.latch) == 0);
		assert_row(rows[i].name, error_of(recv(e.fd, &byte, 1, 0)) == ECONNABORTED);
		assert_row(rows[i].name, error_of(send(e.fd, &byte, 1, 0)) == EDESTADDRREQ);
		assert_row(rows[i].name, !sockets_have(s, &e.tuple, &e.latch));
		close(e.fd);
		close(server);
	}
	sockets_close(s);
}

/* The kernel's lookup finds but one of them; the cookie tells which is meant. */
static void test_udp_shared(void **state)
{
	struct sockets *s = opened();
	union address to = address(AF_INET, "127.0.0.1", 7001);
	int fds[2] = { bound(AF_INET, SOCK_DGRAM, "127.0.0.1", 7000),
		       bound(AF_INET, SOCK_DGRAM, "127.0.0.1", 7000) };
	struct end e[2];
	int ret[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(connect(fds[i], &to.any, sizeof(to)), 0);
		e[i] = end_of(fds[i], IPPROTO_UDP);
	}
	for (int i = 0; i < 2; i++)
		assert_int_equal(sockets_have(s, &e[i].tuple, &e[i].latch), 1);
	for (int i = 0; i < 2; i++)
		ret[i] = sockets_destroy(s, &e[i].tuple, &e[i].latch);
	assert_true((ret[0] == -EBUSY && ret[1] == 0) || (ret[0] == 0 && ret[1] == 0));
	for (int i = 0; i < 2; i++)
		assert_int_equal(sockets_have(s, &e[i].tuple, &e[i].latch), ret[i] == -EBUSY);
	close(fds[0]);
	close(fds[1]);
	sockets_close(s);
}

/* connect() with AF_UNSPEC: the same socket, and no connection. */
static void test_udp_disconnected(void **state)
{
	const struct sockaddr nowhere = { .sa_family = AF_UNSPEC };
	struct sockets *s = opened();
	union address to = address(AF_INET, "127.0.0.1", 7001);
	struct end e = end_of(udp(AF_INET, "127.0.0.1", 7000, &to), IPPROTO_UDP);

	(void)state;
	assert_int_equal(connect(e.fd, &nowhere, sizeof(nowhere)), 0);
	assert_int_equal(sockets_have(s, &e.tuple, &e.latch), 0);
	assert_int_equal(sockets_destroy(s, &e.tuple, &e.latch), -ENOENT);
	assert_int_equal(connect(e.fd, &to.any, sizeof(to)), 0);
	assert_int_equal(sockets_have(s, &e.tuple, &e.latch), 1);
	close(e.fd);
	sockets_close(s);
}

/* What cannot be seen is not known to have gone. */
static void test_unknown_transport(void **state)
{
	struct sockets *s = opened();
	struct end e = { .tuple = { .proto = IPPROTO_DCCP, .remote_port = 1 } };

	(void)state;
	assert_int_equal(sockets_have(s, &e.tuple, &e.latch), 1);
	assert_int_equal(sockets_destroy(s, &e.tuple, &e.latch), -EOPNOTSUPP);
	sockets_close(s);
}

static int enter(void **state)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd;

	(void)state;
	if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET))
		return -1;
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo))
		return -1;
	close(fd);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tcp),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_handshake),
		cmocka_unit_test(test_time_wait),
		cmocka_unit_test(test_listener),
		cmocka_unit_test(test_wider_listener),
		cmocka_unit_test(test_udp),
		cmocka_unit_test(test_udp_shared),
		cmocka_unit_test(test_udp_disconnected),
		cmocka_unit_test(test_unknown_transport),
	};

	return cmocka_run_group_tests_name("sockets", tests, enter, NULL);
}
