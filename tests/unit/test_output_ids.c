// SPDX-License-Identifier: GPL-2.0-only
/* Who the ends are, in what is shown of latches and events: needs CAP_BPF. */
#include "output_parts.h"

#include <unistd.h>

#include "ids_map.h"

#define PEER "C=CH, O=Example, CN=\"db1\""
#define PEER_JSON "\"C=CH, O=Example, CN=\\\"db1\\\"\""
#define KNOWN "\"local_id\":\"app.example\",\"peer_id\":" PEER_JSON

/* The numbers are 1 and 2. */
struct table {
	int fd;
	struct ids *ids;
};

static int make_ids(void **state)
{
	static struct table t;

	t.fd = ids_map(4);
	t.ids = ids_new(t.fd);
	*state = &t;
	return t.fd < 0 || !t.ids || ids_number(t.ids, "app.example") != 1 ||
	       ids_number(t.ids, PEER) != 2;
}

static int free_ids(void **state)
{
	struct table *t = *state;

	ids_free(t->ids);
	return close(t->fd);
}

static struct clatch_sa sa_of(__u16 local_id, __u16 peer_id)
{
	struct clatch_sa sa = gcm();

	sa.who = (struct clatch_who){ local_id, peer_id };
	return sa;
}

static struct latch_view latch(void)
{
	return (struct latch_view){
		.tuple = tuple(),
		.latch = { .id = 17, .state = CLATCH_ESTABLISHED },
		.in = { .count = 1, .sa = { sa_of(1, 2) } },
		.local_id = "app.example",
		.peer_id = PEER,
	};
}

/* What was printed, to be freed. */
static char *printed(struct printed *p)
{
	assert_int_equal(output_flush(&p->out), 0);
	fclose(p->out.file);
	return p->text;
}

static char *shown(const struct table *t, const struct latch_view *view,
		   const struct latch_proof *proof, bool json)
{
	struct printed p;

	begin(&p, json);
	p.out.ids = t->ids;
	output_latch(&p.out, view, proof);
	return printed(&p);
}

static char *listed(const struct table *t, const struct latch_view *view, bool json)
{
	struct printed p;

	begin(&p, json);
	p.out.ids = t->ids;
	output_list_latch(&p.out, view);
	return printed(&p);
}

static char *told(struct ids *ids, const struct clatch_event *e, bool json)
{
	struct printed p;

	begin(&p, json);
	p.out.ids = ids;
	output_event(&p.out, e);
	return printed(&p);
}

static void expect_part(char *text, const char *part)
{
	assert_row(part, strstr(text, part));
	free(text);
}

static void expect_without(char *text, const char *part)
{
	assert_row(part, !strstr(text, part));
	free(text);
}

static void test_latch_json(void **state)
{
	static const struct latch_proof unproven;
	struct latch_view view = latch();

	expect_part(shown(*state, &view, &unproven, true), "\"dst\":\"10.9.0.1\"," KNOWN "}]");
	expect_part(shown(*state, &view, &unproven, true), "}," KNOWN ",\"since\"");
	expect_part(listed(*state, &view, true), "\"dst\":\"10.9.0.1\"," KNOWN "}]");
	expect_part(listed(*state, &view, true), "}," KNOWN ",\"since\"");
	view.local_id = NULL;
	expect_part(shown(*state, &view, &unproven, true),
		    "\"local_id\":null,\"peer_id\":" PEER_JSON ",\"since\"");
}

/* By what a latch knows its peer. */
static void test_identity_json(void **state)
{
	static const struct latch_proof unproven;
	struct latch_view view = latch();

	expect_part(shown(*state, &view, &unproven, true), "\"identity\":\"ike\"");
	expect_without(listed(*state, &view, true), "\"identity\"");
	view.peer_id = NULL; /* the other end alone is no peer */
	expect_part(shown(*state, &view, &unproven, true), "\"identity\":\"reqid\"");
	view.tuple = listener_tuple();
	expect_without(shown(*state, &view, &unproven, true), "\"identity\"");
}

static void test_proof_json(void **state)
{
	static const struct clatch_certificate host = { .subject = "CN=app",
							.flags = CLATCH_CERTIFICATE_X509 };
	static const struct clatch_certificate peer = { .subject = "CN=db1",
							.flags = CLATCH_CERTIFICATE_X509 };
	static const __u8 binding[CLATCH_HASH_LEN] = { 0xab, 0xcd };
	const struct latch_proof proof = { &host, &peer, binding }, none = {};
	struct latch_view view = latch();

	expect_part(shown(*state, &view, &proof, true),
		    "\"local_certificate\":{\"subject\":\"CN=app\"");
	expect_part(shown(*state, &view, &proof, true), "\"certificate\":{\"subject\":\"CN=db1\"");
	expect_part(shown(*state, &view, &proof, true), "\"channel_binding\":\"abcd00");
	expect_part(shown(*state, &view, &none, true),
		    "\"local_certificate\":null,\"certificate\":null,\"channel_binding\":null}\n");
	expect_without(listed(*state, &view, true), "certificate");
}

static void test_latch_text(void **state)
{
	static const struct clatch_certificate peer = { .subject = "CN=db1",
							.flags = CLATCH_CERTIFICATE_X509 };
	const struct latch_proof proof = { .peer = &peer }, none = {};
	struct latch_view view = latch();

	expect_part(shown(*state, &view, &none, false),
		    "\n  local id: app.example\n  peer id:  " PEER "\n  in:");
	expect_part(shown(*state, &view, &proof, false),
		    "\n  peer id:  " PEER "\n  certificate:\n    subject CN=db1\n");
	expect_part(listed(*state, &view, false), " " PEER "\n");
	view.local_id = view.peer_id = NULL;
	expect_part(shown(*state, &view, &none, false),
		    "\n  local id: -\n"
		    "  peer id:  - (not known from IKE: reqid and if_id stand in)\n");
	expect_part(listed(*state, &view, false), " -\n");
}

static struct clatch_event violation(void)
{
	return (struct clatch_event){
		.latch = 17,
		.tuple = tuple(),
		.type = CLATCH_EV_VIOLATION,
		.reason = CLATCH_PEER_ID,
		.direction = CLATCH_OUT,
		.verdict = CLATCH_DROP,
		.expected_count = 1,
		.got_count = 1,
		.fields = CLATCH_FIELD_PEER_ID,
		.count = 1,
		.expected = { sa_of(1, 2) },
		.got = { sa_of(1, 1) },
	};
}

static void test_event_json(void **state)
{
	const struct table *t = *state;
	struct clatch_event e = violation();

	expect_part(told(t->ids, &e, true), "\"reason\":\"peer-id\",\"fields\":[\"peer_id\"],");
	expect_part(told(t->ids, &e, true), "\"dst\":\"10.9.0.1\"," KNOWN "}],\"got\":[");
	expect_part(told(t->ids, &e, true),
		    "\"local_id\":\"app.example\",\"peer_id\":\"app.example\"}],\"verdict\"");
	expect_part(told(NULL, &e, true), NO_IDS "}],\"got\":[");
	e.expected[0].who.local_id = 3; /* a number that is none */
	expect_part(told(t->ids, &e, true),
		    "\"local_id\":null,\"peer_id\":" PEER_JSON "}],\"got\":[");
}

/* The innermost SA's, as that one decides. */
static void test_event_text(void **state)
{
	const struct table *t = *state;
	struct clatch_event e = violation();

	expect_part(told(t->ids, &e, false), "peer-id (peer_id): drop, expected esp");
	expect_part(told(t->ids, &e, false), " reqid 7 peer " PEER ", got esp");
	expect_part(told(t->ids, &e, false), " reqid 7 peer app.example\n");
	expect_part(told(NULL, &e, false), " reqid 7, got esp");
	e.expected[1] = sa_of(1, 1);
	e.expected_count = 2;
	expect_part(told(t->ids, &e, false), " peer app.example, got esp");
	e.expected[1].who.peer_id = 0;
	expect_part(told(t->ids, &e, false), " reqid 7, got esp");
}

/* Counts out of range, as a ring could hold them after a bug, do no harm. */
static void test_event_counts_are_bounded(void **state)
{
	const struct table *t = *state;
	struct clatch_event e = violation();

	e.expected_count = e.got_count = 255;
	for (int json = 0; json < 2; json++)
		free(told(t->ids, &e, json));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_latch_json),
		cmocka_unit_test(test_identity_json),
		cmocka_unit_test(test_proof_json),
		cmocka_unit_test(test_latch_text),
		cmocka_unit_test(test_event_json),
		cmocka_unit_test(test_event_text),
		cmocka_unit_test(test_event_counts_are_bounded),
	};

	return cmocka_run_group_tests_name("output_ids", tests, make_ids, free_ids);
}
