// SPDX-License-Identifier: GPL-2.0-only
#include "parts.h"

#include <clatch/suite.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "names.h"

#define NS_PER_SECOND 1000000000LL

const char *time_text(char text[TIME_TEXT], __s64 utc_ns, bool micros)
{
	time_t seconds = utc_ns / NS_PER_SECOND;
	long nanos = utc_ns % NS_PER_SECOND;
	struct tm tm;
	size_t length;

	if (nanos < 0) {
		nanos += NS_PER_SECOND;
		seconds--;
	}
	gmtime_r(&seconds, &tm);
	length = strftime(text, TIME_TEXT, "%Y-%m-%dT%H:%M:%S", &tm);
	if (micros)
		snprintf(text + length, TIME_TEXT - length, ".%06ldZ", nanos / 1000);
	else
		snprintf(text + length, TIME_TEXT - length, "Z");
	return text;
}

unsigned int enc_key_bits(const struct clatch_suite *suite)
{
	return clatch_key_bits(suite);
}

/* A text that grows at its end, and is cut where there is no room. */
__attribute__((format(printf, 3, 4))) static void append(char *text, size_t size,
							 const char *format, ...)
{
	size_t length = strlen(text);
	va_list args;

	va_start(args, format);
	vsnprintf(text + length, size - length, format, args);
	va_end(args);
}

/* Everything that is compared shows, but what goes without saying is left out. */
const char *sa_text(char text[SA_TEXT], const struct clatch_sa *sa)
{
	const struct clatch_suite *s = &sa->suite;
	bool aead = s->flags & CLATCH_SUITE_AEAD;

	snprintf(text, SA_TEXT, "%s %s", name_proto(s->proto), name_mode(s->mode));
	if (s->enc[0])
		append(text, SA_TEXT, " %.*s-%u", CLATCH_ALG_LEN, s->enc, enc_key_bits(s));
	if (s->auth[0])
		append(text, SA_TEXT, " %.*s-%u", CLATCH_ALG_LEN, s->auth, s->auth_key_bits);
	if (s->auth[0] || (aead && s->icv_bits != 128))
		append(text, SA_TEXT, "/%u", s->icv_bits);
	if (s->flags & CLATCH_SUITE_ESN)
		append(text, SA_TEXT, " esn");
	if (!(s->flags & CLATCH_SUITE_REPLAY))
		append(text, SA_TEXT, " no-replay");
	if (s->encap)
		append(text, SA_TEXT, " in-%s", name_encap(s->encap));
	append(text, SA_TEXT, " reqid %u", sa->reqid);
	if (sa->if_id)
		append(text, SA_TEXT, " if_id %u", sa->if_id);
	return text;
}

const char *sas_text(char text[SAS_TEXT], const struct clatch_sa *sas, unsigned int count)
{
	char one[SA_TEXT];

	text[0] = '\0';
	for (unsigned int i = 0; i < count && i < CLATCH_MAX_NEST; i++)
		append(text, SAS_TEXT, "%s%s", i ? " + " : "", sa_text(one, &sas[i]));
	return text;
}

const char *field_text(unsigned int bit, const struct clatch_event *event)
{
	bool aead = false;

	for (unsigned int i = 0; i < event->expected_count && i < CLATCH_MAX_NEST; i++)
		aead |= event->expected[i].suite.flags & CLATCH_SUITE_AEAD;
	if (aead && bit == CLATCH_FIELD_ENC)
		return "aead";
	if (aead && bit == CLATCH_FIELD_ENC_KEY)
		return "aead_key_bits";
	return name_field(bit);
}

const char *event_cause(const struct clatch_event *event)
{
	switch (event->type) {
	case CLATCH_EV_LATCHED:
		return event->got_count ? "packet" : "rule";
	case CLATCH_EV_LISTENING:
		return event->other ? "packet" : "listen";
	case CLATCH_EV_BROKEN:
	case CLATCH_EV_RESTORED:
		return event->cause ? name_cause(event->cause) : NULL;
	case CLATCH_EV_CLOSED:
		return event->end ? name_end(event->end) : NULL;
	default:
		return NULL;
	}
}

bool tuple_is_listener(const struct clatch_tuple *tuple)
{
	return tuple->local_port && !tuple->remote_port && addr_is_zero(&tuple->remote);
}
