// SPDX-License-Identifier: GPL-2.0-only
#include "test.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <netinet/in.h>
#include <string.h>

#include "addr.h"
#include "spd_message.h"

struct message {
	char buffer[4096] __attribute__((aligned(8)));
	struct nlmsghdr *header;
	struct xfrm_userpolicy_info *info;
};

static void begin(struct message *m)
{
	memset(m->buffer, 0, sizeof(m->buffer));
	m->header = mnl_nlmsg_put_header(m->buffer);
	m->header->nlmsg_type = XFRM_MSG_NEWPOLICY;
	m->info = mnl_nlmsg_put_extra_header(m->header, sizeof(*m->info));
	m->info->sel.family = AF_INET;
	m->info->sel.saddr.a4 = inet_addr("10.9.0.1");
	m->info->sel.prefixlen_s = 32;
	m->info->sel.dport = htons(5000);
	m->info->sel.dport_mask = 0xffff;
	m->info->dir = XFRM_POLICY_OUT;
	m->info->index = 8 * 3 + XFRM_POLICY_OUT;
	m->info->priority = 77;
	m->info->action = XFRM_POLICY_BLOCK;
}

static struct xfrm_user_tmpl transport_template(void)
{
	return (struct xfrm_user_tmpl){
		.id = { .proto = IPPROTO_ESP, .spi = htonl(9), .daddr.a4 = inet_addr("1.2.3.4") },
		.family = AF_INET,
		.mode = XFRM_MODE_TRANSPORT,
		.reqid = 7,
		.optional = 1,
		.aalgos = 1,
		.ealgos = 2,
		.calgos = 3,
	};
}

static struct xfrm_user_tmpl tunnel_template(__u8 mode)
{
	struct xfrm_user_tmpl t = {
		.id.proto = IPPROTO_AH,
		.family = AF_INET6,
		.mode = mode,
		.aalgos = ~0U,
	};

	inet_pton(AF_INET6, "2001:db8::1", &t.saddr);
	inet_pton(AF_INET6, "2001:db8::2", &t.id.daddr);
	return t;
}

static struct spd_policy parse(const struct message *m)
{
	struct spd_policy p;

	memset(&p, 0x5a, sizeof(p));
	assert_int_equal(spd_message(&p, m->header), 1);
	return p;
}

static int status(const struct message *m)
{
	struct spd_policy p, before;
	int ret;

	memset(&p, 0x5a, sizeof(p));
	before = p;
	ret = spd_message(&p, m->header);
	if (ret != 1)
		assert_memory_equal(&p, &before, sizeof(p));
	return ret;
}

static void test_fixed_part(void **state)
{
	struct spd_policy p, expected = {};
	struct message m;

	(void)state;
	begin(&m);
	p = parse(&m);
	expected.selector = m.info->sel;
	expected.dir = XFRM_POLICY_OUT;
	expected.action = XFRM_POLICY_BLOCK;
	expected.priority = 77;
	expected.index = 8 * 3 + XFRM_POLICY_OUT;
	assert_memory_equal(&p, &expected, sizeof(p));
}

static void test_mark_and_if_id(void **state)
{
	struct xfrm_mark mark = { .v = 5, .m = 0xff };
	struct message m;
	struct spd_policy p;

	(void)state;
	begin(&m);
	mnl_attr_put(m.header, XFRMA_MARK, sizeof(mark), &mark);
	mnl_attr_put_u32(m.header, XFRMA_IF_ID, 42);
	p = parse(&m);
	assert_int_equal(p.mark, 5);
	assert_int_equal(p.mark_mask, 0xff);
	assert_int_equal(p.if_id, 42);
}

static void test_templates(void **state)
{
	struct xfrm_user_tmpl both[] = { transport_template(), tunnel_template(XFRM_MODE_TUNNEL) };
	struct spd_template first = { .proto = IPPROTO_ESP,
				      .optional = 1,
				      .spi = htonl(9),
				      .reqid = 7,
				      .aalgos = 1,
				      .ealgos = 2,
				      .calgos = 3 };
	struct spd_template second = { .proto = IPPROTO_AH,
				       .mode = XFRM_MODE_TUNNEL,
				       .aalgos = ~0U };
	struct message m;
	struct spd_policy p;

	(void)state;
	inet_pton(AF_INET6, "2001:db8::1", &second.src);
	inet_pton(AF_INET6, "2001:db8::2", &second.dst);
	begin(&m);
	mnl_attr_put(m.header, XFRMA_TMPL, sizeof(both), both);
	p = parse(&m);
	assert_int_equal(p.count, 2);
	assert_memory_equal(&p.templates[0], &first, sizeof(first));
	assert_memory_equal(&p.templates[1], &second, sizeof(second));
}

static void test_outer_addresses(void **state)
{
	static const struct {
		__u8 mode;
		bool outer;
	} rows[] = {
		{ XFRM_MODE_TRANSPORT, false },
		{ XFRM_MODE_TUNNEL, true },
		{ XFRM_MODE_ROUTEOPTIMIZATION, false },
		{ XFRM_MODE_IN_TRIGGER, false },
		{ XFRM_MODE_BEET, true },
		{ 5 /* IPTFS */, true },
	};
	struct xfrm_user_tmpl t;
	struct spd_policy p;
	struct message m;

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		t = tunnel_template(rows[i].mode);
		begin(&m);
		mnl_attr_put(m.header, XFRMA_TMPL, sizeof(t), &t);
		p = parse(&m);
		assert_int_equal(!addr_is_zero(&p.templates[0].src), rows[i].outer);
		assert_int_equal(!addr_is_zero(&p.templates[0].dst), rows[i].outer);
	}
}

/* An outer address of 0.0.0.0 means any, and so does ::. */
static void test_outer_ipv4(void **state)
{
	struct xfrm_user_tmpl t = tunnel_template(XFRM_MODE_TUNNEL);
	struct clatch_addr dst;
	struct spd_policy p;
	struct message m;

	(void)state;
	t.family = AF_INET;
	t.saddr.a4 = 0;
	t.id.daddr.a4 = inet_addr("1.2.3.4");
	addr_from_v4(&dst, inet_addr("1.2.3.4"));
	begin(&m);
	mnl_attr_put(m.header, XFRMA_TMPL, sizeof(t), &t);
	p = parse(&m);
	assert_true(addr_is_zero(&p.templates[0].src));
	assert_memory_equal(&p.templates[0].dst, &dst, sizeof(dst));
}

static void test_number_of_templates(void **state)
{
	struct xfrm_user_tmpl many[SPD_MAX_TEMPLATES + 1] = {};
	struct message m;

	(void)state;
	for (size_t i = 0; i < COUNT(many); i++)
		many[i] = transport_template();
	begin(&m);
	mnl_attr_put(m.header, XFRMA_TMPL, 0, many);
	assert_int_equal(parse(&m).count, 0);
	begin(&m);
	mnl_attr_put(m.header, XFRMA_TMPL, SPD_MAX_TEMPLATES * sizeof(*many), many);
	assert_int_equal(parse(&m).templates[SPD_MAX_TEMPLATES - 1].reqid, 7);
	begin(&m);
	mnl_attr_put(m.header, XFRMA_TMPL, sizeof(many), many);
	assert_int_equal(status(&m), -EBADMSG);
	begin(&m);
	mnl_attr_put(m.header, XFRMA_TMPL, sizeof(*many) - 4, many);
	assert_int_equal(status(&m), -EBADMSG);
}

static void test_policy_type(void **state)
{
	struct xfrm_userpolicy_type type = { .type = XFRM_POLICY_TYPE_MAIN };
	struct message m;

	(void)state;
	begin(&m);
	mnl_attr_put(m.header, XFRMA_POLICY_TYPE, sizeof(type), &type);
	assert_int_equal(status(&m), 1);
	type.type = XFRM_POLICY_TYPE_SUB;
	begin(&m);
	mnl_attr_put(m.header, XFRMA_POLICY_TYPE, sizeof(type), &type);
	assert_int_equal(status(&m), 0);
}

static void test_sockets_own(void **state)
{
	struct message m;

	(void)state;
	begin(&m);
	m.info->dir = XFRM_POLICY_MAX;
	assert_int_equal(status(&m), 0);
	begin(&m);
	m.info->index = 8 * 3 + XFRM_POLICY_MAX + XFRM_POLICY_OUT;
	assert_int_equal(status(&m), 0);
}

static void test_other_messages(void **state)
{
	struct message m;

	(void)state;
	begin(&m);
	m.header->nlmsg_type = XFRM_MSG_DELPOLICY;
	assert_int_equal(status(&m), 0);
}

/* Cut at each byte, in memory of exactly that size, for the address sanitizer to see. */
static void test_truncated(void **state)
{
	struct xfrm_user_tmpl t = transport_template();
	struct message m;

	(void)state;
	begin(&m);
	mnl_attr_put(m.header, XFRMA_TMPL, sizeof(t), &t);
	mnl_attr_put_u32(m.header, XFRMA_IF_ID, 42);
	for (__u32 length = 0; length < m.header->nlmsg_len; length++) {
		size_t room = length < MNL_NLMSG_HDRLEN ? MNL_NLMSG_HDRLEN : length;
		struct message cut = { .header = test_malloc(room) };
		int ret;

		memcpy(cut.header, m.buffer, room);
		cut.header->nlmsg_len = length;
		ret = status(&cut);
		test_free(cut.header);
		if (length < MNL_NLMSG_HDRLEN + sizeof(*m.info))
			assert_int_equal(ret, -EBADMSG);
		else
			assert_true(ret == -EBADMSG || ret == 1);
	}
}

static void test_short_attributes(void **state)
{
	static const __u16 types[] = { XFRMA_TMPL, XFRMA_MARK, XFRMA_IF_ID, XFRMA_POLICY_TYPE };
	struct message m;

	(void)state;
	for (size_t i = 0; i < COUNT(types); i++) {
		begin(&m);
		mnl_attr_put(m.header, types[i], 3, "abc");
		assert_int_equal(status(&m), -EBADMSG);
	}
}

static void test_attribute_lengths_lie(void **state)
{
	static const __u16 lengths[] = { 0, 1, 3, 0xffff };
	struct nlattr *attr;
	struct message m;

	(void)state;
	for (size_t i = 0; i < COUNT(lengths); i++) {
		begin(&m);
		attr = mnl_nlmsg_get_payload_tail(m.header);
		mnl_attr_put_u32(m.header, XFRMA_IF_ID, 1);
		attr->nla_len = lengths[i];
		assert_int_equal(status(&m), -EBADMSG);
	}
}

static void test_unknown_attributes_are_skipped(void **state)
{
	struct message m;

	(void)state;
	begin(&m);
	mnl_attr_put_u32(m.header, XFRMA_MAX + 1, 1);
	mnl_attr_put_u32(m.header, 0x3fff, 1);
	mnl_attr_put_u32(m.header, XFRMA_IF_ID, 42);
	assert_int_equal(parse(&m).if_id, 42);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fixed_part),
		cmocka_unit_test(test_mark_and_if_id),
		cmocka_unit_test(test_templates),
		cmocka_unit_test(test_outer_addresses),
		cmocka_unit_test(test_outer_ipv4),
		cmocka_unit_test(test_number_of_templates),
		cmocka_unit_test(test_policy_type),
		cmocka_unit_test(test_sockets_own),
		cmocka_unit_test(test_other_messages),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_short_attributes),
		cmocka_unit_test(test_attribute_lengths_lie),
		cmocka_unit_test(test_unknown_attributes_are_skipped),
	};

	return cmocka_run_group_tests_name("spd_message", tests, NULL, NULL);
}
