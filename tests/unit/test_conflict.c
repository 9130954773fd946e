// SPDX-License-Identifier: GPL-2.0-only
/* Policies that conflict with a latch: RFC 5660 T22 to T27. */
#include "conflict_world.h"

static void nothing(struct world *w)
{
	(void)w;
}

static void policed(struct world *w)
{
	w->latch.flags = POLICED_BOTH;
}

static void gone_out(struct world *w)
{
	policed(w);
	w->policies[0] = w->policies[1];
	w->policy_count = 1;
}

static void gone_in(struct world *w)
{
	policed(w);
	w->policy_count = 1;
}

static void flushed(struct world *w)
{
	policed(w);
	w->policy_count = 0;
}

static void never_there(struct world *w)
{
	w->policy_count = 0;
}

static void default_block_out(struct world *w)
{
	w->policy_count = 0;
	w->blocks_out = true;
}

static void default_block_in(struct world *w)
{
	policed(w);
	w->policy_count = 1;
	w->blocks_in = true;
}

static void default_block_policy_there(struct world *w)
{
	w->blocks_in = true;
	w->blocks_out = true;
}

static void bypass_above(struct world *w)
{
	struct spd_policy *p = world_policy(w, XFRM_POLICY_OUT);

	p->priority = 10;
	p->count = 0;
}

static void bypass_above_in(struct world *w)
{
	bypass_above(w);
	w->policies[2].dir = XFRM_POLICY_IN;
}

static void bypass_below(struct world *w)
{
	bypass_above(w);
	w->policies[2].priority = 2000;
}

static void bypass_other_port(struct world *w)
{
	bypass_above(w);
	w->policies[2].selector.dport = htons(5001);
	w->policies[2].selector.dport_mask = 0xffff;
}

/* Outbound the remote port is the destination's. */
static void bypass_this_port(struct world *w)
{
	bypass_above(w);
	w->policies[2].selector.dport = htons(5000);
	w->policies[2].selector.dport_mask = 0xffff;
}

static void bypass_this_port_in(struct world *w)
{
	bypass_above_in(w);
	w->policies[2].selector.sport = htons(5000);
	w->policies[2].selector.sport_mask = 0xffff;
}

static void block_above(struct world *w)
{
	bypass_above(w);
	w->policies[2].action = XFRM_POLICY_BLOCK;
}

static void only_ipcomp(struct world *w)
{
	w->policies[0].templates[0].proto = IPPROTO_COMP;
}

static void with_ipcomp(struct world *w)
{
	w->policies[0].templates[1] = w->policies[0].templates[0];
	w->policies[0].templates[0].proto = IPPROTO_COMP;
	w->policies[0].count = 2;
}

static void other_mode(struct world *w)
{
	w->policies[0].templates[0].mode = XFRM_MODE_TUNNEL;
}

static void other_reqid(struct world *w)
{
	w->policies[0].templates[0].reqid = 8;
}

static void other_proto(struct world *w)
{
	w->policies[1].templates[0].proto = IPPROTO_AH;
}

static void any_reqid_in(struct world *w)
{
	w->policies[1].templates[0].reqid = 0;
}

/* Outbound the kernel takes it for a number. */
static void any_reqid_out(struct world *w)
{
	w->policies[0].templates[0].reqid = 0;
}

static void other_spi(struct world *w)
{
	w->policies[0].templates[0].spi = htonl(0x9999);
}

static void other_outer_addresses(struct world *w)
{
	w->policies[0].templates[0].src = world_addr("192.0.2.1");
	w->policies[0].templates[0].dst = world_addr("192.0.2.2");
}

static void masks_allow(struct world *w)
{
	w->policies[0].templates[0].ealgos = 1 << 20; /* AES-GCM with an ICV of 16 bytes */
}

static void enc_not_in_mask(struct world *w)
{
	w->policies[0].templates[0].ealgos = 1 << 12; /* AES-CBC */
}

static void auth_not_in_mask(struct world *w)
{
	strcpy(w->out.sa[0].suite.enc, "cbc(aes)");
	strcpy(w->out.sa[0].suite.auth, "hmac(sha256)");
	w->sas[0].sa = w->out.sa[0];
	w->policies[0].templates[0].aalgos = 1 << 3; /* HMAC-SHA1 */
}

/* With the authentication inside the cipher there is none of its own: number 0. */
static void aead_not_in_mask(struct world *w)
{
	w->policies[1].templates[0].aalgos = 1 << 5;
}

static void unknown_to_masks(struct world *w)
{
	world_name(w->out.sa[0].suite.enc, "rfc7539esp(chacha20,poly1305)");
	w->sas[0].sa = w->out.sa[0];
	w->policies[0].templates[0].ealgos = 1 << 12;
}

static void optional(struct world *w)
{
	w->policies[0].templates[0].optional = 1;
	w->policies[1].templates[0].optional = 1;
}

static void optional_other(struct world *w)
{
	optional(w);
	w->policies[0].templates[0].reqid = 8;
}

static void other_if_id(struct world *w)
{
	policed(w);
	w->policies[0].if_id = 42;
}

static void same_if_id(struct world *w)
{
	for (int i = 0; i < 2; i++) {
		w->policies[i].if_id = 42;
		w->sas[i].sa.if_id = 42;
	}
	w->in.sa[0].if_id = 42;
	w->out.sa[0].if_id = 42;
}

static void bypass_other_mark(struct world *w)
{
	bypass_above(w);
	w->out.mark = 1;
	w->policies[2].mark = 2;
	w->policies[2].mark_mask = 3;
}

static void bypass_same_mark(struct world *w)
{
	bypass_other_mark(w);
	w->out.mark = 6;
}

static void bypass_other_device(struct world *w)
{
	bypass_above(w);
	w->out.ifindex = 3;
	w->policies[2].selector.ifindex = 4;
}

static void bypass_same_device(struct world *w)
{
	bypass_other_device(w);
	w->out.ifindex = 4;
}

/* Inbound the kernel looks for the loopback device, wherever the packet came in. */
static void bypass_device_in(struct world *w)
{
	bypass_above_in(w);
	w->in.ifindex = 4;
	w->policies[2].selector.ifindex = 4;
}

static void bypass_loopback_in(struct world *w)
{
	bypass_device_in(w);
	w->policies[2].selector.ifindex = 1;
}

static void side_unknown(struct world *w)
{
	flushed(w);
	w->in.count = 0;
	w->out.count = 0;
}

static void suite_unknown(struct world *w)
{
	flushed(w);
	memset(&w->out.sa[0].suite, 0, sizeof(w->out.sa[0].suite));
	w->in.count = 0;
}

/* AH around ESP: the outermost template is the last. */
static void nested(struct world *w)
{
	static const char ah[] = "hmac(sha256)";

	for (int i = 0; i < 2; i++) {
		struct clatch_sa *latched = i ? w->in.sa : w->out.sa;

		latched[1] = latched[0];
		latched[0].suite.proto = IPPROTO_AH;
		world_name(latched[0].suite.enc, "");
		world_name(latched[0].suite.auth, ah);
		*world_sa(w, i ? CLATCH_IN : CLATCH_OUT) = (struct sa_class){ .sa = latched[0] };
		w->policies[i].templates[1] = w->policies[i].templates[0];
		w->policies[i].templates[1].proto = IPPROTO_AH;
		w->policies[i].count = 2;
	}
	w->in.count = 2;
	w->out.count = 2;
}

static void nested_wrong_order(struct world *w)
{
	nested(w);
	w->policies[0].templates[0].proto = IPPROTO_AH;
	w->policies[0].templates[1].proto = IPPROTO_ESP;
}

static void nested_less(struct world *w)
{
	nested(w);
	w->policies[0].count = 1;
}

static void nested_outer_only(struct world *w)
{
	nested(w);
	w->policies[0].templates[0] = w->policies[0].templates[1];
	w->policies[0].count = 1;
}

static void one_more_demanded(struct world *w)
{
	w->policies[0].templates[1] = w->policies[0].templates[0];
	w->policies[0].templates[0].proto = IPPROTO_AH;
	w->policies[0].count = 2;
}

static void one_more_outside(struct world *w)
{
	one_more_demanded(w);
	w->policies[0].templates[1].proto = IPPROTO_AH;
	w->policies[0].templates[0].proto = IPPROTO_ESP;
}

static void one_more_optional(struct world *w)
{
	one_more_demanded(w);
	w->policies[0].templates[0].optional = 1;
}

static void two_conflicts(struct world *w)
{
	block_above(w);
	world_sa(w, CLATCH_IN)->sa.suite.icv_bits = 64;
}

#define POLICY_IS(dir, why, what, seen) CLATCH_CAUSE_POLICY, dir, why, what, seen
#define IN CLATCH_IN
#define OUT CLATCH_OUT
#define SEEN_IN CLATCH_POLICED_IN
#define SEEN_OUT CLATCH_POLICED_OUT
#define REQIDS CLATCH_FIELD_REQID
#define NESTING CLATCH_FIELD_NESTING
#define MISMATCH CLATCH_SA_MISMATCH

static const struct world_row rows[] = {
	{ "as latched", nothing, NONE(POLICED_BOTH) },
	{ "as latched and seen before", policed, NONE(POLICED_BOTH) },
	/* T27 */
	{ "out deleted", gone_out, POLICY_IS(OUT, CLATCH_CLEAR, 0, SEEN_IN) },
	{ "in deleted", gone_in, POLICY_IS(IN, CLATCH_CLEAR, 0, SEEN_OUT) },
	{ "flushed", flushed, POLICY_IS(OUT, CLATCH_CLEAR, 0, 0) },
	{ "none, and none was ever seen", never_there, NONE(0) },
	{ "default block out", default_block_out, POLICY_IS(OUT, CLATCH_POLICY, 0, 0) },
	{ "default block in", default_block_in, POLICY_IS(IN, CLATCH_POLICY, 0, SEEN_OUT) },
	{ "default block, policies there", default_block_policy_there, NONE(POLICED_BOTH) },
	/* T24, T26 */
	{ "bypass above", bypass_above, POLICY_IS(OUT, CLATCH_CLEAR, 0, SEEN_IN) },
	{ "bypass above, in", bypass_above_in, POLICY_IS(IN, CLATCH_CLEAR, 0, SEEN_OUT) },
	{ "bypass below", bypass_below, NONE(POLICED_BOTH) },
	{ "bypass of another port", bypass_other_port, NONE(POLICED_BOTH) },
	{ "bypass of this port", bypass_this_port, POLICY_IS(OUT, CLATCH_CLEAR, 0, SEEN_IN) },
	{ "of this port, in", bypass_this_port_in, POLICY_IS(IN, CLATCH_CLEAR, 0, SEEN_OUT) },
	{ "bypass of another mark", bypass_other_mark, NONE(POLICED_BOTH) },
	{ "bypass of this mark", bypass_same_mark, POLICY_IS(OUT, CLATCH_CLEAR, 0, SEEN_IN) },
	{ "bypass of another device", bypass_other_device, NONE(POLICED_BOTH) },
	{ "bypass of this device", bypass_same_device, POLICY_IS(OUT, CLATCH_CLEAR, 0, SEEN_IN) },
	{ "bypass of this device, in", bypass_device_in, NONE(POLICED_BOTH) },
	{ "of loopback, in", bypass_loopback_in, POLICY_IS(IN, CLATCH_CLEAR, 0, SEEN_OUT) },
	{ "block above", block_above, POLICY_IS(OUT, CLATCH_POLICY, 0, SEEN_IN) },
	{ "IPComp only", only_ipcomp, POLICY_IS(OUT, CLATCH_CLEAR, 0, SEEN_IN) },
	{ "with IPComp", with_ipcomp, NONE(POLICED_BOTH) },
	/* T25 */
	{ "mode", other_mode, POLICY_IS(OUT, MISMATCH, CLATCH_FIELD_MODE, SEEN_IN) },
	{ "reqid", other_reqid, POLICY_IS(OUT, MISMATCH, REQIDS, SEEN_IN) },
	{ "proto, in", other_proto, POLICY_IS(IN, MISMATCH, CLATCH_FIELD_PROTO, SEEN_OUT) },
	{ "any reqid, in", any_reqid_in, NONE(POLICED_BOTH) },
	{ "reqid 0, out", any_reqid_out, POLICY_IS(OUT, MISMATCH, REQIDS, SEEN_IN) },
	{ "another SPI", other_spi, NONE(POLICED_BOTH) },
	{ "outer addresses", other_outer_addresses, NONE(POLICED_BOTH) },
	{ "mask with it", masks_allow, NONE(POLICED_BOTH) },
	{ "mask, enc", enc_not_in_mask, POLICY_IS(OUT, MISMATCH, CLATCH_FIELD_ENC, SEEN_IN) },
	{ "mask, auth", auth_not_in_mask, POLICY_IS(OUT, MISMATCH, CLATCH_FIELD_AUTH, SEEN_IN) },
	{ "mask, AEAD", aead_not_in_mask, POLICY_IS(IN, MISMATCH, CLATCH_FIELD_AUTH, SEEN_OUT) },
	{ "no mask has it", unknown_to_masks, NONE(POLICED_BOTH) },
	{ "level use", optional, NONE(0) },
	{ "level use of another", optional_other, POLICY_IS(OUT, MISMATCH, REQIDS, 0) },
	{ "another if_id", other_if_id, POLICY_IS(OUT, CLATCH_CLEAR, 0, SEEN_IN) },
	{ "the same if_id", same_if_id, NONE(POLICED_BOTH) },
	{ "sides not known", side_unknown, NONE(0) },
	{ "suite not known", suite_unknown, NONE(0) },
	{ "nested", nested, NONE(POLICED_BOTH) },
	{ "nested, the other way round", nested_wrong_order,
	  POLICY_IS(OUT, MISMATCH, CLATCH_FIELD_PROTO, SEEN_IN) },
	{ "nested, inner only", nested_less,
	  POLICY_IS(OUT, MISMATCH, NESTING | CLATCH_FIELD_PROTO, SEEN_IN) },
	{ "nested, outer only", nested_outer_only, POLICY_IS(OUT, MISMATCH, NESTING, SEEN_IN) },
	{ "one more", one_more_demanded, POLICY_IS(OUT, MISMATCH, NESTING, SEEN_IN) },
	{ "one more, outside", one_more_outside,
	  POLICY_IS(OUT, MISMATCH, NESTING | CLATCH_FIELD_PROTO, SEEN_IN) },
	{ "one more, optional", one_more_optional, NONE(POLICED_BOTH) },
	/* T23 */
	{ "a block, and an SA", two_conflicts, CLATCH_CAUSE_POLICY | CLATCH_CAUSE_SA, OUT,
	  CLATCH_POLICY, 0, SEEN_IN },
};

static void test_policies(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		world_check(&rows[i]);
}

static void to_v6(struct world *w)
{
	struct clatch_addr local = world_addr("2001:db8::1"), remote = world_addr("2001:db8::2");

	for (int i = 0; i < 2; i++) {
		w->policies[i].selector.family = AF_INET6;
		w->sas[i].selector.family = AF_INET6;
		w->sas[i].sa.src = i ? remote : local;
		w->sas[i].sa.dst = i ? local : remote;
	}
	w->tuple.local = w->out.sa[0].src = w->in.sa[0].dst = local;
	w->tuple.remote = w->out.sa[0].dst = w->in.sa[0].src = remote;
}

static void v6_other_family(struct world *w)
{
	to_v6(w);
	bypass_above(w); /* of IPv4 */
}

static void v6_bypass(struct world *w)
{
	v6_other_family(w);
	w->policies[2].selector.family = AF_INET6;
	w->policies[2].selector.prefixlen_d = 64;
	memcpy(&w->policies[2].selector.daddr, &w->tuple.remote, sizeof(w->tuple.remote));
}

/* Before IPv6 has a route, there is no device to compare. */
static void v6_device(struct world *w)
{
	v6_bypass(w);
	w->out.ifindex = 4;
	w->policies[2].selector.ifindex = 4;
}

static void v6_sa(struct world *w)
{
	to_v6(w);
	w->sas[2] = w->sas[1];
	w->sas[2].sa.suite.enc_key_bits = 288;
	w->sas[2].sa.spi = htonl(3);
	w->sas[2].selector.prefixlen_s = 64;
	memcpy(&w->sas[2].selector.saddr, &w->tuple.remote, sizeof(w->tuple.remote));
	w->sa_count = 3;
}

static void test_ipv6(void **state)
{
	static const struct world_row v6[] = {
		{ "as latched", to_v6, NONE(POLICED_BOTH) },
		{ "bypass of IPv4", v6_other_family, NONE(POLICED_BOTH) },
		{ "bypass of IPv6", v6_bypass, POLICY_IS(OUT, CLATCH_CLEAR, 0, SEEN_IN) },
		{ "bypass of a device", v6_device, NONE(POLICED_BOTH) },
		{ "an SA", v6_sa, CLATCH_CAUSE_SA, IN, MISMATCH, CLATCH_FIELD_ENC_KEY,
		  POLICED_BOTH },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(v6); i++)
		world_check(&v6[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_policies),
		cmocka_unit_test(test_ipv6),
	};

	return cmocka_run_group_tests_name("conflict", tests, NULL, NULL);
}
