/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A host with one latched connection, for tests of what conflicts with it: rows that each change
 * something in this world, and what is to be found then.
 */
#ifndef CLATCH_UNIT_CONFLICT_WORLD_H
#define CLATCH_UNIT_CONFLICT_WORLD_H

#include "test.h"

#include <clatch/event.h>
#include <netinet/in.h>
#include <string.h>

#include "addr.h"
#include "conflict.h"

#define WORLD_MAX 8
#define REQID 7

struct world {
	struct spd_policy policies[WORLD_MAX]; /* [0] out, [1] in: they demand what is latched */
	size_t policy_count;
	struct sa_class sas[WORLD_MAX]; /* [0] out, [1] in: what is latched */
	size_t sa_count;
	struct clatch_tuple tuple; /* 10.9.0.1:40000 to 10.9.0.2:5000, TCP */
	struct clatch_latch latch;
	struct latch_side in;
	struct latch_side out;
	bool blocks_in; /* the SPD's defaults */
	bool blocks_out;
};

struct world_row {
	const char *name;
	void (*arrange)(struct world *w);
	__u8 causes; /* all that follow: as in struct conflict */
	__u8 direction;
	__u8 reason;
	__u32 fields;
	__u8 flags;
};

#define POLICED_BOTH (CLATCH_POLICED_IN | CLATCH_POLICED_OUT)

/* The rest of a row: what an SA does to a latch. */
#define SA_IS(dir, what, seen) CLATCH_CAUSE_SA, dir, CLATCH_SA_MISMATCH, what, seen
#define NONE(seen) 0, 0, 0, 0, seen
#define SEEN POLICED_BOTH
#define ICV CLATCH_FIELD_ICV

static inline struct clatch_addr world_addr(const char *text)
{
	struct clatch_addr addr;

	if (strchr(text, ':'))
		inet_pton(AF_INET6, text, &addr);
	else
		addr_from_v4(&addr, inet_addr(text));
	return addr;
}

static inline void world_name(char name[CLATCH_ALG_LEN], const char *text)
{
	memset(name, 0, CLATCH_ALG_LEN);
	strcpy(name, text);
}

static inline struct spd_template world_template(void)
{
	return (struct spd_template){
		.proto = IPPROTO_ESP,
		.mode = XFRM_MODE_TRANSPORT,
		.reqid = REQID,
		.aalgos = ~0U,
		.ealgos = ~0U,
		.calgos = ~0U,
	};
}

/* For all of IPv4, one template, of the priority that policies [0] and [1] have. */
static inline struct spd_policy *world_policy(struct world *w, __u8 dir)
{
	struct spd_policy *p = &w->policies[w->policy_count];

	*p = (struct spd_policy){
		.selector = { .family = AF_INET },
		.dir = dir,
		.action = XFRM_POLICY_ALLOW,
		.count = 1,
		.priority = 1000,
		.age = w->policy_count++,
		.templates = { world_template() },
	};
	return p;
}

/* A wide one, ESP in transport mode. */
static inline struct sa_class *world_sa(struct world *w, enum clatch_dir direction)
{
	struct sa_class *sa = &w->sas[w->sa_count++];
	bool out = direction == CLATCH_OUT;

	*sa = (struct sa_class){
		.sa = { .suite = { .enc = "rfc4106(gcm(aes))",
				   .enc_key_bits = 160,
				   .icv_bits = 128,
				   .proto = IPPROTO_ESP,
				   .mode = XFRM_MODE_TRANSPORT,
				   .flags = CLATCH_SUITE_AEAD | CLATCH_SUITE_REPLAY },
			.spi = htonl(0x1000 + w->sa_count),
			.reqid = REQID,
			.src = world_addr(out ? "10.9.0.1" : "10.9.0.2"),
			.dst = world_addr(out ? "10.9.0.2" : "10.9.0.1") },
		.selector = { .family = AF_INET },
	};
	return sa;
}

/* Between these two hosts only. */
static inline void world_narrow(struct sa_class *sa)
{
	memcpy(&sa->selector.saddr, sa->sa.src.b + 12, 4);
	memcpy(&sa->selector.daddr, sa->sa.dst.b + 12, 4);
	sa->selector.prefixlen_s = 32;
	sa->selector.prefixlen_d = 32;
}

static inline void world_latch(struct latch_side *side, const struct clatch_sa *sa)
{
	side->sa[side->count++] = *sa;
}

static inline void world_begin(struct world *w)
{
	*w = (struct world){
		.tuple = { .netns = 1,
			   .local = world_addr("10.9.0.1"),
			   .remote = world_addr("10.9.0.2"),
			   .local_port = 40000,
			   .remote_port = 5000,
			   .proto = IPPROTO_TCP },
		.latch = { .id = 1, .state = CLATCH_ESTABLISHED },
	};
	world_policy(w, XFRM_POLICY_OUT);
	world_policy(w, XFRM_POLICY_IN);
	world_latch(&w->out, &world_sa(w, CLATCH_OUT)->sa);
	world_latch(&w->in, &world_sa(w, CLATCH_IN)->sa);
}

static inline void world_judge(const struct world *w, struct conflict *found)
{
	const struct conflict_latch latch = { &w->tuple, &w->latch, &w->in, &w->out };
	struct sa_set *sas = sa_set_new();
	struct spd *spd = spd_new();

	assert_non_null(sas);
	assert_non_null(spd);
	assert_int_equal(spd_set(spd, w->policies, w->policy_count), 0);
	spd_set_default(spd, XFRM_POLICY_IN, w->blocks_in);
	spd_set_default(spd, XFRM_POLICY_OUT, w->blocks_out);
	for (size_t i = 0; i < w->sa_count; i++) {
		const struct clatch_sa *sa = &w->sas[i].sa;
		struct clatch_sa_key key = { 1, sa->dst, sa->spi, sa->suite.proto };

		assert_true(sa_set_put(sas, &key, &w->sas[i]) >= 0);
	}
	memset(found, 0x5a, sizeof(*found));
	conflict_judge(spd, sas, &latch, found);
	spd_close(spd);
	sa_set_free(sas);
}

static inline void world_check(const struct world_row *row)
{
	struct conflict c;
	struct world w;

	world_begin(&w);
	row->arrange(&w);
	world_judge(&w, &c);
	if (c.causes != row->causes || c.direction != row->direction || c.reason != row->reason ||
	    c.fields != row->fields || c.flags != row->flags)
		fail_msg("row '%s': causes %#x direction %u reason %u fields %#x flags %#x",
			 row->name, c.causes, c.direction, c.reason, c.fields, c.flags);
	assert_row(row->name,
		   c.got_count == (c.reason == CLATCH_SA_MISMATCH || c.reason == CLATCH_PEER_ID));
}

#endif
