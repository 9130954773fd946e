// SPDX-License-Identifier: GPL-2.0-only
#include "certificate_chain.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <string.h>

/* Who needs more is a stranger who wants us to be busy. */
#define MAX_ABOVE 16
#define MAX_VERIFIED 64

/* All authorities that a chain can go through, borrowed. */
struct above {
	struct certificate found[MAX_ABOVE];
	size_t count;
	unsigned int verified; /* signatures */
	unsigned int ends;
};

static bool is_same(const struct certificate *a, const struct certificate *b)
{
	return !memcmp(a->facts.fingerprint, b->facts.fingerprint, CLATCH_HASH_LEN);
}

static bool has_signed(struct above *above, const struct certificate *issuer,
		       const struct certificate *c)
{
	if (!issuer->x509 ||
	    X509_NAME_cmp(X509_get_subject_name(issuer->x509), X509_get_issuer_name(c->x509)))
		return false;
	above->verified++;
	return X509_verify(c->x509, X509_get0_pubkey(issuer->x509)) == 1;
}

static bool add(struct above *above, const struct certificate *issuer)
{
	for (size_t i = 0; i < above->count; i++)
		if (is_same(&above->found[i], issuer))
			return true;
	if (above->count == MAX_ABOVE)
		return false;
	above->found[above->count] = *issuer;
	above->found[above->count++].trusted = true;
	return true;
}

/* Adds whoever has signed @c, which is an end if that is nobody, or itself. */
static bool add_issuers(struct above *above, const struct certificate *c,
			const struct certificate *authorities, size_t count)
{
	bool others = false, itself = false;

	for (size_t i = 0; i < count; i++) {
		if (above->verified >= MAX_VERIFIED)
			return false;
		if (!has_signed(above, &authorities[i], c))
			continue;
		if (is_same(&authorities[i], c))
			itself = true;
		else
			others = true;
		if (!add(above, &authorities[i]))
			return false;
	}
	above->ends += itself || !others;
	return true;
}

bool certificate_find_only_anchor(struct certificate *c, const struct certificate *authorities,
				  size_t count)
{
	struct above above = {};
	bool all = c->x509 && add_issuers(&above, c, authorities, count);

	above.ends = 0; /* @c itself is none, or is found again */
	for (size_t i = 0; all && i < above.count; i++)
		all = add_issuers(&above, &above.found[i], authorities, count);
	ERR_clear_error();
	return all && above.ends == 1 && certificate_find_anchor(c, above.found, above.count);
}
