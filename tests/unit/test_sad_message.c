// SPDX-License-Identifier: GPL-2.0-only
#include "sad_parts.h"

#include <errno.h>

#include "addr.h"

static void put_auth_trunc(struct message *m, const char *name, unsigned int key,
			   unsigned int trunc)
{
	char room[ALG_ROOM] = {};
	struct xfrm_algo_auth *auth = (void *)room;

	name_alg(auth->alg_name, name);
	auth->alg_key_len = key;
	auth->alg_trunc_len = trunc;
	mnl_attr_put(m->header, XFRMA_ALG_AUTH_TRUNC, sizeof(*auth) + key / 8, auth);
}

static struct clatch_sa expected_sa(void)
{
	struct clatch_sa sa = {
		.suite = { .proto = IPPROTO_ESP,
			   .mode = XFRM_MODE_TUNNEL,
			   .flags = CLATCH_SUITE_REPLAY },
		.spi = htonl(0x2001),
		.reqid = 7,
		.key_tag = clatch_key_tag(0, 0), /* of keys of zeroes */
	};

	addr_from_v4(&sa.src, inet_addr("10.9.0.2"));
	addr_from_v4(&sa.dst, inet_addr("10.9.0.1"));
	return sa;
}

static void test_aead(void **state)
{
	struct clatch_sa expected = expected_sa();
	struct clatch_sa_key key = { .netns = NETNS, .spi = htonl(0x2001), .proto = IPPROTO_ESP };
	struct sad_change c;
	struct message m;

	(void)state;
	begin_sa(&m);
	put_aead(&m, "rfc4106(gcm(aes))", 160, 128);
	c = parse(&m);
	strcpy(expected.suite.enc, "rfc4106(gcm(aes))");
	expected.suite.enc_key_bits = 160;
	expected.suite.icv_bits = 128;
	expected.suite.flags |= CLATCH_SUITE_AEAD;
	key.dst = expected.dst;
	assert_int_equal(c.kind, SAD_SET);
	assert_memory_equal(&c.key, &key, sizeof(key));
	assert_memory_equal(&c.class.sa, &expected, sizeof(expected));
}

static void test_enc_and_auth(void **state)
{
	struct clatch_sa expected = expected_sa();
	struct sad_change c;
	struct message m;

	(void)state;
	begin_sa(&m);
	put_algo(&m, XFRMA_ALG_AUTH, "hmac(sha256)", 256); /* the kernel sends both */
	put_auth_trunc(&m, "hmac(sha256)", 256, 128);
	put_algo(&m, XFRMA_ALG_CRYPT, "cbc(aes)", 256);
	c = parse(&m);
	strcpy(expected.suite.enc, "cbc(aes)");
	expected.suite.enc_key_bits = 256;
	strcpy(expected.suite.auth, "hmac(sha256)");
	expected.suite.auth_key_bits = 256;
	expected.suite.icv_bits = 128;
	assert_memory_equal(&c.class.sa, &expected, sizeof(expected));
}

static void test_auth_without_truncation(void **state)
{
	struct sad_change c;
	struct message m;

	(void)state;
	begin_sa(&m)->id.proto = IPPROTO_AH;
	put_algo(&m, XFRMA_ALG_AUTH, "hmac(sha1)", 160);
	c = parse(&m);
	assert_int_equal(c.key.proto, IPPROTO_AH);
	assert_string_equal(c.class.sa.suite.auth, "hmac(sha1)");
	assert_int_equal(c.class.sa.suite.auth_key_bits, 160);
	assert_int_equal(c.class.sa.suite.icv_bits, 0);
	assert_string_equal(c.class.sa.suite.enc, "");
}

static void test_name_fills_its_place(void **state)
{
	static const char longest[] = "0123456789012345678901234567890123456789";
	struct sad_change c;
	struct message m;

	(void)state;
	begin_sa(&m);
	put_aead(&m, longest, 160, 128);
	c = parse(&m);
	assert_memory_equal(c.class.sa.suite.enc, longest, CLATCH_ALG_LEN);
	assert_string_equal(c.class.sa.suite.auth, "");
}

static void test_esn_encap_if_id(void **state)
{
	struct xfrm_encap_tmpl encap = { .encap_type = 2 };
	struct xfrm_replay_state_esn esn = {};
	struct sad_change c;
	struct message m;

	(void)state;
	begin_sa(&m)->flags = XFRM_STATE_ESN;
	put_aead(&m, "rfc4106(gcm(aes))", 160, 128);
	mnl_attr_put(m.header, XFRMA_ENCAP, sizeof(encap), &encap);
	mnl_attr_put(m.header, XFRMA_REPLAY_ESN_VAL, sizeof(esn), &esn);
	mnl_attr_put_u32(m.header, XFRMA_IF_ID, 42);
	c = parse(&m);
	assert_int_equal(c.class.sa.suite.encap, 2);
	assert_int_equal(c.class.sa.if_id, 42);
	/* its window counts, not the one of 32 in the fixed part */
	assert_int_equal(c.class.sa.suite.flags, CLATCH_SUITE_AEAD | CLATCH_SUITE_ESN);
}

static void test_selector_and_mark(void **state)
{
	struct xfrm_mark mark = { .v = 5, .m = 0xff };
	struct xfrm_selector sel = {
		.daddr.a4 = inet_addr("10.9.0.1"),
		.saddr.a4 = inet_addr("10.9.0.2"),
		.dport = htons(5000),
		.dport_mask = 0xffff,
		.family = AF_INET,
		.prefixlen_d = 32,
		.prefixlen_s = 24,
		.proto = IPPROTO_TCP,
		.ifindex = 3,
	};
	struct sad_change c;
	struct message m;

	(void)state;
	begin_sa(&m)->sel = sel;
	put_aead(&m, "rfc4106(gcm(aes))", 160, 128);
	c = parse(&m);
	assert_memory_equal(&c.class.selector, &sel, sizeof(sel));
	assert_int_equal(c.class.mark, 0);
	assert_int_equal(c.class.mark_mask, 0);
	assert_int_equal(c.class.count, 0);
	mnl_attr_put(m.header, XFRMA_MARK, sizeof(mark), &mark);
	c = parse(&m);
	assert_int_equal(c.class.mark, 5);
	assert_int_equal(c.class.mark_mask, 0xff);
}

static void test_ipv6(void **state)
{
	struct xfrm_usersa_info *info;
	struct clatch_addr dst;
	struct sad_change c;
	struct message m;

	(void)state;
	info = begin_sa(&m);
	info->family = AF_INET6;
	inet_pton(AF_INET6, "2001:db8::1", &info->id.daddr);
	inet_pton(AF_INET6, "2001:db8::1", &dst);
	put_aead(&m, "rfc4106(gcm(aes))", 160, 128);
	c = parse(&m);
	assert_memory_equal(&c.key.dst, &dst, sizeof(dst));
	assert_memory_equal(&c.class.sa.dst, &dst, sizeof(dst));
}

static void test_not_ours(void **state)
{
	struct xfrm_usersa_info *info;
	struct message m;

	(void)state;
	begin_sa(&m)->id.proto = IPPROTO_COMP;
	put_aead(&m, "rfc4106(gcm(aes))", 160, 128);
	assert_int_equal(parse(&m).kind, SAD_NOTHING);
	begin_sa(&m); /* larval: no algorithm yet */
	assert_int_equal(parse(&m).kind, SAD_NOTHING);
	info = begin_sa(&m);
	put_aead(&m, "rfc4106(gcm(aes))", 160, 128);
	info->id.spi = 0;
	assert_int_equal(parse(&m).kind, SAD_NOTHING);
	begin(&m, XFRM_MSG_NEWPOLICY, 8);
	assert_int_equal(parse(&m).kind, SAD_NOTHING);
}

static void test_removed(void **state)
{
	struct clatch_sa_key key = { .netns = NETNS, .spi = htonl(9), .proto = IPPROTO_ESP };
	struct xfrm_user_expire *expire;
	struct xfrm_usersa_id *id;
	struct sad_change c;
	struct message m;

	(void)state;
	addr_from_v4(&key.dst, inet_addr("10.9.0.1"));
	id = begin(&m, XFRM_MSG_DELSA, sizeof(*id));
	*id = (struct xfrm_usersa_id){ .daddr.a4 = inet_addr("10.9.0.1"),
				       .spi = htonl(9),
				       .family = AF_INET,
				       .proto = IPPROTO_ESP };
	c = parse(&m);
	assert_int_equal(c.kind, SAD_REMOVE);
	assert_memory_equal(&c.key, &key, sizeof(key));

	expire = begin(&m, XFRM_MSG_EXPIRE, sizeof(*expire));
	fill_info(&expire->state);
	expire->state.id.spi = htonl(9);
	assert_int_equal(parse(&m).kind, SAD_NOTHING); /* soft */
	expire->hard = 1;
	c = parse(&m);
	assert_int_equal(c.kind, SAD_REMOVE);
	assert_memory_equal(&c.key, &key, sizeof(key));
}

static void test_flushed(void **state)
{
	struct message m;

	(void)state;
	begin(&m, XFRM_MSG_FLUSHSA, sizeof(struct xfrm_usersa_flush));
	assert_int_equal(parse(&m).kind, SAD_REFILL);
}

/* Cut at each byte, in memory of exactly that size, for the address sanitizer to see. */
static void test_truncated(void **state)
{
	struct sad_change c, before;
	struct message m;

	(void)state;
	begin_sa(&m);
	put_auth_trunc(&m, "hmac(sha256)", 256, 128);
	put_algo(&m, XFRMA_ALG_CRYPT, "cbc(aes)", 256);
	memset(&before, 0x5a, sizeof(before));
	for (__u32 length = 0; length < m.header->nlmsg_len; length++) {
		struct nlmsghdr *cut = test_malloc(length < sizeof(*cut) ? sizeof(*cut) : length);
		int err;

		memcpy(cut, m.buffer, length < sizeof(*cut) ? sizeof(*cut) : length);
		cut->nlmsg_len = length;
		c = before;
		err = sad_message(&c, cut, NETNS);
		test_free(cut);
		if (err) {
			assert_int_equal(err, -EBADMSG);
			assert_memory_equal(&c, &before, sizeof(c));
		} else {
			/* only where an attribute ends, and what is left is whole */
			assert_true(c.kind == SAD_NOTHING || c.class.sa.suite.auth[0]);
		}
	}
}

static void test_short_attributes(void **state)
{
	static const __u16 types[] = {
		XFRMA_ALG_AEAD, XFRMA_ALG_CRYPT,      XFRMA_ALG_AUTH, XFRMA_ALG_AUTH_TRUNC,
		XFRMA_ENCAP,	XFRMA_REPLAY_ESN_VAL, XFRMA_IF_ID,    XFRMA_MARK,
	};
	struct sad_change c;
	struct message m;

	(void)state;
	for (size_t i = 0; i < COUNT(types); i++) {
		begin_sa(&m);
		mnl_attr_put(m.header, types[i], 3, "abc");
		assert_int_equal(sad_message(&c, m.header, NETNS), -EBADMSG);
	}
}

static void test_attribute_lengths_lie(void **state)
{
	static const __u16 lengths[] = { 0, 1, 3, 0xffff };
	struct sad_change c;
	struct nlattr *attr;
	struct message m;

	(void)state;
	for (size_t i = 0; i < COUNT(lengths); i++) {
		begin_sa(&m);
		attr = mnl_nlmsg_get_payload_tail(m.header);
		mnl_attr_put_u32(m.header, XFRMA_IF_ID, 1);
		attr->nla_len = lengths[i];
		assert_int_equal(sad_message(&c, m.header, NETNS), -EBADMSG);
	}
}

static void test_unknown_attributes_are_skipped(void **state)
{
	struct message m;

	(void)state;
	begin_sa(&m);
	mnl_attr_put_u32(m.header, XFRMA_MAX + 1, 1);
	mnl_attr_put_u32(m.header, 0x3fff, 1);
	put_aead(&m, "rfc4106(gcm(aes))", 160, 128);
	assert_int_equal(parse(&m).kind, SAD_SET);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_aead),
		cmocka_unit_test(test_enc_and_auth),
		cmocka_unit_test(test_auth_without_truncation),
		cmocka_unit_test(test_name_fills_its_place),
		cmocka_unit_test(test_esn_encap_if_id),
		cmocka_unit_test(test_selector_and_mark),
		cmocka_unit_test(test_ipv6),
		cmocka_unit_test(test_not_ours),
		cmocka_unit_test(test_removed),
		cmocka_unit_test(test_flushed),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_short_attributes),
		cmocka_unit_test(test_attribute_lengths_lie),
		cmocka_unit_test(test_unknown_attributes_are_skipped),
	};

	return cmocka_run_group_tests_name("sad_message", tests, NULL, NULL);
}
