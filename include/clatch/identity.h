/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who is at the two ends of an SA: identities as IKE authenticated them, interned as small integers
 * (RFC 5660 R33).  Shared by bpf/ and loader/; user space fills the table, the packet path compares
 * the numbers.
 */
#ifndef CLATCH_IDENTITY_H
#define CLATCH_IDENTITY_H

#include <linux/types.h>

#define CLATCH_MAX_IDS 65535 /* numbers from 1; 0 = not known */
#define CLATCH_ID_TEXT 512 /* NUL included; what is longer cannot be known */

/* Both ends of one SA.  Numbers of clatch_ids; what IKE did not tell is 0. */
struct clatch_who {
	__u16 local_id;
	__u16 peer_id;
};

/* Is another at an end of one than at the same end of the other?  Whoever is not known may be anyone. */
static inline __attribute__((always_inline)) int clatch_who_differs(struct clatch_who a,
								    struct clatch_who b)
{
	return (a.peer_id && b.peer_id && a.peer_id != b.peer_id) ||
	       (a.local_id && b.local_id && a.local_id != b.local_id);
}

/* Value of clatch_ids.  An entry never changes, and goes only with the whole table. */
struct clatch_id {
	char text[CLATCH_ID_TEXT]; /* as the IKE daemon prints it; zeroes behind its end */
	__u64 seal; /* clatch_id_seal(): tells that the entry is not damaged */
};

/* Of the entry @number.  Not a secret: it is to notice an accident, not an administrator. */
static inline __u64 clatch_id_seal(__u32 number, const char text[CLATCH_ID_TEXT])
{
	__u64 hash = 0xcbf29ce484222325ULL ^ number; /* FNV-1a */

	for (int i = 0; i < CLATCH_ID_TEXT; i++)
		hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3ULL;
	return hash;
}

_Static_assert(sizeof(struct clatch_who) == 4, "read and written as one word");
_Static_assert(sizeof(struct clatch_id) == CLATCH_ID_TEXT + 8, "layout shared with pinned maps");

#endif
