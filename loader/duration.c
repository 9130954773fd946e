// SPDX-License-Identifier: GPL-2.0-only
#include "duration.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *unit;
	__u64 ns;
} units[] = {
	{ "ms", 1000000ULL },
	{ "s", 1000000000ULL },
	{ "m", 60 * 1000000000ULL },
	{ "h", 3600 * 1000000000ULL },
};

#define MOST (365 * 24) /* hours: more is never */

int duration_parse(__u64 *ns, const char *text)
{
	unsigned long long number;
	char *unit;

	if (!strcmp(text, "never")) {
		*ns = DURATION_NEVER;
		return 0;
	}
	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	number = strtoull(text, &unit, 10);
	for (size_t i = 0; !errno && i < sizeof(units) / sizeof(units[0]); i++)
		if (!strcmp(unit, units[i].unit) && number <= MOST * units[3].ns / units[i].ns) {
			*ns = number * units[i].ns;
			return 0;
		}
	return -EINVAL;
}

const char *duration_text(char text[DURATION_TEXT], __u64 ns)
{
	size_t i = sizeof(units) / sizeof(units[0]) - 1;

	if (ns == DURATION_NEVER)
		return "never";
	if (!ns)
		return "0s";
	while (i && ns % units[i].ns)
		i--;
	snprintf(text, DURATION_TEXT, "%llu%s", (unsigned long long)(ns / units[i].ns),
		 units[i].unit);
	return text;
}
