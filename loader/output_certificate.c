// SPDX-License-Identifier: GPL-2.0-only
#include "output_certificate.h"

#include <json-c/json.h>
#include <string.h>
#include <time.h>

#define HASH_TEXT (2 * CLATCH_HASH_LEN + 1)
#define SECONDS_TEXT 40

static const char *hash_text(char text[HASH_TEXT], const __u8 hash[CLATCH_HASH_LEN])
{
	for (size_t i = 0; i < CLATCH_HASH_LEN; i++)
		sprintf(text + 2 * i, "%02x", hash[i]);
	return text;
}

/* In seconds: "without an end" is the year 9999, more nanoseconds than 64 bits hold. */
static const char *seconds_text(char text[SECONDS_TEXT], __s64 utc)
{
	time_t seconds = utc;
	struct tm tm;

	if (!gmtime_r(&seconds, &tm) || !strftime(text, SECONDS_TEXT, "%Y-%m-%dT%H:%M:%SZ", &tm))
		strcpy(text, "-");
	return text;
}

/* A map's text may lack its NUL. */
static struct json_object *json_dn(const char dn[CLATCH_DN_LEN])
{
	return json_object_new_string_len(dn, strnlen(dn, CLATCH_DN_LEN));
}

static struct json_object *json_hash(const __u8 hash[CLATCH_HASH_LEN])
{
	char text[HASH_TEXT];

	return json_object_new_string(hash_text(text, hash));
}

static struct json_object *json_seconds(__s64 utc)
{
	char text[SECONDS_TEXT];

	return json_object_new_string(seconds_text(text, utc));
}

static struct json_object *json_anchor(const struct clatch_certificate *c)
{
	struct json_object *o;

	if (!(c->flags & CLATCH_CERTIFICATE_ANCHOR))
		return NULL;
	o = json_object_new_object();
	json_object_object_add(o, "subject", json_dn(c->anchor));
	json_object_object_add(o, "sha256", json_hash(c->anchor_fingerprint));
	return o;
}

struct json_object *json_certificate(const struct clatch_certificate *c)
{
	struct json_object *o;
	bool x509;

	if (!c)
		return NULL;
	o = json_object_new_object();
	x509 = c->flags & CLATCH_CERTIFICATE_X509;
	json_object_object_add(o, "subject", x509 ? json_dn(c->subject) : NULL);
	json_object_object_add(o, "issuer", x509 ? json_dn(c->issuer) : NULL);
	json_object_object_add(o, "sha256", x509 ? json_hash(c->fingerprint) : NULL);
	json_object_object_add(o, "public_key_sha256", json_hash(c->key));
	json_object_object_add(o, "not_before", x509 ? json_seconds(c->not_before) : NULL);
	json_object_object_add(o, "not_after", x509 ? json_seconds(c->not_after) : NULL);
	json_object_object_add(o, "anchor", json_anchor(c));
	return o;
}

struct json_object *json_channel_binding(const __u8 *binding)
{
	return binding ? json_hash(binding) : NULL;
}

static void text_dn(struct output *o, const char *label, const char dn[CLATCH_DN_LEN])
{
	fprintf(o->file, "    %s %.*s\n", label, CLATCH_DN_LEN, dn);
}

static void text_hash(struct output *o, const char *label, const __u8 hash[CLATCH_HASH_LEN])
{
	char text[HASH_TEXT];

	fprintf(o->file, "    %s %s\n", label, hash_text(text, hash));
}

static void text_x509(struct output *o, const struct clatch_certificate *c)
{
	char from[SECONDS_TEXT], to[SECONDS_TEXT];

	text_dn(o, "subject", c->subject);
	text_dn(o, "issuer", c->issuer);
	fprintf(o->file, "    valid from %s to %s\n", seconds_text(from, c->not_before),
		seconds_text(to, c->not_after));
	text_hash(o, "sha256", c->fingerprint);
}

void text_certificate(struct output *o, const struct clatch_certificate *c)
{
	if (!c)
		return;
	fprintf(o->file, "  certificate:\n");
	if (c->flags & CLATCH_CERTIFICATE_X509)
		text_x509(o, c);
	text_hash(o, "public key sha256", c->key);
	if (c->flags & CLATCH_CERTIFICATE_ANCHOR) {
		text_dn(o, "trust anchor", c->anchor);
		text_hash(o, "trust anchor sha256", c->anchor_fingerprint);
	}
}

void text_channel_binding(struct output *o, const __u8 *binding)
{
	char text[HASH_TEXT];

	if (binding)
		fprintf(o->file, "  channel binding: %s\n", hash_text(text, binding));
}
