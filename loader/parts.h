/* SPDX-License-Identifier: GPL-2.0-only */
/* What the text and the JSON form of things have in common. */
#ifndef CLATCH_PARTS_H
#define CLATCH_PARTS_H

#include <clatch/event.h>
#include <stdbool.h>
#include "addr.h"

#define TIME_TEXT 40 /* "2026-01-31T12:00:00.123456Z" */
#define SA_TEXT 192
#define SAS_TEXT (CLATCH_MAX_NEST * SA_TEXT)

/* ISO 8601, UTC; with microseconds or to the second. */
const char *time_text(char text[TIME_TEXT], __s64 utc_ns, bool micros);

/* Bits that encrypt: the kernel counts the salt of some algorithms in. */
unsigned int enc_key_bits(const struct clatch_suite *suite);

/* "esp transport rfc4106(gcm(aes))-128 reqid 7"; nested SAs as "… + …", outermost first. */
const char *sa_text(char text[SA_TEXT], const struct clatch_sa *sa);
const char *sas_text(char text[SAS_TEXT], const struct clatch_sa *sas, unsigned int count);

/* The name of one bit of enum clatch_field, as the expected SA's key in JSON. */
const char *field_text(unsigned int bit, const struct clatch_event *event);

/*
 * What made the event happen: a cause's or an end's name; "packet", "rule" or "listen" where a
 * latch was made.  NULL = not known, or no transition.
 */
const char *event_cause(const struct clatch_event *event);

/* Of a listening socket: it has a port, and no remote end. */
bool tuple_is_listener(const struct clatch_tuple *tuple);

/* Every bit set in @bits, the lowest first. */
#define for_each_bit(bit, bits)                                                                    \
	for (unsigned int left_ = (bits), bit; left_ && (bit = left_ & -left_); left_ &= left_ - 1)

#endif
