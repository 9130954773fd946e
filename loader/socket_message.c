// SPDX-License-Identifier: GPL-2.0-only
#include "socket_message.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <string.h>

#include "addr.h"
#include "parts.h"

#define BIT(state) (1U << (state))
/* A connection's, from SYN_SENT to TIME_WAIT; the kernel takes a handshake for SYN_RECV. */
#define CONNECTION_STATES (0xffeU & ~(BIT(TCP_LISTEN) | BIT(TCP_CLOSE)))

static bool same_addr(const struct clatch_addr *a, const struct clatch_addr *b)
{
	return !memcmp(a, b, sizeof(*a));
}

bool socket_is(const struct socket_seen *seen, const struct clatch_tuple *tuple,
	       const struct clatch_latch *latch)
{
	bool listener = tuple_is_listener(tuple);

	if (seen->local_port != tuple->local_port || seen->remote_port != tuple->remote_port)
		return false;
	if ((seen->state == TCP_LISTEN) != listener)
		return false;
	if (tuple->proto == IPPROTO_SCTP)
		return true;
	if (!same_addr(&seen->local, &tuple->local))
		return false;
	if (!listener && !same_addr(&seen->remote, &tuple->remote))
		return false;
	if (tuple->proto == IPPROTO_UDP)
		return seen->state == TCP_ESTABLISHED && seen->cookie == latch->cookie;
	return true;
}

static struct nlmsghdr *put_request(char buffer[SOCKET_REQUEST_ROOM], __u16 type, __u16 flags,
				    int family, __u32 proto)
{
	struct nlmsghdr *header = mnl_nlmsg_put_header(buffer);
	struct inet_diag_req_v2 *request;

	header->nlmsg_type = type;
	header->nlmsg_flags = NLM_F_REQUEST | flags;
	request = mnl_nlmsg_put_extra_header(header, sizeof(*request));
	request->sdiag_family = family;
	request->sdiag_protocol = proto;
	request->id.idiag_cookie[0] = INET_DIAG_NOCOOKIE;
	request->id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	return header;
}

static void put_addr(__be32 to[4], const struct clatch_addr *addr, int family)
{
	if (family == AF_INET)
		memcpy(to, addr->b + 12, 4);
	else
		memcpy(to, addr->b, 16);
}

/* Asked for by IPv4 address, TCP and UDP find AF_INET6 sockets with mapped addresses too. */
static struct nlmsghdr *put_exact(char buffer[SOCKET_REQUEST_ROOM], __u16 type,
				  const struct clatch_tuple *tuple, __u32 device)
{
	int family = addr_is_v4(&tuple->local) ? AF_INET : AF_INET6;
	struct nlmsghdr *header = put_request(buffer, type, NLM_F_ACK, family, tuple->proto);
	struct inet_diag_req_v2 *request = mnl_nlmsg_get_payload(header);

	request->idiag_states = ~0U;
	request->id.idiag_sport = htons(tuple->local_port);
	request->id.idiag_dport = htons(tuple->remote_port);
	put_addr(request->id.idiag_src, &tuple->local, family);
	put_addr(request->id.idiag_dst, &tuple->remote, family);
	request->id.idiag_if = device;
	return header;
}

/* "src and dst are swapped for historical reasons", says the kernel of UDP's lookup, and of it only. */
struct nlmsghdr *socket_lookup(char buffer[SOCKET_REQUEST_ROOM], const struct clatch_tuple *tuple,
			       __u32 device)
{
	struct clatch_tuple swapped = *tuple;

	if (tuple->proto != IPPROTO_UDP)
		return put_exact(buffer, SOCK_DIAG_BY_FAMILY, tuple, device);
	swapped.local = tuple->remote;
	swapped.local_port = tuple->remote_port;
	swapped.remote = tuple->local;
	swapped.remote_port = tuple->local_port;
	return put_exact(buffer, SOCK_DIAG_BY_FAMILY, &swapped, device);
}

struct nlmsghdr *socket_dump(char buffer[SOCKET_REQUEST_ROOM], const struct clatch_tuple *tuple,
			     int family)
{
	struct nlmsghdr *header =
		put_request(buffer, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family, tuple->proto);
	struct inet_diag_req_v2 *request = mnl_nlmsg_get_payload(header);

	if (tuple_is_listener(tuple))
		request->idiag_states = BIT(TCP_LISTEN);
	else if (tuple->proto == IPPROTO_UDP)
		request->idiag_states = BIT(TCP_ESTABLISHED);
	else
		request->idiag_states = CONNECTION_STATES;
	request->id.idiag_sport = htons(tuple->local_port);
	request->id.idiag_dport = htons(tuple->remote_port);
	return header;
}

struct nlmsghdr *socket_probe(char buffer[SOCKET_REQUEST_ROOM], __u32 proto)
{
	return put_request(buffer, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, AF_INET, proto);
}

/*
 * The cookie is what makes it safe: the lookup behind it may well find another socket, and where
 * the connection is gone it finds the listener.
 */
struct nlmsghdr *socket_destroy(char buffer[SOCKET_REQUEST_ROOM], const struct clatch_tuple *tuple,
				const struct socket_seen *seen)
{
	struct nlmsghdr *header = put_exact(buffer, SOCK_DESTROY, tuple, seen->device);
	struct inet_diag_req_v2 *request = mnl_nlmsg_get_payload(header);

	request->id.idiag_cookie[0] = seen->cookie;
	request->id.idiag_cookie[1] = seen->cookie >> 32;
	return header;
}

static void take_addr(struct clatch_addr *to, const __be32 from[4], int family)
{
	if (family == AF_INET)
		addr_from_v4(to, from[0]);
	else
		memcpy(to, from, sizeof(*to));
}

static int parse_seen(struct socket_answer *a, const struct nlmsghdr *message)
{
	const struct inet_diag_msg *m = mnl_nlmsg_get_payload(message);
	struct socket_seen *seen = &a->seen;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*m))
		return -EBADMSG;
	if (m->idiag_family != AF_INET && m->idiag_family != AF_INET6)
		return 0;
	a->kind = SOCKET_SEEN;
	take_addr(&seen->local, m->id.idiag_src, m->idiag_family);
	take_addr(&seen->remote, m->id.idiag_dst, m->idiag_family);
	seen->local_port = ntohs(m->id.idiag_sport);
	seen->remote_port = ntohs(m->id.idiag_dport);
	seen->device = m->id.idiag_if;
	seen->cookie = (__u64)m->id.idiag_cookie[1] << 32 | m->id.idiag_cookie[0];
	seen->state = m->idiag_state;
	return 0;
}

/* Both an acknowledgement and the end of a dump begin with an error, or 0. */
static int parse_end(struct socket_answer *a, const struct nlmsghdr *message)
{
	if (mnl_nlmsg_get_payload_len(message) < sizeof(a->error))
		return -EBADMSG;
	a->kind = SOCKET_END;
	memcpy(&a->error, mnl_nlmsg_get_payload(message), sizeof(a->error));
	return a->error > 0 ? -EBADMSG : 0;
}

int socket_answer(struct socket_answer *answer, const struct nlmsghdr *message)
{
	struct socket_answer a = {};
	int err = -EBADMSG;

	if (message->nlmsg_len >= MNL_NLMSG_HDRLEN) {
		switch (message->nlmsg_type) {
		case NLMSG_ERROR:
		case NLMSG_DONE:
			err = parse_end(&a, message);
			break;
		case SOCK_DIAG_BY_FAMILY:
			err = parse_seen(&a, message);
			break;
		default:
			err = 0;
		}
	}
	if (!err)
		*answer = a;
	return err;
}
