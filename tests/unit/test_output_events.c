// SPDX-License-Identifier: GPL-2.0-only
#include "output_parts.h"

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
#define NO_ADDRS "\"src\":null,\"dst\":null,\"local_id\":null,\"peer_id\":null}"

#define COMPARED "\"expected\":[" GCM "],\"got\":[" GCM_WITHOUT_ADDRS NO_ADDRS "]"
#define MISMATCH                                                                                   \
	"\"direction\":\"out\",\"reason\":\"sa-mismatch\",\"fields\":[\"aead_key_bits\","          \
	"\"reqid\"],"
#define STATES(before, after) "\"old_state\":" before ",\"state\":\"" after "\","

static void expect_event(const struct clatch_event *e, bool json, const char *line)
{
	struct printed p;

	begin(&p, json);
	output_event(&p.out, e);
	expect(&p, line);
}

static void test_event_json(void **state)
{
	static const struct {
		enum clatch_event_type type;
		enum clatch_state before, after;
		__u8 causes, cause, end;
		const char *line;
	} rows[] = {
		{ CLATCH_EV_VIOLATION, CLATCH_NONE, CLATCH_BROKEN, 0, 0, 0,
		  EVENT("violation") TUPLE MISMATCH COMPARED
		  ",\"verdict\":\"drop\",\"count\":3}\n" },
		{ CLATCH_EV_BROKEN, CLATCH_ESTABLISHED, CLATCH_BROKEN, CLATCH_CAUSE_OUT_MISMATCH,
		  CLATCH_CAUSE_OUT_MISMATCH, 0,
		  EVENT("broken") TUPLE MISMATCH "\"causes\":[\"out-mismatch\"]," STATES(
			  "\"ESTABLISHED\"", "BROKEN") "\"cause\":\"out-mismatch\"," COMPARED
						       "}\n" },
		{ CLATCH_EV_BROKEN, CLATCH_BROKEN, CLATCH_BROKEN,
		  CLATCH_CAUSE_POLICY | CLATCH_CAUSE_SA, CLATCH_CAUSE_POLICY, 0,
		  EVENT("broken") TUPLE MISMATCH "\"causes\":[\"policy\",\"sa-conflict\"]," STATES(
			  "\"BROKEN\"", "BROKEN") "\"cause\":\"policy\"," COMPARED "}\n" },
		{ CLATCH_EV_RESTORED, CLATCH_BROKEN, CLATCH_LARVAL, CLATCH_CAUSE_OUT_MISMATCH,
		  CLATCH_CAUSE_OUT_MISMATCH, 0,
		  EVENT("restored") TUPLE
		  "\"direction\":\"out\",\"causes\":[\"out-mismatch\"]," STATES(
			  "\"BROKEN\"", "LARVAL") "\"cause\":\"out-mismatch\"," COMPARED "}\n" },
		{ CLATCH_EV_LATCHED, CLATCH_NONE, CLATCH_LARVAL, 0, 0, 0,
		  EVENT("latched") TUPLE "\"direction\":\"out\"," STATES(
			  "null", "LARVAL") "\"cause\":\"packet\",\"listener\":null,"
					    "\"got\":[" GCM_WITHOUT_ADDRS NO_ADDRS "]}\n" },
		{ CLATCH_EV_CLOSED, CLATCH_LARVAL, CLATCH_CLOSED, 0, 0, CLATCH_END_EXPIRED,
		  EVENT("closed") TUPLE STATES("\"LARVAL\"", "CLOSED") "\"cause\":\"expired\"}\n" },
	};
	struct clatch_event e = violation();

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		e.type = rows[i].type;
		e.old_state = rows[i].before;
		e.state = rows[i].after;
		e.causes = rows[i].causes;
		e.cause = rows[i].cause;
		e.end = rows[i].end;
		expect_event(&e, true, rows[i].line);
	}
}

/* By the rule's demand, no packet was there to have SAs; and from a listener. */
static void test_latched_json(void **state)
{
	struct clatch_event e = violation();

	(void)state;
	e.type = CLATCH_EV_LATCHED;
	e.state = CLATCH_LARVAL;
	e.other = 3;
	e.got_count = 0;
	expect_event(&e, true,
		     EVENT("latched") TUPLE "\"direction\":\"out\"," STATES(
			     "null", "LARVAL") "\"cause\":\"rule\",\"listener\":3,\"got\":[]}\n");
}

/* As the daemon breaks it when the peer is dead: nothing was compared. */
static void test_broken_without_reason_json(void **state)
{
	struct clatch_event e = violation();

	(void)state;
	e.type = CLATCH_EV_BROKEN;
	e.old_state = CLATCH_ESTABLISHED;
	e.reason = CLATCH_OK;
	e.causes = e.cause = CLATCH_CAUSE_DEAD_PEER;
	e.expected_count = e.got_count = e.fields = 0;
	expect_event(&e, true,
		     EVENT("broken") TUPLE
		     "\"direction\":\"out\",\"reason\":null,\"fields\":[],"
		     "\"causes\":[\"dead-peer\"]," STATES(
			     "\"ESTABLISHED\"",
			     "BROKEN") "\"cause\":\"dead-peer\",\"expected\":[],\"got\":[]}\n");
}

/* A listener's: made, the latch of a connection made from it, closed. */
static struct clatch_event listener_event(enum clatch_event_type type)
{
	return (struct clatch_event){ .time_ns = 123456789,
				      .latch = 17,
				      .tuple = listener_tuple(),
				      .type = type,
				      .state = CLATCH_LISTENER };
}

#define LISTENING_TUPLE                                                                            \
	"\"proto\":\"sctp\",\"local\":{\"addr\":\"0.0.0.0\",\"port\":5432},\"remote\":null,"

static void test_listener_events_json(void **state)
{
	struct clatch_event e = listener_event(CLATCH_EV_LISTENING);

	(void)state;
	expect_event(&e, true,
		     EVENT("listening") LISTENING_TUPLE STATES(
			     "null", "LISTENER") "\"cause\":\"listen\",\"spawned\":null}\n");
	e.old_state = CLATCH_LISTENER;
	e.other = 18;
	expect_event(&e, true,
		     EVENT("listening") LISTENING_TUPLE STATES(
			     "\"LISTENER\"", "LISTENER") "\"cause\":\"packet\",\"spawned\":18}\n");
	e = listener_event(CLATCH_EV_CLOSED);
	e.old_state = CLATCH_LISTENER;
	e.state = CLATCH_CLOSED;
	e.end = CLATCH_END_RELEASED;
	expect_event(&e, true,
		     EVENT("closed") LISTENING_TUPLE STATES("\"LISTENER\"",
							    "CLOSED") "\"cause\":\"released\"}\n");
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

#define LINE(name) "2026-01-31T12:00:00.123456Z " name " latch 17 "
#define OUT "tcp 10.9.0.1:40000 -> 10.9.0.2:5000 out "
#define GCM_TEXT "esp transport rfc4106(gcm(aes))-128 reqid 7"
#define COMPARED_TEXT ", expected " GCM_TEXT ", got " GCM_TEXT "\n"

static void test_violation_text(void **state)
{
	struct clatch_event e = violation();

	(void)state;
	expect_event(&e, false,
		     LINE("violation") OUT
		     "sa-mismatch (aead_key_bits, reqid): drop (3 times)" COMPARED_TEXT);
	e.direction = CLATCH_IN;
	e.reason = CLATCH_CLEAR;
	e.got_count = e.fields = 0;
	e.count = 1;
	expect_event(&e, false,
		     LINE("violation") "tcp 10.9.0.1:40000 <- 10.9.0.2:5000 in clear: drop, "
				       "expected " GCM_TEXT ", got clear\n");
}

static void test_broken_text(void **state)
{
	static const struct {
		enum clatch_state before;
		enum clatch_reason reason;
		__u8 causes, cause, got;
		__u32 fields;
		const char *line;
	} rows[] = {
		{ CLATCH_ESTABLISHED, CLATCH_CLEAR, CLATCH_CAUSE_OUT_CLEAR, CLATCH_CAUSE_OUT_CLEAR,
		  0, 0,
		  "ESTABLISHED -> BROKEN out-clear: clear, expected " GCM_TEXT ", got clear\n" },
		{ CLATCH_LARVAL, CLATCH_SA_MISMATCH, CLATCH_CAUSE_SA, CLATCH_CAUSE_SA, 1,
		  CLATCH_FIELD_ICV,
		  "LARVAL -> BROKEN sa-conflict: sa-mismatch (icv_bits)" COMPARED_TEXT },
		{ CLATCH_BROKEN, CLATCH_POLICY, CLATCH_CAUSE_OUT_CLEAR | CLATCH_CAUSE_POLICY,
		  CLATCH_CAUSE_POLICY, 0, 0,
		  "BROKEN policy (out-clear, policy): policy, expected " GCM_TEXT "\n" },
		{ CLATCH_ESTABLISHED, CLATCH_OK, CLATCH_CAUSE_DEAD_PEER, CLATCH_CAUSE_DEAD_PEER, 0,
		  0, "ESTABLISHED -> BROKEN dead-peer\n" },
	};
	char line[512];

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct clatch_event e = violation();

		e.type = CLATCH_EV_BROKEN;
		e.old_state = rows[i].before;
		e.reason = rows[i].reason;
		e.causes = rows[i].causes;
		e.cause = rows[i].cause;
		e.got_count = rows[i].got;
		e.fields = rows[i].fields;
		snprintf(line, sizeof(line), LINE("broken") OUT "%s", rows[i].line);
		expect_event(&e, false, line);
	}
}

/* By a packet; by the daemon, which compares nothing. */
static void test_restored_text(void **state)
{
	struct clatch_event e = violation();

	(void)state;
	e.type = CLATCH_EV_RESTORED;
	e.old_state = CLATCH_BROKEN;
	e.state = CLATCH_ESTABLISHED;
	e.causes = e.cause = CLATCH_CAUSE_OUT_CLEAR;
	expect_event(&e, false,
		     LINE("restored") OUT "BROKEN -> ESTABLISHED out-clear" COMPARED_TEXT);
	e.causes = e.cause = CLATCH_CAUSE_POLICY;
	e.got_count = 0;
	expect_event(&e, false, LINE("restored") OUT "BROKEN -> ESTABLISHED policy\n");
}

static void test_latched_text(void **state)
{
	struct clatch_event e = violation();

	(void)state;
	e.type = CLATCH_EV_LATCHED;
	e.expected_count = 0;
	e.old_state = CLATCH_LARVAL;
	e.state = CLATCH_ESTABLISHED;
	expect_event(&e, false, LINE("latched") OUT "LARVAL -> ESTABLISHED, got " GCM_TEXT "\n");
	e.old_state = CLATCH_NONE;
	e.state = CLATCH_LARVAL;
	e.other = 3;
	expect_event(&e, false, LINE("latched") OUT "LARVAL, listener latch 3, got " GCM_TEXT "\n");
	e.got_count = e.other = 0;
	expect_event(&e, false, LINE("latched") OUT "LARVAL, a rule demands protection\n");
}

static void test_ends_text(void **state)
{
	struct clatch_event e = violation();

	(void)state;
	e.type = CLATCH_EV_CLOSED;
	e.old_state = CLATCH_BROKEN;
	e.state = CLATCH_CLOSED;
	e.end = CLATCH_END_RESET;
	expect_event(&e, false,
		     LINE("closed") "tcp 10.9.0.1:40000 - 10.9.0.2:5000 "
				    "BROKEN -> CLOSED reset-after\n");
	e = listener_event(CLATCH_EV_CLOSED);
	e.old_state = CLATCH_LISTENER;
	e.state = CLATCH_CLOSED;
	e.end = CLATCH_END_ADMIN;
	expect_event(&e, false, LINE("closed") "sctp 0.0.0.0:5432 LISTENER -> CLOSED admin\n");
}

static void test_listening_text(void **state)
{
	struct clatch_event e = listener_event(CLATCH_EV_LISTENING);

	(void)state;
	expect_event(&e, false, LINE("listening") "sctp 0.0.0.0:5432 LISTENER\n");
	e.old_state = CLATCH_LISTENER;
	e.other = 18;
	expect_event(&e, false, LINE("listening") "sctp 0.0.0.0:5432 LISTENER, spawned latch 18\n");
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_event_json),
		cmocka_unit_test(test_latched_json),
		cmocka_unit_test(test_broken_without_reason_json),
		cmocka_unit_test(test_listener_events_json),
		cmocka_unit_test(test_event_without_latch),
		cmocka_unit_test(test_violation_text),
		cmocka_unit_test(test_broken_text),
		cmocka_unit_test(test_restored_text),
		cmocka_unit_test(test_latched_text),
		cmocka_unit_test(test_ends_text),
		cmocka_unit_test(test_listening_text),
		cmocka_unit_test(test_event_counts_are_bounded),
		cmocka_unit_test(test_lost_json),
	};

	return cmocka_run_group_tests_name("output_events", tests, NULL, NULL);
}
