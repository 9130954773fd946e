/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The parameters of one SA: read from live kernel memory at every packet, so that nothing can go
 * stale, and compared with what a latch recorded.
 */
#ifndef CLATCH_BPF_SA_H
#define CLATCH_BPF_SA_H

#include "maps.h"
#include "packet.h"

/* The facts of one SA that decide whether two SAs are congruent: how a struct clatch_sa begins. */
struct sa_facts {
	struct clatch_suite suite;
	__be32 spi;
	__u32 reqid;
	__u32 if_id;
	__u32 pad;
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
		if (plain_loads) {                                                                 \
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
		aead = kcast(struct xfrm_algo_aead, aead);
		alg_name(s->enc, aead);
		s->enc_key_bits = kread(aead, alg_key_len);
		s->icv_bits = kread(aead, alg_icv_len);
		s->flags |= CLATCH_SUITE_AEAD;
		return;
	}
	enc = kread(x, ealg);
	if (enc) {
		enc = kcast(struct xfrm_algo, enc);
		alg_name(s->enc, enc);
		s->enc_key_bits = kread(enc, alg_key_len);
	}
	auth = kread(x, aalg);
	if (auth) {
		auth = kcast(struct xfrm_algo_auth, auth);
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
	esn = kcast(struct xfrm_replay_state_esn, esn);
	return kread(esn, replay_window);
}

static __always_inline void sa_read(struct sa_facts *f, struct xfrm_state *x)
{
	struct xfrm_encap_tmpl *encap = kread(x, encap);

	suite_algorithms(&f->suite, x);
	f->suite.proto = kread(x, id.proto);
	f->suite.mode = kread(x, props.mode);
	if (encap) {
		encap = kcast(struct xfrm_encap_tmpl, encap);
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

/* 6.1 takes a key from the stack only, not from memory that a function was given. */
static __always_inline struct clatch_sa *sa_table_find(const struct clatch_sa_key *key)
{
	struct clatch_sa_key copy = *key;

	return bpf_map_lookup_elem(&clatch_sas, &copy);
}

/* Into a zeroed @f: the facts of the SA at @address, or, where that is 0, of the table's @key. */
verified_once int sa_facts(struct sa_facts *f, __u64 address, const struct clatch_sa_key *key)
{
	struct clatch_sa *entry;

	if (!f || !key)
		return 0;
	if (address) {
		sa_read(f, kcast(struct xfrm_state, address));
		return 0;
	}
	entry = sa_table_find(key);
	if (!entry)
		return 0; /* just deleted: all zero is congruent with nothing */
	f->suite = entry->suite;
	f->reqid = entry->reqid;
	f->if_id = entry->if_id;
	f->spi = entry->spi;
	return 0;
}

static __always_inline void addr_xfrm(struct clatch_addr *a, xfrm_address_t x, __u16 family)
{
	if (family == AF_INET) {
		addr_v4(a, x.a4);
		return;
	}
	addr_v6(a, x.a6);
}

/* The index of a suite in clatch_suites, given one if it is new.  0 = the table is full. */
static __always_inline __u32 suite_intern(const struct clatch_suite *suite)
{
	static __u32 last;
	__u32 *known, id;

	known = bpf_map_lookup_elem(&clatch_suite_ids, suite);
	if (known)
		return *known;
	id = __sync_fetch_and_add(&last, 1) + 1;
	if (bpf_map_update_elem(&clatch_suites, &id, suite, BPF_EXIST))
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

/* How a live name differs from a latched one, up to the word in which the latched one ends. */
static __always_inline __u64 name_differs(const char *latched, const char *live)
{
	const __u64 *x = (const __u64 *)latched, *y = (const __u64 *)live;
	__u64 differ = 0;

#pragma unroll
	for (int i = 0; i < CLATCH_ALG_LEN / 8; i++) {
		differ |= x[i] ^ y[i];
		if (!(x[i] >> 56))
			break;
	}
	return differ;
}

/*
 * The quick answer, for plain loads: true is certain, false asks for sa_congruent() (which also
 * knows that what stands behind a name's end means nothing).  A null pointer reads as zero.
 */
static __always_inline bool sa_equal(__u64 address, struct clatch_sa_ref *ref)
{
	struct xfrm_state *x = kcast(struct xfrm_state, address);
	struct xfrm_replay_state_esn *esn;
	struct xfrm_encap_tmpl *encap;
	struct clatch_suite *suite;
	__u32 id = ref->suite, flags;
	__u64 differ;

	suite = bpf_map_lookup_elem(&clatch_suites, &id);
	if (!suite)
		return false;
	flags = kread(x, props.flags) & XFRM_STATE_ESN ? CLATCH_SUITE_ESN : 0;
	esn = kread(x, replay_esn);
	if (esn ? kread(kcast(struct xfrm_replay_state_esn, esn), replay_window) :
		  kread(x, props.replay_window))
		flags |= CLATCH_SUITE_REPLAY;
	encap = kread(x, encap);
	differ = encap ? kread(kcast(struct xfrm_encap_tmpl, encap), encap_type) : 0;
	differ ^= suite->encap;
	if (suite->flags & CLATCH_SUITE_AEAD) {
		struct xfrm_algo_aead *aead = kcast(struct xfrm_algo_aead, kread(x, aead));

		flags |= CLATCH_SUITE_AEAD;
		differ |= name_differs(suite->enc, aead->alg_name);
		differ |= kread(aead, alg_key_len) ^ suite->enc_key_bits;
		differ |= kread(aead, alg_icv_len) ^ suite->icv_bits;
	} else {
		struct xfrm_algo *enc = kcast(struct xfrm_algo, kread(x, ealg));
		struct xfrm_algo_auth *auth = kcast(struct xfrm_algo_auth, kread(x, aalg));

		differ |= name_differs(suite->enc, enc->alg_name);
		differ |= name_differs(suite->auth, auth->alg_name);
		differ |= kread(enc, alg_key_len) ^ suite->enc_key_bits;
		differ |= kread(auth, alg_key_len) ^ suite->auth_key_bits;
		differ |= kread(auth, alg_trunc_len) ^ suite->icv_bits;
	}
	differ |= (flags ^ suite->flags) | (kread(x, id.proto) ^ suite->proto);
	differ |= (kread(x, props.mode) ^ suite->mode) | (kread(x, props.reqid) ^ ref->reqid);
	differ |= kread(x, if_id) ^ ref->if_id;
	return !differ && kread(x, id.spi) == ref->spi;
}

/* Does this SA protect as the latched one did?  Notes its SPI, which is shown. */
verified_once int sa_congruent(__u64 address, const struct clatch_sa_key *key,
			       struct clatch_sa_ref *ref)
{
	struct clatch_suite *suite;
	struct sa_facts f = {};
	__u32 id;

	if (!ref)
		return 0;
	id = ref->suite;
	suite = bpf_map_lookup_elem(&clatch_suites, &id);
	if (!suite)
		return 0;
	sa_facts(&f, address, key);
	if (f.reqid != ref->reqid || f.if_id != ref->if_id || !suite_equal(&f.suite, suite))
		return 0;
	if (ref->spi != f.spi)
		ref->spi = f.spi;
	return 1;
}

#endif
