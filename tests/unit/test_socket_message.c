// SPDX-License-Identifier: GPL-2.0-only
#include "test.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

#include "addr.h"
#include "socket_message.h"

#define COOKIE 0x1122334455667788ULL

static struct clatch_addr addr(const char *text)
{
	struct clatch_addr a;

	assert_int_equal(inet_pton(AF_INET6, text, a.b), 1);
	return a;
}

static struct clatch_tuple tuple(__u32 proto, const char *local, const char *remote)
{
	return (struct clatch_tuple){ .local = addr(local),
				      .remote = addr(remote),
				      .local_port = 40000,
				      .remote_port = 5000,
				      .proto = proto };
}

static struct clatch_tuple listener(const char *local)
{
	struct clatch_tuple t = tuple(IPPROTO_TCP, local, "::");

	t.remote_port = 0;
	return t;
}

static const struct inet_diag_req_v2 *payload(const struct nlmsghdr *header)
{
	assert_int_equal(header->nlmsg_len, NLMSG_LENGTH(sizeof(struct inet_diag_req_v2)));
	return mnl_nlmsg_get_payload(header);
}

static void test_lookup(void **state)
{
	struct clatch_tuple t = tuple(IPPROTO_TCP, "::ffff:10.9.0.1", "::ffff:10.9.0.2");
	char buffer[SOCKET_REQUEST_ROOM];
	const struct nlmsghdr *header = socket_lookup(buffer, &t, 3);
	const struct inet_diag_req_v2 *r = payload(header);

	(void)state;
	assert_int_equal(header->nlmsg_type, SOCK_DIAG_BY_FAMILY);
	assert_int_equal(header->nlmsg_flags, NLM_F_REQUEST | NLM_F_ACK);
	assert_int_equal(r->sdiag_family, AF_INET);
	assert_int_equal(r->sdiag_protocol, IPPROTO_TCP);
	assert_int_equal(r->id.idiag_src[0], inet_addr("10.9.0.1"));
	assert_int_equal(r->id.idiag_src[1], 0);
	assert_int_equal(r->id.idiag_dst[0], inet_addr("10.9.0.2"));
	assert_int_equal(r->id.idiag_sport, htons(40000));
	assert_int_equal(r->id.idiag_dport, htons(5000));
	assert_int_equal(r->id.idiag_if, 3);
	assert_int_equal(r->id.idiag_cookie[0], INET_DIAG_NOCOOKIE);
	assert_int_equal(r->id.idiag_cookie[1], INET_DIAG_NOCOOKIE);
}

static void test_lookup_ipv6(void **state)
{
	struct clatch_tuple t = tuple(IPPROTO_TCP, "2001:db8::1", "2001:db8::2");
	char buffer[SOCKET_REQUEST_ROOM];
	const struct inet_diag_req_v2 *r = payload(socket_lookup(buffer, &t, 0));

	(void)state;
	assert_int_equal(r->sdiag_family, AF_INET6);
	assert_memory_equal(r->id.idiag_src, t.local.b, 16);
	assert_memory_equal(r->id.idiag_dst, t.remote.b, 16);
}

/* UDP is looked up the other way round, and destroyed as TCP is. */
static void test_udp_is_swapped(void **state)
{
	struct clatch_tuple t = tuple(IPPROTO_UDP, "::ffff:10.9.0.1", "::ffff:10.9.0.2");
	struct socket_seen seen = { .cookie = COOKIE, .device = 4 };
	char buffer[SOCKET_REQUEST_ROOM];
	const struct inet_diag_req_v2 *r = payload(socket_lookup(buffer, &t, 0));
	const struct nlmsghdr *header;

	(void)state;
	assert_int_equal(r->id.idiag_src[0], inet_addr("10.9.0.2"));
	assert_int_equal(r->id.idiag_dst[0], inet_addr("10.9.0.1"));
	assert_int_equal(r->id.idiag_sport, htons(5000));
	assert_int_equal(r->id.idiag_dport, htons(40000));
	header = socket_destroy(buffer, &t, &seen);
	r = payload(header);
	assert_int_equal(header->nlmsg_type, SOCK_DESTROY);
	assert_int_equal(header->nlmsg_flags, NLM_F_REQUEST | NLM_F_ACK);
	assert_int_equal(r->id.idiag_src[0], inet_addr("10.9.0.1"));
	assert_int_equal(r->id.idiag_dst[0], inet_addr("10.9.0.2"));
	assert_int_equal(r->id.idiag_sport, htons(40000));
	assert_int_equal(r->id.idiag_dport, htons(5000));
	assert_int_equal(r->id.idiag_if, 4);
	assert_int_equal(r->id.idiag_cookie[0], 0x55667788);
	assert_int_equal(r->id.idiag_cookie[1], 0x11223344);
}

static void test_dump(void **state)
{
	struct clatch_tuple tcp = tuple(IPPROTO_TCP, "::1", "::1");
	struct clatch_tuple udp = tuple(IPPROTO_UDP, "::1", "::1");
	struct clatch_tuple listening = listener("::1");
	char buffer[SOCKET_REQUEST_ROOM];
	const struct nlmsghdr *header = socket_dump(buffer, &tcp, AF_INET6);
	__u32 states = payload(header)->idiag_states;

	(void)state;
	assert_int_equal(header->nlmsg_flags, NLM_F_REQUEST | NLM_F_DUMP);
	assert_int_equal(payload(header)->sdiag_family, AF_INET6);
	assert_int_equal(payload(header)->id.idiag_sport, htons(40000));
	assert_int_equal(payload(header)->id.idiag_dport, htons(5000));
	assert_true(states & 1 << TCP_SYN_RECV && states & 1 << TCP_TIME_WAIT);
	assert_true(states & 1 << TCP_ESTABLISHED && states & 1 << TCP_CLOSING);
	assert_false(states & (1 << TCP_LISTEN | 1 << TCP_CLOSE));
	assert_int_equal(payload(socket_dump(buffer, &udp, AF_INET))->idiag_states,
			 1 << TCP_ESTABLISHED);
	assert_int_equal(payload(socket_dump(buffer, &listening, AF_INET))->idiag_states,
			 1 << TCP_LISTEN);
	header = socket_probe(buffer, IPPROTO_SCTP);
	assert_int_equal(payload(header)->idiag_states, 0);
	assert_int_equal(payload(header)->sdiag_protocol, IPPROTO_SCTP);
}

static struct nlmsghdr *begin(char *buffer, __u16 type, const void *fixed, size_t size)
{
	struct nlmsghdr *header = mnl_nlmsg_put_header(buffer);

	header->nlmsg_type = type;
	memcpy(mnl_nlmsg_put_extra_header(header, size), fixed, size);
	return header;
}

static struct inet_diag_msg message_v4(void)
{
	return (struct inet_diag_msg){
		.idiag_family = AF_INET,
		.idiag_state = TCP_ESTABLISHED,
		.id = { .idiag_sport = htons(40000),
			.idiag_dport = htons(5000),
			.idiag_src = { inet_addr("10.9.0.1"), 7, 7, 7 },
			.idiag_dst = { inet_addr("10.9.0.2"), 7, 7, 7 },
			.idiag_if = 3,
			.idiag_cookie = { 0x55667788, 0x11223344 } },
	};
}

static void test_seen(void **state)
{
	struct clatch_tuple v4 = tuple(IPPROTO_TCP, "::ffff:10.9.0.1", "::ffff:10.9.0.2");
	struct clatch_addr v6 = addr("2001:db8::9");
	struct inet_diag_msg m = message_v4();
	char buffer[256];
	struct socket_answer a;

	(void)state;
	assert_int_equal(socket_answer(&a, begin(buffer, SOCK_DIAG_BY_FAMILY, &m, sizeof(m))), 0);
	assert_int_equal(a.kind, SOCKET_SEEN);
	assert_memory_equal(&a.seen.local, &v4.local, sizeof(v4.local));
	assert_memory_equal(&a.seen.remote, &v4.remote, sizeof(v4.remote));
	assert_int_equal(a.seen.local_port, 40000);
	assert_int_equal(a.seen.remote_port, 5000);
	assert_int_equal(a.seen.device, 3);
	assert_int_equal(a.seen.state, TCP_ESTABLISHED);
	assert_true(a.seen.cookie == COOKIE);
	m.idiag_family = AF_INET6;
	memcpy(m.id.idiag_src, v6.b, 16);
	assert_int_equal(socket_answer(&a, begin(buffer, SOCK_DIAG_BY_FAMILY, &m, sizeof(m))), 0);
	assert_memory_equal(&a.seen.local, &v6, sizeof(v6));
}

static void test_others(void **state)
{
	struct inet_diag_msg m = message_v4();
	char buffer[256];
	struct socket_answer a;

	(void)state;
	m.idiag_family = AF_UNIX;
	assert_int_equal(socket_answer(&a, begin(buffer, SOCK_DIAG_BY_FAMILY, &m, sizeof(m))), 0);
	assert_int_equal(a.kind, SOCKET_NOTHING);
	assert_int_equal(socket_answer(&a, begin(buffer, NLMSG_NOOP, &m, 4)), 0);
	assert_int_equal(a.kind, SOCKET_NOTHING);
}

/* Both have the error in the same place; a dump's is easily overlooked. */
static void test_end(void **state)
{
	static const __u16 types[] = { NLMSG_ERROR, NLMSG_DONE };
	static const struct {
		int error;
		int ret;
	} rows[] = { { 0, 0 }, { -ENOENT, 0 }, { 1, -EBADMSG } };
	char buffer[256], row[32];

	(void)state;
	for (size_t i = 0; i < COUNT(types) * COUNT(rows); i++) {
		int error = rows[i / 2].error;
		struct socket_answer a = { .error = 77 };

		snprintf(row, sizeof(row), "type %u error %d", types[i % 2], error);
		assert_row(row, socket_answer(&a, begin(buffer, types[i % 2], &error, 4)) ==
					rows[i / 2].ret);
		assert_row(row, rows[i / 2].ret ? a.error == 77
						: a.kind == SOCKET_END && a.error == error);
	}
}

/* Cut at each byte, in memory of exactly that size, for the address sanitizer to see. */
static void test_truncated(void **state)
{
	static const __u16 types[] = { SOCK_DIAG_BY_FAMILY, NLMSG_ERROR, NLMSG_DONE };
	static const size_t least[] = { sizeof(struct inet_diag_msg), 4, 4 };
	struct inet_diag_msg m = message_v4();
	struct socket_answer a, before;
	char buffer[256];

	(void)state;
	m.idiag_retrans = 0xff; /* no error is positive */
	memset(&before, 0x5a, sizeof(before));
	for (size_t i = 0; i < COUNT(types); i++) {
		begin(buffer, types[i], &m, sizeof(m));
		for (__u32 length = 0; length < MNL_NLMSG_HDRLEN + least[i]; length++) {
			size_t room = length < MNL_NLMSG_HDRLEN ? MNL_NLMSG_HDRLEN : length;
			struct nlmsghdr *cut = test_malloc(room);
			int err;

			memcpy(cut, buffer, room);
			cut->nlmsg_len = length;
			a = before;
			err = socket_answer(&a, cut);
			test_free(cut);
			assert_int_equal(err, -EBADMSG);
			assert_memory_equal(&a, &before, sizeof(a));
		}
	}
}

static struct socket_seen seen(const char *local, const char *remote, __u16 remote_port, __u8 state)
{
	return (struct socket_seen){ .local = addr(local),
				     .remote = addr(remote),
				     .local_port = 40000,
				     .remote_port = remote_port,
				     .cookie = COOKIE,
				     .state = state };
}

/* What a lookup finds may be another socket: the listener, or what has the 5-tuple by now. */
static void test_is(void **state)
{
	struct clatch_tuple tcp = tuple(IPPROTO_TCP, "::ffff:10.9.0.1", "::ffff:10.9.0.2");
	struct clatch_tuple udp = tuple(IPPROTO_UDP, "::ffff:10.9.0.1", "::ffff:10.9.0.2");
	struct clatch_tuple sctp = tuple(IPPROTO_SCTP, "::ffff:10.9.0.1", "::ffff:10.9.0.2");
	struct clatch_tuple any = listener("::"), any4 = listener("::ffff:0.0.0.0");
	struct clatch_tuple one = listener("::ffff:10.9.0.1");
	const struct {
		const char *name;
		const struct clatch_tuple *tuple;
		const char *local, *remote;
		__u16 remote_port;
		__u8 state;
		__u64 cookie;
		bool is;
	} rows[] = {
		{ "tcp", &tcp, "::ffff:10.9.0.1", "::ffff:10.9.0.2", 5000, 1, 0, true },
		{ "time wait", &tcp, "::ffff:10.9.0.1", "::ffff:10.9.0.2", 5000, 6, 0, true },
		{ "handshake", &tcp, "::ffff:10.9.0.1", "::ffff:10.9.0.2", 5000, 3, 0, true },
		{ "port", &tcp, "::ffff:10.9.0.1", "::ffff:10.9.0.2", 5001, 1, 0, false },
		{ "remote", &tcp, "::ffff:10.9.0.1", "::ffff:10.9.0.3", 5000, 1, 0, false },
		{ "local", &tcp, "::ffff:10.9.0.9", "::ffff:10.9.0.2", 5000, 1, 0, false },
		{ "its listener", &tcp, "::ffff:10.9.0.1", "::", 0, 10, 0, false },
		{ "a strange listener", &tcp, "::ffff:10.9.0.1", "::ffff:10.9.0.2", 5000, 10, 0,
		  false },
		{ "udp", &udp, "::ffff:10.9.0.1", "::ffff:10.9.0.2", 5000, 1, COOKIE, true },
		{ "udp, another's", &udp, "::ffff:10.9.0.1", "::ffff:10.9.0.2", 5000, 1, 1, false },
		{ "udp, disconnected", &udp, "::ffff:10.9.0.1", "::", 0, 7, COOKIE, false },
		{ "udp, closed", &udp, "::ffff:10.9.0.1", "::ffff:10.9.0.2", 5000, 7, COOKIE,
		  false },
		{ "sctp, another address", &sctp, "::ffff:10.9.7.1", "::ffff:10.9.7.2", 5000, 1, 0,
		  true },
		{ "sctp, another port", &sctp, "::ffff:10.9.0.1", "::ffff:10.9.0.2", 5, 1, 0,
		  false },
		{ "listener", &one, "::ffff:10.9.0.1", "::ffff:0.0.0.0", 0, 10, 0, true },
		{ "listener, IPv6 socket", &one, "::ffff:10.9.0.1", "::", 0, 10, 0, true },
		{ "listener on ::", &any, "::", "::", 0, 10, 0, true },
		{ "the wider listener", &one, "::", "::", 0, 10, 0, false },
		{ "the other family's", &any4, "::", "::", 0, 10, 0, false },
		{ "not listening", &one, "::ffff:10.9.0.1", "::", 0, 7, 0, false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct socket_seen s =
			seen(rows[i].local, rows[i].remote, rows[i].remote_port, rows[i].state);
		struct clatch_latch latch = { .cookie = rows[i].cookie };

		assert_row(rows[i].name, socket_is(&s, rows[i].tuple, &latch) == rows[i].is);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lookup),
		cmocka_unit_test(test_lookup_ipv6),
		cmocka_unit_test(test_udp_is_swapped),
		cmocka_unit_test(test_dump),
		cmocka_unit_test(test_seen),
		cmocka_unit_test(test_others),
		cmocka_unit_test(test_end),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_is),
	};

	return cmocka_run_group_tests_name("socket_message", tests, NULL, NULL);
}
