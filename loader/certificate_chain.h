/* SPDX-License-Identifier: GPL-2.0-only */
/* The trust anchor of a certificate, where it is not known which authorities are trusted. */
#ifndef CLATCH_CERTIFICATE_CHAIN_H
#define CLATCH_CERTIFICATE_CHAIN_H

#include "certificate.h"

/*
 * Of a certificate that somebody else has verified, with trusted authorities that are among
 * @authorities: whichever these are, the chain of signatures must end at one and the same.
 *
 * A stranger can have an authority certify another's name and key without asking it, and so lead a
 * chain to an end of his own.  Where there are two ends, the anchor is not known.
 *
 * Sets the anchor in @c's facts as certificate_find_anchor() does; false: none.
 */
bool certificate_find_only_anchor(struct certificate *c, const struct certificate *authorities,
				  size_t count);

#endif
