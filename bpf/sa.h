/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The parameters of one SA: read from live kernel memory at every packet, so that nothing can go
 * stale, and compared with what a latch recorded.
 */
#ifndef CLATCH_BPF_SA_H
#define CLATCH_BPF_SA_H

#include "identity.h"
#include "packet.h"

/* The facts of one SA that decide whether two SAs are congruent: how a struct clatch_sa begins. */
struct sa_facts {
	struct clatch_suite suite;
	__be32 spi;
	__u32 reqid;
	__u32 if_id;
	struct clatch_who who;
};
_Static_assert(sizeof(struct sa_facts) == __builtin_offsetof(struct clatch_sa, src), "a prefix");

/*
 * Copies an algorithm's name as whole words and clears what stands behind its end: user space
 * hands the kernel 64 bytes, of which only those up to the NUL mean anything.
 */
static __always_inline void alg_name_words(__u64 *to, const __u64 *from)
{
	bool ended = false;

	_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "finds the first NUL of a word");
#pragma unroll
	for (int i = 0; i < CLATCH_ALG_LEN / 8; i++) {
		__u64 word = ended ? 0 : from[i];
		__u64 nul = (word - 0x0101010101010101ULL) & ~word & 0x8080808080808080ULL;

		if (nul) {
			word &= ((nul & -nul) >> 7) - 1;
			ended = true;
		}
		to[i] = word;
	}
}

#define alg_name(to, alg)                                                                          \
	do {                                                                                       \
		if (PLAIN_LOADS) {                                                                 \
			alg_name_words((__u64 *)(to), (const __u64 *)(alg)->alg_name);             \
		} else {                                                                           \
			bpf_probe_read_kernel(to, CLATCH_ALG_LEN, (alg)->alg_name);                \
			alg_name_words((__u64 *)(to), (const __u64 *)(to));                        \
		}                                                                                  \
	} while (0)

static __always_inline void suite_algorithms(struct clatch_suite *s, struct xfrm_state *x)
{
	struct xfrm_algo_aead *aead = kread(x, aead);
	struct xfrm_algo_auth *auth;
	struct xfrm_algo *enc;

	if (aead) {
		alg_name(s->enc, aead);
		s->enc_key_bits = kread(aead, alg_key_len);
		s->icv_bits = kread(aead, alg_icv_len);
		s->flags |= CLATCH_SUITE_AEAD;
		return;
	}
	enc = kread(x, ealg);
	if (enc) {
		alg_name(s->enc, enc);
		s->enc_key_bits = kread(enc, alg_key_len);
	}
	auth = kread(x, aalg);
	if (auth) {
		alg_name(s->auth, auth);
		s->auth_key_bits = kread(auth, alg_key_len);
		s->icv_bits = kread(auth, alg_trunc_len);
	}
}

static __always_inline bool replay_on(struct xfrm_state *x)
{
	struct xfrm_replay_state_esn *esn = kread(x, replay_esn);

	if (!esn)
		return kread(x, props.replay_window);
	return kread(esn, replay_window);
}

static __always_inline void sa_read(struct sa_facts *f, struct xfrm_state *x)
{
	struct xfrm_encap_tmpl *encap = kread(x, encap);

	suite_algorithms(&f->suite, x);
	f->suite.proto = kread(x, id.proto);
	f->suite.mode = kread(x, props.mode);
	if (encap) {
		f->suite.encap = kread(encap, encap_type);
	}
	if (kread(x, props.flags) & XFRM_STATE_ESN)
		f->suite.flags |= CLATCH_SUITE_ESN;
	if (replay_on(x))
		f->suite.flags |= CLATCH_SUITE_REPLAY;
	f->reqid = kread(x, props.reqid);
	f->if_id = kread(x, if_id);
	f->spi = kread(x, id.spi);
}

static __always_inline void addr_xfrm(struct clatch_addr *a, xfrm_address_t x, __u16 family)
{
	if (family == AF_INET) {
		addr_v4(a, x.a4);
		return;
	}
	addr_v6(a, x.a6);
}

/*
 * Who is at the ends of the SA at @address, whose key has this @tag, by the SA table: a struct
 * clatch_who, as a number.  Its SPI may have been another SA's, whose entry is there still.
 */
verified_once __u32 sa_told(__u64 address, __u32 tag)
{
	struct xfrm_state *x = kcast(struct xfrm_state, address);
	struct clatch_sa_key key = {};
	struct clatch_sa *entry;

	key.netns = net_cookie(kread(x, xs_net.net));
	addr_xfrm(&key.dst, kread(x, id.daddr), kread(x, props.family));
	key.spi = kread(x, id.spi);
	key.proto = kread(x, id.proto);
	entry = bpf_map_lookup_elem(&clatch_sas, &key);
	if (!entry || entry->key_tag != tag)
		return 0;
	return entry->who.local_id | (__u32)entry->who.peer_id << 16;
}

/* 6.1 takes a key from the stack only, not from memory that a function was given. */
static __always_inline struct clatch_sa *sa_table_find(const struct clatch_sa_key *key)
{
	struct clatch_sa_key copy = *key;

	return bpf_map_lookup_elem(&clatch_sas, &copy);
}

/*
 * Into a zeroed @f, from the SA table.  A function of its own, as one load cannot serve for the
 * table's memory and the kernel's.
 */
verified_once int table_facts(struct sa_facts *f, const struct clatch_sa_key *key)
{
	struct clatch_sa *entry;

	if (!f || !key)
		return 0;
	entry = sa_table_find(key);
	if (entry)
		*f = *(struct sa_facts *)entry;
	return 0; /* just deleted: all zero is congruent with nothing */
}

/* Into a zeroed @f: the facts of the SA at @address, or, where that is 0, of the table's @key. */
verified_once int sa_facts(struct sa_facts *f, __u64 address, const struct clatch_sa_key *key)
{
	if (!f || !key)
		return 0;
	if (address)
		sa_read(f, kcast(struct xfrm_state, address));
	else
		table_facts(f, key);
	return 0;
}

/*
 * The same, and who its ends are.  Not of an SA that only the table has: nothing shows that the
 * packet is of the same.  Functions one after the other, so that their stacks do not add up.
 */
static __always_inline void sa_know(struct sa_facts *f, __u64 address,
				    const struct clatch_sa_key *key)
{
	__u32 who;

	sa_facts(f, address, key);
	who = address ? sa_told(address, sa_key_tag(address)) : 0;
	f->who.local_id = who;
	f->who.peer_id = who >> 16;
}

/* The index of a suite in clatch_suites, given one if it is new.  0 = the table is full. */
static __always_inline __u32 suite_intern(const struct clatch_suite *suite)
{
	__u32 *known, id;

	known = bpf_map_lookup_elem(&clatch_suite_ids, suite);
	if (known)
		return *known;
	id = count_up(CLATCH_LAST_SUITE, CLATCH_MAX_SUITES - 1);
	if (!id || bpf_map_update_elem(&clatch_suites, &id, suite, BPF_EXIST))
		return 0;
	if (!bpf_map_update_elem(&clatch_suite_ids, suite, &id, BPF_NOEXIST))
		return id;
	known = bpf_map_lookup_elem(&clatch_suite_ids, suite); /* another CPU was first */
	return known ? *known : 0;
}

static __always_inline bool suite_equal(const struct clatch_suite *a, const struct clatch_suite *b)
{
	const __u64 *x = (const void *)a, *y = (const void *)b;
	__u64 differ = 0;

#pragma unroll
	for (int i = 0; i < (int)(sizeof(*a) / sizeof(*x)); i++)
		differ |= x[i] ^ y[i];
	return !differ;
}

/* An SA, by its SPI, and a latch. */
static __always_inline __u64 sa_of(__be32 spi, __u64 latch)
{
	return latch << 32 | spi;
}

/*
 * Is this the very SA that was found congruent before, unchanged?  Its memory and its SPI may be
 * used again, within the same second even; what cannot come back is the time, in nanoseconds, to
 * which its lifetime timer is set: when the SA is inserted, when it is updated, and when the
 * timer runs.  Two things may change without it: what was told of its identity, and then there is
 * another generation; and the replay window, where the kernel keeps it in replay_esn, which user space
 * may write over (XFRM_MSG_NEWAE).  Elsewhere it stays as the SA was made.  @spi was just read from @x.
 */
static __always_inline bool sa_verified(const volatile struct clatch_verified *v, __u64 latch,
					struct xfrm_state *x, __be32 spi)
{
	struct xfrm_replay_state_esn *esn;

	if (v->of != sa_of(spi, latch) || v->generation != clatch_generation ||
	    v->expires != kread(x, mtimer.node.expires))
		return false;
	esn = kread(x, replay_esn);
	return !esn || v->replay_window == kread(esn, replay_window);
}

/*
 * What is written there while an SA is compared, so that no other CPU writes as well, and that it is seen
 * if what it is compared with changes meanwhile: then others write 0.  No latch's, as none has id 0.
 */
static __always_inline __u64 sa_verifying(void)
{
	return bpf_get_smp_processor_id() + 1;
}

/* Before the comparison: true if its result may be remembered.  @before: for sa_verify_end(). */
static __always_inline bool sa_verify_begin(struct clatch_verified *v, __u64 *before)
{
	*before = *(volatile __u64 *)&v->of;
	if (*before && !(*before >> 32))
		return false;
	return __sync_val_compare_and_swap(&v->of, *before, sa_verifying()) == *before;
}

static __always_inline void sa_verify_end(struct clatch_verified *v, __u64 of)
{
	__sync_val_compare_and_swap(&v->of, sa_verifying(), of);
}

/*
 * It was found congruent.  @v may be another latch's by now, whose slot it is: so it says of which latch
 * this was found.  Written in the order that sa_verified() reads against: where loads are not reordered,
 * who sees a later SA's generation sees its time too.
 */
static __always_inline void sa_verify(struct clatch_verified *v, __u64 latch, struct xfrm_state *x,
				      __u32 generation)
{
	struct xfrm_replay_state_esn *esn = kread(x, replay_esn);
	volatile struct clatch_verified *to = v;

	to->expires = kread(x, mtimer.node.expires);
	to->generation = generation;
	to->replay_window = esn ? kread(esn, replay_window) : 0;
	sa_verify_end(v, sa_of(kread(x, id.spi), latch));
}

/* What is shown of the latched SA, and who its ends are once it is known. */
static __always_inline void sa_note(struct clatch_sa_ref *ref, const struct sa_facts *f,
				    struct clatch_who held)
{
	if (ref->spi != f->spi)
		ref->spi = f->spi;
	if (!held.peer_id && !held.local_id)
		return;
	ref->who = held;
	ref->reqid = f->reqid;
	ref->if_id = f->if_id;
}

/*
 * Does this SA protect as the latched one, @ref, did, and is the same peer behind it?  @other is
 * what is latched in the other direction, whose ends are the same two.  As long as nobody is known,
 * reqid and if_id stand in.  An enum clatch_reason.
 */
verified_once int sa_check(__u64 address, const struct clatch_sa_key *key,
			   struct clatch_sa_ref *ref, const struct clatch_sa_ref *other)
{
	struct clatch_who held;
	struct clatch_suite *suite;
	struct sa_facts f = {};
	enum clatch_reason who;
	__u32 id;

	if (!ref || !other)
		return CLATCH_SA_MISMATCH;
	id = ref->suite;
	suite = bpf_map_lookup_elem(&clatch_suites, &id);
	if (!suite)
		return CLATCH_SA_MISMATCH;
	sa_know(&f, address, key);
	held = who_merge(ref->who, other->who);
	who = clatch_who_differs(ref->who, other->who) ? CLATCH_PEER_ID : who_check(held, f.who);
	if (who == CLATCH_PEER_ID)
		return who;
	if (!suite_equal(&f.suite, suite))
		return CLATCH_SA_MISMATCH;
	if (who != CLATCH_OK)
		return who;
	if (!held.peer_id && (f.reqid != ref->reqid || f.if_id != ref->if_id))
		return CLATCH_SA_MISMATCH;
	sa_note(ref, &f, who_merge(held, f.who));
	return CLATCH_OK;
}

#endif
