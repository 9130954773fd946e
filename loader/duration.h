/* SPDX-License-Identifier: GPL-2.0-only */
/* Lengths of time as users write them. */
#ifndef CLATCH_DURATION_H
#define CLATCH_DURATION_H

#include <linux/types.h>

#define DURATION_FORM "a number with ms, s, m or h (30s), or never"
#define DURATION_NEVER (~(__u64)0)
#define DURATION_TEXT 24

/* "30s", "500ms", "2m", "1h", "0s", "never".  0 and *ns, or -EINVAL with *ns as it was. */
int duration_parse(__u64 *ns, const char *text);
/* As duration_parse() reads it, in the largest unit that fits. */
const char *duration_text(char text[DURATION_TEXT], __u64 ns);

#endif
