// SPDX-License-Identifier: GPL-2.0-only
#include "sa_fetch.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/xfrm.h>
#include <string.h>

#include "addr.h"
#include "netns.h"
#include "sad_message.h"

#define ROOM 32768 /* one SA, its keys and all; of a dump, as much as the kernel gives at once */
#define TRIES 5 /* of a dump, when the SAs change in the middle of it */

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

/* Of an SA with a mark, which is not found by name: all to its destination. */
static void fill_dump(struct nlmsghdr *request, const struct clatch_sa_key *key)
{
	struct xfrm_address_filter filter = { .family = AF_INET6, .dplen = 128 };

	request->nlmsg_type = XFRM_MSG_GETSA;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	request->nlmsg_seq = 1;
	memcpy(&filter.daddr, &key->dst, sizeof(key->dst));
	if (addr_is_v4(&key->dst)) {
		filter.family = AF_INET;
		filter.dplen = 32;
		memcpy(&filter.daddr.a4, &key->dst.b[12], sizeof(filter.daddr.a4));
	}
	mnl_attr_put(request, XFRMA_ADDRESS_FILTER, sizeof(filter), &filter);
	mnl_attr_put_u8(request, XFRMA_PROTO, key->proto);
}

static int on_answer(const struct nlmsghdr *message, void *change)
{
	return sad_message(change, message, ((struct sad_change *)change)->key.netns) ? MNL_CB_ERROR
										      : MNL_CB_STOP;
}

struct found {
	struct clatch_sa_key key;
	struct clatch_sa sa;
	unsigned int count;
};

static int on_dumped(const struct nlmsghdr *message, void *context)
{
	struct found *f = context;
	struct sad_change c = { .kind = SAD_NOTHING };

	if (sad_message(&c, message, f->key.netns))
		return MNL_CB_ERROR;
	if (c.kind == SAD_SET && !memcmp(&c.key, &f->key, sizeof(f->key))) {
		f->sa = c.class.sa;
		f->count++;
	}
	return MNL_CB_OK;
}

/* Until the answer's end. */
static int exchange(struct mnl_socket *socket,
		    void (*fill)(struct nlmsghdr *, const struct clatch_sa_key *),
		    const struct clatch_sa_key *key, mnl_cb_t on_message, void *context)
{
	char buffer[ROOM];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	ssize_t length;
	int ret;

	fill(request, key);
	if (mnl_socket_sendto(socket, request, request->nlmsg_len) < 0)
		return -errno;
	do {
		length = mnl_socket_recvfrom(socket, buffer, sizeof(buffer));
		if (length < 0)
			return -errno;
		errno = EBADMSG;
		ret = mnl_cb_run(buffer, length, 1, mnl_socket_get_portid(socket), on_message,
				 context);
	} while (ret > MNL_CB_STOP);
	return ret < 0 ? -errno : 0;
}

/* SAs that differ by their mark only: which one is meant is not known. */
static int find(struct mnl_socket *socket, const struct clatch_sa_key *key, struct clatch_sa *sa)
{
	struct found f;
	int err = -EINTR;

	for (int i = 0; i < TRIES && err == -EINTR; i++) {
		f = (struct found){ .key = *key };
		err = exchange(socket, fill_dump, key, on_dumped, &f);
	}
	if (err)
		return err;
	*sa = f.sa;
	return f.count == 1 ? 0 : f.count ? -EEXIST : -ESRCH;
}

static int fetch(struct mnl_socket *socket, const struct clatch_sa_key *key, struct clatch_sa *sa)
{
	struct sad_change c = { .kind = SAD_NOTHING, .key = *key };
	int err;

	if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID))
		return -errno;
	err = exchange(socket, fill_request, key, on_answer, &c);
	if (err == -ESRCH)
		return find(socket, key, sa);
	*sa = c.class.sa;
	return err ? err : c.kind == SAD_SET ? 0 : -ESRCH;
}

int sa_fetch(struct clatch_sa_key *key, struct clatch_sa *sa)
{
	struct mnl_socket *socket;
	struct clatch_sa found;
	int err = netns_own(&key->netns);

	if (err)
		return err;
	socket = mnl_socket_open2(NETLINK_XFRM, SOCK_CLOEXEC);
	if (!socket)
		return -errno;
	err = fetch(socket, key, &found);
	mnl_socket_close(socket);
	if (!err)
		*sa = found;
	return err;
}
