// SPDX-License-Identifier: GPL-2.0-only
/* What the IKE daemon lists: certificates and public keys. */
#include <stdint.h>
#include <string.h>

#include "certificate.h"

static const char *const ids[] = {
	"", "db1.example", "ops@db1.example", "192.0.2.7", "2001:db8::7", "CN=db1.example", "a?",
};

/* Its own subject is the hardest of names to get right; it may be cut, and then is nobody's. */
static void look_for_ids(const struct certificate *c)
{
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
		certificate_has_id(c, ids[i]);
	certificate_has_id(c, c->facts.subject);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct certificate c;

	if (!certificate_read(&c, data, size)) {
		if (strnlen(c.facts.subject, CLATCH_DN_LEN) == CLATCH_DN_LEN ||
		    strnlen(c.facts.issuer, CLATCH_DN_LEN) == CLATCH_DN_LEN)
			__builtin_trap();
		look_for_ids(&c);
		certificate_find_anchor(&c, &c, 1);
		c.trusted = true;
		certificate_find_anchor(&c, &c, 1);
		certificate_free(&c);
	}
	if (!certificate_read_key(&c, data, size))
		certificate_free(&c);
	return 0;
}
