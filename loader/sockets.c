// SPDX-License-Identifier: GPL-2.0-only
#include "sockets.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "addr.h"
#include "parts.h"
#include "socket_message.h"

#define ANSWER_ROOM 65536

enum answers { UNTRIED, ANSWERS, ANSWERS_NOT };

struct sockets {
	struct mnl_socket *socket;
	unsigned int sequence;
	enum answers tcp, udp, sctp; /* each has a module of its own */
	char answer[ANSWER_ROOM];
};

int sockets_open(struct sockets **sockets)
{
	struct sockets *s = calloc(1, sizeof(*s));
	int err = 0;

	if (!s)
		return -ENOMEM;
	s->socket = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
	if (!s->socket || mnl_socket_bind(s->socket, 0, MNL_SOCKET_AUTOPID))
		err = -errno;
	if (err) {
		sockets_close(s);
		return err;
	}
	*sockets = s;
	return 0;
}

void sockets_close(struct sockets *s)
{
	if (!s)
		return;
	if (s->socket)
		mnl_socket_close(s->socket);
	free(s);
}

/* The socket that is looked for, among all that an answer has. */
struct search {
	const struct clatch_tuple *tuple;
	const struct clatch_latch *latch;
	struct socket_seen seen;
	bool found;
};

static void take_seen(struct search *search, const struct socket_seen *seen)
{
	if (!search || search->found || !socket_is(seen, search->tuple, search->latch))
		return;
	search->seen = *seen;
	search->found = true;
}

/* What one datagram has for us.  1 more is to come; 0 or -errno the end. */
static int take_answers(const struct sockets *s, int length, struct search *search)
{
	const struct nlmsghdr *message = (const void *)s->answer;
	struct socket_answer a;
	int err;

	for (; mnl_nlmsg_ok(message, length); message = mnl_nlmsg_next(message, &length)) {
		if (message->nlmsg_seq != s->sequence)
			continue; /* to a request that was given up */
		err = socket_answer(&a, message);
		if (err)
			return err;
		if (a.kind == SOCKET_SEEN)
			take_seen(search, &a.seen);
		if (a.kind == SOCKET_END)
			return a.error;
	}
	return 1;
}

static int ask(struct sockets *s, struct nlmsghdr *request, struct search *search)
{
	ssize_t length;
	int ret;

	request->nlmsg_seq = ++s->sequence;
	if (mnl_socket_sendto(s->socket, request, request->nlmsg_len) < 0)
		return -errno;
	do {
		length = mnl_socket_recvfrom(s->socket, s->answer, sizeof(s->answer));
		if (length < 0 && errno != EINTR)
			return -errno;
		ret = length < 0 ? 1 : take_answers(s, length, search);
	} while (ret > 0);
	return ret;
}

/*
 * A transport without its diagnosis module answers ENOENT, as one does that has no such socket:
 * only a dump tells them apart.
 */
static int answers(struct sockets *s, __u32 proto)
{
	enum answers *known = proto == IPPROTO_TCP   ? &s->tcp
			      : proto == IPPROTO_UDP ? &s->udp
						     : &s->sctp;
	char request[SOCKET_REQUEST_ROOM];
	int err;

	if (*known == UNTRIED) {
		err = ask(s, socket_probe(request, proto), NULL);
		if (err && err != -ENOENT)
			return err;
		*known = err ? ANSWERS_NOT : ANSWERS;
	}
	return *known == ANSWERS ? 0 : -EOPNOTSUPP;
}

/* None there, or another in its place, are no errors. */
static int look_up(struct sockets *s, struct search *search, __u32 device)
{
	char request[SOCKET_REQUEST_ROOM];
	int err = ask(s, socket_lookup(request, search->tuple, device), search);

	return err == -ENOENT || err == -ESTALE ? 0 : err;
}

static int dump(struct sockets *s, struct search *search)
{
	char request[SOCKET_REQUEST_ROOM];
	int err = 0;

	/* an AF_INET6 socket may have mapped addresses */
	if (addr_is_v4(&search->tuple->local))
		err = ask(s, socket_dump(request, search->tuple, AF_INET), search);
	if (!err && !search->found)
		err = ask(s, socket_dump(request, search->tuple, AF_INET6), search);
	return err;
}

/*
 * A lookup is quick, and nearly always enough.  It does not find a socket bound to another device
 * than it names (nor one of link-local addresses), and it finds one of several that share their
 * addresses and ports: only a dump of all sockets does.
 */
static int find(struct sockets *s, struct search *search)
{
	const __u32 devices[] = { 0, search->latch->held.in.ifindex,
				  search->latch->held.out.ifindex };
	int err = answers(s, search->tuple->proto);

	for (int i = 0; i < 3 && !err && !search->found; i++)
		if (!i || devices[i])
			err = look_up(s, search, devices[i]);
	if (!err && !search->found)
		err = dump(s, search);
	return err;
}

int sockets_have(struct sockets *s, const struct clatch_tuple *tuple,
		 const struct clatch_latch *latch)
{
	struct search search = { .tuple = tuple, .latch = latch };
	int err = find(s, &search);

	if (err == -EOPNOTSUPP)
		return 1; /* what cannot be seen is not known to have gone */
	return err ? err : search.found;
}

/* The next one.  -ENOENT there is none; -EBUSY it is the last one again. */
static int find_next(struct sockets *s, struct search *search)
{
	__u64 last = search->found ? search->seen.cookie : 0;
	int err;

	search->found = false;
	err = find(s, search);
	if (err)
		return err;
	if (!search->found)
		return -ENOENT;
	return search->seen.cookie == last ? -EBUSY : 0;
}

static int destroy(struct sockets *s, const struct search *search)
{
	char request[SOCKET_REQUEST_ROOM];
	int err = ask(s, socket_destroy(request, search->tuple, &search->seen), NULL);

	return err == -ESTALE ? -ENOENT : err;
}

static int destroy_connection(struct sockets *s, struct search *search)
{
	int err = find_next(s, search);

	if (!err)
		err = destroy(s, search);
	if (err != -ENOENT || !search->found)
		return err;
	/* gone meanwhile, or hidden by another; what is new there is not meant */
	err = find_next(s, search);
	return err ? err : -ENOENT;
}

/* SO_REUSEPORT allows several. */
static int destroy_listeners(struct sockets *s, struct search *search)
{
	int done = -ENOENT, err;

	while (!(err = find_next(s, search))) {
		err = destroy(s, search);
		if (!err)
			done = 0;
		else if (err != -ENOENT)
			break;
	}
	return err == -ENOENT ? done : err;
}

int sockets_destroy(struct sockets *s, const struct clatch_tuple *tuple,
		    const struct clatch_latch *latch)
{
	struct search search = { .tuple = tuple, .latch = latch };

	if (tuple_is_listener(tuple))
		return destroy_listeners(s, &search);
	return destroy_connection(s, &search);
}
