/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who is at the two ends of an SA (clatch/identity.h), and whether that is who a latch knows, or
 * whom its rule asks for.
 */
#ifndef CLATCH_BPF_IDENTITY_H
#define CLATCH_BPF_IDENTITY_H

#include "packet.h"
#include "rule.h"
#include <clatch/glob.h>

#define TAG_KEY_BITS                                                                               \
	128 /* how much of a key is hashed; all that encrypts or authenticates has it */

/* A key is as long as its algorithm wants it, which no type says: so it is read by the helper. */
#define key_of(alg)                                                                                \
	(kread(alg, alg_key_len) < TAG_KEY_BITS                                                    \
		 ? 0                                                                               \
		 : (__u64)(alg) + bpf_core_field_offset(typeof(*(alg)), alg_key))

static __always_inline __u64 sa_key_address(struct xfrm_state *x)
{
	struct xfrm_algo_aead *aead = kread(x, aead);
	struct xfrm_algo_auth *auth = kread(x, aalg);
	struct xfrm_algo *enc = kread(x, ealg);
	__u64 key = aead ? key_of(aead) : 0;

	if (!key && auth)
		key = key_of(auth);
	if (!key && enc)
		key = key_of(enc);
	return key;
}

/* The key_tag of the SA at @address. */
verified_once __u32 sa_key_tag(__u64 address)
{
	struct xfrm_state *x = kcast(struct xfrm_state, address);
	__u64 at = sa_key_address(x), key[2] = {};

	if (!at)
		return clatch_key_tag(kread(x, curlft.add_time), 0);
	bpf_probe_read_kernel(key, sizeof(key), (void *)at);
	return clatch_key_tag(key[0], key[1]);
}

/* What either says; where both do, they must agree. */
static __always_inline struct clatch_who who_merge(struct clatch_who a, struct clatch_who b)
{
	struct clatch_who both = {
		.local_id = a.local_id ? a.local_id : b.local_id,
		.peer_id = a.peer_id ? a.peer_id : b.peer_id,
	};

	return both;
}

/* Is @found, of a packet's SA, who @held is?  Whoever is known must be known there too. */
static __always_inline enum clatch_reason who_check(struct clatch_who held, struct clatch_who found)
{
	if (clatch_who_differs(held, found))
		return CLATCH_PEER_ID;
	if ((held.peer_id && !found.peer_id) || (held.local_id && !found.local_id))
		return CLATCH_IDENTITY_UNKNOWN;
	return CLATCH_OK;
}

/*
 * What the table says is about to be relied on: `run` is woken up to look whether it is sound.  Its
 * record is too short for an event.
 */
verified_once int ids_note_use(void)
{
	__u32 zero = 0, record = 0, *used = bpf_map_lookup_elem(&clatch_ids_used, &zero);

	if (!used || *(volatile __u32 *)used || __sync_lock_test_and_set(used, 1))
		return 0;
	if (bpf_ringbuf_output(&clatch_events, &record, sizeof(record), 0))
		__sync_lock_test_and_set(used, 0);
	return 0;
}

/* What clatch_ids says of a @number. */
static __always_inline struct clatch_id *id_get(__u32 number)
{
	if (!number)
		return NULL;
	ids_note_use();
	return bpf_map_lookup_elem(&clatch_ids, &number);
}

static long glob_step(__u32 index, struct clatch_glob *g)
{
	int step = clatch_glob_step(g, CLATCH_ID_TEXT);

	(void)index;
	if (step == CLATCH_GLOB_ON)
		return 0;
	g->star = step; /* is not needed any more */
	return 1;
}

/* Does identity @number match the @pattern of a rule? */
static __always_inline enum clatch_reason id_check(const char *pattern, __u32 number)
{
	struct clatch_id *id;
	struct clatch_glob g = { .pattern = pattern };

	g.p = g.t = g.star = g.from = unknown_zero();
	if (!pattern[0])
		return CLATCH_OK;
	id = id_get(number);
	if (!id)
		return CLATCH_IDENTITY_UNKNOWN;
	g.text = id->text;
	bpf_loop(CLATCH_GLOB_STEPS, glob_step, &g, 0);
	return g.star == CLATCH_GLOB_MATCH ? CLATCH_OK : CLATCH_PEER_ID;
}

#endif
