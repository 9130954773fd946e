// SPDX-License-Identifier: GPL-2.0-only
/* The copy of the SPD against the kernel itself, in network namespaces made here; needs ip(8). */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "addr.h"
#include "cleanup.h"
#include "spd.h"

static int enter_namespace(void **state)
{
	(void)state;
	return unshare(CLONE_NEWNET);
}

static int may_fail(const char *arguments)
{
	char command[512];

	snprintf(command, sizeof(command), "ip %s 2>/dev/null", arguments);
	return system(command);
}

static void ip(const char *arguments)
{
	if (may_fail(arguments))
		fail_msg("ip %s", arguments);
}

static struct spd *open_spd(void)
{
	struct spd *spd = NULL;

	assert_int_equal(spd_open(&spd), 0);
	return spd;
}

static bool is_readable(const struct spd *spd, int wait_ms)
{
	struct pollfd p = { .fd = spd_fd(spd), .events = POLLIN };

	return poll(&p, 1, wait_ms) == 1;
}

static struct spd_flow flow_out(const char *src, const char *dst)
{
	struct spd_flow f = {
		.sport = 1000, .dport = 5000, .proto = IPPROTO_UDP, .dir = XFRM_POLICY_OUT
	};

	addr_from_v4(&f.src, inet_addr(src));
	addr_from_v4(&f.dst, inet_addr(dst));
	return f;
}

/* What one command makes of the SPD: is it told, and what does the copy have then? */
static void test_follows(void **state)
{
	static const struct {
		const char *command;
		size_t count;
		int priority; /* of the flow's policy, -1 = none */
	} rows[] = {
		{ "xfrm policy add src 10.9.0.1 dst 10.9.0.2 dir out priority 5", 1, 5 },
		{ "xfrm policy add src 10.9.0.2 dst 10.9.0.1 dir in priority 5", 2, 5 },
		{ "xfrm policy add src 10.9.0.0/24 dst 0.0.0.0/0 dir out priority 3", 3, 3 },
		{ "xfrm policy update src 10.9.0.0/24 dst 0.0.0.0/0 dir out priority 7", 3, 5 },
		{ "xfrm policy update src 10.9.0.1 dst 10.9.0.2 dir out priority 9", 3, 7 },
		{ "xfrm policy delete src 10.9.0.0/24 dst 0.0.0.0/0 dir out", 2, 9 },
		{ "xfrm policy flush", 0, -1 },
	};
	struct spd_flow flow = flow_out("10.9.0.1", "10.9.0.2");
	struct spd *spd = open_spd();

	(void)state;
	assert_int_equal(spd_count(spd), 0);
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct spd_policy *p;

		assert_row(rows[i].command, !is_readable(spd, 0));
		ip(rows[i].command);
		assert_row(rows[i].command, is_readable(spd, 0));
		assert_row(rows[i].command, spd_receive(spd) == NEWS);
		assert_row(rows[i].command, spd_count(spd) == rows[i].count);
		p = spd_find(spd, &flow);
		assert_row(rows[i].command, (p ? (int)p->priority : -1) == rows[i].priority);
		assert_row(rows[i].command, spd_receive(spd) == NO_NEWS);
	}
	spd_close(spd);
}

/* Policies as IKE daemons make them, and what they make of them then. */
static void test_news_of_a_rekey(void **state)
{
#define POLICY "src 10.9.0.1 dst 10.9.0.2 dir out "
	static const struct {
		const char *command;
		enum news news;
	} rows[] = {
		{ "xfrm policy add src 10.9.0.2 dst 10.9.0.1 dir in tmpl proto esp reqid 1", NEWS },
		{ "xfrm policy add " POLICY "tmpl proto esp spi 1 reqid 1", NEWS },
		{ "xfrm policy update " POLICY "tmpl proto esp spi 2 reqid 1", NEWS_OF_REKEY },
		{ "xfrm policy update " POLICY "tmpl proto esp spi 2 reqid 1", NEWS_OF_REKEY },
		{ "xfrm policy update src 10.9.0.2 dst 10.9.0.1 dir in tmpl proto esp reqid 1",
		  NEWS_OF_REKEY },
		{ "xfrm policy update " POLICY "tmpl proto esp spi 3 reqid 1", NEWS_OF_REKEY },
		{ "xfrm policy update " POLICY "tmpl proto esp spi 2 reqid 2", NEWS },
		{ "xfrm policy update " POLICY "tmpl proto esp spi 2 reqid 2 level use", NEWS },
		{ "xfrm policy update " POLICY "action block", NEWS },
		{ "xfrm policy delete " POLICY, NEWS },
	};
#undef POLICY
	struct spd *spd = open_spd();

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		ip(rows[i].command);
		assert_row(rows[i].command, spd_receive(spd) == (int)rows[i].news);
	}
	spd_close(spd);
}

static void test_all_of_a_policy(void **state)
{
	struct spd_flow flow = flow_out("10.9.0.1", "10.9.0.2");
	const struct spd_policy *p;
	struct clatch_addr outer;
	struct spd *spd;

	(void)state;
	ip("xfrm policy add src 10.9.0.1 dst 10.9.0.2 proto udp sport 1000 dport 5000 dir out "
	   "mark 5 mask 0xff priority 6 tmpl src 1.1.1.1 dst 2.2.2.2 proto esp reqid 7 mode tunnel "
	   "tmpl proto ah spi 0x99 mode transport level use");
	flow.mark = 5;
	spd = open_spd();
	p = spd_find(spd, &flow);
	assert_non_null(p);
	assert_int_equal(p->action, XFRM_POLICY_ALLOW);
	assert_int_equal(p->index % 8, XFRM_POLICY_OUT);
	assert_int_equal(p->mark_mask, 0xff);
	assert_int_equal(p->count, 2);
	addr_from_v4(&outer, inet_addr("2.2.2.2"));
	assert_memory_equal(&p->templates[0].dst, &outer, sizeof(outer));
	assert_int_equal(p->templates[0].reqid, 7);
	assert_int_equal(p->templates[0].mode, XFRM_MODE_TUNNEL);
	assert_int_equal(p->templates[1].proto, IPPROTO_AH);
	assert_int_equal(p->templates[1].spi, htonl(0x99));
	assert_true(p->templates[1].optional);
	spd_close(spd);
}

static void test_follows_defaults(void **state)
{
	struct spd *spd = open_spd();

	(void)state;
	assert_false(spd_default_blocks(spd, XFRM_POLICY_OUT));
	if (may_fail("xfrm policy setdefault out block")) {
		spd_close(spd);
		print_message("this kernel has no default policy to set\n");
		skip();
	}
	assert_int_equal(spd_receive(spd), NEWS);
	assert_true(spd_default_blocks(spd, XFRM_POLICY_OUT));
	assert_false(spd_default_blocks(spd, XFRM_POLICY_IN));
	ip("xfrm policy setdefault out accept in block");
	assert_int_equal(spd_receive(spd), NEWS);
	assert_false(spd_default_blocks(spd, XFRM_POLICY_OUT));
	assert_true(spd_default_blocks(spd, XFRM_POLICY_IN));
	spd_close(spd);
	spd = open_spd();
	assert_true(spd_default_blocks(spd, XFRM_POLICY_IN));
	spd_close(spd);
}

static void test_expiry(void **state)
{
	struct spd *spd = open_spd();

	(void)state;
	ip("xfrm policy add src 10.9.0.1 dst 10.9.0.2 dir out limit time-hard 1");
	assert_int_equal(spd_receive(spd), NEWS);
	assert_int_equal(spd_count(spd), 1);
	assert_true(is_readable(spd, 5000));
	assert_int_equal(spd_receive(spd), NEWS);
	assert_int_equal(spd_count(spd), 0);
	spd_close(spd);
}

/* Not what concerns only SAs, and not a socket's own policies. */
static void test_what_is_not_of_the_spd(void **state)
{
	struct xfrm_userpolicy_info own = { .sel.family = AF_INET,
					    .action = XFRM_POLICY_ALLOW,
					    .dir = XFRM_POLICY_OUT,
					    .share = XFRM_SHARE_ANY };
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct spd *spd = open_spd();

	(void)state;
	own.lft.soft_byte_limit = own.lft.hard_byte_limit = XFRM_INF;
	own.lft.soft_packet_limit = own.lft.hard_packet_limit = XFRM_INF;
	if (setsockopt(fd, IPPROTO_IP, IP_XFRM_POLICY, &own, sizeof(own)))
		fail_msg("IP_XFRM_POLICY: %s", strerror(errno));
	ip("xfrm policy add src 10.9.0.1 dst 10.9.0.2 dir out");
	assert_int_equal(spd_receive(spd), NEWS);
	assert_int_equal(spd_count(spd), 1);
	spd_close(spd);
}

/* In the namespace that it was opened in, wherever the caller has gone since. */
static void test_keeps_its_namespace(void **state)
{
	_cleanup_close_ int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	struct spd *spd = open_spd();

	(void)state;
	ip("xfrm policy add src 10.9.0.1 dst 10.9.0.2 dir out");
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	assert_int_equal(spd_receive(spd), NEWS);
	assert_int_equal(spd_count(spd), 1);
	assert_int_equal(setns(home, CLONE_NEWNET), 0);
	spd_close(spd);
}

static FILE *begin_batch(void)
{
	FILE *batch = popen("ip -batch - -force >/dev/null 2>&1", "w");

	assert_non_null(batch);
	return batch;
}

/* More policies than one netlink message holds, and more messages than the socket's buffer does. */
static void test_overrun(void **state)
{
	struct spd_flow flow = flow_out("10.1.3.231", "10.2.0.1");
	struct spd *spd = open_spd();
	int size = 4096;
	FILE *batch;

	(void)state;
	assert_int_equal(setsockopt(spd_fd(spd), SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)), 0);
	batch = begin_batch();
	for (int i = 0; i < 1000; i++)
		fprintf(batch, "xfrm policy add src 10.1.%d.%d dst 10.2.0.1 dir out\n", i / 256,
			i % 256);
	pclose(batch);
	assert_int_equal(spd_receive(spd), NEWS);
	assert_int_equal(spd_count(spd), 1000);
	assert_non_null(spd_find(spd, &flow));
	assert_int_equal(spd_find(spd, &flow)->age, 999);
	spd_close(spd);
}

#define DEVICE "spd0"
#define PICK(texts) ((texts)[rand() % COUNT(texts)])

struct family {
	const char *sources[6], *destinations[6]; /* of policies */
	const char *from[2], *to[3]; /* of flows */
	const char *setup[2];
	sa_family_t family;
};

static const struct family families[] = {
	{ { "10.1.0.1/32", "10.1.0.1/32", "10.1.0.0/24", "10.1.0.0/16", "10.0.0.0/8", "0.0.0.0/0" },
	  { "10.2.0.1/32", "10.2.0.2/32", "10.2.0.0/24", "10.2.0.0/15", "10.0.0.0/8", "0.0.0.0/0" },
	  { "10.1.0.1", "10.1.0.2" },
	  { "10.2.0.1", "10.2.0.2", "10.3.0.1" },
	  { "addr add 10.1.0.1/8 dev " DEVICE, "addr add 10.1.0.2/8 dev " DEVICE },
	  AF_INET },
	{ { "fd00:1::1/128", "fd00:1::1/128", "fd00:1::/64", "fd00:1::/48", "fd00::/16", "::/0" },
	  { "fd00:2::1/128", "fd00:2::2/128", "fd00:2::/64", "fd00:2::/47", "fd00::/16", "::/0" },
	  { "fd00:1::1", "fd00:1::2" },
	  { "fd00:2::1", "fd00:2::2", "fd00:3::1" },
	  { "addr add fd00:1::1/16 dev " DEVICE " nodad",
	    "addr add fd00:1::2/16 dev " DEVICE " nodad" },
	  AF_INET6 },
};

static void random_policies(const struct family *f)
{
	static const char *const protos[] = { "", "proto udp", "proto udp sport 1000",
					      "proto udp dport 5000", "proto tcp" };
	static const char *const marks[] = { "", "", "mark 1 mask 3", "mark 0 mask 2" };
	static const char *const devices[] = { "", "", "dev " DEVICE, "dev lo" };
	static const char *const dirs[] = { "out", "out", "out", "in" };
	FILE *batch = begin_batch();

	/*
	 * Many have the same selector: some fail, some replace another.  None is replaced by one of
	 * other priority, see spd_compare().
	 */
	for (int i = 0; i < 80; i++) {
		int src = rand() % COUNT(f->sources), dst = rand() % COUNT(f->destinations);

		fprintf(batch,
			"xfrm policy %s src %s dst %s %s %s dir %s %s priority %d action %s\n",
			rand() % 3 ? "add" : "update", f->sources[src], f->destinations[dst],
			PICK(protos), PICK(devices), PICK(dirs), PICK(marks),
			(strcmp(f->sources[src], f->sources[0]) ? 0 : 1) ^ dst % 2,
			rand() % 2 ? "allow" : "block");
	}
	pclose(batch);
}

static void fill_endpoint(struct sockaddr_storage *to, struct clatch_addr *addr,
			  const struct family *f, const char *text, __u16 port)
{
	struct sockaddr_in6 *v6 = (void *)to;
	struct sockaddr_in *v4 = (void *)to;

	memset(to, 0, sizeof(*to));
	to->ss_family = f->family;
	v4->sin_port = htons(port); /* in the same place */
	if (f->family == AF_INET) {
		v4->sin_addr.s_addr = inet_addr(text);
		addr_from_v4(addr, v4->sin_addr.s_addr);
	} else {
		inet_pton(AF_INET6, text, &v6->sin6_addr);
		memcpy(addr, &v6->sin6_addr, sizeof(*addr));
	}
}

/* A random flow: does the kernel block it (connect() is refused), and does the policy found? */
static void compare_flow(const struct spd *spd, const struct family *f, int *blocked)
{
	struct spd_flow flow = { .proto = IPPROTO_UDP,
				 .dir = XFRM_POLICY_OUT,
				 .sport = 1000 + rand() % 2,
				 .dport = 5000 + rand() % 2,
				 .mark = rand() % 4,
				 /* IPv6 asks for the policy before it knows the device. */
				 .ifindex = f->family == AF_INET ? if_nametoindex(DEVICE) : 0 };
	_cleanup_close_ int fd = socket(f->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	const char *from = PICK(f->from), *to = PICK(f->to);
	struct sockaddr_storage local, remote;
	const struct spd_policy *p;
	bool found, refused;

	fill_endpoint(&local, &flow.src, f, from, flow.sport);
	fill_endpoint(&remote, &flow.dst, f, to, flow.dport);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_MARK, &flow.mark, sizeof(flow.mark)), 0);
	assert_int_equal(bind(fd, (void *)&local, sizeof(local)), 0);
	refused = connect(fd, (void *)&remote, sizeof(remote)) < 0;
	if (refused && errno != EPERM)
		fail_msg("connect from %s to %s: %s", from, to, strerror(errno));
	p = spd_find(spd, &flow);
	found = p && p->action == XFRM_POLICY_BLOCK;
	if (found != refused)
		fail_msg("%s:%u to %s:%u mark %u: kernel %s, index %u", from, flow.sport, to,
			 flow.dport, flow.mark, refused ? "blocks" : "allows", p ? p->index : 0);
	*blocked += refused;
}

static void test_against_kernel(void **state)
{
	struct spd *spd;
	int blocked = 0;

	(void)state;
	srand(1);
	ip("link add " DEVICE " type veth peer name spd1");
	ip("link set " DEVICE " up");
	ip("link set spd1 up");
	spd = open_spd();
	for (size_t i = 0; i < COUNT(families); i++) {
		for (size_t j = 0; j < COUNT(families[i].setup); j++)
			ip(families[i].setup[j]);
		for (int round = 0; round < 10; round++) {
			ip("xfrm policy flush");
			random_policies(&families[i]);
			assert_int_equal(spd_receive(spd), NEWS);
			for (int j = 0; j < 100; j++)
				compare_flow(spd, &families[i], &blocked);
		}
	}
	assert_in_range(blocked, 500, 1500);
	spd_close(spd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_follows, enter_namespace),
		cmocka_unit_test_setup(test_news_of_a_rekey, enter_namespace),
		cmocka_unit_test_setup(test_all_of_a_policy, enter_namespace),
		cmocka_unit_test_setup(test_follows_defaults, enter_namespace),
		cmocka_unit_test_setup(test_expiry, enter_namespace),
		cmocka_unit_test_setup(test_what_is_not_of_the_spd, enter_namespace),
		cmocka_unit_test_setup(test_keeps_its_namespace, enter_namespace),
		cmocka_unit_test_setup(test_overrun, enter_namespace),
		cmocka_unit_test_setup(test_against_kernel, enter_namespace),
	};

	return cmocka_run_group_tests_name("spd_kernel", tests, NULL, NULL);
}
