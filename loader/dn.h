/* SPDX-License-Identifier: GPL-2.0-only */
/* Distinguished names as strongSwan prints them: "C=CH, O=clatch, CN=db1.example". */
#ifndef CLATCH_DN_H
#define CLATCH_DN_H

#include <openssl/x509.h>
#include <stdbool.h>

/*
 * The whole of it, to be freed; NULL: no memory.  As there, nothing is escaped, and what is not
 * printable ASCII is a '?': different names can have the same text.
 */
char *dn_text(const X509_NAME *name);

/* Is @text this name's, and can it be no other's? */
bool dn_is(const X509_NAME *name, const char *text);

#endif
