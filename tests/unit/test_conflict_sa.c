// SPDX-License-Identifier: GPL-2.0-only
/* SAs that conflict with a latch: RFC 5660 T19, T22, T23 and T26. */
#include "conflict_world.h"

#include <clatch/fields.h>

static struct sa_class *weaker(struct world *w, enum clatch_dir direction)
{
	struct sa_class *sa = world_sa(w, direction);

	sa->sa.suite.icv_bits = 64;
	return sa;
}

static void without_policies(struct world *w)
{
	w->policy_count = 0;
}

static void rekeyed(struct world *w)
{
	world_sa(w, CLATCH_OUT);
	world_sa(w, CLATCH_IN);
}

static void out(struct world *w)
{
	weaker(w, CLATCH_OUT);
}

static void in(struct world *w)
{
	weaker(w, CLATCH_IN);
}

/* What is found first is told: out before in. */
static void both(struct world *w)
{
	in(w);
	world_name(world_sa(w, CLATCH_OUT)->sa.suite.enc, "cbc(aes)");
}

static void other_reqid_out(struct world *w)
{
	weaker(w, CLATCH_OUT)->sa.reqid = 8;
}

static void other_reqid_in(struct world *w)
{
	weaker(w, CLATCH_IN)->sa.reqid = 8;
}

static void reqid_narrow(struct world *w)
{
	other_reqid_in(w);
	world_narrow(&w->sas[2]);
}

static void reqid_any_in(struct world *w)
{
	world_sa(w, CLATCH_IN)->sa.reqid = 8;
	w->policies[1].templates[0].reqid = 0;
}

static void other_if_id(struct world *w)
{
	weaker(w, CLATCH_OUT)->sa.if_id = 42;
	weaker(w, CLATCH_IN)->sa.if_id = 42;
}

static void other_mode(struct world *w)
{
	world_sa(w, CLATCH_OUT)->sa.suite.mode = XFRM_MODE_TUNNEL;
}

static void other_proto(struct world *w)
{
	world_sa(w, CLATCH_OUT)->sa.suite.proto = IPPROTO_AH;
}

static void other_host(struct world *w)
{
	weaker(w, CLATCH_OUT)->sa.dst = world_addr("10.9.0.3");
}

static void narrow(struct world *w)
{
	world_narrow(weaker(w, CLATCH_OUT));
}

static void narrow_elsewhere(struct world *w)
{
	narrow(w);
	w->sas[2].selector.daddr.a4 = inet_addr("10.9.0.3");
}

static void narrow_port(struct world *w)
{
	narrow(w);
	w->sas[2].selector.proto = IPPROTO_TCP;
	w->sas[2].selector.dport = htons(5000);
	w->sas[2].selector.dport_mask = 0xffff;
}

static void narrow_port_elsewhere(struct world *w)
{
	narrow_port(w);
	w->sas[2].selector.dport = htons(5001);
}

static void narrow_sport_elsewhere(struct world *w)
{
	narrow(w);
	w->sas[2].selector.sport = htons(5000);
	w->sas[2].selector.sport_mask = 0xffff;
}

static void narrow_proto_elsewhere(struct world *w)
{
	narrow(w);
	w->sas[2].selector.proto = IPPROTO_UDP;
}

static void narrow_device_elsewhere(struct world *w)
{
	narrow(w);
	w->sas[2].selector.ifindex = 3;
}

static void other_family(struct world *w)
{
	weaker(w, CLATCH_OUT)->selector.family = AF_INET6;
}

static void no_family(struct world *w)
{
	weaker(w, CLATCH_OUT)->selector.family = 0;
}

static void nonsense_prefix(struct world *w)
{
	weaker(w, CLATCH_OUT)->selector.prefixlen_s = 255;
}

static void marked(struct world *w)
{
	struct sa_class *sa = weaker(w, CLATCH_IN);

	sa->mark = 1;
	sa->mark_mask = 0xff;
}

static void marked_as_packets(struct world *w)
{
	marked(w);
	w->in.mark = 0xf01;
}

/* Outbound an SA is looked for with the policy's mark. */
static void marked_out(struct world *w)
{
	marked(w);
	w->sas[2].sa.src = w->sas[0].sa.src;
	w->sas[2].sa.dst = w->sas[0].sa.dst;
	w->out.mark = 1;
}

static void marked_out_as_policy(struct world *w)
{
	marked_out(w);
	w->policies[0].mark = 1;
	w->policies[0].mark_mask = 0xff;
}

static void spi_of_template(struct world *w)
{
	out(w);
	w->policies[0].templates[0].spi = w->sas[2].sa.spi;
}

static void spi_not_of_template(struct world *w)
{
	out(w);
	w->policies[0].templates[0].spi = w->sas[0].sa.spi;
}

/* Of two SAs in a class, that is the older one's. */
static void spi_of_template_among_others(struct world *w)
{
	out(w);
	out(w);
	w->policies[0].templates[0].spi = w->sas[2].sa.spi;
}

static void spi_of_template_not_among_others(struct world *w)
{
	spi_of_template_among_others(w);
	w->policies[0].templates[0].spi = w->sas[0].sa.spi;
}

/* AES-GCM with an ICV of 16 bytes is what the template wants. */
static void not_in_mask_out(struct world *w)
{
	out(w);
	w->policies[0].templates[0].ealgos = 1 << 20;
}

static void not_in_mask_in(struct world *w)
{
	in(w);
	w->policies[1].templates[0].ealgos = 1 << 20;
}

static void level_use(struct world *w)
{
	out(w);
	w->policies[0].templates[0].optional = 1;
}

static void blocked(struct world *w)
{
	out(w);
	w->policies[0].action = XFRM_POLICY_BLOCK;
}

static void unpoliced_same_reqid(struct world *w)
{
	without_policies(w);
	in(w);
}

static void unpoliced_other_reqid(struct world *w)
{
	without_policies(w);
	other_reqid_in(w);
}

static void unpoliced_narrow(struct world *w)
{
	without_policies(w);
	reqid_narrow(w);
}

static void unpoliced_narrow_elsewhere(struct world *w)
{
	unpoliced_narrow(w);
	w->sas[2].selector.saddr.a4 = inet_addr("10.9.0.3");
}

static void unpoliced_other_if_id(struct world *w)
{
	without_policies(w);
	other_if_id(w);
}

static void tunnel(struct world *w)
{
	for (int i = 0; i < 2; i++) {
		w->policies[i].templates[0].mode = XFRM_MODE_TUNNEL;
		w->sas[i].sa.suite.mode = XFRM_MODE_TUNNEL;
		w->sas[i].sa.src = world_addr(i ? "192.0.2.2" : "192.0.2.1");
		w->sas[i].sa.dst = world_addr(i ? "192.0.2.1" : "192.0.2.2");
	}
	w->out.count = 0;
	w->in.count = 0;
	world_latch(&w->out, &w->sas[0].sa);
	world_latch(&w->in, &w->sas[1].sa);
}

static void tunnel_weaker(struct world *w)
{
	tunnel(w);
	w->sas[2] = w->sas[0];
	w->sas[2].sa.spi = htonl(3);
	w->sas[2].sa.suite.encap = 2;
	w->sa_count = 3;
}

/* For other inner addresses. */
static void tunnel_elsewhere(struct world *w)
{
	tunnel_weaker(w);
	w->sas[2].selector.daddr.a4 = inet_addr("10.10.0.0");
	w->sas[2].selector.prefixlen_d = 16;
}

/* AH around ESP, in transport mode: both SAs are between the same two hosts. */
static void nested(struct world *w)
{
	struct clatch_sa *ah = &world_sa(w, CLATCH_IN)->sa;

	ah->suite.proto = IPPROTO_AH;
	world_name(ah->suite.enc, "");
	world_name(ah->suite.auth, "hmac(sha256)");
	w->policies[1].templates[1] = w->policies[1].templates[0];
	w->policies[1].templates[1].proto = IPPROTO_AH;
	w->policies[1].count = 2;
	w->in.count = 2;
	w->in.sa[1] = w->in.sa[0];
	w->in.sa[0] = *ah;
}

static void nested_unpoliced(struct world *w)
{
	nested(w);
	without_policies(w);
}

static void nested_weaker(struct world *w)
{
	nested(w);
	w->sas[3] = w->sas[2];
	w->sas[3].sa.spi = htonl(4);
	world_name(w->sas[3].sa.suite.auth, "hmac(md5)");
	w->sa_count = 4;
}

static const struct world_row rows[] = {
	{ "rekeyed", rekeyed, NONE(SEEN) },
	{ "out", out, SA_IS(CLATCH_OUT, ICV, SEEN) },
	{ "in", in, SA_IS(CLATCH_IN, ICV, SEEN) },
	{ "both", both, SA_IS(CLATCH_OUT, CLATCH_FIELD_ENC, SEEN) },
	{ "another reqid, out", other_reqid_out, NONE(SEEN) },
	{ "another reqid, in", other_reqid_in, NONE(SEEN) },
	{ "another reqid, narrow", reqid_narrow, NONE(SEEN) },
	{ "another reqid, any allowed", reqid_any_in, SA_IS(CLATCH_IN, CLATCH_FIELD_REQID, SEEN) },
	{ "another if_id", other_if_id, NONE(SEEN) },
	{ "another mode", other_mode, NONE(SEEN) },
	{ "another protocol", other_proto, NONE(SEEN) },
	{ "another host", other_host, NONE(SEEN) },
	{ "narrow", narrow, SA_IS(CLATCH_OUT, ICV, SEEN) },
	{ "narrow, elsewhere", narrow_elsewhere, NONE(SEEN) },
	{ "narrow, this port", narrow_port, SA_IS(CLATCH_OUT, ICV, SEEN) },
	{ "narrow, another port", narrow_port_elsewhere, NONE(SEEN) },
	{ "narrow, another source port", narrow_sport_elsewhere, NONE(SEEN) },
	{ "narrow, another protocol", narrow_proto_elsewhere, NONE(SEEN) },
	{ "narrow, another device", narrow_device_elsewhere, NONE(SEEN) },
	{ "of another family", other_family, NONE(SEEN) },
	{ "of no family", no_family, SA_IS(CLATCH_OUT, ICV, SEEN) },
	{ "a prefix that cannot be", nonsense_prefix, NONE(SEEN) },
	{ "another mark", marked, NONE(SEEN) },
	{ "the packets' mark", marked_as_packets, SA_IS(CLATCH_IN, ICV, SEEN) },
	{ "the packets' mark, out", marked_out, NONE(SEEN) },
	{ "the policy's mark", marked_out_as_policy, SA_IS(CLATCH_OUT, ICV, SEEN) },
	{ "the template's SPI", spi_of_template, SA_IS(CLATCH_OUT, ICV, SEEN) },
	{ "not the template's SPI", spi_not_of_template, NONE(SEEN) },
	{ "the template's SPI among others", spi_of_template_among_others,
	  SA_IS(CLATCH_OUT, ICV, SEEN) },
	{ "not the template's SPI among others", spi_of_template_not_among_others, NONE(SEEN) },
	{ "not in the mask, out", not_in_mask_out, SA_IS(CLATCH_OUT, ICV, SEEN) },
	{ "not in the mask, in", not_in_mask_in, NONE(SEEN) },
	{ "level use", level_use, SA_IS(CLATCH_OUT, ICV, CLATCH_POLICED_IN) },
	{ "blocked anyway", blocked, CLATCH_CAUSE_POLICY, CLATCH_OUT, CLATCH_POLICY, 0,
	  CLATCH_POLICED_IN },
	{ "no policy, the same reqid", unpoliced_same_reqid, SA_IS(CLATCH_IN, ICV, 0) },
	{ "no policy, another reqid", unpoliced_other_reqid, NONE(0) },
	{ "no policy, narrow", unpoliced_narrow, SA_IS(CLATCH_IN, ICV | CLATCH_FIELD_REQID, 0) },
	{ "no policy, narrow elsewhere", unpoliced_narrow_elsewhere, NONE(0) },
	{ "no policy, another if_id", unpoliced_other_if_id, NONE(0) },
	{ "tunnel", tunnel, NONE(SEEN) },
	{ "tunnel, another SA", tunnel_weaker, SA_IS(CLATCH_OUT, CLATCH_FIELD_ENCAP, SEEN) },
	{ "tunnel, for others", tunnel_elsewhere, NONE(SEEN) },
	{ "nested", nested, NONE(SEEN) },
	{ "nested, no policy", nested_unpoliced, NONE(0) },
	{ "nested, another outer SA", nested_weaker, SA_IS(CLATCH_IN, CLATCH_FIELD_AUTH, SEEN) },
};

static void test_sas(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		world_check(&rows[i]);
}

static void test_got_of_sa(void **state)
{
	struct conflict c;
	struct world w;

	(void)state;
	world_begin(&w);
	in(&w);
	world_judge(&w, &c);
	assert_int_equal(c.got_count, 1);
	assert_memory_equal(&c.got, &w.sas[2].sa, sizeof(c.got));
}

/* What the template has is shown, against what is latched. */
static void test_got_of_template(void **state)
{
	struct spd_template *t;
	struct conflict c;
	struct world w;

	(void)state;
	world_begin(&w);
	t = &w.policies[0].templates[0];
	t->mode = XFRM_MODE_TUNNEL;
	t->reqid = 9;
	t->dst = world_addr("192.0.2.2");
	world_judge(&w, &c);
	assert_int_equal(c.got_count, 1);
	assert_int_equal(c.got.suite.proto, IPPROTO_ESP);
	assert_int_equal(c.got.suite.mode, XFRM_MODE_TUNNEL);
	assert_int_equal(c.got.reqid, 9);
	assert_memory_equal(&c.got.dst, &t->dst, sizeof(c.got.dst));
}

/* Each field on its own, and none for what is not compared. */
static void test_fields(void **state)
{
	struct clatch_sa a, b;
	struct world w;

	(void)state;
	world_begin(&w);
	a = w.out.sa[0];
#define CHECK(change, field)                                                                       \
	do {                                                                                       \
		b = a;                                                                             \
		change;                                                                            \
		assert_int_equal(clatch_fields(&a, &b), field);                                    \
	} while (0)
	CHECK(b.suite.proto = IPPROTO_AH, CLATCH_FIELD_PROTO);
	CHECK(b.suite.mode = XFRM_MODE_BEET, CLATCH_FIELD_MODE);
	CHECK(b.suite.enc[0] = 0, CLATCH_FIELD_ENC);
	CHECK(b.suite.enc_key_bits++, CLATCH_FIELD_ENC_KEY);
	CHECK(b.suite.auth[CLATCH_ALG_LEN - 1] = 1, CLATCH_FIELD_AUTH);
	CHECK(b.suite.auth_key_bits++, CLATCH_FIELD_AUTH_KEY);
	CHECK(b.suite.icv_bits++, CLATCH_FIELD_ICV);
	CHECK(b.suite.flags ^= CLATCH_SUITE_ESN, CLATCH_FIELD_ESN);
	CHECK(b.suite.flags ^= CLATCH_SUITE_REPLAY, CLATCH_FIELD_REPLAY);
	CHECK(b.suite.encap = 2, CLATCH_FIELD_ENCAP);
	CHECK(b.reqid++, CLATCH_FIELD_REQID);
	CHECK(b.if_id++, CLATCH_FIELD_IF_ID);
	CHECK(b.who.peer_id = 3, 0); /* nobody was known */
	CHECK(b.spi++, 0);
	CHECK(b.dst.b[15]++, 0);
	a.who = (struct clatch_who){ .local_id = 1, .peer_id = 2 };
	CHECK(b.who.peer_id = 3, CLATCH_FIELD_PEER_ID);
	CHECK(b.who.local_id = 3, CLATCH_FIELD_LOCAL_ID);
	CHECK(b.reqid++, 0); /* it stood in for the peer */
	CHECK(b.if_id++, 0);
#undef CHECK
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sas),
		cmocka_unit_test(test_got_of_sa),
		cmocka_unit_test(test_got_of_template),
		cmocka_unit_test(test_fields),
	};

	return cmocka_run_group_tests_name("conflict_sa", tests, NULL, NULL);
}
