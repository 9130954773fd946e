/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An SAD as the kernel tells of it, in a network namespace made here: what root sends to a netlink
 * group arrives as if the kernel had sent it, so this works where the kernel has no ESP.
 */
#ifndef CLATCH_UNIT_SAD_WORLD_H
#define CLATCH_UNIT_SAD_WORLD_H

#include "sad_parts.h"

#include <bpf/bpf.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "addr.h"
#include "netns.h"
#include "sad.h"

struct sad_world {
	struct mnl_socket *kernel; /* who says so */
	struct sa_table table;
	struct sad *sad;
	__u64 netns;
};

static inline int sad_world_begin(void **state)
{
	struct sad_world *w = calloc(1, sizeof(*w));

	*state = w;
	w->table.sas = bpf_map_create(BPF_MAP_TYPE_HASH, "t_sas", sizeof(struct clatch_sa_key),
				      sizeof(struct clatch_sa), 16, NULL);
	w->table.generation = bpf_map_create(BPF_MAP_TYPE_ARRAY, "t_generation", 4, 4, 1, NULL);
	if (w->table.sas < 0 || w->table.generation < 0 || unshare(CLONE_NEWNET) ||
	    netns_own(&w->netns))
		return -1;
	w->kernel = mnl_socket_open(NETLINK_XFRM);
	if (!w->kernel || mnl_socket_bind(w->kernel, 0, MNL_SOCKET_AUTOPID))
		return -1;
	return sad_open(&w->sad, &w->table, true);
}

static inline int sad_world_end(void **state)
{
	struct sad_world *w = *state;

	sad_close(w->sad);
	sa_table_close(&w->table);
	mnl_socket_close(w->kernel);
	free(w);
	return 0;
}

/* What sad_receive() then says. */
static inline int sad_world_say(struct sad_world *w, const struct nlmsghdr *message)
{
	const struct sockaddr_nl group = { .nl_family = AF_NETLINK,
					   .nl_groups = 1 << (XFRMNLGRP_SA - 1) };

	/* The kernel has it too, and leaves it: it is no request. */
	assert_int_equal(sendto(mnl_socket_get_fd(w->kernel), message, message->nlmsg_len, 0,
				(const void *)&group, sizeof(group)),
			 message->nlmsg_len);
	return sad_receive(w->sad);
}

/* From 10.9.0.2 to 10.9.0.1, AES-GCM, tunnel mode, reqid 7; the key begins with @first. */
static inline int sad_world_add(struct sad_world *w, __u32 spi, unsigned char first)
{
	struct xfrm_algo_aead *aead;
	struct nlattr *attr;
	struct message m;

	begin_sa(&m)->id.spi = htonl(spi);
	attr = mnl_nlmsg_get_payload_tail(m.header);
	put_aead(&m, "rfc4106(gcm(aes))", 160, 128);
	aead = mnl_attr_get_payload(attr);
	aead->alg_key[0] = first;
	return sad_world_say(w, m.header);
}

static inline int sad_world_remove(struct sad_world *w, __u32 spi)
{
	struct xfrm_usersa_id *id;
	struct message m;

	id = begin(&m, XFRM_MSG_DELSA, sizeof(*id));
	*id = (struct xfrm_usersa_id){ .daddr.a4 = inet_addr("10.9.0.1"),
				       .spi = htonl(spi),
				       .family = AF_INET,
				       .proto = IPPROTO_ESP };
	return sad_world_say(w, m.header);
}

static inline struct clatch_sa_key sad_world_key(const struct sad_world *w, __u32 spi)
{
	struct clatch_sa_key key = { .netns = w->netns, .spi = htonl(spi), .proto = IPPROTO_ESP };

	addr_from_v4(&key.dst, inet_addr("10.9.0.1"));
	return key;
}

/* Of another namespace, as that is not looked at. */
static inline int sad_world_tell(struct sad_world *w, __u32 spi, __u16 local_id, __u16 peer_id,
				 __u64 asked)
{
	struct clatch_sa_key key = sad_world_key(w, spi);

	key.netns = 0;
	return sad_tell(w->sad, &key, (struct clatch_who){ local_id, peer_id }, asked);
}

#endif
