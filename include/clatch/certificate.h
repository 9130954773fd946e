/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is known of the certificate, or of the bare public key, that an end of an IKE SA
 * authenticated itself with.  For people and programs to read: no packet is judged by it.  A map's
 * value, so its size is fixed.
 */
#ifndef CLATCH_CERTIFICATE_H
#define CLATCH_CERTIFICATE_H

#include <linux/types.h>

#define CLATCH_DN_LEN 256
#define CLATCH_HASH_LEN 32 /* SHA-256 */

enum clatch_certificate_flags {
	/* else only the key is known, as it is bare, or in several certificates: the rest is 0 */
	CLATCH_CERTIFICATE_X509 = 1,
	CLATCH_CERTIFICATE_ANCHOR = 2, /* a trust anchor was found */
};

/* Names as strongSwan prints them, in ASCII, ended by a NUL; "…" at the end: the rest was cut off. */
struct clatch_certificate {
	char subject[CLATCH_DN_LEN];
	char issuer[CLATCH_DN_LEN];
	char anchor[CLATCH_DN_LEN]; /* its subject */
	__u8 fingerprint[CLATCH_HASH_LEN]; /* of the certificate in DER */
	__u8 anchor_fingerprint[CLATCH_HASH_LEN];
	__u8 key[CLATCH_HASH_LEN]; /* of the SubjectPublicKeyInfo in DER */
	__s64 not_before; /* UTC, in seconds since 1970 */
	__s64 not_after;
	__u8 flags; /* enum clatch_certificate_flags */
	__u8 pad[7];
};

_Static_assert(sizeof(struct clatch_certificate) == 888, "layout shared with pinned maps");

#endif
