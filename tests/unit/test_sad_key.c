// SPDX-License-Identifier: GPL-2.0-only
/* The key_tag: by which an SA is told from another that follows at its SPI. */
#include "sad_parts.h"

#define ADDED 1700000000

/* What a message says of a key, whose bytes count up from @first; bits 0 = there is none. */
struct key {
	unsigned int bits;
	unsigned char first;
};

/* @fixed: the size of the algorithm's struct; in all of them the length is at the same place. */
static void put_key(struct message *m, __u16 type, size_t fixed, struct key key)
{
	char room[ALG_ROOM] = {};

	if (!key.bits)
		return;
	name_alg(room, "cbc(aes)");
	memcpy(room + offsetof(struct xfrm_algo, alg_key_len), &key.bits, sizeof(key.bits));
	for (unsigned int i = 0; i < key.bits / 8; i++)
		room[fixed + i] = key.first + i;
	mnl_attr_put(m->header, type, fixed + key.bits / 8, room);
}

/* What bpf/identity.h makes of the 16 bytes from @first. */
static __u32 tag_of(unsigned char first)
{
	unsigned char bytes[16];
	__u64 words[2];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = first + i;
	memcpy(words, bytes, sizeof(words));
	return clatch_key_tag(words[0], words[1]);
}

/* The key that is hashed, in the order of bpf/identity.h: the first that is long enough. */
static void test_key_tag(void **state)
{
	const struct {
		const char *name;
		struct key aead, truncated, auth, enc;
		__u32 tag;
	} rows[] = {
		{ "AEAD", { 160, 1 }, {}, {}, {}, tag_of(1) },
		{ "just long enough", { 128, 1 }, {}, {}, {}, tag_of(1) },
		{ "AEAD, too short", { 120, 1 }, {}, {}, {}, clatch_key_tag(ADDED, 0) },
		{ "encryption and authentication", {}, { 256, 2 }, {}, { 256, 4 }, tag_of(2) },
		{ "as the kernel sends it", {}, { 256, 2 }, { 256, 2 }, { 256, 4 }, tag_of(2) },
		{ "no truncation", {}, {}, { 160, 3 }, { 256, 4 }, tag_of(3) },
		{ "AH", {}, { 160, 2 }, {}, {}, tag_of(2) },
		{ "no authentication", {}, {}, {}, { 256, 4 }, tag_of(4) },
		{ "too short for it", {}, { 64, 2 }, {}, { 128, 4 }, tag_of(4) },
		{ "both too short", {}, { 64, 2 }, {}, { 64, 4 }, clatch_key_tag(ADDED, 0) },
	};
	struct message m;

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		begin_sa(&m)->curlft.add_time = ADDED;
		put_key(&m, XFRMA_ALG_AEAD, sizeof(struct xfrm_algo_aead), rows[i].aead);
		put_key(&m, XFRMA_ALG_AUTH, sizeof(struct xfrm_algo), rows[i].auth);
		put_key(&m, XFRMA_ALG_AUTH_TRUNC, sizeof(struct xfrm_algo_auth), rows[i].truncated);
		put_key(&m, XFRMA_ALG_CRYPT, sizeof(struct xfrm_algo), rows[i].enc);
		assert_row(rows[i].name, parse(&m).class.sa.key_tag == rows[i].tag);
	}
}

/* Null encryption alone, and nothing: there is no key, and the time stands in. */
static void test_key_tag_without_key(void **state)
{
	struct xfrm_usersa_info *info;
	struct message m;
	__u32 tag;

	(void)state;
	info = begin_sa(&m);
	info->curlft.add_time = ADDED;
	put_algo(&m, XFRMA_ALG_CRYPT, "ecb(cipher_null)", 0);
	tag = parse(&m).class.sa.key_tag;
	assert_int_equal(tag, clatch_key_tag(ADDED, 0));
	info->curlft.add_time++;
	assert_int_not_equal(parse(&m).class.sa.key_tag, tag);
}

/* Each of the 16 bytes counts, and none behind them. */
static void test_key_tag_bytes(void **state)
{
	struct xfrm_algo_aead *aead;
	struct nlattr *attr;
	struct message m;
	__u32 tag;

	(void)state;
	begin_sa(&m);
	attr = mnl_nlmsg_get_payload_tail(m.header);
	put_aead(&m, "rfc4106(gcm(aes))", 160, 128);
	aead = mnl_attr_get_payload(attr);
	tag = parse(&m).class.sa.key_tag;
	for (int i = 0; i < 20; i++) {
		aead->alg_key[i] ^= 1;
		assert_int_equal(parse(&m).class.sa.key_tag == tag, i >= 16);
		aead->alg_key[i] ^= 1;
	}
}

/* What stands behind a key that is too short is none of it. */
static void test_short_key(void **state)
{
	struct xfrm_algo_aead *aead;
	struct nlattr *attr;
	struct message m;

	(void)state;
	begin_sa(&m)->curlft.add_time = ADDED;
	attr = mnl_nlmsg_get_payload_tail(m.header);
	put_aead(&m, "rfc4106(gcm(aes))", 160, 128);
	aead = mnl_attr_get_payload(attr);
	aead->alg_key_len = 120;
	assert_int_equal(parse(&m).class.sa.key_tag, clatch_key_tag(ADDED, 0));
}

/* A message that says more of its key than it has: nothing behind it is read. */
static void test_key_is_cut_off(void **state)
{
	struct sad_change c;
	struct nlattr *attr;
	struct message m;

	(void)state;
	for (size_t left = 0; left <= 20; left++) {
		struct nlmsghdr *cut;

		begin_sa(&m)->curlft.add_time = ADDED;
		attr = mnl_nlmsg_get_payload_tail(m.header);
		put_key(&m, XFRMA_ALG_AEAD, sizeof(struct xfrm_algo_aead), (struct key){ 160, 1 });
		attr->nla_len -= 20 - left;
		m.header->nlmsg_len -= 20 - left; /* the attribute is the last: no padding */
		cut = test_malloc(m.header->nlmsg_len);
		memcpy(cut, m.buffer, m.header->nlmsg_len);
		assert_int_equal(sad_message(&c, cut, NETNS), 0);
		test_free(cut);
		assert_int_equal(c.class.sa.key_tag,
				 left < 16 ? clatch_key_tag(ADDED, 0) : tag_of(1));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_key_tag),	       cmocka_unit_test(test_key_tag_without_key),
		cmocka_unit_test(test_key_tag_bytes),  cmocka_unit_test(test_short_key),
		cmocka_unit_test(test_key_is_cut_off),
	};

	return cmocka_run_group_tests_name("sad_key", tests, NULL, NULL);
}
