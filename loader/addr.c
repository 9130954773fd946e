// SPDX-License-Identifier: GPL-2.0-only
#include "addr.h"

#include <stdio.h>
#include <string.h>

/* ::ffff:0:0/96 */
static const __u8 addr_v4_prefix[12] = { [10] = 0xff, [11] = 0xff };

bool addr_is_v4(const struct clatch_addr *addr)
{
	return !memcmp(addr->b, addr_v4_prefix, sizeof(addr_v4_prefix));
}

bool addr_is_zero(const struct clatch_addr *addr)
{
	static const struct clatch_addr zero;

	return !memcmp(addr, &zero, sizeof(zero));
}

/* A list of a million latches has eight million of them, and inet_ntop() takes its time. */
static const char *v4_text(char text[ADDR_TEXT], const __u8 bytes[4])
{
	char *end = text;

	for (int i = 0; i < 4; i++) {
		if (bytes[i] >= 100)
			*end++ = '0' + bytes[i] / 100;
		if (bytes[i] >= 10)
			*end++ = '0' + bytes[i] / 10 % 10;
		*end++ = '0' + bytes[i] % 10;
		*end++ = '.';
	}
	end[-1] = '\0';
	return text;
}

const char *addr_text(char text[ADDR_TEXT], const struct clatch_addr *addr)
{
	if (addr_is_v4(addr))
		return v4_text(text, addr->b + sizeof(addr_v4_prefix));
	return inet_ntop(AF_INET6, addr->b, text, ADDR_TEXT);
}

const char *endpoint_text(char text[ENDPOINT_TEXT], const struct clatch_addr *addr, __u16 port)
{
	const char *format = addr_is_v4(addr) ? "%s:%u" : "[%s]:%u";
	char a[ADDR_TEXT];

	snprintf(text, ENDPOINT_TEXT, format, addr_text(a, addr), port);
	return text;
}

void addr_from_v4(struct clatch_addr *addr, __be32 v4)
{
	memcpy(addr->b, addr_v4_prefix, sizeof(addr_v4_prefix));
	memcpy(addr->b + sizeof(addr_v4_prefix), &v4, sizeof(v4));
}

bool addr_in_prefix(const struct clatch_addr *addr, const struct clatch_addr *prefix,
		    unsigned int bits)
{
	unsigned int bytes = bits / 8, rest = bits % 8;

	if (memcmp(addr->b, prefix->b, bytes))
		return false;
	return !rest || !((addr->b[bytes] ^ prefix->b[bytes]) >> (8 - rest));
}
