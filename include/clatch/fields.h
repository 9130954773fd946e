/* SPDX-License-Identifier: GPL-2.0-only */
/* In what two SAs differ, as enum clatch_field.  Shared by bpf/ and loader/. */
#ifndef CLATCH_FIELDS_H
#define CLATCH_FIELDS_H

#include "sa.h"

static inline __attribute__((always_inline)) __u32 clatch_names_differ(const char *a, const char *b)
{
	const __u64 *x = (const void *)a, *y = (const void *)b;

	_Static_assert(CLATCH_ALG_LEN == 4 * sizeof(__u64), "four words");
	return x[0] != y[0] || x[1] != y[1] || x[2] != y[2] || x[3] != y[3];
}

static inline __attribute__((always_inline)) int clatch_differ(__u16 a, __u16 b)
{
	return a && b && a != b;
}

static inline __attribute__((always_inline)) __u32 clatch_ends_differ(struct clatch_who a,
								      struct clatch_who b)
{
	return (clatch_differ(a.local_id, b.local_id) ? CLATCH_FIELD_LOCAL_ID : 0) |
	       (clatch_differ(a.peer_id, b.peer_id) ? CLATCH_FIELD_PEER_ID : 0);
}

/* Of whoever is known at both, or else of what stands in. */
static inline __attribute__((always_inline)) __u32 clatch_who_fields(const struct clatch_sa *a,
								     const struct clatch_sa *b)
{
	__u32 fields = clatch_ends_differ(a->who, b->who);

	if (a->who.peer_id)
		return fields;
	fields |= a->reqid != b->reqid ? CLATCH_FIELD_REQID : 0;
	fields |= a->if_id != b->if_id ? CLATCH_FIELD_IF_ID : 0;
	return fields;
}

/* @a: what is latched; @b: what was found. */
static inline __attribute__((always_inline)) __u32 clatch_fields(const struct clatch_sa *a,
								 const struct clatch_sa *b)
{
	const struct clatch_suite *x = &a->suite, *y = &b->suite;
	__u8 flags = x->flags ^ y->flags;
	__u32 fields = clatch_who_fields(a, b);

	fields |= x->proto != y->proto ? CLATCH_FIELD_PROTO : 0;
	fields |= x->mode != y->mode ? CLATCH_FIELD_MODE : 0;
	fields |= clatch_names_differ(x->enc, y->enc) ? CLATCH_FIELD_ENC : 0;
	fields |= x->enc_key_bits != y->enc_key_bits ? CLATCH_FIELD_ENC_KEY : 0;
	fields |= clatch_names_differ(x->auth, y->auth) ? CLATCH_FIELD_AUTH : 0;
	fields |= x->auth_key_bits != y->auth_key_bits ? CLATCH_FIELD_AUTH_KEY : 0;
	fields |= x->icv_bits != y->icv_bits ? CLATCH_FIELD_ICV : 0;
	fields |= flags & CLATCH_SUITE_ESN ? CLATCH_FIELD_ESN : 0;
	fields |= flags & CLATCH_SUITE_REPLAY ? CLATCH_FIELD_REPLAY : 0;
	fields |= x->encap != y->encap ? CLATCH_FIELD_ENCAP : 0;
	return fields;
}

#endif
