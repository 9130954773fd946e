// SPDX-License-Identifier: GPL-2.0-only
/* Which policy a flow gets.  What the kernel says itself: test_spd_kernel.c. */
#include "test.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "addr.h"
#include "spd.h"
#include "spd_index.h"

#define IN XFRM_POLICY_IN
#define OUT XFRM_POLICY_OUT

/* A policy.  Its age is its place in the row, and so is its index if it has none. */
struct rule {
	const char *src; /* prefix, NULL = any */
	const char *dst;
	__u8 dir; /* XFRM_POLICY_IN is 0: one more than the direction, 0 = out */
	__u8 family; /* 0 = AF_INET, or what the prefixes are */
	__u8 proto;
	__u16 sport, sport_mask; /* a port without a mask is all of it */
	__u16 dport, dport_mask;
	__u32 ifindex;
	__u32 mark, mark_mask;
	__u32 if_id;
	__u32 priority;
	__u32 index;
};

static void parse_prefix(const char *text, __u16 *family, xfrm_address_t *addr, __u8 *bits)
{
	char copy[64], *slash;

	if (!text)
		return;
	snprintf(copy, sizeof(copy), "%s", text);
	*family = strchr(copy, ':') ? AF_INET6 : AF_INET;
	slash = strchr(copy, '/');
	*bits = slash ? atoi(slash + 1) : *family == AF_INET ? 32 : 128;
	if (slash)
		*slash = 0;
	assert_int_equal(inet_pton(*family, copy, addr), 1);
}

static struct spd_policy policy_of(const struct rule *r, __u32 age)
{
	struct spd_policy p = {
		.selector.family = r->family ? r->family : AF_INET,
		.selector.proto = r->proto,
		.selector.ifindex = r->ifindex,
		.selector.sport = htons(r->sport),
		.selector.dport = htons(r->dport),
		.selector.sport_mask = htons(r->sport && !r->sport_mask ? 0xffff : r->sport_mask),
		.selector.dport_mask = htons(r->dport && !r->dport_mask ? 0xffff : r->dport_mask),
		.dir = r->dir ? r->dir - 1 : OUT,
		.priority = r->priority,
		.mark = r->mark,
		.mark_mask = r->mark_mask,
		.if_id = r->if_id,
		.age = age,
		.index = r->index ? r->index : 8 * (age + 1),
	};
	struct xfrm_selector *s = &p.selector;

	parse_prefix(r->src, &s->family, &s->saddr, &s->prefixlen_s);
	parse_prefix(r->dst, &s->family, &s->daddr, &s->prefixlen_d);
	return p;
}

static struct clatch_addr addr_of(const char *text)
{
	struct clatch_addr addr;
	char mapped[64];

	snprintf(mapped, sizeof(mapped), "%s%s", strchr(text, ':') ? "" : "::ffff:", text);
	assert_int_equal(inet_pton(AF_INET6, mapped, &addr), 1);
	return addr;
}

/* UDP from 10.9.0.1:1000 to 10.9.0.2:5000, or other. */
static struct spd_flow flow_of(const char *src, const char *dst)
{
	return (struct spd_flow){
		.src = addr_of(src),
		.dst = addr_of(dst),
		.sport = 1000,
		.dport = 5000,
		.proto = IPPROTO_UDP,
		.dir = OUT,
		.ifindex = 3,
	};
}

#define RULES 3
#define NONE -1

struct row {
	const char *name;
	struct rule rules[RULES];
	int expected; /* NONE, or which rule */
	const char *src, *dst; /* NULL: 10.9.0.1, 10.9.0.2 */
	__u32 mark, if_id;
	__u8 dir; /* as in struct rule */
	int rule_count; /* 0 = 1 */
};

#define V6 .src = "2001:db8::1", .dst = "2001:db8::2"
#define HOSTS .src = "10.9.0.1", .dst = "10.9.0.2"

static const struct row rows[] = {
	{ "host to host", { { HOSTS } }, .expected = 0 },
	{ "other source", { { .src = "10.9.0.3", .dst = "10.9.0.2" } }, .expected = NONE },
	{ "other destination", { { .src = "10.9.0.1", .dst = "10.9.0.3" } }, .expected = NONE },
	{ "turned round", { { .src = "10.9.0.2", .dst = "10.9.0.1" } }, .expected = NONE },
	{ "all addresses", { {} }, .expected = 0 },
	{ "prefix of 0, address given",
	  { { .src = "192.0.2.1/0", .dst = "192.0.2.1/0" } },
	  .expected = 0 },
	{ "prefix, odd bits", { { .src = "10.9.0.0/31", .dst = "10.8.0.0/15" } }, .expected = 0 },
	{ "prefix, next to it", { { .src = "10.9.0.0/31", .dst = "10.9.0.3/31" } }, .expected = 0 },
	{ "prefix, outside", { { .src = "10.9.0.2/31", .dst = "10.9.0.2/31" } }, .expected = NONE },
	{ "host bits set in prefix",
	  { { .src = "10.9.0.77/24", .dst = "10.9.0.99/24" } },
	  .expected = 0 },
	{ "too long a prefix",
	  { { .src = "10.9.0.1/33", .dst = "10.9.0.2/255" } },
	  .expected = NONE },
	{ "too long an IPv6 prefix",
	  { { .src = "2001:db8::1/129", .dst = "::/0" } },
	  .expected = NONE,
	  V6 },
	{ "other direction", { { .dir = IN + 1, HOSTS } }, .expected = NONE },
	{ "in", { { .dir = IN + 1, HOSTS } }, .expected = 0, .dir = IN + 1 },
	{ "forwarded", { { .dir = XFRM_POLICY_FWD + 1, HOSTS } }, .expected = NONE },
	{ "no such direction", { { .dir = 200, HOSTS } }, .expected = NONE, .dir = 200 },
	{ "no family", { { .family = 255 } }, .expected = NONE },
	{ "proto", { { .proto = IPPROTO_UDP } }, .expected = 0 },
	{ "other proto", { { .proto = IPPROTO_TCP } }, .expected = NONE },
	{ "ports", { { .sport = 1000, .dport = 5000 } }, .expected = 0 },
	{ "other sport", { { .sport = 1001, .dport = 5000 } }, .expected = NONE },
	{ "other dport", { { .dport = 1000 } }, .expected = NONE },
	{ "ports by mask", { { .dport = 4992, .dport_mask = 0xfff0 } }, .expected = 0 },
	{ "ports by mask, more bits given",
	  { { .dport = 5007, .dport_mask = 0xfff0 } },
	  .expected = 0 },
	{ "ports by mask, behind", { { .dport = 5008, .dport_mask = 0xfff0 } }, .expected = NONE },
	{ "device", { { .ifindex = 3 } }, .expected = 0 },
	{ "other device", { { .ifindex = 4 } }, .expected = NONE },
	{ "mark", { { .mark = 5, .mark_mask = 0xff } }, .expected = 0, .mark = 0x705 },
	{ "other mark", { { .mark = 5, .mark_mask = 0xff } }, .expected = NONE, .mark = 0x706 },
	{ "no mark", { { .mark = 5, .mark_mask = 0xff } }, .expected = NONE },
	{ "mark of 0", { { .mark_mask = 0xff } }, .expected = NONE, .mark = 1 },
	{ "mark outside of its mask",
	  { { .mark = 0x105, .mark_mask = 0xff } },
	  .expected = NONE,
	  .mark = 0x105 },
	{ "any mark", { {} }, .expected = 0, .mark = 77 },
	{ "if_id", { { .if_id = 7 } }, .expected = 0, .if_id = 7 },
	{ "other if_id", { { .if_id = 7 } }, .expected = NONE, .if_id = 8 },
	{ "if_id wanted", { { .if_id = 7 } }, .expected = NONE },
	{ "if_id not wanted", { {} }, .expected = NONE, .if_id = 7 },
	{ "IPv6", { { V6 } }, .expected = 0, V6 },
	{ "IPv6, odd bits",
	  { { .src = "2001:db8::/127", .dst = "2001:db8::3/127" } },
	  .expected = 0,
	  V6 },
	{ "IPv6, outside", { { .src = "2001:db8::/128", .dst = "::/0" } }, .expected = NONE, V6 },
	{ "IPv6, all", { { .family = AF_INET6 } }, .expected = 0, V6 },
	{ "IPv4 policy, IPv6 flow", { {} }, .expected = NONE, V6 },
	{ "IPv6 policy, IPv4 flow", { { .family = AF_INET6 } }, .expected = NONE },
	{ "smaller priority",
	  { { .priority = 2 }, { .priority = 1 } },
	  .expected = 1,
	  .rule_count = 2 },
	{ "priority before length",
	  { { HOSTS, .priority = 2 }, { .priority = 1 } },
	  .expected = 1,
	  .rule_count = 2 },
	{ "best does not match",
	  { { .proto = IPPROTO_TCP }, { .priority = 9 } },
	  .expected = 1,
	  .rule_count = 2 },
	{ "worst priority", { { .priority = ~0U } }, .expected = 0 },
	{ "older", { { .dport = 5000 }, { .sport = 1000 }, {} }, .expected = 0, .rule_count = 3 },
	{ "older, the same selector", { { HOSTS }, { HOSTS } }, .expected = 0, .rule_count = 2 },
	{ "older, told only by host bits",
	  { { .src = "10.9.0.7/24" }, { .src = "10.9.0.8/24" } },
	  .expected = 0,
	  .rule_count = 2 },
};

static void test_find(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct row *row = &rows[i];
		struct spd_flow flow =
			flow_of(row->src ? row->src : "10.9.0.1", row->dst ? row->dst : "10.9.0.2");
		int count = row->rule_count ? row->rule_count : 1;
		struct spd_policy policies[RULES];
		const struct spd_policy *found;
		struct spd *spd = spd_new();

		for (int j = 0; j < count; j++)
			policies[j] = policy_of(&row->rules[j], j);
		flow.dir = row->dir ? row->dir - 1 : OUT;
		flow.mark = row->mark;
		flow.if_id = row->if_id;
		assert_int_equal(spd_set(spd, policies, count), 0);
		found = spd_find(spd, &flow);
		assert_row(row->name, !found == (row->expected == NONE));
		assert_row(row->name, !found || (int)found->age == row->expected);
		spd_close(spd);
	}
}

/*
 * Equal priorities, as seen with real policies on 6.1, 6.12 and 6.18.  The age is the place in the
 * row; an index of less than its elders' is a policy that was replaced.
 */
static void test_ties(void **state)
{
	static const struct rule exact = { HOSTS }, exact_udp = { HOSTS, .proto = IPPROTO_UDP };
	static const struct rule both = { .src = "10.9.0.0/24", .dst = "10.9.0.0/24" };
	static const struct rule to = { .dst = "10.9.0.0/24" }, from = { .src = "10.9.0.0/24" };
	static const struct rule any = { 0 }, wide = { .src = "10.0.0.0/8", .dst = "10.0.0.0/8" };
	static const struct rule other = { .src = "11.0.0.0/24", .dst = "11.0.0.0/24" };
	static const struct {
		const char *name;
		const struct rule *rules[3];
		__u32 indexes[3]; /* in units of 8 */
		__u32 by_age; /* expected, from 6.12 on */
		__u32 exact_first; /* expected, before */
	} ties[] = {
		{ "one list", { &exact, &exact_udp }, { 1, 2 }, 0, 0 },
		{ "one list, first replaced", { &exact_udp, &exact }, { 2, 1 }, 1, 1 },
		{ "exact, then first inexact", { &exact, &both }, { 1, 2 }, 0, 1 },
		{ "first inexact, then exact", { &both, &exact }, { 1, 2 }, 0, 0 },
		{ "exact, then inexact", { &other, &exact, &both }, { 1, 2, 3 }, 1, 1 },
		{ "inexact, then exact", { &other, &both, &exact }, { 1, 2, 3 }, 1, 2 },
		{ "exact replaced", { &other, &any, &exact }, { 1, 3, 2 }, 1, 2 },
		{ "inexact replaced", { &other, &exact, &any }, { 1, 3, 2 }, 1, 1 },
		{ "both, to", { &both, &to }, { 1, 2 }, 0, 0 },
		{ "to, both", { &to, &both }, { 1, 2 }, 0, 0 },
		{ "to replaced", { &both, &to }, { 2, 1 }, 0, 1 },
		{ "any, from", { &any, &from }, { 1, 2 }, 0, 0 },
		{ "from, any, to", { &from, &any, &to }, { 1, 2, 3 }, 0, 0 },
		{ "short prefixes are of the list of any", { &wide, &any }, { 2, 1 }, 1, 1 },
	};
	struct spd_flow flow = flow_of("10.9.0.1", "10.9.0.2");

	(void)state;
	for (size_t i = 0; i < COUNT(ties); i++) {
		struct spd_policy policies[3];
		struct spd_index *index;
		size_t count = 0;

		for (; count < 3 && ties[i].rules[count]; count++) {
			policies[count] = policy_of(ties[i].rules[count], count);
			policies[count].index = 8 * ties[i].indexes[count] + OUT;
		}
		assert_int_equal(spd_index_new(&index, SPD_TIES_BY_AGE, policies, count), 0);
		assert_row(ties[i].name, spd_index_find(index, &flow)->age == ties[i].by_age);
		spd_index_free(index);
		assert_int_equal(spd_index_new(&index, SPD_TIES_EXACT_FIRST, policies, count), 0);
		assert_row(ties[i].name, spd_index_find(index, &flow)->age == ties[i].exact_first);
		spd_index_free(index);
	}
}

static void test_content(void **state)
{
	struct rule all = { 0 }, hosts = { HOSTS };
	struct spd_policy policies[] = { policy_of(&all, 0), policy_of(&hosts, 1) };
	struct spd_flow flow = flow_of("10.9.0.1", "10.9.0.2");
	struct spd *spd = spd_new();

	(void)state;
	assert_int_equal(spd_count(spd), 0);
	assert_null(spd_find(spd, &flow));
	assert_int_equal(spd_set(spd, policies, 2), 0);
	memset(policies, 0x5a, sizeof(policies)); /* it has its own copy */
	assert_int_equal(spd_count(spd), 2);
	assert_int_equal(spd_find(spd, &flow)->age, 0);
	assert_int_equal(spd_set(spd, NULL, 0), 0);
	assert_int_equal(spd_count(spd), 0);
	assert_null(spd_find(spd, &flow));
	spd_close(spd);
	spd_close(NULL);
}

static void test_defaults(void **state)
{
	struct spd *spd = spd_new();

	(void)state;
	assert_false(spd_default_blocks(spd, IN) || spd_default_blocks(spd, OUT));
	spd_set_default(spd, OUT, true);
	assert_true(spd_default_blocks(spd, OUT));
	assert_false(spd_default_blocks(spd, IN));
	spd_set_default(spd, OUT, false);
	spd_set_default(spd, 200, true);
	assert_false(spd_default_blocks(spd, OUT) || spd_default_blocks(spd, 200));
	spd_close(spd);
}

static __u32 any_of(const __u32 *values, size_t count)
{
	return values[rand() % count];
}
#define ANY_OF(...) any_of((const __u32[]){ __VA_ARGS__ }, COUNT(((const __u32[]){ __VA_ARGS__ })))

/* Few values, so that policies overlap and flows match several. */
static void random_addr(xfrm_address_t *addr, __u16 family)
{
	addr->a4 = htonl(0x0a090000 + ANY_OF(0, 1, 2, 256, 65536, 1 << 24));
	if (family == AF_INET)
		return;
	addr->a6[3] = addr->a4;
	addr->a6[2] = htonl(ANY_OF(0, 0, 1));
	addr->a6[1] = htonl(ANY_OF(0, 0, 1));
	addr->a6[0] = htonl(0x20010db8);
}

static struct spd_policy random_policy(__u32 age)
{
	struct spd_policy p = {
		.selector.family = ANY_OF(AF_INET, AF_INET, AF_INET6),
		.selector.proto = ANY_OF(0, IPPROTO_UDP, IPPROTO_TCP),
		.selector.ifindex = ANY_OF(0, 0, 3),
		.selector.sport_mask = htons(ANY_OF(0, 0xffff, 0xfff0)),
		.selector.dport_mask = htons(ANY_OF(0, 0xffff)),
		.selector.sport = htons(ANY_OF(1000, 1001)),
		.selector.dport = htons(ANY_OF(5000, 5001)),
		.dir = ANY_OF(IN, OUT, XFRM_POLICY_FWD),
		.priority = ANY_OF(0, 1, 5, ~0U),
		.mark = ANY_OF(0, 1, 2),
		.mark_mask = ANY_OF(0, 1, 3),
		.if_id = ANY_OF(0, 0, 7),
		.age = age,
		.index = 8 * age,
	};
	struct xfrm_selector *s = &p.selector;

	random_addr(&s->saddr, s->family);
	random_addr(&s->daddr, s->family);
	s->prefixlen_s = s->family == AF_INET ? ANY_OF(0, 8, 16, 24, 30, 32)
					      : ANY_OF(0, 32, 47, 64, 126, 128);
	s->prefixlen_d = s->family == AF_INET ? ANY_OF(0, 7, 15, 24, 31, 32)
					      : ANY_OF(0, 32, 48, 65, 127, 128);
	return p;
}

static void widen(struct clatch_addr *to, const xfrm_address_t *from, __u16 family)
{
	if (family == AF_INET)
		addr_from_v4(to, from->a4);
	else
		memcpy(to, from, sizeof(*to));
}

static struct spd_flow random_flow(void)
{
	__u16 family = ANY_OF(AF_INET, AF_INET, AF_INET6);
	struct spd_flow f = {
		.sport = ANY_OF(1000, 1001),
		.dport = ANY_OF(5000, 5001),
		.proto = ANY_OF(IPPROTO_UDP, IPPROTO_TCP),
		.dir = ANY_OF(IN, OUT),
		.mark = ANY_OF(0, 1, 2, 3),
		.if_id = ANY_OF(0, 0, 7),
		.ifindex = ANY_OF(3, 4),
	};
	xfrm_address_t src, dst;

	random_addr(&src, family);
	random_addr(&dst, family);
	widen(&f.src, &src, family);
	widen(&f.dst, &dst, family);
	return f;
}

static bool addr_matches(const xfrm_address_t *prefix, __u8 bits, __u16 family,
			 const struct clatch_addr *addr)
{
	struct clatch_addr wide;

	widen(&wide, prefix, family);
	return addr_in_prefix(addr, &wide, bits + (family == AF_INET ? 96 : 0));
}

static bool matches(const struct spd_policy *p, const struct spd_flow *f)
{
	const struct xfrm_selector *s = &p->selector;

	return p->dir == f->dir && p->if_id == f->if_id && (f->mark & p->mark_mask) == p->mark &&
	       s->family == (addr_is_v4(&f->src) ? AF_INET : AF_INET6) &&
	       (!s->proto || s->proto == f->proto) &&
	       (!s->ifindex || (__u32)s->ifindex == f->ifindex) &&
	       !((htons(f->sport) ^ s->sport) & s->sport_mask) &&
	       !((htons(f->dport) ^ s->dport) & s->dport_mask) &&
	       addr_matches(&s->saddr, s->prefixlen_s, s->family, &f->src) &&
	       addr_matches(&s->daddr, s->prefixlen_d, s->family, &f->dst);
}

static const struct spd_policy *find_slowly(const struct spd_policy *policies, size_t count,
					    const struct spd_flow *flow)
{
	const struct spd_policy *best = NULL;

	for (size_t i = 0; i < count; i++)
		if (matches(&policies[i], flow) && (!best || policies[i].priority < best->priority))
			best = &policies[i];
	return best;
}

static void test_against_linear_search(void **state)
{
	static struct spd_policy policies[2500]; /* once more than the index takes together */
	struct spd_index *index;
	int found = 0;

	(void)state;
	srand(1);
	for (int round = 0; round < 30; round++) {
		size_t count = round ? (size_t)rand() % 300 : COUNT(policies);

		for (size_t i = 0; i < count; i++)
			policies[i] = random_policy(i);
		assert_int_equal(spd_index_new(&index, SPD_TIES_BY_AGE, policies, count), 0);
		for (int i = 0; i < 500; i++) {
			struct spd_flow flow = random_flow();
			const struct spd_policy *p = spd_index_find(index, &flow);

			assert_ptr_equal(p, find_slowly(policies, count, &flow));
			found += !!p;
		}
		spd_index_free(index);
	}
	assert_in_range(found, 3000, 14000); /* the rounds did test something */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_ties),
		cmocka_unit_test(test_content),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_against_linear_search),
	};

	return cmocka_run_group_tests_name("spd", tests, NULL, NULL);
}
