/* SPDX-License-Identifier: GPL-2.0-only */
/* XFRM netlink messages about SAs, as the tests of what is read in them make them. */
#ifndef CLATCH_UNIT_SAD_PARTS_H
#define CLATCH_UNIT_SAD_PARTS_H

#include "test.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/xfrm.h>
#include <netinet/in.h>
#include <string.h>

#include "sad_message.h"

#define NETNS 4711
#define ALG_ROOM 128 /* an algorithm with its key */

struct message {
	char buffer[4096] __attribute__((aligned(8)));
	struct nlmsghdr *header;
};

static inline void *begin(struct message *m, __u16 type, size_t fixed)
{
	memset(m->buffer, 0, sizeof(m->buffer));
	m->header = mnl_nlmsg_put_header(m->buffer);
	m->header->nlmsg_type = type;
	return mnl_nlmsg_put_extra_header(m->header, fixed);
}

static inline void fill_info(struct xfrm_usersa_info *info)
{
	info->id.proto = IPPROTO_ESP;
	info->id.spi = htonl(0x2001);
	info->id.daddr.a4 = inet_addr("10.9.0.1");
	info->saddr.a4 = inet_addr("10.9.0.2");
	info->family = AF_INET;
	info->mode = XFRM_MODE_TUNNEL;
	info->reqid = 7;
	info->replay_window = 32;
}

static inline struct xfrm_usersa_info *begin_sa(struct message *m)
{
	struct xfrm_usersa_info *info = begin(m, XFRM_MSG_NEWSA, sizeof(*info));

	fill_info(info);
	return info;
}

/* What lies behind the name's NUL is anything that user space had there. */
static inline void name_alg(char to[64], const char *name)
{
	memset(to, 'x', 64);
	strcpy(to, name);
}

static inline void put_aead(struct message *m, const char *name, unsigned int key, unsigned int icv)
{
	char room[ALG_ROOM] = {};
	struct xfrm_algo_aead *aead = (void *)room;

	name_alg(aead->alg_name, name);
	aead->alg_key_len = key;
	aead->alg_icv_len = icv;
	mnl_attr_put(m->header, XFRMA_ALG_AEAD, sizeof(*aead) + key / 8, aead);
}

static inline void put_algo(struct message *m, __u16 type, const char *name, unsigned int key)
{
	char room[ALG_ROOM] = {};
	struct xfrm_algo *alg = (void *)room;

	name_alg(alg->alg_name, name);
	alg->alg_key_len = key;
	mnl_attr_put(m->header, type, sizeof(*alg) + key / 8, alg);
}

static inline struct sad_change parse(const struct message *m)
{
	struct sad_change c;

	memset(&c, 0x5a, sizeof(c));
	assert_int_equal(sad_message(&c, m->header, NETNS), 0);
	return c;
}

#endif
