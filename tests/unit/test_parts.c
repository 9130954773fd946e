// SPDX-License-Identifier: GPL-2.0-only
#include "test.h"

#include <netinet/in.h>
#include <string.h>

#include "addr.h"
#include "parts.h"

#define NOON 1769860800000000000LL /* 2026-01-31T12:00:00Z */

static void test_key_bits(void **state)
{
	static const struct {
		struct clatch_suite suite;
		unsigned int bits;
	} rows[] = {
		{ { .enc = "rfc4106(gcm(aes))", .enc_key_bits = 288 }, 256 },
		{ { .enc = "rfc4543(gcm(aes))", .enc_key_bits = 160 }, 128 },
		{ { .enc = "rfc4309(ccm(aes))", .enc_key_bits = 152 }, 128 },
		{ { .enc = "rfc7539esp(chacha20,poly1305)", .enc_key_bits = 288 }, 256 },
		{ { .enc = "rfc3686(ctr(aes))", .enc_key_bits = 160 }, 128 },
		{ { .enc = "cbc(aes)", .enc_key_bits = 128 }, 128 },
		{ { .enc = "ecb(cipher_null)", .enc_key_bits = 0 }, 0 },
		{ { .enc = "rfc4106(gcm(aes))", .enc_key_bits = 8 }, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		assert_row(rows[i].suite.enc, enc_key_bits(&rows[i].suite) == rows[i].bits);
}

static void test_sa_text(void **state)
{
	static const struct {
		struct clatch_sa sa;
		const char *text;
	} rows[] = {
		{ { .suite = { .enc = "cbc(aes)",
			       .auth = "hmac(sha256)",
			       .enc_key_bits = 128,
			       .auth_key_bits = 256,
			       .icv_bits = 128,
			       .proto = IPPROTO_ESP,
			       .mode = 1,
			       .flags = CLATCH_SUITE_ESN | CLATCH_SUITE_REPLAY } },
		  "esp tunnel cbc(aes)-128 hmac(sha256)-256/128 esn reqid 0" },
		{ { .suite = { .enc = "rfc4106(gcm(aes))",
			       .enc_key_bits = 160,
			       .icv_bits = 64,
			       .proto = IPPROTO_ESP,
			       .encap = 2,
			       .flags = CLATCH_SUITE_AEAD },
		    .if_id = 42 },
		  "esp transport rfc4106(gcm(aes))-128/64 no-replay in-udp reqid 0 if_id 42" },
		{ { .suite = { .auth = "hmac(sha1)",
			       .auth_key_bits = 160,
			       .icv_bits = 96,
			       .proto = IPPROTO_AH,
			       .flags = CLATCH_SUITE_REPLAY } },
		  "ah transport hmac(sha1)-160/96 reqid 0" },
	};
	char text[SA_TEXT];

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		assert_string_equal(sa_text(text, &rows[i].sa), rows[i].text);
}

/* Also with a name that fills its place, without a NUL, and all numbers at their widest. */
static void test_sas_text_fits(void **state)
{
	struct clatch_sa sas[CLATCH_MAX_NEST];
	char text[SAS_TEXT];

	(void)state;
	memset(sas, 0xff, sizeof(sas));
	for (int i = 0; i < CLATCH_MAX_NEST; i++) {
		memset(sas[i].suite.enc, 'e', CLATCH_ALG_LEN);
		memset(sas[i].suite.auth, 'a', CLATCH_ALG_LEN);
	}
	sas_text(text, sas, CLATCH_MAX_NEST);
	assert_string_equal(text + strlen(text) - strlen("if_id 4294967295"), "if_id 4294967295");
}

static void test_addr_text(void **state)
{
	static const char *const rows[] = { "192.0.2.1", "0.0.0.0", "255.255.255.255",
					    "10.100.109.99", "1.20.200.9" };
	struct clatch_addr a;
	char text[ENDPOINT_TEXT];

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		addr_from_v4(&a, inet_addr(rows[i]));
		assert_string_equal(addr_text(text, &a), rows[i]);
	}
	addr_from_v4(&a, inet_addr("192.0.2.1"));
	assert_string_equal(endpoint_text(text, &a, 65535), "192.0.2.1:65535");
	inet_pton(AF_INET6, "2001:db8::1", &a);
	assert_string_equal(endpoint_text(text, &a, 80), "[2001:db8::1]:80");
}

static void test_time_text(void **state)
{
	char text[TIME_TEXT];

	(void)state;
	assert_string_equal(time_text(text, NOON + 999, true), "2026-01-31T12:00:00.000000Z");
	assert_string_equal(time_text(text, NOON + 1999999999, false), "2026-01-31T12:00:01Z");
	assert_string_equal(time_text(text, -1, true), "1969-12-31T23:59:59.999999Z");
}

static void test_event_cause(void **state)
{
	static const struct {
		const char *cause; /* NULL = none to tell */
		struct clatch_event event;
	} rows[] = {
		{ "packet", { .type = CLATCH_EV_LATCHED, .got_count = 1 } },
		{ "rule", { .type = CLATCH_EV_LATCHED } },
		{ "listen", { .type = CLATCH_EV_LISTENING } },
		{ "packet", { .type = CLATCH_EV_LISTENING, .other = 5 } },
		{ "policy", { .type = CLATCH_EV_BROKEN, .cause = CLATCH_CAUSE_POLICY } },
		{ "dead-peer", { .type = CLATCH_EV_BROKEN, .cause = CLATCH_CAUSE_DEAD_PEER } },
		{ NULL, { .type = CLATCH_EV_BROKEN } },
		{ "out-clear", { .type = CLATCH_EV_RESTORED, .cause = CLATCH_CAUSE_OUT_CLEAR } },
		{ "admin", { .type = CLATCH_EV_CLOSED, .end = CLATCH_END_ADMIN } },
		{ "unknown", { .type = CLATCH_EV_CLOSED, .end = 255 } },
		{ NULL, { .type = CLATCH_EV_CLOSED } },
		{ NULL, { .type = CLATCH_EV_VIOLATION, .cause = CLATCH_CAUSE_POLICY } },
		{ NULL, { .type = 255 } },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const char *cause = event_cause(&rows[i].event);

		if (rows[i].cause)
			assert_string_equal(cause, rows[i].cause);
		else
			assert_null(cause);
	}
}

static void test_tuple_is_listener(void **state)
{
	struct clatch_tuple tuple = { .local_port = 80 };

	(void)state;
	assert_true(tuple_is_listener(&tuple));
	tuple.remote_port = 1;
	assert_false(tuple_is_listener(&tuple));
	tuple.remote_port = 0;
	tuple.remote.b[15] = 1;
	assert_false(tuple_is_listener(&tuple));
	tuple = (struct clatch_tuple){};
	assert_false(tuple_is_listener(&tuple)); /* nothing at all */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_key_bits),	  cmocka_unit_test(test_sa_text),
		cmocka_unit_test(test_sas_text_fits),	  cmocka_unit_test(test_addr_text),
		cmocka_unit_test(test_time_text),	  cmocka_unit_test(test_event_cause),
		cmocka_unit_test(test_tuple_is_listener),
	};

	return cmocka_run_group_tests_name("parts", tests, NULL, NULL);
}
