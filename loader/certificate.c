// SPDX-License-Identifier: GPL-2.0-only
#include "certificate.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "cleanup.h"
#include "dn.h"

#define CUT "…"
#define MAX_BETWEEN 8

static void cleanup_x509(X509 **x509)
{
	X509_free(*x509);
}

static void cleanup_pubkey(X509_PUBKEY **key)
{
	X509_PUBKEY_free(*key);
}

static void cleanup_names(GENERAL_NAMES **names)
{
	GENERAL_NAMES_free(*names);
}

static void cleanup_store_ctx(X509_STORE_CTX **ctx)
{
	X509_STORE_CTX_free(*ctx);
}

/* libcrypto puts its errors in a queue; nobody reads it here. */
static int refused(void)
{
	ERR_clear_error();
	return -EBADMSG;
}

static int hash(__u8 to[CLATCH_HASH_LEN], const void *bytes, size_t size)
{
	return EVP_Digest(bytes, size, to, NULL, EVP_sha256(), NULL) == 1 ? 0 : refused();
}

static int hash_key(__u8 to[CLATCH_HASH_LEN], const X509_PUBKEY *key)
{
	unsigned char *der = NULL;
	int size = i2d_X509_PUBKEY(key, &der);
	int r;

	if (size < 0)
		return refused();
	r = hash(to, der, size);
	OPENSSL_free(der);
	return r;
}

/* The text is ASCII and can be cut anywhere. */
static int copy_dn(char to[CLATCH_DN_LEN], const X509_NAME *name)
{
	_cleanup_free_ char *text = dn_text(name);

	if (!text)
		return -ENOMEM;
	if (snprintf(to, CLATCH_DN_LEN, "%s", text) >= CLATCH_DN_LEN)
		strcpy(to + CLATCH_DN_LEN - sizeof(CUT), CUT);
	return 0;
}

static int copy_time(__s64 *to, const ASN1_TIME *time)
{
	struct tm tm;

	if (!ASN1_TIME_to_tm(time, &tm))
		return refused();
	*to = timegm(&tm);
	return 0;
}

static int read_facts(struct clatch_certificate *facts, const X509 *x509)
{
	int r = copy_dn(facts->subject, X509_get_subject_name(x509));

	facts->flags = CLATCH_CERTIFICATE_X509;
	r = r ?: copy_dn(facts->issuer, X509_get_issuer_name(x509));
	r = r ?: copy_time(&facts->not_before, X509_get0_notBefore(x509));
	r = r ?: copy_time(&facts->not_after, X509_get0_notAfter(x509));
	return r ?: hash_key(facts->key, X509_get_X509_PUBKEY(x509));
}

int certificate_read(struct certificate *c, const void *der, size_t size)
{
	struct clatch_certificate facts = {};
	const unsigned char *at = der;
	__attribute__((cleanup(cleanup_x509))) X509 *x509 = NULL;
	int r;

	if (size > CERTIFICATE_MAX)
		return -E2BIG;
	x509 = d2i_X509(NULL, &at, size);
	if (!x509 || at != (const unsigned char *)der + size)
		return refused();
	r = read_facts(&facts, x509) ?: hash(facts.fingerprint, der, size);
	if (r)
		return r;
	*c = (struct certificate){ .x509 = x509, .facts = facts };
	x509 = NULL;
	return 0;
}

int certificate_read_key(struct certificate *c, const void *der, size_t size)
{
	struct clatch_certificate facts = {};
	const unsigned char *at = der;
	__attribute__((cleanup(cleanup_pubkey))) X509_PUBKEY *key = NULL;
	int r;

	if (size > CERTIFICATE_MAX)
		return -E2BIG;
	key = d2i_X509_PUBKEY(NULL, &at, size);
	if (!key || at != (const unsigned char *)der + size || !X509_PUBKEY_get0(key))
		return refused();
	r = hash_key(facts.key, key);
	if (!r)
		*c = (struct certificate){ .facts = facts };
	return r;
}

void certificate_free(struct certificate *c)
{
	X509_free(c->x509);
	*c = (struct certificate){};
}

/* @value has no NUL where it is a text: a name with one in it has another length or other bytes. */
static bool is_name(const GENERAL_NAME *name, int type, const void *value, size_t size)
{
	int own_type;
	const ASN1_STRING *own = GENERAL_NAME_get0_value(name, &own_type);
	const void *bytes;

	if (own_type != type || (size_t)ASN1_STRING_length(own) != size)
		return false;
	bytes = ASN1_STRING_get0_data(own);
	return type == GEN_IPADD ? !memcmp(bytes, value, size) : !strncasecmp(bytes, value, size);
}

static bool has_alternative_name(const X509 *x509, int type, const void *value, size_t size)
{
	__attribute__((cleanup(cleanup_names))) GENERAL_NAMES *names =
		X509_get_ext_d2i(x509, NID_subject_alt_name, NULL, NULL);

	ERR_clear_error();
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
		if (is_name(sk_GENERAL_NAME_value(names, i), type, value, size))
			return true;
	return false;
}

bool certificate_has_id(const struct certificate *c, const char *id)
{
	struct in6_addr address;

	/* the daemon prints a '?' for any byte that is not printable */
	if (!c->x509 || !*id || strchr(id, '?'))
		return false;
	if (strchr(id, '='))
		return dn_is(X509_get_subject_name(c->x509), id);
	if (inet_pton(AF_INET, id, &address) == 1)
		return has_alternative_name(c->x509, GEN_IPADD, &address, sizeof(struct in_addr));
	if (inet_pton(AF_INET6, id, &address) == 1)
		return has_alternative_name(c->x509, GEN_IPADD, &address, sizeof(address));
	return has_alternative_name(c->x509, strchr(id, '@') ? GEN_EMAIL : GEN_DNS, id, strlen(id));
}

/* Borrows the certificates. */
struct pool {
	X509_STORE *trusted;
	struct stack_st_X509 *links;
};

static void cleanup_pool(struct pool *pool)
{
	X509_STORE_free(pool->trusted);
	sk_X509_free(pool->links);
}

static bool fill_pool(struct pool *pool, const struct certificate *authorities, size_t count)
{
	pool->trusted = X509_STORE_new();
	pool->links = sk_X509_new_null();
	if (!pool->trusted || !pool->links)
		return false;
	for (size_t i = 0; i < count; i++) {
		X509 *x509 = authorities[i].x509;

		if (!x509)
			continue;
		if (authorities[i].trusted)
			X509_STORE_add_cert(pool->trusted, x509);
		else
			sk_X509_push(pool->links, x509);
	}
	return true;
}

/*
 * The last of the chain.  Time is not looked at: the daemon did when the peer was authenticated,
 * and a certificate that has expired since is still the one it was done with.
 */
static const X509 *last_of_chain(const struct pool *pool, X509 *x509, unsigned long flags)
{
	__attribute__((cleanup(cleanup_store_ctx))) X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	X509_VERIFY_PARAM *param;
	const struct stack_st_X509 *chain;

	if (!ctx || !X509_STORE_CTX_init(ctx, pool->trusted, x509, pool->links))
		return NULL;
	param = X509_STORE_CTX_get0_param(ctx);
	X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_NO_CHECK_TIME | flags);
	X509_VERIFY_PARAM_set_depth(param, MAX_BETWEEN);
	if (X509_verify_cert(ctx) != 1)
		return NULL;
	chain = X509_STORE_CTX_get0_chain(ctx);
	return sk_X509_value(chain, sk_X509_num(chain) - 1);
}

static void set_anchor(struct clatch_certificate *facts, const struct clatch_certificate *anchor)
{
	memcpy(facts->anchor, anchor->subject, sizeof(facts->anchor));
	memcpy(facts->anchor_fingerprint, anchor->fingerprint, sizeof(facts->anchor_fingerprint));
	facts->flags |= CLATCH_CERTIFICATE_ANCHOR;
}

bool certificate_find_anchor(struct certificate *c, const struct certificate *authorities,
			     size_t count)
{
	__attribute__((cleanup(cleanup_pool))) struct pool pool = {};
	const X509 *last;

	if (!c->x509 || !fill_pool(&pool, authorities, count))
		return false;
	last = last_of_chain(&pool, c->x509, 0)
		       ?: last_of_chain(&pool, c->x509, X509_V_FLAG_PARTIAL_CHAIN);
	ERR_clear_error();
	for (size_t i = 0; last && i < count; i++)
		if (authorities[i].trusted && authorities[i].x509 == last) {
			set_anchor(&c->facts, &authorities[i].facts);
			return true;
		}
	return false;
}

bool channel_binding(__u8 binding[CLATCH_HASH_LEN], const __u8 local_key[CLATCH_HASH_LEN],
		     const __u8 peer_key[CLATCH_HASH_LEN])
{
	__u8 any = 0;

	for (size_t i = 0; i < CLATCH_HASH_LEN; i++) {
		binding[i] = local_key[i] ^ peer_key[i];
		any |= binding[i];
	}
	return any;
}
