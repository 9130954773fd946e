/* SPDX-License-Identifier: GPL-2.0-only */
/* What a suite's algorithms come to.  Shared by bpf/ and loader/. */
#ifndef CLATCH_SUITE_H
#define CLATCH_SUITE_H

#include "sa.h"

/* Does a kernel name begin with these eight characters?  The kernel's templates differ in them. */
static inline __attribute__((always_inline)) int clatch_name_begins(const char *name,
								    const char *eight)
{
	for (int i = 0; i < 8; i++)
		if (name[i] != eight[i])
			return 0;
	return 1;
}

/* Bits of salt or nonce that follow the key, which the kernel counts with it (their RFCs). */
static inline __attribute__((always_inline)) __u32 clatch_salt_bits(const char *enc)
{
	if (clatch_name_begins(enc, "rfc4309(")) /* CCM */
		return 24;
	if (clatch_name_begins(enc, "rfc4106(") || /* GCM */
	    clatch_name_begins(enc, "rfc4543(") || /* GMAC */
	    clatch_name_begins(enc, "rfc7539e") || /* ChaCha20-Poly1305 */
	    clatch_name_begins(enc, "rfc3686(")) /* CTR */
		return 32;
	return 0;
}

/* Of the cipher or AEAD, its salt not counted.  0: none, or the null cipher. */
static inline __attribute__((always_inline)) __u32 clatch_key_bits(const struct clatch_suite *s)
{
	__u32 salt = clatch_salt_bits(s->enc);

	return s->enc_key_bits > salt ? s->enc_key_bits - salt : 0;
}

/* GMAC has a key, and encrypts nothing (RFC 4543). */
static inline __attribute__((always_inline)) int clatch_encrypts(const struct clatch_suite *s)
{
	return clatch_key_bits(s) && !clatch_name_begins(s->enc, "rfc4543(");
}

#endif
