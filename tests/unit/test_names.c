// SPDX-License-Identifier: GPL-2.0-only
#include "test.h"

#include <netinet/in.h>

#include "names.h"

static void test_every_value_has_a_name(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < CLATCH_REASONS; i++)
		assert_string_not_equal(name_reason(i), "unknown");
	for (unsigned int i = 0; i < CLATCH_STATES; i++)
		assert_string_not_equal(name_state(i), "unknown");
	for (unsigned int i = 0; i < CLATCH_EV_TYPES; i++)
		assert_string_not_equal(name_event(i), "unknown");
	for (unsigned int i = 0; i < CLATCH_ENDS; i++)
		assert_string_not_equal(name_end(i), "unknown");
	for (unsigned int bit = 1; bit <= CLATCH_CAUSE_DEAD_PEER; bit <<= 1)
		assert_string_not_equal(name_cause(bit), "unknown");
	for (unsigned int bit = 1; bit <= CLATCH_FIELD_IF_ID; bit <<= 1)
		assert_string_not_equal(name_field(bit), "unknown");
}

/* The names that documents and programs rely on. */
static void test_names(void **state)
{
	(void)state;
	assert_string_equal(name_reason(CLATCH_SA_MISMATCH), "sa-mismatch");
	assert_string_equal(name_state(CLATCH_ESTABLISHED), "ESTABLISHED");
	assert_string_equal(name_state(CLATCH_NONE), "NONE");
	assert_string_equal(name_verdict(CLATCH_AUDIT), "audit");
	assert_string_equal(name_event(CLATCH_EV_VIOLATION), "violation");
	assert_string_equal(name_dir(CLATCH_OUT), "out");
	assert_string_equal(name_mode(1), "tunnel");
	assert_string_equal(name_cause(CLATCH_CAUSE_OUT_CLEAR), "out-clear");
	assert_string_equal(name_cause(CLATCH_CAUSE_OUT_MISMATCH), "out-mismatch");
	assert_string_equal(name_cause(CLATCH_CAUSE_POLICY), "policy");
	assert_string_equal(name_cause(CLATCH_CAUSE_SA), "sa-conflict");
	assert_string_equal(name_cause(CLATCH_CAUSE_DEAD_PEER), "dead-peer");
	assert_string_equal(name_end(CLATCH_END_RELEASED), "released");
	assert_string_equal(name_end(CLATCH_END_REPLACED), "replaced");
	assert_string_equal(name_end(CLATCH_END_EXPIRED), "expired");
	assert_string_equal(name_end(CLATCH_END_ADMIN), "admin");
	assert_string_equal(name_end(CLATCH_END_RESET), "reset-after");
	assert_string_equal(name_end(CLATCH_END_GONE), "gone");
	assert_string_equal(name_field(CLATCH_FIELD_REQID), "reqid");
	assert_string_equal(name_field(CLATCH_FIELD_IF_ID), "if_id");
	assert_string_equal(name_proto(IPPROTO_AH), "ah");
	assert_string_equal(name_proto(IPPROTO_SCTP), "sctp");
	assert_string_equal(name_encap(2), "udp");
	assert_null(name_encap(0));
}

static void test_out_of_range(void **state)
{
	(void)state;
	assert_string_equal(name_reason(CLATCH_REASONS), "unknown");
	assert_string_equal(name_state(CLATCH_STATES), "unknown");
	assert_string_equal(name_end(CLATCH_ENDS), "unknown");
	assert_string_equal(name_cause(CLATCH_CAUSE_POLICY | CLATCH_CAUSE_SA), "unknown");
	assert_string_equal(name_cause(CLATCH_CAUSE_DEAD_PEER << 1), "unknown");
	assert_string_equal(name_mode(255), "unknown");
	assert_string_equal(name_proto(3), "unknown");
	assert_string_equal(name_encap(255), "unknown");
	assert_string_equal(name_field(0), "unknown");
	assert_string_equal(name_field(3), "unknown");
	assert_string_equal(name_cause(1U << 31), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_value_has_a_name),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_out_of_range),
	};

	return cmocka_run_group_tests_name("names", tests, NULL, NULL);
}
