// SPDX-License-Identifier: GPL-2.0-only
#include "filter.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "addr.h"
#include "names.h"
#include "parts.h"

/* Digits only: no sign, no blanks, nothing behind them but @end. */
static int parse_number(const char **text, unsigned long max, unsigned int *number)
{
	unsigned long n;
	char *end;

	if (!isdigit((unsigned char)**text))
		return -EINVAL;
	errno = 0;
	n = strtoul(*text, &end, 10);
	if (errno || n > max)
		return -EINVAL;
	*number = n;
	*text = end;
	return 0;
}

/* The first @length bytes of @text as an address. */
static int parse_addr(struct filter_endpoint *e, const char *text, size_t length,
		      unsigned int *bits)
{
	char addr[ADDR_TEXT];
	__be32 v4;

	if (length >= sizeof(addr))
		return -EINVAL;
	memcpy(addr, text, length);
	addr[length] = '\0';
	e->bits = 128;
	if (inet_pton(AF_INET6, addr, e->addr.b) == 1) {
		*bits = 128;
		return 0;
	}
	if (inet_pton(AF_INET, addr, &v4) != 1)
		return -EINVAL;
	addr_from_v4(&e->addr, v4);
	*bits = 32;
	return 0;
}

/* Where the address ends: at the bracket, the slash, or an only colon. */
static size_t addr_length(const char *text)
{
	const char *colon = strchr(text, ':');

	if (colon && strchr(colon + 1, ':') && colon < text + strcspn(text, "/"))
		return strcspn(text, "/");
	return strcspn(text, "/:");
}

static int parse_prefix(struct filter_endpoint *e, const char **text)
{
	bool brackets = **text == '[';
	unsigned int bits, length;
	size_t end;

	*text += brackets;
	end = brackets ? strcspn(*text, "]") : addr_length(*text);
	if (parse_addr(e, *text, end, &bits))
		return -EINVAL;
	*text += end;
	if (brackets && *(*text)++ != ']')
		return -EINVAL;
	if (brackets && bits != 128)
		return -EINVAL;
	if (**text != '/')
		return 0;
	(*text)++;
	if (parse_number(text, bits, &length))
		return -EINVAL;
	e->bits = 128 - bits + length;
	return 0;
}

int filter_parse_endpoint(struct filter_endpoint *endpoint, const char *text)
{
	struct filter_endpoint e = {};
	unsigned int port;

	if ((*text != ':' || text[1] == ':') && parse_prefix(&e, &text))
		return -EINVAL;
	if (*text == ':') {
		text++;
		if (parse_number(&text, 65535, &port))
			return -EINVAL;
		e.has_port = true;
		e.port = port;
	}
	if (*text)
		return -EINVAL;
	*endpoint = e;
	return 0;
}

int filter_parse_id(__u64 *id, const char *text)
{
	unsigned long long n;
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || *end)
		return -EINVAL;
	*id = n;
	return 0;
}

int filter_parse_state(unsigned int *states, const char *text)
{
	for (unsigned int i = CLATCH_NONE + 1; i < CLATCH_STATES; i++) {
		if (!strcasecmp(text, name_state(i))) {
			*states |= 1U << i;
			return 0;
		}
	}
	return -EINVAL;
}

int filter_parse_proto(__u32 *proto, const char *text)
{
	static const __u32 protos[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP };

	for (size_t i = 0; i < sizeof(protos) / sizeof(protos[0]); i++) {
		if (!strcasecmp(text, name_proto(protos[i]))) {
			*proto = protos[i];
			return 0;
		}
	}
	return -EINVAL;
}

static bool endpoint_matches(const struct filter_endpoint *e, const struct clatch_addr *addr,
			     __u16 port)
{
	return addr_in_prefix(addr, &e->addr, e->bits) && (!e->has_port || e->port == port);
}

/* A listener, CLOSED or not, has no remote end: ::/0 and the like are not it either. */
static bool remote_matches(const struct filter_endpoint *e, const struct clatch_tuple *tuple)
{
	if (tuple_is_listener(tuple))
		return !e->bits && !e->has_port;
	return endpoint_matches(e, &tuple->remote, tuple->remote_port);
}

bool filter_matches(const struct filter *f, const struct clatch_tuple *tuple,
		    const struct clatch_latch *latch)
{
	return (!f->has_id || f->id == latch->id) &&
	       (!f->states || f->states & (1U << latch->state)) &&
	       (!f->proto || f->proto == tuple->proto) &&
	       endpoint_matches(&f->local, &tuple->local, tuple->local_port) &&
	       remote_matches(&f->remote, tuple);
}
