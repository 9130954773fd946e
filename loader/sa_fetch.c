// SPDX-License-Identifier: GPL-2.0-only
#include "sa_fetch.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/xfrm.h>
#include <string.h>

#include "addr.h"
#include "netns.h"
#include "sad_message.h"

#define ROOM 8192 /* one SA, its keys and all */

static void fill_request(struct nlmsghdr *request, const struct clatch_sa_key *key)
{
	struct xfrm_usersa_id *id;

	request->nlmsg_type = XFRM_MSG_GETSA;
	request->nlmsg_flags = NLM_F_REQUEST;
	request->nlmsg_seq = 1;
	id = mnl_nlmsg_put_extra_header(request, sizeof(*id));
	id->spi = key->spi;
	id->proto = key->proto;
	id->family = addr_is_v4(&key->dst) ? AF_INET : AF_INET6;
	if (id->family == AF_INET)
		memcpy(&id->daddr.a4, &key->dst.b[12], sizeof(id->daddr.a4));
	else
		memcpy(&id->daddr, &key->dst, sizeof(key->dst));
}

static int on_answer(const struct nlmsghdr *message, void *change)
{
	return sad_message(change, message, ((struct sad_change *)change)->key.netns) ? MNL_CB_ERROR
										      : MNL_CB_STOP;
}

static int exchange(struct mnl_socket *socket, struct sad_change *c)
{
	char buffer[ROOM];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	ssize_t length;

	fill_request(request, &c->key);
	if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) ||
	    mnl_socket_sendto(socket, request, request->nlmsg_len) < 0)
		return -errno;
	length = mnl_socket_recvfrom(socket, buffer, sizeof(buffer));
	if (length < 0)
		return -errno;
	errno = EBADMSG;
	if (mnl_cb_run(buffer, length, 1, mnl_socket_get_portid(socket), on_answer, c) < 0)
		return -errno;
	return c->kind == SAD_SET ? 0 : -ESRCH;
}

int sa_fetch(struct clatch_sa_key *key, struct clatch_sa *sa)
{
	struct sad_change c = { .kind = SAD_NOTHING };
	struct mnl_socket *socket;
	int err = netns_own(&key->netns);

	if (err)
		return err;
	socket = mnl_socket_open2(NETLINK_XFRM, SOCK_CLOEXEC);
	if (!socket)
		return -errno;
	c.key = *key;
	err = exchange(socket, &c);
	mnl_socket_close(socket);
	if (!err)
		*sa = c.class.sa;
	return err;
}
