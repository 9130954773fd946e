// SPDX-License-Identifier: GPL-2.0-only
#include "dn.h"

#include <stdio.h>
#include <string.h>

#include "cleanup.h"

/* The names of strongSwan 5.9.8, by OID in DER.  It prints any other OID as these bytes in hex. */
static const struct {
	const char *oid;
	const char *name;
} attributes[] = {
	{ "\x55\x04\x03", "CN" },
	{ "\x55\x04\x04", "SN" },
	{ "\x55\x04\x05", "serialNumber" },
	{ "\x55\x04\x06", "C" },
	{ "\x55\x04\x07", "L" },
	{ "\x55\x04\x08", "ST" },
	{ "\x55\x04\x09", "STREET" },
	{ "\x55\x04\x0a", "O" },
	{ "\x55\x04\x0b", "OU" },
	{ "\x55\x04\x0c", "T" },
	{ "\x55\x04\x0d", "D" },
	{ "\x55\x04\x10", "postalAddress" },
	{ "\x55\x04\x11", "postalCode" },
	{ "\x55\x04\x29", "N" },
	{ "\x55\x04\x2a", "G" },
	{ "\x55\x04\x2b", "I" },
	{ "\x55\x04\x2d", "ID" },
	{ "\x55\x04\x2e", "dnQualifier" },
	{ "\x55\x04\x36", "dmdName" },
	{ "\x55\x04\x41", "pseudonym" },
	{ "\x55\x04\x48", "role" },
	{ "\x02\x82\x06\x01\x0a\x07\x14", "ND" },
	{ "\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x01", "UID" },
	{ "\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19", "DC" },
	{ "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01", "E" },
	{ "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x02", "unstructuredName" },
	{ "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x08", "unstructuredAddress" },
	{ "\x2b\x06\x01\x04\x01\x89\x31\x01\x01\x02\x02\x4b", "TCGID" },
	{ "\x60\x86\x48\x01\x86\xf8\x42\x03\x01\x03", "employeeNumber" },
};

static void print_type(FILE *to, const ASN1_OBJECT *type)
{
	const unsigned char *oid = OBJ_get0_data(type);
	size_t length = OBJ_length(type);

	for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++)
		if (length == strlen(attributes[i].oid) &&
		    !memcmp(oid, attributes[i].oid, length)) {
			fputs(attributes[i].name, to);
			return;
		}
	for (size_t i = 0; i < length; i++)
		fprintf(to, "%s%02x", i ? ":" : "", oid[i]);
}

/* Byte by byte, whatever the type of string is. */
static void print_value(FILE *to, const ASN1_STRING *value)
{
	const unsigned char *bytes = ASN1_STRING_get0_data(value);
	int length = ASN1_STRING_length(value);

	for (int i = 0; i < length; i++)
		putc(bytes[i] >= ' ' && bytes[i] <= '~' ? bytes[i] : '?', to);
}

char *dn_text(const X509_NAME *name)
{
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);
	bool failed;

	if (!to)
		return NULL;
	for (int i = 0; i < X509_NAME_entry_count(name); i++) {
		const X509_NAME_ENTRY *entry = X509_NAME_get_entry(name, i);

		fputs(i ? ", " : "", to);
		print_type(to, X509_NAME_ENTRY_get_object(entry));
		putc('=', to);
		print_value(to, X509_NAME_ENTRY_get_data(entry));
	}
	failed = ferror(to);
	if (fclose(to) || failed) {
		free(text);
		return NULL;
	}
	return text;
}

/* O="clatch, CN=db1.example" has the text of O and CN: a '=' within a value is not to be trusted. */
static bool is_plain(const X509_NAME *name, const char *text)
{
	int equals = 0;

	for (const char *p = text; *p; p++)
		equals += *p == '=';
	return equals == X509_NAME_entry_count(name) && !strchr(text, '?');
}

bool dn_is(const X509_NAME *name, const char *text)
{
	_cleanup_free_ char *own = dn_text(name);

	return own && !strcmp(own, text) && is_plain(name, own);
}
