// SPDX-License-Identifier: GPL-2.0-only
#include "certificate_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dn.h"

#define FROM 1767225600 /* 2026-01-01T00:00:00Z */
#define UNTIL 2082803696 /* 2036-01-01T12:34:56Z */

static void assert_hash(const char *row, const __u8 hash[CLATCH_HASH_LEN], const char *expected)
{
	char text[2 * CLATCH_HASH_LEN + 1];

	for (size_t i = 0; i < CLATCH_HASH_LEN; i++)
		sprintf(text + 2 * i, "%02x", hash[i]);
	if (strcmp(text, expected))
		fail_msg("row '%s': %s, not %s", row, text, expected);
}

/* Names as `pki --print` has them; hashes as sha256sum, and openssl's public key in DER. */
static void test_facts(void **state)
{
	static const struct {
		const char *name, *subject, *issuer, *fingerprint, *key;
		__s64 until;
	} rows[] = {
		{ "rsa", "C=CH, O=clatch, CN=db1.example", "C=CH, O=clatch, CN=middle",
		  "99e27466334c3f43368fd348055f833606d67f50cd0dc7c4abac4e69a1ead5b5",
		  "adad88a0c34d1ed1feea1b4bd14cf63f2229d0b7abae60bead96d210cc828c6a", UNTIL },
		{ "ecdsa", "C=CH, O=Example, Inc., CN=web7.example", "C=CH, O=clatch, CN=middle",
		  "5c9fdf63d2b39c29b7427019e56e31618a8d5554afecf2dff8da047e2d02551b",
		  "6b52e75e65f893640099d651eff7ac7de6511e3b83c9fa0fb6e358a40dc84dcb", UNTIL },
		{ "ed25519", "CN=cache.example", "C=CH, O=clatch, CN=root",
		  "e3a943d7d8d98ec92015e7985f974b4da3c72e591d50bf84d324c89ab45f2d29",
		  "d9fcc92c3cf02fae567c0ac6330ed38985e7508bb31b3af52674539d26c7b1b6", UNTIL },
		{ "root", "C=CH, O=clatch, CN=root", "C=CH, O=clatch, CN=root",
		  "eb42c0146589d4fcd76c469cb0fab9daf2d69958d8b7af971045b11641e2d71e",
		  "27e41ec4e85960b395a81186d057937014635e4494213d11533533f08f0a8c4e",
		  253402300799 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct certificate c = certificate_file(rows[i].name);

		assert_string_equal(c.facts.subject, rows[i].subject);
		assert_string_equal(c.facts.issuer, rows[i].issuer);
		assert_hash(rows[i].name, c.facts.fingerprint, rows[i].fingerprint);
		assert_hash(rows[i].name, c.facts.key, rows[i].key);
		assert_row(rows[i].name, c.facts.not_before == FROM);
		assert_row(rows[i].name, c.facts.not_after == rows[i].until);
		assert_row(rows[i].name, c.facts.flags == CLATCH_CERTIFICATE_X509);
		certificate_free(&c);
	}
}

/* As strongSwan 5.9.8 prints it, with the first 256 bytes in the facts. */
static const char name_text[] =
	"C=CH, O=M??ller, O=a, CN=db1.example, OU=q+/, DC=example, UID=u7, E=a@b.example, "
	"serialNumber=12, T=Dr, G=given, SN=sur, I=I, 55:04:0f=Private, STREET=Road 1, "
	"postalCode=8000, postalAddress=adr, dnQualifier=q, pseudonym=p, N=nm, D=desc, "
	"unstructuredName=un, unstructuredAddress=ua, ID=x, dmdName=dmd, employeeNumber=en, "
	"ND=nd, TCGID=tcg, ST=ZG, L=Zug, role=r, 2b:06:01:04:01:82:37:3c:02:01:03=CH, CN=z";

static void test_names(void **state)
{
	struct certificate c = certificate_file("name");
	char *text = dn_text(X509_get_subject_name(c.x509));

	(void)state;
	assert_string_equal(text, name_text);
	assert_int_equal(strlen(c.facts.subject), CLATCH_DN_LEN - 1);
	assert_memory_equal(c.facts.subject, name_text, CLATCH_DN_LEN - 4);
	assert_string_equal(c.facts.subject + CLATCH_DN_LEN - 4, "…");
	free(text);
	certificate_free(&c);
}

static void test_has_id(void **state)
{
	static const struct {
		const char *name, *id;
		bool has;
	} rows[] = {
		{ "rsa", "C=CH, O=clatch, CN=db1.example", true },
		{ "rsa", "db1.example", true },
		{ "rsa", "DB1.example", true },
		{ "rsa", "ops@db1.example", true },
		{ "rsa", "192.0.2.7", true },
		{ "rsa", "2001:db8::7", true },
		{ "ecdsa", "C=CH, O=Example, Inc., CN=web7.example", true },
		{ "long", "long.example", true },
		{ "rsa", "c=CH, O=clatch, CN=db1.example", false },
		{ "rsa", "C=CH,O=clatch,CN=db1.example", false },
		{ "rsa", "CN=db1.example", false },
		{ "rsa", "C=CH, O=clatch, CN=middle", false }, /* its issuer */
		{ "rsa", "db1", false },
		{ "rsa", "db1.example.", false },
		{ "rsa", "*.example", false },
		{ "rsa", "*", false },
		{ "rsa", "", false },
		{ "rsa", "192.0.2.70", false },
		{ "rsa", "::ffff:192.0.2.7", false },
		{ "ed25519", "cache.example", false }, /* a CN is no dNSName */
		{ "nul", "CN=nul", true },
		{ "nul", "db1.example", false }, /* with a NUL behind it, and as rfc822Name */
		{ "nul", "db1.example?", false },
		{ "nul", "db1.example?.evil.example", false },
		{ "nul", "192.0.2.0", false }, /* three bytes */
		{ "injected", "O=clatch, CN=db1.example", false }, /* one O */
		{ "name", name_text, false }, /* "M??ller" can be anybody */
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct certificate c = certificate_file(rows[i].name);

		assert_row(rows[i].id, certificate_has_id(&c, rows[i].id) == rows[i].has);
		certificate_free(&c);
	}
}

/* Neither the text that was cut nor what strongSwan makes of such a name. */
static void test_a_name_too_long_is_nobodys(void **state)
{
	struct certificate c = certificate_file("long");
	char *text = dn_text(X509_get_subject_name(c.x509));

	(void)state;
	assert_true(certificate_has_id(&c, text)); /* if anyone could print it */
	assert_false(certificate_has_id(&c, c.facts.subject));
	strcpy(text + 511 - strlen("(invalid ID_DER_ASN1_"), "(invalid ID_DER_ASN1_");
	assert_false(certificate_has_id(&c, text));
	free(text);
	certificate_free(&c);
}

static void test_bare_key(void **state)
{
	struct certificate certificate = certificate_file("rsa"), key;
	struct clatch_certificate expected = {};
	struct der der = der_file("rsa.key");

	(void)state;
	assert_int_equal(certificate_read_key(&key, der.bytes, der.size), 0);
	memcpy(expected.key, certificate.facts.key, CLATCH_HASH_LEN);
	assert_memory_equal(&key.facts, &expected, sizeof(expected));
	assert_false(certificate_has_id(&key, "db1.example"));
	assert_false(certificate_find_anchor(&key, &certificate, 1));
	assert_false(certificate_find_anchor(&certificate, &key, 1));
	certificate_free(&key);
	certificate_free(&certificate);
}

#define MAX_AUTHORITIES 4

static struct certificate authority_file(const char *name)
{
	bool trusted = *name == '+';
	struct certificate c = certificate_file(name + trusted);

	c.trusted = trusted;
	return c;
}

static void test_anchor(void **state)
{
	static const struct {
		const char *name;
		const char *authorities[MAX_AUTHORITIES]; /* "+": trusted */
		const char *anchor; /* NULL = none */
	} rows[] = {
		{ "rsa", { "middle", "+root" }, "root" },
		{ "rsa", { "+middle", "+root" }, "root" },
		{ "ecdsa", { "+impostor", "+root", "middle", "+root" }, "root" },
		{ "ed25519", { "+root" }, "root" },
		{ "ed25519", { "root", "+root" }, "root" },
		{ "ed25519", { "impostor", "+root" }, "root" },
		{ "ed25519", { "+root", "+impostor" }, "root" },
		{ "expired", { "+root" }, "root" },
		{ "rsa", { "+middle" }, "middle" },
		{ "rsa", { "root", "+middle" }, "middle" },
		{ "crossed", { "cross1", "+cross2" }, "cross2" }, /* a circle */
		{ "root", { "+root" }, "root" },
		{ "rsa", { "+root" }, NULL },
		{ "rsa", {}, NULL },
		{ "rsa", { "middle", "root" }, NULL }, /* all that a stranger sent */
		{ "rsa", { "middle", "root", "+impostor" }, NULL },
		{ "crossed", { "cross1", "cross2" }, NULL },
		{ "ed25519", { "+impostor" }, NULL },
		{ "minted", { "ecdsa", "middle", "+root" }, NULL }, /* by no authority */
		{ "injected", { "+root" }, NULL }, /* self-signed */
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct certificate c = certificate_file(rows[i].name);
		struct certificate authorities[MAX_AUTHORITIES];
		size_t count = 0;
		bool found;

		for (; count < MAX_AUTHORITIES && rows[i].authorities[count]; count++)
			authorities[count] = authority_file(rows[i].authorities[count]);
		found = certificate_find_anchor(&c, authorities, count);
		assert_row(rows[i].name, found == !!rows[i].anchor);
		assert_row(rows[i].name, found == !!(c.facts.flags & CLATCH_CERTIFICATE_ANCHOR));
		if (found) {
			struct certificate anchor = certificate_file(rows[i].anchor);

			assert_string_equal(c.facts.anchor, anchor.facts.subject);
			assert_memory_equal(c.facts.anchor_fingerprint, anchor.facts.fingerprint,
					    CLATCH_HASH_LEN);
			certificate_free(&anchor);
		}
		while (count)
			certificate_free(&authorities[--count]);
		certificate_free(&c);
	}
}

/* Cut off anywhere, too long by a byte, or with one bit of it changed. */
static void test_damaged(void **state)
{
	static const char *const names[] = { "rsa", "nul", "name" };

	(void)state;
	for (size_t i = 0; i < COUNT(names); i++) {
		struct der der = der_file(names[i]);
		struct certificate c = { .facts.flags = 77 };

		for (size_t size = 0; size <= der.size + 1; size++) {
			/* a copy of that size, so that a sanitizer sees who reads too far */
			unsigned char *part = malloc(size ?: 1);

			memcpy(part, der.bytes, size);
			if (size != der.size)
				assert_int_equal(certificate_read(&c, part, size), -EBADMSG);
			assert_int_equal(certificate_read_key(&c, part, size), -EBADMSG);
			free(part);
		}
		assert_int_equal(c.facts.flags, 77);
		for (size_t bit = 0; bit < 8 * der.size; bit++) {
			der.bytes[bit / 8] ^= 1 << bit % 8;
			if (!certificate_read(&c, der.bytes, der.size)) {
				certificate_has_id(&c, "db1.example");
				certificate_free(&c);
			}
			der.bytes[bit / 8] ^= 1 << bit % 8;
		}
	}
}

/* Whatever was changed in it, nobody has signed that. */
static void test_changed_certificate_has_no_anchor(void **state)
{
	struct der der = der_file("ed25519");
	struct certificate root = authority_file("+root"), c;

	(void)state;
	for (size_t i = 0; i < der.size; i++) {
		der.bytes[i] ^= 1;
		if (!certificate_read(&c, der.bytes, der.size)) {
			assert_false(certificate_find_anchor(&c, &root, 1));
			certificate_free(&c);
		}
		der.bytes[i] ^= 1;
	}
	certificate_free(&root);
}

static void test_garbage(void **state)
{
	static unsigned char bytes[CERTIFICATE_MAX + 1];
	struct der key = der_file("ed25519.key");
	struct certificate c;

	(void)state;
	assert_int_equal(certificate_read(&c, bytes, sizeof(bytes)), -E2BIG);
	assert_int_equal(certificate_read_key(&c, bytes, sizeof(bytes)), -E2BIG);
	for (int byte = 0; byte < 256; byte++) {
		memset(bytes, byte, sizeof(bytes));
		assert_int_equal(certificate_read(&c, bytes, CERTIFICATE_MAX), -EBADMSG);
		assert_int_equal(certificate_read_key(&c, bytes, CERTIFICATE_MAX), -EBADMSG);
	}
	assert_int_equal(certificate_read(&c, key.bytes, key.size), -EBADMSG);
	key.bytes[8] ^= 0x40; /* the algorithm: none that is known */
	assert_int_equal(certificate_read_key(&c, key.bytes, key.size), -EBADMSG);
}

static void test_channel_binding(void **state)
{
	static const char *const names[] = { "rsa", "ecdsa", "ed25519" };
	struct certificate c[COUNT(names)];
	__u8 ours[CLATCH_HASH_LEN], theirs[CLATCH_HASH_LEN], others[CLATCH_HASH_LEN];

	(void)state;
	for (size_t i = 0; i < COUNT(names); i++)
		c[i] = certificate_file(names[i]);
	for (size_t i = 0; i < COUNT(names); i++) {
		size_t next = (i + 1) % COUNT(names), last = (i + 2) % COUNT(names);

		assert_true(channel_binding(ours, c[i].facts.key, c[next].facts.key));
		assert_true(channel_binding(theirs, c[next].facts.key, c[i].facts.key));
		assert_memory_equal(ours, theirs, CLATCH_HASH_LEN);
		assert_true(channel_binding(others, c[i].facts.key, c[last].facts.key));
		assert_memory_not_equal(ours, others, CLATCH_HASH_LEN);
	}
	channel_binding(ours, c[0].facts.key, c[1].facts.key);
	assert_hash("rsa, ecdsa", ours,
		    "c6ff6ffea6b58db5fe73cd1a3ebb5a42c478ce8c28679ab11b758ab4c14ac1a1");
	assert_false(channel_binding(ours, c[0].facts.key, c[0].facts.key));
	for (size_t i = 0; i < COUNT(names); i++)
		certificate_free(&c[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_facts),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_has_id),
		cmocka_unit_test(test_a_name_too_long_is_nobodys),
		cmocka_unit_test(test_bare_key),
		cmocka_unit_test(test_anchor),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_changed_certificate_has_no_anchor),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_channel_binding),
	};

	return cmocka_run_group_tests_name("certificate", tests, NULL, NULL);
}
