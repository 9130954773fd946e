// SPDX-License-Identifier: GPL-2.0-only
#include "test.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "addr.h"
#include "output.h"
#include "parts.h"

#define NOON 1769860800000000000LL /* 2026-01-31T12:00:00Z */

/* What an output printed. */
struct printed {
	struct output out;
	char *text;
	size_t size;
};

static void begin(struct printed *p, bool json)
{
	p->out = (struct output){ .file = open_memstream(&p->text, &p->size),
				  .json = json,
				  .utc_offset = NOON };
}

static void expect(struct printed *p, const char *expected)
{
	assert_int_equal(output_flush(&p->out), 0);
	fclose(p->out.file);
	assert_string_equal(p->text, expected);
	free(p->text);
}

static struct clatch_addr v4(const char *text)
{
	struct clatch_addr addr;

	addr_from_v4(&addr, inet_addr(text));
	return addr;
}

static struct clatch_sa gcm(void)
{
	return (struct clatch_sa){
		.suite = { .enc = "rfc4106(gcm(aes))",
			   .enc_key_bits = 160,
			   .icv_bits = 128,
			   .proto = IPPROTO_ESP,
			   .flags = CLATCH_SUITE_AEAD | CLATCH_SUITE_REPLAY },
		.spi = htonl(0x2001),
		.reqid = 7,
		.src = v4("10.9.0.2"),
		.dst = v4("10.9.0.1"),
	};
}

static struct clatch_tuple tuple(void)
{
	return (struct clatch_tuple){ .netns = 1,
				      .local = v4("10.9.0.1"),
				      .remote = v4("10.9.0.2"),
				      .local_port = 40000,
				      .remote_port = 5000,
				      .proto = IPPROTO_TCP };
}

static struct latch_view latch(void)
{
	struct latch_view view = {
		.tuple = tuple(),
		.latch = { .id = 17,
			   .state = CLATCH_LARVAL,
			   .in = { .count = 1, .packets = 12, .bytes = 3456, .violations = 1 } },
		.in = { gcm() },
		.rule = "db",
	};

	return view;
}

#define GCM_WITHOUT_ADDRS                                                                          \
	"{\"proto\":\"esp\",\"mode\":\"transport\",\"aead\":\"rfc4106(gcm(aes))\","                \
	"\"aead_key_bits\":128,\"icv_bits\":128,\"esn\":false,\"replay\":true,\"encap\":null,"     \
	"\"reqid\":7,\"if_id\":0,\"spi\":\"0x00002001\","
#define GCM GCM_WITHOUT_ADDRS "\"src\":\"10.9.0.2\",\"dst\":\"10.9.0.1\"}"
#define TUPLE                                                                                      \
	"\"proto\":\"tcp\",\"local\":{\"addr\":\"10.9.0.1\",\"port\":40000},"                      \
	"\"remote\":{\"addr\":\"10.9.0.2\",\"port\":5000},"
#define LATCH_OPEN                                                                                 \
	"{\"id\":17," TUPLE "\"state\":\"LARVAL\",\"causes\":[],\"adopted\":false,"                \
	"\"rule\":\"db\",\"in\":{\"sa\":[" GCM "],\"packets\":12,\"bytes\":3456,"                  \
	"\"violations\":1},\"out\":{\"sa\":[],\"packets\":0,\"bytes\":0,\"violations\":0},"        \
	"\"local_id\":null,\"peer_id\":null,\"since\":\"2026-01-31T12:00:00Z\""

static void test_list_json(void **state)
{
	struct latch_view view = latch();
	struct printed p;

	(void)state;
	begin(&p, true);
	output_list_begin(&p.out);
	output_list_latch(&p.out, &view);
	output_list_latch(&p.out, &view);
	output_list_end(&p.out);
	expect(&p, "{\"latches\":[" LATCH_OPEN "},\n" LATCH_OPEN "}]}\n");
}

static void test_empty_list_json(void **state)
{
	struct printed p;

	(void)state;
	begin(&p, true);
	output_list_begin(&p.out);
	output_list_end(&p.out);
	expect(&p, "{\"latches\":[]}\n");
}

static void test_show_json(void **state)
{
	struct latch_view view = latch();
	struct printed p;

	(void)state;
	begin(&p, true);
	output_latch(&p.out, &view);
	expect(&p, LATCH_OPEN ",\"netns\":1}\n");
}

static void test_list_text(void **state)
{
	struct latch_view view = latch();
	struct printed p;

	(void)state;
	view.latch.state = CLATCH_LISTENER;
	begin(&p, false);
	output_list_latch(&p.out, &view);
	expect(&p, "17     LISTENER    tcp   10.9.0.1:40000          -                       "
		   "esp transport rfc4106(gcm(aes))-128 reqid 7    "
		   "-                                              12/0\n");
}

static void test_show_text(void **state)
{
	struct latch_view view = latch();
	struct printed p;

	(void)state;
	view.latch.state = CLATCH_BROKEN;
	view.latch.causes = CLATCH_CAUSE_OUT_CLEAR | CLATCH_CAUSE_OUT_MISMATCH;
	begin(&p, false);
	output_latch(&p.out, &view);
	expect(&p, "latch 17\n"
		   "  state:   BROKEN (out-clear, out-mismatch)\n"
		   "  proto:   tcp\n"
		   "  local:   10.9.0.1:40000\n"
		   "  remote:  10.9.0.2:5000\n"
		   "  netns:   1\n"
		   "  since:   2026-01-31T12:00:00Z\n"
		   "  adopted: no\n"
		   "  rule:    db\n"
		   "  in: 12 packets, 3456 bytes, 1 violations\n"
		   "    esp transport rfc4106(gcm(aes))-128 reqid 7, icv 128\n"
		   "    spi 0x00002001, 10.9.0.2 -> 10.9.0.1\n"
		   "  out: 0 packets, 0 bytes, 0 violations\n"
		   "    not known yet\n");
}

static struct clatch_event violation(void)
{
	struct clatch_event e = {
		.time_ns = 123456789,
		.latch = 17,
		.tuple = tuple(),
		.type = CLATCH_EV_VIOLATION,
		.reason = CLATCH_SA_MISMATCH,
		.direction = CLATCH_OUT,
		.verdict = CLATCH_DROP,
		.state = CLATCH_BROKEN,
		.expected_count = 1,
		.got_count = 1,
		.fields = CLATCH_FIELD_REQID | CLATCH_FIELD_ENC_KEY,
		.count = 3,
		.expected = { gcm() },
		.got = { gcm() },
	};

	memset(&e.got[0].src, 0, sizeof(e.got[0].src));
	memset(&e.got[0].dst, 0, sizeof(e.got[0].dst));
	return e;
}

#define EVENT(name) "{\"time\":\"2026-01-31T12:00:00.123456Z\",\"event\":\"" name "\",\"latch\":17,"
#define NO_ADDRS "\"src\":null,\"dst\":null}"

static void test_event_json(void **state)
{
	static const struct {
		enum clatch_event_type type;
		const char *line;
	} rows[] = {
		{ CLATCH_EV_VIOLATION, EVENT("violation") TUPLE
		  "\"direction\":\"out\",\"reason\":\"sa-mismatch\","
		  "\"fields\":[\"aead_key_bits\",\"reqid\"],"
		  "\"expected\":[" GCM "],\"got\":[" GCM_WITHOUT_ADDRS NO_ADDRS
		  "],\"verdict\":\"drop\",\"count\":3}\n" },
		{ CLATCH_EV_BROKEN, EVENT("broken") TUPLE
		  "\"direction\":\"out\",\"reason\":\"sa-mismatch\","
		  "\"fields\":[\"aead_key_bits\",\"reqid\"],"
		  "\"causes\":[\"out-mismatch\"],\"state\":\"BROKEN\","
		  "\"expected\":[" GCM "],\"got\":[" GCM_WITHOUT_ADDRS NO_ADDRS "]}\n" },
		{ CLATCH_EV_RESTORED,
		  EVENT("restored") TUPLE "\"direction\":\"out\",\"causes\":[\"out-mismatch\"],"
					  "\"state\":\"BROKEN\",\"expected\":[" GCM "],"
					  "\"got\":[" GCM_WITHOUT_ADDRS NO_ADDRS "]}\n" },
		{ CLATCH_EV_LATCHED,
		  EVENT("latched") TUPLE "\"direction\":\"out\",\"state\":\"BROKEN\","
					 "\"got\":[" GCM_WITHOUT_ADDRS NO_ADDRS "]}\n" },
		{ CLATCH_EV_CLOSED, EVENT("closed") TUPLE "\"state\":\"BROKEN\"}\n" },
		{ CLATCH_EV_LISTENING,
		  EVENT("listening") "\"proto\":\"tcp\","
				     "\"local\":{\"addr\":\"10.9.0.1\",\"port\":40000},"
				     "\"remote\":null,\"state\":\"BROKEN\"}\n" },
	};
	struct clatch_event e = violation();
	struct printed p;

	(void)state;
	e.causes = CLATCH_CAUSE_OUT_MISMATCH;
	for (size_t i = 0; i < COUNT(rows); i++) {
		e.type = rows[i].type;
		begin(&p, true);
		output_event(&p.out, &e);
		expect(&p, rows[i].line);
	}
}

static void test_event_without_latch(void **state)
{
	struct clatch_event e = {
		.tuple = tuple(),
		.type = CLATCH_EV_VIOLATION,
		.reason = CLATCH_TABLE_FULL,
		.verdict = CLATCH_PASS,
		.count = 1,
	};
	struct printed p;

	(void)state;
	begin(&p, true);
	output_event(&p.out, &e);
	expect(&p, "{\"time\":\"2026-01-31T12:00:00.000000Z\",\"event\":\"violation\","
		   "\"latch\":null," TUPLE "\"direction\":\"in\",\"reason\":\"table-full\","
		   "\"fields\":[],\"expected\":[],\"got\":[],\"verdict\":\"pass\","
		   "\"count\":1}\n");
}

static void test_event_text(void **state)
{
	struct clatch_event e = violation();
	struct printed p;

	(void)state;
	begin(&p, false);
	output_event(&p.out, &e);
	expect(&p, "2026-01-31T12:00:00.123456Z violation latch 17 tcp 10.9.0.1:40000 -> "
		   "10.9.0.2:5000 out sa-mismatch (aead_key_bits, reqid): drop (3 times), "
		   "expected esp transport rfc4106(gcm(aes))-128 reqid 7, "
		   "got esp transport rfc4106(gcm(aes))-128 reqid 7\n");

	e.direction = CLATCH_IN;
	e.reason = CLATCH_CLEAR;
	e.got_count = e.fields = 0;
	e.count = 1;
	begin(&p, false);
	output_event(&p.out, &e);
	expect(&p, "2026-01-31T12:00:00.123456Z violation latch 17 tcp 10.9.0.1:40000 <- "
		   "10.9.0.2:5000 in clear: drop, "
		   "expected esp transport rfc4106(gcm(aes))-128 reqid 7, got clear\n");
}

/* Counts out of range, as a ring could hold them after a bug, do no harm. */
static void test_event_counts_are_bounded(void **state)
{
	struct clatch_event e = violation();
	struct printed p;

	(void)state;
	e.expected_count = e.got_count = 255;
	for (int json = 0; json < 2; json++) {
		begin(&p, json);
		output_event(&p.out, &e);
		assert_int_equal(output_flush(&p.out), 0);
		fclose(p.out.file);
		free(p.text);
	}
}

static void test_lost_json(void **state)
{
	struct printed p;

	(void)state;
	begin(&p, true);
	output_lost(&p.out, 5);
	assert_int_equal(output_flush(&p.out), 0);
	fclose(p.out.file);
	assert_memory_equal(p.text, "{\"time\":\"20", 11);
	assert_non_null(strstr(p.text, "Z\",\"event\":\"lost\",\"count\":5}\n"));
	free(p.text);
}

static void test_full_device_is_an_error(void **state)
{
	struct output out = { .file = fopen("/dev/full", "w"), .json = true };

	(void)state;
	output_lost(&out, 1);
	assert_int_not_equal(output_flush(&out), 0);
	assert_int_not_equal(output_flush(&out), 0);
	fclose(out.file);
}

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
	struct clatch_addr a = v4("192.0.2.1");
	char text[ENDPOINT_TEXT];

	(void)state;
	assert_string_equal(addr_text(text, &a), "192.0.2.1");
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list_json),
		cmocka_unit_test(test_empty_list_json),
		cmocka_unit_test(test_show_json),
		cmocka_unit_test(test_list_text),
		cmocka_unit_test(test_show_text),
		cmocka_unit_test(test_event_json),
		cmocka_unit_test(test_event_without_latch),
		cmocka_unit_test(test_event_text),
		cmocka_unit_test(test_event_counts_are_bounded),
		cmocka_unit_test(test_lost_json),
		cmocka_unit_test(test_full_device_is_an_error),
		cmocka_unit_test(test_key_bits),
		cmocka_unit_test(test_sa_text),
		cmocka_unit_test(test_sas_text_fits),
		cmocka_unit_test(test_addr_text),
		cmocka_unit_test(test_time_text),
	};

	return cmocka_run_group_tests_name("output", tests, NULL, NULL);
}
