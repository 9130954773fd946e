// SPDX-License-Identifier: GPL-2.0-only
#include "spd_index.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "spd_order.h"

#define CHUNK 1024 /* policies; the bits of one take half a megabyte at most for each field */
#define WORD 64 /* bits */

enum field { SRC, DST, SPORT, DPORT, PROTO, IFINDEX, MARK, IF_ID, FIELDS };

/* Of any field: an address fills both. */
struct value {
	__u64 high, low;
};

struct range {
	struct value first, last;
};

/* One field, cut into intervals. */
struct axis {
	struct value *starts; /* of the intervals, ascending, the first is 0 */
	size_t count;
	__u64 *bits; /* for each interval as many words as the chunk has */
};

/* Some policies of one direction, in the kernel's order. */
struct chunk {
	const struct spd_policy **policies;
	size_t count;
	size_t words;
	__u8 dir;
	struct axis axes[FIELDS];
};

struct spd_index {
	const struct spd_policy **policies; /* by direction, then in the kernel's order */
	size_t count;
	struct chunk *chunks;
	size_t chunk_count;
	enum spd_ties ties;
	const struct spd_policy *first_inexact[XFRM_POLICY_MAX];
};

static struct value value_of_addr(const struct clatch_addr *addr)
{
	__u64 words[2];

	memcpy(words, addr, sizeof(words));
	return (struct value){ be64toh(words[0]), be64toh(words[1]) };
}

static struct value value_of(const struct spd_flow *flow, enum field field)
{
	switch (field) {
	case SRC:
		return value_of_addr(&flow->src);
	case DST:
		return value_of_addr(&flow->dst);
	case SPORT:
		return (struct value){ 0, flow->sport };
	case DPORT:
		return (struct value){ 0, flow->dport };
	case PROTO:
		return (struct value){ 0, flow->proto };
	case IFINDEX:
		return (struct value){ 0, flow->ifindex };
	case MARK:
		return (struct value){ 0, flow->mark };
	default:
		return (struct value){ 0, flow->if_id };
	}
}

/* The @bits low ones. */
static __u64 ones(unsigned int bits)
{
	return bits >= WORD ? ~0ULL : (1ULL << bits) - 1;
}

static struct range range_of_prefix(const xfrm_address_t *addr, __u8 prefix, __u16 family)
{
	unsigned int rest = 128 - prefix - (family == AF_INET ? SPD_V4_BITS : 0);
	__u64 low = ones(rest), high = rest > WORD ? ones(rest - WORD) : 0;
	struct clatch_addr a;
	struct value v;

	spd_addr(&a, addr, family);
	v = value_of_addr(&a);
	return (struct range){ { v.high & ~high, v.low & ~low }, { v.high | high, v.low | low } };
}

static struct range range_of_all(void)
{
	return (struct range){ { 0, 0 }, { ~0ULL, ~0ULL } };
}

static struct range range_of_one(__u32 value)
{
	return (struct range){ { 0, value }, { 0, value } };
}

/* All that can match; where the mask leaves out bits in the middle, others too. */
static struct range range_of_mask(__u64 value, __u64 mask, unsigned int bits)
{
	unsigned int rest = 0;

	while (rest < bits && !(mask >> rest & 1))
		rest++;
	if (!mask || mask != (ones(bits) & ~ones(rest)))
		return range_of_all();
	return (struct range){ { 0, value & mask }, { 0, (value & mask) | ones(rest) } };
}

static struct range range_of(const struct spd_policy *p, enum field field)
{
	const struct xfrm_selector *s = &p->selector;

	switch (field) {
	case SRC:
		return range_of_prefix(&s->saddr, s->prefixlen_s, s->family);
	case DST:
		return range_of_prefix(&s->daddr, s->prefixlen_d, s->family);
	case SPORT:
		return range_of_mask(ntohs(s->sport), ntohs(s->sport_mask), 16);
	case DPORT:
		return range_of_mask(ntohs(s->dport), ntohs(s->dport_mask), 16);
	case PROTO:
		return s->proto ? range_of_one(s->proto) : range_of_all();
	case IFINDEX:
		return s->ifindex ? range_of_one(s->ifindex) : range_of_all();
	case MARK:
		return range_of_mask(p->mark, p->mark_mask, 32);
	default:
		return range_of_one(p->if_id);
	}
}

static bool is_below(struct value a, struct value b)
{
	return a.high != b.high ? a.high < b.high : a.low < b.low;
}

static int compare_values(const void *a, const void *b)
{
	struct value x = *(const struct value *)a, y = *(const struct value *)b;

	return is_below(x, y) ? -1 : is_below(y, x);
}

/* The interval that @value is in. */
static size_t find_interval(const struct axis *axis, struct value value)
{
	const struct value *base = axis->starts;

	for (size_t n = axis->count; n > 1;) {
		size_t half = n / 2;

		base += is_below(value, base[half]) ? 0 : half;
		n -= half;
	}
	return base - axis->starts;
}

static void cut(struct axis *axis, const struct chunk *c, enum field field)
{
	size_t count = 1, unique = 1;

	for (size_t i = 0; i < c->count; i++) {
		struct range r = range_of(c->policies[i], field);

		axis->starts[count++] = r.first;
		if (++r.last.low || ++r.last.high)
			axis->starts[count++] = r.last;
	}
	qsort(axis->starts, count, sizeof(*axis->starts), compare_values);
	for (size_t i = 1; i < count; i++)
		if (is_below(axis->starts[unique - 1], axis->starts[i]))
			axis->starts[unique++] = axis->starts[i];
	axis->count = unique;
}

static int fill_axis(struct axis *axis, const struct chunk *c, enum field field)
{
	axis->starts = calloc(2 * c->count + 1, sizeof(*axis->starts));
	if (!axis->starts)
		return -ENOMEM;
	cut(axis, c, field);
	axis->bits = calloc(axis->count * c->words, sizeof(*axis->bits));
	if (!axis->bits)
		return -ENOMEM;
	for (size_t i = 0; i < c->count; i++) {
		struct range r = range_of(c->policies[i], field);
		size_t j = find_interval(axis, r.first);

		for (; j < axis->count && !is_below(r.last, axis->starts[j]); j++)
			axis->bits[j * c->words + i / WORD] |= 1ULL << i % WORD;
	}
	return 0;
}

static int compare_policies(const void *a, const void *b)
{
	const struct spd_policy *x = *(const struct spd_policy **)a;
	const struct spd_policy *y = *(const struct spd_policy **)b;

	return x->dir != y->dir ? x->dir - y->dir : spd_compare(x, y);
}

static void sort_policies(struct spd_index *x, const struct spd_policy *policies, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (spd_is_usable(&policies[i]))
			x->policies[x->count++] = &policies[i];
	qsort(x->policies, x->count, sizeof(*x->policies), compare_policies);
	for (size_t i = x->count; i-- > 0;)
		if (spd_list_of(x->policies[i]) != SPD_LIST_EXACT)
			x->first_inexact[x->policies[i]->dir] = x->policies[i];
}

/* The chunk that begins at policy @first. */
static int add_chunk(struct spd_index *x, size_t first)
{
	struct chunk *c = &x->chunks[x->chunk_count++];
	int err = 0;

	c->policies = &x->policies[first];
	c->dir = c->policies[0]->dir;
	while (c->count < CHUNK && first + c->count < x->count &&
	       c->policies[c->count]->dir == c->dir)
		c->count++;
	c->words = (c->count + WORD - 1) / WORD;
	for (int i = 0; i < FIELDS && !err; i++)
		err = fill_axis(&c->axes[i], c, i);
	return err;
}

static int fill_index(struct spd_index *x, const struct spd_policy *policies, size_t count)
{
	int err = 0;

	x->policies = calloc(count, sizeof(const struct spd_policy *));
	x->chunks = calloc(count / CHUNK + XFRM_POLICY_MAX, sizeof(*x->chunks));
	if (!x->policies || !x->chunks)
		return -ENOMEM;
	sort_policies(x, policies, count);
	for (size_t i = 0; i < x->count && !err; i += x->chunks[x->chunk_count - 1].count)
		err = add_chunk(x, i);
	return err;
}

int spd_index_new(struct spd_index **index, enum spd_ties ties, const struct spd_policy *policies,
		  size_t count)
{
	struct spd_index *x = calloc(1, sizeof(*x));
	int err;

	if (!x)
		return -ENOMEM;
	x->ties = ties;
	err = count ? fill_index(x, policies, count) : 0;
	if (err) {
		spd_index_free(x);
		return err;
	}
	*index = x;
	return 0;
}

void spd_index_free(struct spd_index *index)
{
	if (!index)
		return;
	for (size_t i = 0; i < index->chunk_count; i++) {
		for (int j = 0; j < FIELDS; j++) {
			free(index->chunks[i].axes[j].starts);
			free(index->chunks[i].axes[j].bits);
		}
	}
	free(index->chunks);
	free(index->policies);
	free(index);
}

/* What was found: of each of the kernel's lists the first, all of the same, best priority. */
struct found {
	const struct spd_policy *firsts[SPD_LISTS];
	__u32 limit; /* worse priorities do not matter */
};

/* The bits of the intervals that the flow is in.  How many; a field that tells nothing has none. */
static int find_rows(const __u64 *rows[FIELDS], const struct chunk *c, const struct spd_flow *flow)
{
	int count = 0;

	for (int i = 0; i < FIELDS; i++) {
		const struct axis *axis = &c->axes[i];

		if (axis->count > 1)
			rows[count++] =
				&axis->bits[find_interval(axis, value_of(flow, i)) * c->words];
	}
	return count;
}

static void find_in_chunk(struct found *found, const struct chunk *c, const struct spd_flow *flow)
{
	const __u64 *rows[FIELDS];
	int count = find_rows(rows, c, flow);

	for (size_t w = 0; w < c->words; w++) {
		__u64 bits = ones(c->count - w * WORD);

		for (int i = 0; i < count; i++)
			bits &= rows[i][w];
		for (; bits; bits &= bits - 1) {
			const struct spd_policy *p = c->policies[w * WORD + __builtin_ctzll(bits)];
			enum spd_list list;

			if (p->priority > found->limit)
				return;
			list = spd_list_of(p);
			if (found->firsts[list] || !spd_matches(p, flow))
				continue;
			found->firsts[list] = p;
			found->limit = p->priority;
		}
	}
}

/*
 * Does the kernel prefer @b, of a list that it looks at later, to @a, of equal priority?  Before
 * 6.12 policies of the inexact lists have a common order, in which each exact one counts as first.
 */
static bool wins_tie(const struct spd_index *x, const struct spd_policy *a, bool a_is_exact,
		     const struct spd_policy *b)
{
	if (x->ties == SPD_TIES_BY_AGE)
		return b->age < a->age;
	return a_is_exact ? x->first_inexact[b->dir] == b : spd_compare(b, a) < 0;
}

const struct spd_policy *spd_index_find(const struct spd_index *x, const struct spd_flow *flow)
{
	struct found f = { .limit = ~0U };
	const struct spd_policy *best;

	for (size_t i = 0; i < x->chunk_count; i++)
		if (x->chunks[i].dir == flow->dir && x->chunks[i].policies[0]->priority <= f.limit)
			find_in_chunk(&f, &x->chunks[i], flow);
	best = f.firsts[SPD_LIST_EXACT];
	for (int i = SPD_LIST_EXACT + 1; i < SPD_LISTS; i++)
		if (f.firsts[i] &&
		    (!best || wins_tie(x, best, best == f.firsts[SPD_LIST_EXACT], f.firsts[i])))
			best = f.firsts[i];
	return best;
}
