// SPDX-License-Identifier: GPL-2.0-only
#include "sa_fetch.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/xfrm.h>
#include <string.h>

#include "addr.h"
#include "netns.h"
#include "sad_message.h"

#define ROOM 32768 /* as much of a dump as the kernel gives at once */

struct found {
	struct clatch_sa_key key;
	struct clatch_sa sa;
	unsigned int count;
};

/* All SAs to a destination: asked for by its name alone, the kernel would give none with a mark. */
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

static int receive_all(struct mnl_socket *socket, struct found *f)
{
	char buffer[ROOM];
	ssize_t length;
	int ret;

	do {
		length = mnl_socket_recvfrom(socket, buffer, sizeof(buffer));
		if (length < 0)
			return -errno;
		errno = EBADMSG;
		ret = mnl_cb_run(buffer, length, 1, mnl_socket_get_portid(socket), on_dumped, f);
	} while (ret > MNL_CB_STOP);
	return ret < 0 ? -errno : 0;
}

static int dump(struct mnl_socket *socket, struct found *f)
{
	char buffer[MNL_NLMSG_HDRLEN + 64];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);

	fill_dump(request, &f->key);
	if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) ||
	    mnl_socket_sendto(socket, request, request->nlmsg_len) < 0)
		return -errno;
	return receive_all(socket, f);
}

int sa_fetch(struct clatch_sa_key *key, struct clatch_sa *sa)
{
	struct mnl_socket *socket;
	int err = netns_own(&key->netns);
	struct found f = { .key = *key };

	if (err)
		return err;
	socket = mnl_socket_open2(NETLINK_XFRM, SOCK_CLOEXEC);
	if (!socket)
		return -errno;
	err = dump(socket, &f);
	mnl_socket_close(socket);
	if (!err && f.count == 1)
		*sa = f.sa;
	return err || f.count == 1 ? err : f.count ? -EEXIST : -ESRCH;
}
