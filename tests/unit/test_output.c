// SPDX-License-Identifier: GPL-2.0-only
#include "output_parts.h"

static struct latch_view latch(void)
{
	struct latch_view view = {
		.tuple = tuple(),
		.latch = { .id = 17,
			   .state = CLATCH_LARVAL,
			   .listener.id = 3,
			   .changed_ns = 1000000000 },
		.in = { .count = 1,
			.packets = 12,
			.bytes = 3456,
			.violations = 1,
			.sa = { gcm() } },
		.rule = "db",
	};

	return view;
}

/* Of all addresses, by two sockets. */
static struct latch_view listener(void)
{
	return (struct latch_view){
		.tuple = listener_tuple(),
		.latch = { .id = 3, .state = CLATCH_LISTENER, .listener.sockets = 2 },
	};
}

#define NO_PACKETS "\"sa\":[],\"packets\":0,\"bytes\":0,\"violations\":0"
#define SINCE "\"local_id\":null,\"peer_id\":null,\"since\":\"2026-01-31T12:00:00Z\","
/* @in and @out: what `show` adds to each direction. */
#define LATCH(in, out)                                                                             \
	"{\"id\":17," TUPLE "\"state\":\"LARVAL\",\"causes\":[],\"adopted\":false,"                \
	"\"demanded\":false,\"forwarded\":false,\"rule\":\"db\",\"listener\":3,\"in\":{\"sa\":"    \
	"[" GCM "],"                                                                               \
	"\"packets\":12,\"bytes\":3456,\"violations\":1" in "},\"out\":{" NO_PACKETS out           \
	"}," SINCE "\"changed\":\"2026-01-31T12:00:01Z\""
#define LISTENER                                                                                   \
	"{\"id\":3,\"proto\":\"sctp\",\"local\":{\"addr\":\"0.0.0.0\",\"port\":5432},"             \
	"\"remote\":null,\"state\":\"LISTENER\",\"causes\":[],\"adopted\":false,"                  \
	"\"demanded\":false,\"forwarded\":false,\"rule\":null,\"listener\":null,\"in\":"           \
	"{" NO_PACKETS "},"                                                                        \
	"\"out\":{" NO_PACKETS "}," SINCE "\"changed\":null,\"sockets\":2}"

static void test_list_json(void **state)
{
	struct latch_view views[] = { latch(), listener() };
	struct printed p;

	(void)state;
	begin(&p, true);
	output_list_begin(&p.out);
	output_list_latch(&p.out, &views[0]);
	output_list_latch(&p.out, &views[1]);
	output_list_end(&p.out);
	expect(&p, "{\"latches\":[" LATCH("", "") "},\n" LISTENER "]}\n");
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
	view.in.mark = 42;
	view.in.ifindex = 3;
	view.latch.flags = CLATCH_POLICED_OUT;
	begin(&p, true);
	output_latch(&p.out, &view, &nothing);
	expect(&p, LATCH(",\"mark\":42,\"ifindex\":3",
			 ",\"mark\":0,\"ifindex\":null") ",\"netns\":1,\"policed\":{\"in\":false,"
							 "\"out\":true},"
							 "\"asked\":null,\"identity\":\"reqid\","
							 "\"local_certificate\":null,"
							 "\"certificate\":null,"
							 "\"channel_binding\":null}\n");
}

/* What one latch's JSON has to have in it. */
static void expect_part(const struct latch_view *view, const char *part)
{
	struct printed p;

	begin(&p, true);
	output_list_latch(&p.out, view);
	assert_int_equal(output_flush(&p.out), 0);
	fclose(p.out.file);
	assert_row(part, strstr(p.text, part));
	free(p.text);
}

static void test_flags_json(void **state)
{
	struct latch_view view = latch();

	(void)state;
	view.latch.flags = CLATCH_ADOPTED;
	expect_part(&view, "\"adopted\":true,\"demanded\":false,");
	view.latch.flags = CLATCH_DEMANDED;
	expect_part(&view, "\"adopted\":false,\"demanded\":true,");
}

/* Of the outermost SA only: the packet had but one UDP header. */
static void test_encap_ports_json(void **state)
{
	struct latch_view view = latch();

	(void)state;
	view.in.sa[0].suite.encap = view.in.sa[1].suite.encap = 2;
	view.in.sa[1].reqid = 8;
	view.in.count = 2;
	view.in.encap_sport = htons(4500);
	expect_part(&view, "\"encap\":\"udp\",\"encap_src_port\":4500,\"encap_dst_port\":null,"
			   "\"reqid\":7,");
	view.in.encap_dport = htons(34500);
	expect_part(&view, "\"encap\":\"udp\",\"encap_src_port\":4500,\"encap_dst_port\":34500,"
			   "\"reqid\":7,");
	expect_part(&view, "\"encap\":\"udp\",\"reqid\":8,");
}

/* Its socket is closed, or `close` was given its number. */
static void test_closed_listener_has_no_remote_end(void **state)
{
	struct latch_view view = listener();

	(void)state;
	view.latch.state = CLATCH_CLOSED;
	expect_part(&view, "\"remote\":null,\"state\":\"CLOSED\",");
	expect_part(&view, "\"sockets\":2}");
}

static void test_list_text(void **state)
{
	struct latch_view views[] = { latch(), listener(), listener() };
	struct printed p;

	(void)state;
	memset(&views[2].tuple.local, 0, sizeof(views[2].tuple.local));
	begin(&p, false);
	for (size_t i = 0; i < COUNT(views); i++)
		output_list_latch(&p.out, &views[i]);
	expect(&p, "17     LARVAL      tcp   10.9.0.1:40000          10.9.0.2:5000           "
		   "esp transport rfc4106(gcm(aes))-128 reqid 7    "
		   "-                                              12/0           -\n"
		   "3      LISTENER    sctp  0.0.0.0:5432            *                       "
		   "-                                              "
		   "-                                              0/0            -\n"
		   "3      LISTENER    sctp  [::]:5432               *                       "
		   "-                                              "
		   "-                                              0/0            -\n");
}

static void test_show_text(void **state)
{
	struct latch_view view = latch();
	struct printed p;

	(void)state;
	view.latch.state = CLATCH_BROKEN;
	view.latch.causes = CLATCH_CAUSE_OUT_CLEAR | CLATCH_CAUSE_OUT_MISMATCH;
	view.latch.flags = CLATCH_DEMANDED | CLATCH_POLICED_IN | CLATCH_POLICED_OUT;
	view.in.encap_sport = htons(4500);
	view.in.encap_dport = htons(34500);
	view.in.mark = 42;
	view.in.ifindex = 3;
	view.in.count = 2;
	view.in.sa[1] = view.in.sa[0];
	begin(&p, false);
	output_latch(&p.out, &view, &nothing);
	expect(&p, "latch 17\n"
		   "  state:    BROKEN (out-clear, out-mismatch)\n"
		   "  proto:    tcp\n"
		   "  local:    10.9.0.1:40000\n"
		   "  remote:   10.9.0.2:5000\n"
		   "  netns:    1\n"
		   "  since:    2026-01-31T12:00:00Z\n"
		   "  changed:  2026-01-31T12:00:01Z\n"
		   "  rule:     db\n"
		   "  listener: 3\n"
		   "  adopted:  no\n"
		   "  demanded: yes\n"
		   "  policed:  in, out\n"
		   "  local id: -\n"
		   "  peer id:  - (not known from IKE: reqid and if_id stand in)\n"
		   "  in: 12 packets, 3456 bytes, 1 violations\n"
		   "    esp transport rfc4106(gcm(aes))-128 reqid 7, icv 128\n"
		   "    spi 0x00002001, 10.9.0.2:4500 -> 10.9.0.1:34500\n"
		   "    esp transport rfc4106(gcm(aes))-128 reqid 7, icv 128\n"
		   "    spi 0x00002001, 10.9.0.2 -> 10.9.0.1\n"
		   "    mark 0x2a\n"
		   "    device number 3\n"
		   "  out: 0 packets, 0 bytes, 0 violations\n"
		   "    not known yet\n");
}

static void test_show_listener_text(void **state)
{
	struct latch_view view = listener();
	struct printed p;

	(void)state;
	begin(&p, false);
	output_latch(&p.out, &view, &nothing);
	expect(&p, "latch 3\n"
		   "  state:    LISTENER\n"
		   "  proto:    sctp\n"
		   "  local:    0.0.0.0:5432\n"
		   "  remote:   *\n"
		   "  netns:    1\n"
		   "  since:    2026-01-31T12:00:00Z\n"
		   "  changed:  -\n"
		   "  rule:     -\n"
		   "  sockets:  2\n");
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list_json),
		cmocka_unit_test(test_empty_list_json),
		cmocka_unit_test(test_show_json),
		cmocka_unit_test(test_flags_json),
		cmocka_unit_test(test_encap_ports_json),
		cmocka_unit_test(test_closed_listener_has_no_remote_end),
		cmocka_unit_test(test_list_text),
		cmocka_unit_test(test_show_text),
		cmocka_unit_test(test_show_listener_text),
		cmocka_unit_test(test_full_device_is_an_error),
	};

	return cmocka_run_group_tests_name("output", tests, NULL, NULL);
}
