/* SPDX-License-Identifier: GPL-2.0-only */
/* sock_diag messages: what is asked of the kernel's sockets, and what it answers.  Pure. */
#ifndef CLATCH_SOCKET_MESSAGE_H
#define CLATCH_SOCKET_MESSAGE_H

#include <clatch/latch.h>
#include <linux/netlink.h>
#include <stdbool.h>

#define SOCKET_REQUEST_ROOM 128

/* A socket as the kernel shows it. */
struct socket_seen {
	struct clatch_addr local;
	struct clatch_addr remote;
	__u16 local_port;
	__u16 remote_port;
	__u32 device; /* it is bound to, 0 = none */
	__u64 cookie; /* SO_COOKIE */
	__u8 state; /* TCP_ESTABLISHED, … */
};

/*
 * Is this the socket of this latch?  UDP: the very socket, and connected.  SCTP: of its ports, as
 * an association has many addresses.
 */
bool socket_is(const struct socket_seen *seen, const struct clatch_tuple *tuple,
	       const struct clatch_latch *latch);

/*
 * The one socket that the kernel would give a packet of this connection to; of the ways to say so
 * the one that finds sockets of both families.  It may be another than the latch's: where the
 * connection is gone, the listener.
 */
struct nlmsghdr *socket_lookup(char buffer[SOCKET_REQUEST_ROOM], const struct clatch_tuple *tuple,
			       __u32 device);
/* All of one family (AF_INET, AF_INET6) with these ports. */
struct nlmsghdr *socket_dump(char buffer[SOCKET_REQUEST_ROOM], const struct clatch_tuple *tuple,
			     int family);
/* None at all: tells whether the kernel has sock_diag for this transport. */
struct nlmsghdr *socket_probe(char buffer[SOCKET_REQUEST_ROOM], __u32 proto);
/* SOCK_DESTROY of @seen, and of no other that came to be in its place. */
struct nlmsghdr *socket_destroy(char buffer[SOCKET_REQUEST_ROOM], const struct clatch_tuple *tuple,
				const struct socket_seen *seen);

enum socket_answer_kind {
	SOCKET_NOTHING, /* not about sockets */
	SOCKET_SEEN,
	SOCKET_END, /* nothing more comes */
};

struct socket_answer {
	enum socket_answer_kind kind;
	int error; /* on END: 0 or -errno */
	struct socket_seen seen; /* on SEEN */
};

/* What @message, all of whose nlmsg_len bytes are there, says.  0, or -EBADMSG, *answer as it was. */
int socket_answer(struct socket_answer *answer, const struct nlmsghdr *message);

#endif
