// SPDX-License-Identifier: GPL-2.0-only
#include "spd_message.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <string.h>
#include <sys/socket.h>

#include "addr.h"

#define MODE_IPTFS 5 /* XFRM_MODE_IPTFS, Linux 6.14 */
#define INDEX_DIR_MASK 7 /* the low bits of a policy's index; from XFRM_POLICY_MAX on: a socket's */

/* The least that each attribute we read must hold.  Templates are an array, possibly empty. */
static const size_t attr_sizes[XFRMA_MAX + 1] = {
	[XFRMA_MARK] = sizeof(struct xfrm_mark),
	[XFRMA_IF_ID] = sizeof(__u32),
	[XFRMA_POLICY_TYPE] = sizeof(struct xfrm_userpolicy_type),
};

static bool is_tunnel(__u8 mode)
{
	return mode == XFRM_MODE_TUNNEL || mode == XFRM_MODE_BEET || mode == MODE_IPTFS;
}

static void outer_addr(struct clatch_addr *to, const xfrm_address_t *from, __u16 family)
{
	if (family == AF_INET6)
		memcpy(to, from->a6, sizeof(*to));
	else if (from->a4)
		addr_from_v4(to, from->a4);
}

static void fill_template(struct spd_template *t, const struct xfrm_user_tmpl *from)
{
	t->proto = from->id.proto;
	t->mode = from->mode;
	t->optional = !!from->optional;
	t->spi = from->id.spi;
	t->reqid = from->reqid;
	t->aalgos = from->aalgos;
	t->ealgos = from->ealgos;
	t->calgos = from->calgos;
	if (!is_tunnel(from->mode))
		return;
	outer_addr(&t->src, &from->saddr, from->family);
	outer_addr(&t->dst, &from->id.daddr, from->family);
}

static int fill_templates(struct spd_policy *policy, const struct nlattr *attr)
{
	size_t length = mnl_attr_get_payload_len(attr);
	const char *data = mnl_attr_get_payload(attr);
	struct xfrm_user_tmpl t;

	if (length % sizeof(t) || length / sizeof(t) > SPD_MAX_TEMPLATES)
		return -EBADMSG;
	policy->count = length / sizeof(t);
	memset(policy->templates, 0, sizeof(policy->templates));
	for (__u8 i = 0; i < policy->count; i++) {
		memcpy(&t, data + i * sizeof(t), sizeof(t));
		fill_template(&policy->templates[i], &t);
	}
	return 0;
}

static void fill_mark(struct spd_policy *policy, const struct nlattr *attr)
{
	struct xfrm_mark mark;

	memcpy(&mark, mnl_attr_get_payload(attr), sizeof(mark));
	policy->mark = mark.v;
	policy->mark_mask = mark.m;
}

/* What an attribute says.  @type: of the policy, main unless said otherwise. */
static int read_attr(struct spd_policy *policy, __u8 *type, const struct nlattr *attr)
{
	__u16 kind = mnl_attr_get_type(attr);

	if (kind <= XFRMA_MAX && mnl_attr_get_payload_len(attr) < attr_sizes[kind])
		return -EBADMSG;
	switch (kind) {
	case XFRMA_TMPL:
		return fill_templates(policy, attr);
	case XFRMA_MARK:
		fill_mark(policy, attr);
		break;
	case XFRMA_IF_ID:
		memcpy(&policy->if_id, mnl_attr_get_payload(attr), sizeof(policy->if_id));
		break;
	case XFRMA_POLICY_TYPE:
		*type = ((const struct xfrm_userpolicy_type *)mnl_attr_get_payload(attr))->type;
		break;
	}
	return 0;
}

/* What follows the fixed part of a message, of @fixed bytes. */
static int read_attrs(struct spd_policy *policy, __u8 *type, const struct nlmsghdr *message,
		      size_t fixed)
{
	int left = (int)mnl_nlmsg_get_payload_len(message) - (int)MNL_ALIGN(fixed);
	const struct nlattr *attr = mnl_nlmsg_get_payload_offset(message, fixed);

	for (; left >= (int)MNL_ATTR_HDRLEN; attr = mnl_attr_next(attr)) {
		if (!mnl_attr_ok(attr, left) || read_attr(policy, type, attr))
			return -EBADMSG;
		left -= MNL_ALIGN(attr->nla_len);
	}
	return 0;
}

int spd_message(struct spd_policy *policy, const struct nlmsghdr *message)
{
	__u8 type = XFRM_POLICY_TYPE_MAIN;
	struct xfrm_userpolicy_info info;
	struct spd_policy p = {};

	if (message->nlmsg_len < MNL_NLMSG_HDRLEN)
		return -EBADMSG;
	if (message->nlmsg_type != XFRM_MSG_NEWPOLICY)
		return 0;
	if (mnl_nlmsg_get_payload_len(message) < sizeof(info))
		return -EBADMSG;
	memcpy(&info, mnl_nlmsg_get_payload(message), sizeof(info));
	if (read_attrs(&p, &type, message, sizeof(info)))
		return -EBADMSG;
	if (info.dir >= XFRM_POLICY_MAX || (info.index & INDEX_DIR_MASK) >= XFRM_POLICY_MAX ||
	    type != XFRM_POLICY_TYPE_MAIN)
		return 0;
	p.selector = info.sel;
	p.dir = info.dir;
	p.action = info.action;
	p.priority = info.priority;
	p.index = info.index;
	*policy = p;
	return 1;
}
