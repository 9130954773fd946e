/* SPDX-License-Identifier: GPL-2.0-only */
/* Identity tables of the tests' own: need CAP_BPF. */
#ifndef CLATCH_UNIT_IDS_MAP_H
#define CLATCH_UNIT_IDS_MAP_H

#include <bpf/bpf.h>
#include <clatch/identity.h>
#include <stdbool.h>
#include <string.h>

/* As clatch_ids, but for @size identities. */
static inline int ids_map(unsigned int size)
{
	return bpf_map_create(BPF_MAP_TYPE_HASH, "t_ids", sizeof(__u32), sizeof(struct clatch_id),
			      size, NULL);
}

/* NULL where @expected is. */
static inline bool is_text(const char *text, const char *expected)
{
	return text && expected ? !strcmp(text, expected) : !text && !expected;
}

#endif
