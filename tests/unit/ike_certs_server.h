/* SPDX-License-Identifier: GPL-2.0-only */
/* An IKE daemon that lists connections and certificates, and certificates that strangers have made. */
#ifndef CLATCH_UNIT_IKE_CERTS_SERVER_H
#define CLATCH_UNIT_IKE_CERTS_SERVER_H

#include "certificate_file.h"
#include "vici_server.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

/* A packet as it is built up. */
struct packet {
	unsigned char bytes[VICI_MAX_PACKET];
	size_t size;
};

static inline void put(struct packet *p, const void *bytes, size_t size)
{
	assert_true(p->size + size <= sizeof(p->bytes));
	memcpy(p->bytes + p->size, bytes, size);
	p->size += size;
}

/* What begins an element, or with VICI_EVENT a packet: a type and a name. */
static inline void put_name(struct packet *p, unsigned char type, const char *name)
{
	put(p, (unsigned char[]){ type, strlen(name) }, 2);
	put(p, name, strlen(name));
}

static inline void put_value(struct packet *p, const char *key, const void *value, size_t size)
{
	put_name(p, 3, key);
	put(p, (unsigned char[]){ size >> 8, size }, 2);
	put(p, value, size);
}

static inline void put_text(struct packet *p, const char *key, const char *value)
{
	put_value(p, key, value, strlen(value));
}

static inline void put_end(struct packet *p)
{
	put(p, (unsigned char[]){ 2 }, 1);
}

/* Rounds of authentication: "public key", or "EAP, public key". */
static inline void put_rounds(struct packet *p, const char *end, const char *classes)
{
	int round = 0;

	while (*classes) {
		size_t size = strcspn(classes, ",");
		char name[32];

		snprintf(name, sizeof(name), "%s-%d", end, ++round);
		put_name(p, 1, name);
		put_value(p, "class", classes, size);
		put_end(p);
		classes += size;
		classes += strspn(classes, ", ");
	}
}

static inline void say_conn(struct world *w, const char *name, const char *local,
			    const char *remote)
{
	static struct packet p;

	p.size = 0;
	put_name(&p, VICI_EVENT, "list-conn");
	put_name(&p, 1, name);
	put_rounds(&p, "local", local);
	put_rounds(&p, "remote", remote);
	put_end(&p);
	say(w, p.bytes, p.size);
}

static inline void say_listed(struct world *w, const char *type, const char *flag, bool own,
			      const char *subject, const void *data, size_t size)
{
	static struct packet p;

	p.size = 0;
	put_name(&p, VICI_EVENT, "list-cert");
	put_text(&p, "type", type);
	if (flag)
		put_text(&p, "flag", flag);
	if (own)
		put_text(&p, "has_privkey", "yes");
	if (subject)
		put_text(&p, "subject", subject);
	put_value(&p, "data", data, size);
	say(w, p.bytes, p.size);
}

static inline void say_response(struct world *w)
{
	say(w, "\001", 1);
}

/* Waits for exactly this command from the client, without arguments. */
static inline void expect_command(struct world *w, enum vici_type type, const char *name)
{
	char expected[256], got[256];
	long size = vici_build(expected, sizeof(expected), type, name, NULL, 0), have = 0;

	until(w, ({
		      ssize_t more = recv(w->peer, got + have, size - have, 0);

		      assert_int_not_equal(more, 0);
		      have += more > 0 ? more : 0;
		      have == size;
	      }));
	assert_memory_equal(got, expected, size);
}

static inline EVP_PKEY *public_key(const char *name)
{
	struct certificate c = certificate_file(name);
	EVP_PKEY *key = X509_get_pubkey(c.x509);

	certificate_free(&c);
	return key;
}

static inline X509_NAME *name_of(const char *common_name)
{
	X509_NAME *name = X509_NAME_new();

	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const void *)common_name, -1, -1, 0);
	return name;
}

static inline void add_extension(X509 *x509, int nid, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	assert_int_equal(X509_add_ext(x509, extension, -1), 1);
	X509_EXTENSION_free(extension);
}

/* @names: the subjectAltName, NULL for an authority.  Takes @subject. */
static inline struct der issue(X509_NAME *subject, EVP_PKEY *key, const char *names,
			       const char *issuer, EVP_PKEY *signer)
{
	X509 *x509 = X509_new();
	X509_NAME *by = name_of(issuer);
	struct der der;
	unsigned char *to = der.bytes;

	X509_set_version(x509, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
	X509_gmtime_adj(X509_getm_notBefore(x509), 0);
	X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
	X509_set_subject_name(x509, subject);
	X509_set_issuer_name(x509, by);
	X509_set_pubkey(x509, key);
	if (names)
		add_extension(x509, NID_subject_alt_name, names);
	else
		add_extension(x509, NID_basic_constraints, "critical,CA:TRUE");
	assert_true(X509_sign(x509, signer, NULL) > 0);
	der.size = i2d_X509(x509, &to);
	X509_NAME_free(subject);
	X509_NAME_free(by);
	X509_free(x509);
	return der;
}

#endif
