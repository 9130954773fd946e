/* SPDX-License-Identifier: GPL-2.0-only */
/* What the tests of the output have in common: a latch's parts, and what they look like. */
#ifndef CLATCH_UNIT_OUTPUT_PARTS_H
#define CLATCH_UNIT_OUTPUT_PARTS_H

#include "test.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "addr.h"
#include "output.h"

#define NOON 1769860800000000000LL /* 2026-01-31T12:00:00Z */

/* What an output printed. */
struct printed {
	struct output out;
	char *text;
	size_t size;
};

static inline void begin(struct printed *p, bool json)
{
	p->out = (struct output){ .file = open_memstream(&p->text, &p->size),
				  .json = json,
				  .utc_offset = NOON };
}

static inline void expect(struct printed *p, const char *expected)
{
	assert_int_equal(output_flush(&p->out), 0);
	fclose(p->out.file);
	assert_string_equal(p->text, expected);
	free(p->text);
}

static inline struct clatch_addr v4(const char *text)
{
	struct clatch_addr addr;

	addr_from_v4(&addr, inet_addr(text));
	return addr;
}

static inline struct clatch_sa gcm(void)
{
	return (struct clatch_sa){
		.suite = { .enc = "rfc4106(gcm(aes))",
			   .enc_key_bits = 160,
			   .icv_bits = 128,
			   .proto = IPPROTO_ESP,
			   .flags = CLATCH_SUITE_AEAD | CLATCH_SUITE_REPLAY },
		.spi = htonl(0x2001),
		.reqid = 7,
		.src = v4("10.9.0.2"),
		.dst = v4("10.9.0.1"),
	};
}

static inline struct clatch_tuple tuple(void)
{
	return (struct clatch_tuple){ .netns = 1,
				      .local = v4("10.9.0.1"),
				      .remote = v4("10.9.0.2"),
				      .local_port = 40000,
				      .remote_port = 5000,
				      .proto = IPPROTO_TCP };
}

/* A listener of all addresses. */
static inline struct clatch_tuple listener_tuple(void)
{
	return (struct clatch_tuple){
		.netns = 1, .local = v4("0.0.0.0"), .local_port = 5432, .proto = IPPROTO_SCTP
	};
}

/* Nothing is known of the ends but, at most, their names. */
static const struct latch_proof nothing;

#define GCM_WITHOUT_ADDRS                                                                          \
	"{\"proto\":\"esp\",\"mode\":\"transport\",\"aead\":\"rfc4106(gcm(aes))\","                \
	"\"aead_key_bits\":128,\"icv_bits\":128,\"esn\":false,\"replay\":true,\"encap\":null,"     \
	"\"reqid\":7,\"if_id\":0,\"spi\":\"0x00002001\","
#define NO_IDS "\"local_id\":null,\"peer_id\":null"
#define GCM GCM_WITHOUT_ADDRS "\"src\":\"10.9.0.2\",\"dst\":\"10.9.0.1\"," NO_IDS "}"
#define TUPLE                                                                                      \
	"\"proto\":\"tcp\",\"local\":{\"addr\":\"10.9.0.1\",\"port\":40000},"                      \
	"\"remote\":{\"addr\":\"10.9.0.2\",\"port\":5000},"

#endif
