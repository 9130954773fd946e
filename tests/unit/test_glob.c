// SPDX-License-Identifier: GPL-2.0-only
#include "test.h"

#include <clatch/glob.h>
#include <string.h>

struct row {
	const char *pattern;
	const char *text;
	int step;
};

static const struct row rows[] = {
	{ "db1.example", "db1.example", CLATCH_GLOB_MATCH },
	{ "db1.example", "db1.example.org", CLATCH_GLOB_NO },
	{ "db1.example.org", "db1.example", CLATCH_GLOB_NO },
	{ "db1.example", "DB1.example", CLATCH_GLOB_NO },
	{ "*", "anybody", CLATCH_GLOB_MATCH },
	{ "*", "", CLATCH_GLOB_MATCH },
	{ "", "", CLATCH_GLOB_MATCH },
	{ "", "x", CLATCH_GLOB_NO },
	{ "*.example", "db1.example", CLATCH_GLOB_MATCH },
	{ "*.example", ".example", CLATCH_GLOB_MATCH },
	{ "*.example", "db1.example.evil", CLATCH_GLOB_NO },
	{ "db*", "db", CLATCH_GLOB_MATCH },
	{ "db*.org", "db1.example.org", CLATCH_GLOB_MATCH },
	{ "db*.org", "db1.example.com", CLATCH_GLOB_NO },
	{ "C=CH, O=*, CN=db*", "C=CH, O=Lab and Co, CN=db7", CLATCH_GLOB_MATCH },
	{ "C=CH, O=*, CN=db*", "C=CH, O=Lab, CN=web7", CLATCH_GLOB_NO },
	{ "*a*b*c*", "xxaxxbxxcxx", CLATCH_GLOB_MATCH },
	{ "*a*b*c*", "xxaxxcxxbxx", CLATCH_GLOB_NO },
	{ "**", "x", CLATCH_GLOB_MATCH },
	{ "a?c", "abc", CLATCH_GLOB_NO },
	{ "*aab", "aaaaab", CLATCH_GLOB_MATCH },
	{ "ab*bc", "abbc", CLATCH_GLOB_MATCH },
	{ "ab*bc", "abc", CLATCH_GLOB_NO },
};

static int match(const char pattern[CLATCH_RULE_ID], const char text[CLATCH_ID_TEXT])
{
	struct clatch_glob g = { .pattern = pattern, .text = text };
	int step = CLATCH_GLOB_ON;

	for (int i = 0; i < CLATCH_GLOB_STEPS && step == CLATCH_GLOB_ON; i++)
		step = clatch_glob_step(&g, CLATCH_ID_TEXT);
	return step;
}

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char pattern[CLATCH_RULE_ID] = {}, text[CLATCH_ID_TEXT] = {};

		strcpy(pattern, rows[i].pattern);
		strcpy(text, rows[i].text);
		assert_row(rows[i].pattern, match(pattern, text) == rows[i].step);
	}
}

/* Neither takes more steps than the packet path goes. */
static void test_worst_cases_end(void **state)
{
	char pattern[CLATCH_RULE_ID] = {}, text[CLATCH_ID_TEXT] = {};

	(void)state;
	memset(pattern, 'a', sizeof(pattern) - 2);
	pattern[0] = '*';
	memset(text, 'a', sizeof(text) - 1);
	pattern[sizeof(pattern) - 2] = 'b';
	assert_int_equal(match(pattern, text), CLATCH_GLOB_NO);
	for (size_t i = 0; i + 2 < sizeof(pattern); i += 2)
		pattern[i] = '*';
	assert_int_equal(match(pattern, text), CLATCH_GLOB_NO);
}

/* Whatever a damaged entry has there. */
static void test_behind_the_end(void **state)
{
	char pattern[CLATCH_RULE_ID] = "*b", text[CLATCH_ID_TEXT] = "a\0b";

	(void)state;
	assert_int_equal(match(pattern, text), CLATCH_GLOB_NO);
}

/* What has no end matches nothing, and is not read beyond. */
static void test_without_an_end(void **state)
{
	char pattern[CLATCH_RULE_ID], text[CLATCH_ID_TEXT];

	(void)state;
	memset(pattern, 'a', sizeof(pattern));
	memset(text, 'a', sizeof(text));
	assert_int_equal(match(pattern, text), CLATCH_GLOB_NO);
	strcpy(pattern, "*");
	assert_int_equal(match(pattern, text), CLATCH_GLOB_NO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_worst_cases_end),
		cmocka_unit_test(test_behind_the_end),
		cmocka_unit_test(test_without_an_end),
	};

	return cmocka_run_group_tests_name("glob", tests, NULL, NULL);
}
