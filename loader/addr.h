/* SPDX-License-Identifier: GPL-2.0-only */
/* Addresses: 16 bytes, IPv4 v4-mapped. */
#ifndef CLATCH_ADDR_H
#define CLATCH_ADDR_H

#include <arpa/inet.h>
#include <clatch/sa.h>
#include <stdbool.h>

#define ADDR_TEXT INET6_ADDRSTRLEN
#define ENDPOINT_TEXT (INET6_ADDRSTRLEN + 8) /* "[2001:db8::1]:65535" */

void addr_from_v4(struct clatch_addr *addr, __be32 v4);
bool addr_is_v4(const struct clatch_addr *addr);
bool addr_is_zero(const struct clatch_addr *addr);

/* Do they share their first @bits (0 to 128)? */
bool addr_in_prefix(const struct clatch_addr *addr, const struct clatch_addr *prefix,
		    unsigned int bits);

const char *addr_text(char text[ADDR_TEXT], const struct clatch_addr *addr);
const char *endpoint_text(char text[ENDPOINT_TEXT], const struct clatch_addr *addr, __u16 port);

#endif
