// SPDX-License-Identifier: GPL-2.0-only
#include "sad_message.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/xfrm.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

#include "addr.h"

/* The least that each attribute we read must hold. */
static const size_t attr_sizes[XFRMA_MAX + 1] = {
	[XFRMA_ALG_AEAD] = sizeof(struct xfrm_algo_aead),
	[XFRMA_ALG_CRYPT] = sizeof(struct xfrm_algo),
	[XFRMA_ALG_AUTH] = sizeof(struct xfrm_algo),
	[XFRMA_ALG_AUTH_TRUNC] = sizeof(struct xfrm_algo_auth),
	[XFRMA_ENCAP] = sizeof(struct xfrm_encap_tmpl),
	[XFRMA_REPLAY_ESN_VAL] = sizeof(struct xfrm_replay_state_esn),
	[XFRMA_IF_ID] = sizeof(__u32),
	[XFRMA_MARK] = sizeof(struct xfrm_mark),
};

#define TAG_KEY_BITS 128 /* as in bpf/identity.h */

struct attrs {
	const void *data[XFRMA_MAX + 1];
	size_t size[XFRMA_MAX + 1];
};

static int collect_attr(struct attrs *attrs, const struct nlattr *attr)
{
	__u16 type = mnl_attr_get_type(attr);

	if (type > XFRMA_MAX || !attr_sizes[type])
		return 0;
	if (mnl_attr_get_payload_len(attr) < attr_sizes[type])
		return -EBADMSG;
	attrs->data[type] = mnl_attr_get_payload(attr);
	attrs->size[type] = mnl_attr_get_payload_len(attr);
	return 0;
}

/* What follows the fixed part of a message, of @fixed bytes. */
static int collect_attrs(struct attrs *attrs, const struct nlmsghdr *message, size_t fixed)
{
	int left = (int)mnl_nlmsg_get_payload_len(message) - (int)MNL_ALIGN(fixed);
	const struct nlattr *attr = mnl_nlmsg_get_payload_offset(message, fixed);

	for (; left >= (int)MNL_ATTR_HDRLEN; attr = mnl_attr_next(attr)) {
		if (!mnl_attr_ok(attr, left) || collect_attr(attrs, attr))
			return -EBADMSG;
		left -= MNL_ALIGN(attr->nla_len);
	}
	return 0;
}

static void addr_xfrm(struct clatch_addr *to, const xfrm_address_t *from, __u16 family)
{
	if (family == AF_INET)
		addr_from_v4(to, from->a4);
	else
		memcpy(to, from->a6, sizeof(*to));
}

static bool is_ours(__u8 proto)
{
	return proto == IPPROTO_ESP || proto == IPPROTO_AH;
}

static void fill_key(struct sad_change *c, __u64 netns, const xfrm_address_t *dst, __be32 spi,
		     __u16 family, __u8 proto)
{
	c->key.netns = netns;
	addr_xfrm(&c->key.dst, dst, family);
	c->key.spi = spi;
	c->key.proto = proto;
}

/* What stands behind the name's NUL means nothing. */
static void copy_alg(char to[CLATCH_ALG_LEN], const char *from)
{
	memcpy(to, from, strnlen(from, CLATCH_ALG_LEN));
}

static void fill_aead(struct clatch_suite *s, const struct xfrm_algo_aead *aead)
{
	copy_alg(s->enc, aead->alg_name);
	s->enc_key_bits = aead->alg_key_len;
	s->icv_bits = aead->alg_icv_len;
	s->flags |= CLATCH_SUITE_AEAD;
}

static void fill_algorithms(struct clatch_suite *s, const struct attrs *attrs)
{
	const struct xfrm_algo_auth *truncated = attrs->data[XFRMA_ALG_AUTH_TRUNC];
	const struct xfrm_algo *auth = attrs->data[XFRMA_ALG_AUTH];
	const struct xfrm_algo *enc = attrs->data[XFRMA_ALG_CRYPT];

	if (attrs->data[XFRMA_ALG_AEAD]) {
		fill_aead(s, attrs->data[XFRMA_ALG_AEAD]);
		return;
	}
	if (enc) {
		copy_alg(s->enc, enc->alg_name);
		s->enc_key_bits = enc->alg_key_len;
	}
	if (truncated) {
		copy_alg(s->auth, truncated->alg_name);
		s->auth_key_bits = truncated->alg_key_len;
		s->icv_bits = truncated->alg_trunc_len;
	} else if (auth) {
		copy_alg(s->auth, auth->alg_name);
		s->auth_key_bits = auth->alg_key_len;
	}
}

/* The key of an algorithm, if it is all there. */
static const void *find_key(const struct attrs *attrs, int type, size_t fixed, __u32 bits)
{
	if (bits < TAG_KEY_BITS || attrs->size[type] < fixed + TAG_KEY_BITS / 8)
		return NULL;
	return (const char *)attrs->data[type] + fixed;
}

/* As bpf/identity.h hashes it. */
static __u32 key_tag(const struct xfrm_usersa_info *info, const struct attrs *attrs)
{
	const struct xfrm_algo_aead *aead = attrs->data[XFRMA_ALG_AEAD];
	const struct xfrm_algo_auth *truncated = attrs->data[XFRMA_ALG_AUTH_TRUNC];
	const struct xfrm_algo *auth = attrs->data[XFRMA_ALG_AUTH];
	const struct xfrm_algo *enc = attrs->data[XFRMA_ALG_CRYPT];
	const void *key = NULL;
	__u64 words[2];

	if (aead)
		key = find_key(attrs, XFRMA_ALG_AEAD, sizeof(*aead), aead->alg_key_len);
	if (!key && truncated)
		key = find_key(attrs, XFRMA_ALG_AUTH_TRUNC, sizeof(*truncated),
			       truncated->alg_key_len);
	else if (!key && auth)
		key = find_key(attrs, XFRMA_ALG_AUTH, sizeof(*auth), auth->alg_key_len);
	if (!key && enc)
		key = find_key(attrs, XFRMA_ALG_CRYPT, sizeof(*enc), enc->alg_key_len);
	if (!key)
		return clatch_key_tag(info->curlft.add_time, 0);
	memcpy(words, key, sizeof(words));
	return clatch_key_tag(words[0], words[1]);
}

static void fill_suite(struct clatch_suite *s, const struct xfrm_usersa_info *info,
		       const struct attrs *attrs)
{
	const struct xfrm_replay_state_esn *esn = attrs->data[XFRMA_REPLAY_ESN_VAL];
	const struct xfrm_encap_tmpl *encap = attrs->data[XFRMA_ENCAP];

	fill_algorithms(s, attrs);
	s->proto = info->id.proto;
	s->mode = info->mode;
	if (encap)
		s->encap = encap->encap_type;
	if (info->flags & XFRM_STATE_ESN)
		s->flags |= CLATCH_SUITE_ESN;
	if (esn ? esn->replay_window : info->replay_window)
		s->flags |= CLATCH_SUITE_REPLAY;
}

static void fill_sa(struct clatch_sa *sa, const struct xfrm_usersa_info *info,
		    const struct attrs *attrs)
{
	fill_suite(&sa->suite, info, attrs);
	sa->spi = info->id.spi;
	sa->reqid = info->reqid;
	if (attrs->data[XFRMA_IF_ID])
		memcpy(&sa->if_id, attrs->data[XFRMA_IF_ID], sizeof(sa->if_id));
	addr_xfrm(&sa->src, &info->saddr, info->family);
	addr_xfrm(&sa->dst, &info->id.daddr, info->family);
	sa->key_tag = key_tag(info, attrs);
}

static void fill_class(struct sa_class *class, const struct xfrm_usersa_info *info,
		       const struct attrs *attrs)
{
	struct xfrm_mark mark = {};

	fill_sa(&class->sa, info, attrs);
	class->selector = info->sel;
	if (attrs->data[XFRMA_MARK])
		memcpy(&mark, attrs->data[XFRMA_MARK], sizeof(mark));
	class->mark = mark.v;
	class->mark_mask = mark.m;
}

static int parse_sa(struct sad_change *c, const struct nlmsghdr *message, __u64 netns)
{
	const struct xfrm_usersa_info *info = mnl_nlmsg_get_payload(message);
	struct attrs attrs = {};

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*info))
		return -EBADMSG;
	if (collect_attrs(&attrs, message, sizeof(*info)))
		return -EBADMSG;
	if (!is_ours(info->id.proto) || !info->id.spi)
		return 0;
	fill_class(&c->class, info, &attrs);
	if (!c->class.sa.suite.enc[0] && !c->class.sa.suite.auth[0])
		return 0; /* larval: a key manager has reserved the SPI */
	c->kind = SAD_SET;
	fill_key(c, netns, &info->id.daddr, info->id.spi, info->family, info->id.proto);
	return 0;
}

static int parse_removed(struct sad_change *c, const struct nlmsghdr *message, __u64 netns)
{
	const struct xfrm_usersa_id *id = mnl_nlmsg_get_payload(message);

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*id))
		return -EBADMSG;
	if (!is_ours(id->proto))
		return 0;
	c->kind = SAD_REMOVE;
	fill_key(c, netns, &id->daddr, id->spi, id->family, id->proto);
	return 0;
}

/* A hard expiry is the kernel's own removal, and comes alone, without XFRM_MSG_DELSA. */
static int parse_expired(struct sad_change *c, const struct nlmsghdr *message, __u64 netns)
{
	const struct xfrm_user_expire *e = mnl_nlmsg_get_payload(message);
	const struct xfrm_usersa_info *info = &e->state;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*e))
		return -EBADMSG;
	if (!e->hard || !is_ours(info->id.proto))
		return 0;
	c->kind = SAD_REMOVE;
	fill_key(c, netns, &info->id.daddr, info->id.spi, info->family, info->id.proto);
	return 0;
}

static int parse(struct sad_change *c, const struct nlmsghdr *message, __u64 netns)
{
	switch (message->nlmsg_type) {
	case XFRM_MSG_NEWSA:
	case XFRM_MSG_UPDSA:
		return parse_sa(c, message, netns);
	case XFRM_MSG_DELSA:
		return parse_removed(c, message, netns);
	case XFRM_MSG_EXPIRE:
		return parse_expired(c, message, netns);
	case XFRM_MSG_FLUSHSA:
	case XFRM_MSG_MIGRATE:
		c->kind = SAD_REFILL;
		return 0;
	}
	return 0;
}

int sad_message(struct sad_change *change, const struct nlmsghdr *message, __u64 netns)
{
	struct sad_change c = {};
	int err = -EBADMSG;

	if (message->nlmsg_len >= MNL_NLMSG_HDRLEN)
		err = parse(&c, message, netns);
	if (!err)
		*change = c;
	return err;
}
