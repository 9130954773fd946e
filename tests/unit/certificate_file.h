/* SPDX-License-Identifier: GPL-2.0-only */
/* The certificates that tests/fuzz/make_certificates made.  `make unit` runs where the Makefile is. */
#ifndef CLATCH_UNIT_CERTIFICATE_FILE_H
#define CLATCH_UNIT_CERTIFICATE_FILE_H

#include "test.h"

#include <stdio.h>

#include "certificate.h"

struct der {
	unsigned char bytes[8192];
	size_t size;
};

static inline struct der der_file(const char *name)
{
	struct der der;
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "tests/fuzz/corpus/certificate/%s.der", name);
	file = fopen(path, "r");
	if (!file)
		fail_msg("Couldn't open %s", path);
	der.size = fread(der.bytes, 1, sizeof(der.bytes), file);
	fclose(file);
	assert_in_range(der.size, 1, sizeof(der.bytes) - 1);
	return der;
}

static inline struct certificate certificate_file(const char *name)
{
	struct der der = der_file(name);
	struct certificate c;

	if (certificate_read(&c, der.bytes, der.size))
		fail_msg("Couldn't read certificate %s", name);
	return c;
}

#endif
