// SPDX-License-Identifier: GPL-2.0-only
#include "test.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "addr.h"
#include "policy.h"
#include "policy_key.h"
#include "policy_print.h"

#define SECOND_NS 1000000000ULL
#define X40 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define CGROUP_EXPECTED "expected the path of a cgroup (/sys/fs/cgroup/web.slice)\n"
#define PREFIX_EXPECTED                                                                            \
	"expected an address, ADDRESS/LENGTH (10.20.0.0/16, 2001:db8::/32), or any\n"
#define PORTS_EXPECTED "expected a port from 1 to 65535, or two with a - between them (5000-5010)\n"
#define ID_EXPECTED "expected an identity as IKE prints it, without quotes; * is any text\n"
#define HEADINGS "expected [clatch] or [rule NAME]\n"
#define CLEAR                                                                                      \
	"demands nothing of a connection in clear: expected require = ipsec, esp, ah or "          \
	"encrypted with it\n"

/* All mistakes as "LINE: KEY: TEXT\n"; to be freed. */
static char *mistakes(const struct policy *policy)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	for (unsigned int i = 0; i < policy->mistake_count; i++) {
		const struct policy_mistake *m = &policy->mistakes[i];

		fprintf(out, "%u: %s%s%s\n", m->line, m->key ? m->key : "", m->key ? ": " : "",
			m->text);
	}
	fclose(out);
	return text;
}

static void expect_mistakes(const char *text, size_t length, const char *expected)
{
	struct policy policy = POLICY_INIT;
	char *found;

	assert_int_equal(policy_parse(&policy, text, length), 0);
	found = mistakes(&policy);
	if (strcmp(found, expected))
		fail_msg("\n%.*s\ngives\n%sand not\n%s", (int)length, text, found, expected);
	free(found);
	policy_free(&policy);
}

struct mistaken {
	const char *text, *mistakes;
};

static void expect_each(const struct mistaken *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		expect_mistakes(rows[i].text, strlen(rows[i].text), rows[i].mistakes);
}

static void test_sections(void **state)
{
	static const struct mistaken rows[] = {
		{ "[rules a]\n", "1: unknown section [rules a]: " HEADINGS },
		{ "[Clatch]\n", "1: unknown section [Clatch]: " HEADINGS },
		{ "[]\n", "1: unknown section []: " HEADINGS },
		{ "[rulea]\n", "1: unknown section [rulea]: " HEADINGS },
		{ "[nothing]\nwhatever = 1\n", "1: unknown section [nothing]: " HEADINGS },
		{ "[rule a\nproto = x\n", "1: a section without ']': " HEADINGS },
		{ "[rule a] b\n", "1: more after the section's ']': expected nothing\n" },
		{ "[clatch]\n[rule a]\n[clatch]\n",
		  "3: [clatch] again: expected it once, as at line 1\n" },
		{ "[rule]\n", "1: a rule without a name: expected [rule NAME]\n" },
		{ "[rule  ]\n", "1: a rule without a name: expected [rule NAME]\n" },
		{ "[rule a;b]\n", "1: the rule's name is 'a;b': expected none of [ ; # in it\n" },
		{ "[rule " X40 "]\n", "1: the rule's name has 40 bytes: expected at most 31\n" },
		{ "[rule a]\n[rule b]\n[ rule\ta ]\n",
		  "3: another rule 'a': expected a name of its own, this is that of line 1\n" },
		{ "[rule \xff]\n", "1: the rule's name is not UTF-8: expected text in UTF-8\n" },
		{ "[rule \x01]\nproto = x\n",
		  "1: the rule's name has a control character: expected text\n"
		  "2: proto: 'x': expected tcp, udp, sctp or any\n" },
		{ "[\xff]\n", "1: the line is not UTF-8: expected text in UTF-8\n" },
	};

	(void)state;
	expect_each(rows, COUNT(rows));
}

static void test_lines(void **state)
{
	static const struct mistaken rows[] = {
		{ "proto = tcp\n", "1: proto: a key before any section: " HEADINGS },
		{ "\n\nx\n",
		  "3: neither a section nor a key: expected [SECTION] or KEY = VALUE\n" },
		{ "[rule a]\n= tcp\n",
		  "2: neither a section nor a key: expected [SECTION] or KEY = VALUE\n" },
		{ "[rule a]\nproto\n",
		  "2: neither a section nor a key: expected [SECTION] or KEY = VALUE\n" },
		{ "[rule a]\nproto ; = tcp\n",
		  "2: neither a section nor a key: expected [SECTION] or KEY = VALUE\n" },
		{ "[rule a]\n; " X40 X40 X40 X40 X40 "\n",
		  "2: the line has 202 bytes: expected at most 197\n" },
		{ "; caf\xe9\n", "1: the line is not UTF-8: expected text in UTF-8\n" },
		{ "[rule a]\npro\xfeto = tcp\n",
		  "2: the line is not UTF-8: expected text in UTF-8\n" },
		{ "[rule a]\nproto = tcp\rx\n",
		  "2: proto: has a control character: expected text\n" },
		{ "[rule a]\nproto = tcp\x7f\n",
		  "2: proto: has a control character: expected text\n" },
	};

	(void)state;
	expect_each(rows, COUNT(rows));
	expect_mistakes("[rule a]\nproto = t\0cp\n", 22,
			"2: the line has a zero byte: expected text\n");
}

static void test_keys(void **state)
{
	static const struct mistaken rows[] = {
		{ "[rule a]\nprto = tcp\n",
		  "2: prto: unknown key: expected proto, local, remote, local-port, remote-port, "
		  "require, mode, min-key-bits, local-id, peer-id or reset-after\n" },
		{ "[clatch]\nproto = tcp\n", "2: proto: unknown key: expected mode, max-latches, "
					     "reset-after or may-turn-off\n" },
		{ "[rule a]\nproto = tcp\nproto = udp\n[rule b]\nproto = tcp\n",
		  "3: proto: given again: expected once, as at line 2\n" },
		{ "[clatch]\nmode = audit\nmode = x\n",
		  "3: mode: given again: expected once, as at line 2\n"
		  "3: mode: 'x': expected enforce or audit\n" },
		{ "[rule a]\nproto = tcp # x\n",
		  "2: proto: 'tcp # x': expected ; before a comment after a value\n" },
		{ "[clatch]\nmay-turn-off = a\nmay-turn-off = /a /b\n",
		  "2: may-turn-off: 'a': " CGROUP_EXPECTED
		  "3: may-turn-off: '/a /b': " CGROUP_EXPECTED },
	};

	(void)state;
	expect_each(rows, COUNT(rows));
}

static void test_values(void **state)
{
	static const struct mistaken rows[] = {
		{ "[rule a]\nremote = 10.20.0.5/16\n",
		  "2: remote: '10.20.0.5/16' is an address and the length of a prefix: expected "
		  "10.20.0.0/16, or 10.20.0.5 alone\n" },
		{ "[rule a]\nlocal = 2001:db8::1/32\n",
		  "2: local: '2001:db8::1/32' is an address and the length of a prefix: expected "
		  "2001:db8::/32, or 2001:db8::1 alone\n" },
		{ "[rule a]\nlocal = ::ffff:10.0.0.0/90\n",
		  "2: local: '::ffff:10.0.0.0/90' is an address and the length of a prefix: "
		  "expected ::ffc0:0:0/90, or ::ffff:10.0.0.0 alone\n" },
		{ "[rule a]\nremote = 10.20.0.0/33\n",
		  "2: remote: '10.20.0.0/33': " PREFIX_EXPECTED },
		{ "[rule a]\nremote = 10.20.0.1:80\n",
		  "2: remote: '10.20.0.1:80': " PREFIX_EXPECTED },
		{ "[rule a]\nremote = [::1]\n", "2: remote: '[::1]': " PREFIX_EXPECTED },
		{ "[rule a]\nremote = db.example\n", "2: remote: 'db.example': " PREFIX_EXPECTED },
		{ "[rule a]\nlocal = 10.0.0.1\nremote = ::1\n",
		  "3: remote: is of another family than local: expected both IPv4, or both "
		  "IPv6\n" },
		{ "[rule a]\nremote = 10.0.0.1\nlocal = ::/0\n",
		  "2: remote: is of another family than local: expected both IPv4, or both "
		  "IPv6\n" },
		{ "[rule a]\nlocal-port = 0\n", "2: local-port: '0': " PORTS_EXPECTED },
		{ "[rule a]\nlocal-port = 65536\n", "2: local-port: '65536': " PORTS_EXPECTED },
		{ "[rule a]\nlocal-port = 80 - 90\n", "2: local-port: '80 - 90': " PORTS_EXPECTED },
		{ "[rule a]\nlocal-port = 80-\n", "2: local-port: '80-': " PORTS_EXPECTED },
		{ "[rule a]\nlocal-port = -80\n", "2: local-port: '-80': " PORTS_EXPECTED },
		{ "[rule a]\nlocal-port = 1-2-3\n", "2: local-port: '1-2-3': " PORTS_EXPECTED },
		{ "[rule a]\nremote-port = 90-80\n",
		  "2: remote-port: '90-80' ends before it begins: expected 80-90\n" },
		{ "[rule a]\nremote-port = 90-0\n", "2: remote-port: '90-0': " PORTS_EXPECTED },
		{ "[rule a]\nrequire = esp\npeer-id = \"x\"\n",
		  "3: peer-id: '\"x\"': " ID_EXPECTED },
		{ "[rule a]\nrequire = esp\nlocal-id = " X40 X40 X40 "12345678\n",
		  "3: local-id: 128 bytes are too long: expected at most 127\n" },
	};

	(void)state;
	expect_each(rows, COUNT(rows));
}

/* What does not go together. */
static void test_together(void **state)
{
	static const struct mistaken rows[] = {
		{ "[rule a]\nmode = tunnel\nmin-key-bits = 1\npeer-id = x\nlocal-id = y\n",
		  "2: mode: " CLEAR "3: min-key-bits: " CLEAR "4: peer-id: " CLEAR
		  "5: local-id: " CLEAR },
		{ "[rule a]\nmode = tunnel\nrequire = none\n[rule b]\n", "2: mode: " CLEAR },
		{ "[rule a]\nmode = tunnel\nrequire = what\n",
		  "3: require: 'what': expected none, ipsec, esp, ah or encrypted\n" },
		{ "[rule a]\nmin-key-bits = 128\nrequire = ah\n",
		  "2: min-key-bits: AH has no cipher: expected require = ipsec, esp or encrypted "
		  "with it\n" },
	};

	(void)state;
	expect_each(rows, COUNT(rows));
}

/* Mistakes come in the order of the lines, whenever they are found. */
static void test_all_in_one_run(void **state)
{
	static const char text[] =
		"x = 1\n[rule a]\nmode = tunnel\nproto = x\n[clatch]\nmode = x\n";

	(void)state;
	expect_mistakes(text, strlen(text),
			"1: x: a key before any section: " HEADINGS "3: mode: " CLEAR
			"4: proto: 'x': expected tcp, udp, sctp or any\n"
			"6: mode: 'x': expected enforce or audit\n");
}

static void each_key(const char *section, const struct policy_key *keys)
{
	char text[1024], expected[1024], huge[300];

	memset(huge, '9', sizeof(huge) - 1);
	huge[sizeof(huge) - 1] = '\0';
	for (const struct policy_key *key = keys; key->name; key++) {
		int start = snprintf(text, sizeof(text), "[%s]\n%s = ", section, key->name);
		bool is_id = strstr(key->name, "-id");

		snprintf(text + start, sizeof(text) - start, "\n");
		snprintf(expected, sizeof(expected), "2: %s: no value: expected %s\n", key->name,
			 key->expected);
		expect_mistakes(text, strlen(text), expected);
		snprintf(text + start, sizeof(text) - start, "; none\n");
		expect_mistakes(text, strlen(text), expected);

		snprintf(text + start, sizeof(text) - start, "'?\n");
		snprintf(expected, sizeof(expected), "2: %s: ''?': expected %s\n", key->name,
			 key->expected);
		expect_mistakes(text, strlen(text), expected);

		snprintf(text + start, sizeof(text) - start, "\xc3\x28\n");
		snprintf(expected, sizeof(expected),
			 "2: %s: is not UTF-8: expected text in UTF-8\n", key->name);
		expect_mistakes(text, strlen(text), expected);

		snprintf(text + start, sizeof(text) - start, "%.150s\n", huge);
		snprintf(expected, sizeof(expected), "2: %s: '%.150s': expected %s\n", key->name,
			 huge, key->expected);
		if (is_id)
			snprintf(expected, sizeof(expected),
				 "2: %s: 150 bytes are too long: expected at most 127\n",
				 key->name);
		expect_mistakes(text, strlen(text), expected);

		snprintf(text + start, sizeof(text) - start, "%s\n", huge);
		snprintf(expected, sizeof(expected),
			 "2: the line has %zu bytes: expected at most 197\n",
			 strlen(key->name) + 3 + strlen(huge));
		expect_mistakes(text, strlen(text), expected);
	}
}

static void test_every_key(void **state)
{
	(void)state;
	each_key("clatch", policy_settings);
	each_key("rule a", policy_rule_keys);
}

/* What is understood, as it is printed; it is then understood once more, and printed the same. */
static void test_understood(void **state)
{
	static const struct {
		const char *text, *printed;
	} rows[] = {
		{ "", "" },
		{ "\xef\xbb\xbf", "" },
		{ "; nothing\n# nothing\n\n   \n  ; nothing", "" },
		{ "[clatch]", "" },
		{ "\xef\xbb\xbf[rule a]\r\nproto = tcp\r\n\r\n",
		  "\n[rule a]\nproto = tcp\nrequire = none\n" },
		{ "[rule a] ; x\nproto=udp;", NULL },
		{ "[ rule  a b ] # x\n\tproto:udp ; x\n  require = esp",
		  "\n[rule a b]\nproto = udp\nrequire = esp\n" },
		{ "[rule caf\xc3\xa9]\nproto = any\nlocal = any\nremote = any\nmode = any\n"
		  "min-key-bits = 0\nrequire = none\n",
		  "\n[rule caf\xc3\xa9]\nrequire = none\n" },
		{ "[rule a]\nlocal = 10.9.0.1\nremote = 0.0.0.0/0\nlocal-port = 80\n"
		  "remote-port = 1-65535\nproto = sctp\n",
		  "\n[rule a]\nproto = sctp\nlocal = 10.9.0.1/32\nlocal-port = 80\n"
		  "remote = 0.0.0.0/0\nremote-port = 1-65535\nrequire = none\n" },
		{ "[rule a]\nlocal = 2001:DB8::/32\nremote = any\nlocal-port = 5000-5010\n",
		  "\n[rule a]\nlocal = 2001:db8::/32\nlocal-port = 5000-5010\nrequire = none\n" },
		{ "[rule a]\nlocal = ::/0\n", "\n[rule a]\nremote = ::/0\nrequire = none\n" },
		{ "[rule a]\nremote = ::ffff:10.0.0.0/104\n",
		  "\n[rule a]\nremote = 10.0.0.0/8\nrequire = none\n" },
		{ "[rule a]\nreset-after = never\n[rule b]\nreset-after = 90s\n[rule c]\n"
		  "reset-after = 120s\n[rule d]\nreset-after = 0s\n",
		  "\n[rule a]\nrequire = none\nreset-after = never\n\n[rule b]\nrequire = none\n"
		  "reset-after = 90s\n\n[rule c]\nrequire = none\nreset-after = 2m\n"
		  "\n[rule d]\nrequire = none\nreset-after = 0s\n" },
		{ "[rule a]\nrequire = encrypted\nmode = transport\nmin-key-bits = 128\n"
		  "peer-id = C=CH, O=x = y, CN=*.db.example.org\nlocal-id = *\n",
		  "\n[rule a]\nrequire = encrypted\nmode = transport\nmin-key-bits = 128\n"
		  "local-id = *\npeer-id = C=CH, O=x = y, CN=*.db.example.org\n" },
		{ "[rule a]\nrequire = ah\npeer-id = " X40 X40 X40 "1234567\n",
		  "\n[rule a]\nrequire = ah\npeer-id = " X40 X40 X40 "1234567\n" },
	};
	static const char head[] = "[clatch]\nmode = enforce\nmax-latches = 0\n";

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const char *text = rows[i].text;

		if (!rows[i].printed) { /* a comment needs a blank before it */
			expect_mistakes(text, strlen(text),
					"2: proto: 'udp;': expected tcp, udp, sctp or any\n");
			continue;
		}
		for (int again = 0; again < 2; again++) {
			struct policy policy = POLICY_INIT;
			char *printed = NULL;
			size_t length;
			FILE *out = open_memstream(&printed, &length);

			assert_int_equal(policy_parse(&policy, text, strlen(text)), 0);
			assert_row(rows[i].text, !policy.mistake_count);
			policy_print_text(out, &policy);
			fclose(out);
			assert_memory_equal(printed, head, strlen(head));
			assert_string_equal(printed + strlen(head), rows[i].printed);
			free(printed);
			policy_free(&policy);
			text = rows[i].printed;
		}
	}
}

static void test_settings(void **state)
{
	static const char text[] = "[clatch]\nmode = audit\nmax-latches = 16777216\n"
				   "reset-after = 5m\nmay-turn-off = /a\nmay-turn-off = /b/c\n";
	struct policy policy = POLICY_INIT;

	(void)state;
	assert_int_equal(policy_parse(&policy, "", 0), 0);
	assert_int_equal(policy.mode, POLICY_MODE_UNSET);
	assert_int_equal(policy.max_latches, 0);
	assert_true(policy.reset_after == CLATCH_RESET_DEFAULT);
	policy_free(&policy);
	assert_int_equal(policy_parse(&policy, text, strlen(text)), 0);
	assert_int_equal(policy.mistake_count, 0);
	assert_int_equal(policy.mode, POLICY_MODE_AUDIT);
	assert_int_equal(policy.max_latches, 16777216);
	assert_true(policy.reset_after == 300 * SECOND_NS);
	assert_string_equal(policy.may_turn_off, "/a /b/c");
	policy_free(&policy);
}

/* The fields as the packet path reads them. */
static void test_rule(void **state)
{
	static const char text[] = "[rule db]\nproto = tcp\nremote = 10.20.0.0/16\n"
				   "remote-port = 5432\nlocal = 10.0.0.0/8\nrequire = ipsec\n"
				   "[rule six]\nremote = fe00::/7\n";
	struct policy policy = POLICY_INIT;
	const struct clatch_rule *r;
	char addr[ADDR_TEXT];

	(void)state;
	assert_int_equal(policy_parse(&policy, text, strlen(text)), 0);
	assert_int_equal(policy.rule_count, 2);
	r = &policy.rules[0];
	assert_string_equal(r->name, "db");
	assert_int_equal(r->proto, IPPROTO_TCP);
	assert_string_equal(addr_text(addr, &r->remote), "10.20.0.0");
	assert_int_equal(r->remote_bits, 112);
	assert_int_equal(r->local_bits, 104);
	assert_int_equal(r->ipv6, 0);
	assert_int_equal(r->remote_port[0], 5432);
	assert_int_equal(r->remote_port[1], 5432);
	assert_int_equal(r->local_port[0], 0);
	assert_int_equal(r->local_port[1], 65535);
	assert_int_equal(r->demand.require, CLATCH_REQUIRE_IPSEC);
	assert_true(r->demand.reset_after == CLATCH_RESET_DEFAULT);
	r = &policy.rules[1];
	assert_int_equal(r->ipv6, 1);
	assert_int_equal(r->remote_bits, 7);
	assert_int_equal(r->local_bits, 0);
	policy_free(&policy);
}

static void test_how_many(void **state)
{
	struct policy policy = POLICY_INIT;
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	(void)state;
	for (int i = 0; i < CLATCH_MAX_RULES; i++)
		fprintf(out, "[rule %d]\n", i);
	fflush(out);
	assert_int_equal(policy_parse(&policy, text, length), 0);
	assert_int_equal(policy.mistake_count, 0);
	assert_int_equal(policy.rule_count, CLATCH_MAX_RULES);
	assert_string_equal(policy.rules[255].name, "255");
	policy_free(&policy);
	fprintf(out, "[rule more]\nproto = x\n[rule 7]\n");
	fclose(out);
	expect_mistakes(text, length,
			"257: too many rules: expected at most 256\n"
			"258: proto: 'x': expected tcp, udp, sctp or any\n"
			"259: another rule '7': expected a name of its own, this is that of line "
			"8\n");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sections),  cmocka_unit_test(test_lines),
		cmocka_unit_test(test_keys),	  cmocka_unit_test(test_values),
		cmocka_unit_test(test_together),  cmocka_unit_test(test_all_in_one_run),
		cmocka_unit_test(test_every_key), cmocka_unit_test(test_understood),
		cmocka_unit_test(test_settings),  cmocka_unit_test(test_rule),
		cmocka_unit_test(test_how_many),
	};

	return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
