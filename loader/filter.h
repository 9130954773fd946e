/* SPDX-License-Identifier: GPL-2.0-only */
/* Which latches a user means. */
#ifndef CLATCH_FILTER_H
#define CLATCH_FILTER_H

#include <clatch/latch.h>
#include <stdbool.h>

#define FILTER_ENDPOINT "ADDR[/LEN][:PORT]"

/* Some addresses and ports; all zero = any. */
struct filter_endpoint {
	struct clatch_addr addr;
	unsigned int bits; /* length of the prefix out of 128; IPv4's is 96 more; 0 = any */
	bool has_port;
	__u16 port;
};

struct filter {
	struct filter_endpoint local;
	struct filter_endpoint remote;
	unsigned int states; /* 1 << enum clatch_state, ored; 0 = any */
	__u32 proto; /* 0 = any */
	bool has_id;
	__u64 id;
};

/*
 * ADDR, ADDR/LEN, ADDR:PORT, ADDR/LEN:PORT or :PORT; with a port an IPv6 address stands in
 * brackets, [2001:db8::]/32:80.  0, or -EINVAL with *endpoint as it was.
 */
int filter_parse_endpoint(struct filter_endpoint *endpoint, const char *text);
/* A latch's number; likewise. */
int filter_parse_id(__u64 *id, const char *text);
/* NONE is no state that a latch could be seen in. */
int filter_parse_state(unsigned int *states, const char *text);
/* tcp, udp, sctp */
int filter_parse_proto(__u32 *proto, const char *text);

bool filter_matches(const struct filter *f, const struct clatch_tuple *tuple,
		    const struct clatch_latch *latch);

#endif
