// SPDX-License-Identifier: GPL-2.0-only
#include "output_parts.h"

#include <json-c/json.h>

#include "output_certificate.h"

#define BYTES_11 "1111111111111111111111111111111111111111111111111111111111111111"
#define BYTES_22 "2222222222222222222222222222222222222222222222222222222222222222"
#define BYTES_33 "3333333333333333333333333333333333333333333333333333333333333333"

/* Its subject fills its place, without a NUL. */
static struct clatch_certificate certificate(void)
{
	struct clatch_certificate c = {
		.issuer = "CN=middle",
		.anchor = "CN=\"root\"",
		.not_before = -631152000, /* where UTCTime begins */
		.not_after = 253402300799,
		.flags = CLATCH_CERTIFICATE_X509 | CLATCH_CERTIFICATE_ANCHOR,
	};

	memset(c.subject, 'A', sizeof(c.subject));
	memset(c.fingerprint, 0x11, sizeof(c.fingerprint));
	memset(c.anchor_fingerprint, 0x22, sizeof(c.anchor_fingerprint));
	memset(c.key, 0x33, sizeof(c.key));
	return c;
}

static void expect_json(struct json_object *object, const char *expected)
{
	assert_string_equal(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN),
			    expected);
	json_object_put(object);
}

static void test_json(void **state)
{
	struct clatch_certificate c = certificate();

	(void)state;
	strcpy(c.subject, "CN=db1.example");
	expect_json(
		json_certificate(&c),
		"{\"subject\":\"CN=db1.example\",\"issuer\":\"CN=middle\",\"sha256\":\"" BYTES_11
		"\",\"public_key_sha256\":\"" BYTES_33 "\",\"not_before\":\""
		"1950-01-01T00:00:00Z\",\"not_after\":\"9999-12-31T23:59:59Z\",\"anchor\":{"
		"\"subject\":\"CN=\\\"root\\\"\",\"sha256\":\"" BYTES_22 "\"}}");
	expect_json(json_certificate(NULL), "null");
}

static void test_bare_key_json(void **state)
{
	struct clatch_certificate c = {};

	(void)state;
	memset(c.key, 0x33, sizeof(c.key));
	expect_json(json_certificate(&c),
		    "{\"subject\":null,\"issuer\":null,\"sha256\":null,\"public_key_sha256\":"
		    "\"" BYTES_33 "\",\"not_before\":null,\"not_after\":null,\"anchor\":null}");
}

static void test_binding(void **state)
{
	__u8 binding[CLATCH_HASH_LEN];
	struct printed p;

	(void)state;
	memset(binding, 0x22, sizeof(binding));
	expect_json(json_channel_binding(binding), "\"" BYTES_22 "\"");
	expect_json(json_channel_binding(NULL), "null");
	begin(&p, false);
	text_channel_binding(&p.out, binding);
	text_channel_binding(&p.out, NULL);
	expect(&p, "  channel binding: " BYTES_22 "\n");
}

static void test_text(void **state)
{
	struct clatch_certificate c = certificate();
	char expected[1024];
	struct printed p;

	(void)state;
	snprintf(expected, sizeof(expected),
		 "  certificate:\n"
		 "    subject %.*s\n"
		 "    issuer CN=middle\n"
		 "    valid from 1950-01-01T00:00:00Z to 9999-12-31T23:59:59Z\n"
		 "    sha256 " BYTES_11 "\n"
		 "    public key sha256 " BYTES_33 "\n"
		 "    trust anchor CN=\"root\"\n"
		 "    trust anchor sha256 " BYTES_22 "\n",
		 CLATCH_DN_LEN, c.subject);
	begin(&p, false);
	text_certificate(&p.out, &c);
	text_certificate(&p.out, NULL);
	expect(&p, expected);
}

static void test_bare_key_text(void **state)
{
	struct clatch_certificate c = {};
	struct printed p;

	(void)state;
	memset(c.key, 0x33, sizeof(c.key));
	begin(&p, false);
	text_certificate(&p.out, &c);
	expect(&p, "  certificate:\n    public key sha256 " BYTES_33 "\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json),	      cmocka_unit_test(test_bare_key_json),
		cmocka_unit_test(test_binding),	      cmocka_unit_test(test_text),
		cmocka_unit_test(test_bare_key_text),
	};

	return cmocka_run_group_tests_name("output_certificate", tests, NULL, NULL);
}
