// SPDX-License-Identifier: GPL-2.0-only
#include "test.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "addr.h"
#include "filter.h"

static void test_endpoints_understood(void **state)
{
	static const struct {
		const char *text;
		const char *addr;
		unsigned int bits;
		int port; /* -1 = any */
	} rows[] = {
		{ "10.9.0.1", "10.9.0.1", 128, -1 },
		{ "10.9.0.1:80", "10.9.0.1", 128, 80 },
		{ "10.9.0.0/16", "10.9.0.0", 112, -1 },
		{ "10.9.0.0/16:5432", "10.9.0.0", 112, 5432 },
		{ "0.0.0.0/0", "0.0.0.0", 96, -1 },
		{ ":443", "::", 0, 443 },
		{ "2001:db8::1", "2001:db8::1", 128, -1 },
		{ "2001:db8::/32", "2001:db8::", 32, -1 },
		{ "2001:db8::/32:80", "2001:db8::", 32, 80 },
		{ "[2001:db8::1]:80", "2001:db8::1", 128, 80 },
		{ "[2001:db8::]/64:80", "2001:db8::", 64, 80 },
		{ "[::1]", "::1", 128, -1 },
		{ "::1", "::1", 128, -1 },
		{ "::", "::", 128, -1 },
		{ "::/0", "::", 0, -1 },
		{ "::ffff:10.9.0.1", "10.9.0.1", 128, -1 },
		{ "10.9.0.1:0", "10.9.0.1", 128, 0 },
		{ "10.9.0.1:65535", "10.9.0.1", 128, 65535 },
	};
	char text[ADDR_TEXT];

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct filter_endpoint e = {};

		assert_row(rows[i].text, !filter_parse_endpoint(&e, rows[i].text));
		assert_string_equal(addr_text(text, &e.addr), rows[i].addr);
		assert_row(rows[i].text, e.bits == rows[i].bits);
		assert_row(rows[i].text, e.has_port == (rows[i].port >= 0));
		assert_row(rows[i].text, !e.has_port || e.port == rows[i].port);
	}
}

static void test_endpoints_refused(void **state)
{
	static const char *const rows[] = {
		"",
		":",
		"/",
		"/24",
		"10.9.0",
		"10.9.0.1:",
		"10.9.0.1/",
		"10.9.0.1/33",
		"10.9.0.1/-1",
		"10.9.0.1/+1",
		"10.9.0.1:65536",
		"10.9.0.1: 80",
		"10.9.0.1:80x",
		"10.9.0.1:80:90",
		"10.9.0.1/24/24",
		"10.9.0.1 ",
		"db.example.org",
		"[10.9.0.1]:80",
		"[2001:db8::1",
		"2001:db8::1]",
		"[2001:db8::1]80",
		"[]:80",
		"2001:db8::/129",
		"2001:db8::g",
		"99999999999999999999",
		":99999999999999999999999",
		"1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct filter_endpoint e, before;

		memset(&e, 0x5a, sizeof(e));
		before = e;
		assert_row(rows[i], filter_parse_endpoint(&e, rows[i]) == -EINVAL);
		assert_row(rows[i], !memcmp(&e, &before, sizeof(e)));
	}
}

static void test_words(void **state)
{
	unsigned int states = 0;
	__u32 proto = 0;

	(void)state;
	assert_int_equal(filter_parse_state(&states, "BROKEN"), 0);
	assert_int_equal(filter_parse_state(&states, "larval"), 0);
	assert_int_equal(states, 1 << CLATCH_BROKEN | 1 << CLATCH_LARVAL);
	assert_int_equal(filter_parse_state(&states, "BROKE"), -EINVAL);
	assert_int_equal(filter_parse_state(&states, "NONE"), -EINVAL);
	assert_int_equal(states, 1 << CLATCH_BROKEN | 1 << CLATCH_LARVAL);
	assert_int_equal(filter_parse_proto(&proto, "udp"), 0);
	assert_int_equal(proto, IPPROTO_UDP);
	assert_int_equal(filter_parse_proto(&proto, "esp"), -EINVAL);
	assert_int_equal(proto, IPPROTO_UDP);
	assert_int_equal(filter_parse_proto(&proto, "SCTP"), 0);
	assert_int_equal(proto, IPPROTO_SCTP);
}

static void test_ids(void **state)
{
	static const char *const refused[] = {
		"", "-1", "+1", " 1", "1 ", "x", "1x", "0x10", "18446744073709551616",
	};
	__u64 id = 5;

	(void)state;
	for (size_t i = 0; i < COUNT(refused); i++)
		assert_row(refused[i], filter_parse_id(&id, refused[i]) == -EINVAL && id == 5);
	assert_int_equal(filter_parse_id(&id, "0"), 0);
	assert_true(id == 0);
	assert_int_equal(filter_parse_id(&id, "18446744073709551615"), 0);
	assert_true(id == UINT64_MAX);
}

static struct clatch_addr v4(const char *text)
{
	struct clatch_addr addr = {};

	addr_from_v4(&addr, inet_addr(text));
	return addr;
}

static void test_matches(void **state)
{
	static const struct {
		const char *local;
		const char *remote;
		bool matches;
	} rows[] = {
		{ "10.9.0.1", NULL, true },	   { "10.9.0.2", NULL, false },
		{ "10.9.0.1:40000", NULL, true },  { "10.9.0.1:40001", NULL, false },
		{ ":40000", ":5000", true },	   { NULL, "10.9.0.2/32:5000", true },
		{ NULL, "10.9.0.3/31", true },	   { NULL, "10.9.0.3/32", false },
		{ NULL, "10.9.128.0/17", false },  { NULL, "10.9.128.0/16", true },
		{ NULL, "0.0.0.0/0", true },	   { NULL, "2001:db8::/32", false },
		{ "::ffff:10.9.0.1", NULL, true },
	};
	struct clatch_tuple tuple = { .local = v4("10.9.0.1"),
				      .local_port = 40000,
				      .remote = v4("10.9.0.2"),
				      .remote_port = 5000,
				      .proto = IPPROTO_TCP };
	struct clatch_latch latch = { .state = CLATCH_ESTABLISHED };

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct filter f = {};

		if (rows[i].local)
			assert_int_equal(filter_parse_endpoint(&f.local, rows[i].local), 0);
		if (rows[i].remote)
			assert_int_equal(filter_parse_endpoint(&f.remote, rows[i].remote), 0);
		assert_row(rows[i].local ?: rows[i].remote,
			   filter_matches(&f, &tuple, &latch) == rows[i].matches);
	}
}

static void test_matches_state_and_proto(void **state)
{
	struct clatch_tuple tuple = { .proto = IPPROTO_TCP, .remote_port = 5000 };
	struct clatch_latch latch = { .state = CLATCH_ESTABLISHED };
	struct filter f = { .proto = IPPROTO_UDP };

	(void)state;
	assert_false(filter_matches(&f, &tuple, &latch));
	f.proto = IPPROTO_TCP;
	f.states = 1 << CLATCH_BROKEN;
	assert_false(filter_matches(&f, &tuple, &latch));
	f.states |= 1 << CLATCH_ESTABLISHED;
	assert_true(filter_matches(&f, &tuple, &latch));
}

static void test_matches_id(void **state)
{
	struct clatch_tuple tuple = { .proto = IPPROTO_TCP, .remote_port = 5000 };
	struct clatch_latch latch = { .id = 7 };
	struct filter f = { .has_id = true };

	(void)state;
	assert_false(filter_matches(&f, &tuple, &latch));
	f.id = 7;
	assert_true(filter_matches(&f, &tuple, &latch));
}

static void test_listener_has_no_remote_end(void **state)
{
	struct clatch_tuple tuple = { .local_port = 80, .proto = IPPROTO_TCP };
	static const char *const remotes[] = { ":0", "::/1", "::", "0.0.0.0/0" };
	struct clatch_latch latch = { .state = CLATCH_LISTENER };
	struct filter f = {};

	(void)state;
	assert_true(filter_matches(&f, &tuple, &latch));
	for (size_t i = 0; i < COUNT(remotes); i++) {
		assert_int_equal(filter_parse_endpoint(&f.remote, remotes[i]), 0);
		for (latch.state = CLATCH_LISTENER; latch.state < CLATCH_STATES; latch.state++)
			assert_row(remotes[i], !filter_matches(&f, &tuple, &latch));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_endpoints_understood),
		cmocka_unit_test(test_endpoints_refused),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_matches),
		cmocka_unit_test(test_matches_state_and_proto),
		cmocka_unit_test(test_matches_id),
		cmocka_unit_test(test_listener_has_no_remote_end),
	};

	return cmocka_run_group_tests_name("filter", tests, NULL, NULL);
}
