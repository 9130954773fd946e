// SPDX-License-Identifier: GPL-2.0-only
/*
 * libFuzzer: the policy file.  What is understood is printed, and must then be understood again and
 * print the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "policy.h"
#include "policy_print.h"

/* As text; to be freed. */
static char *print(const struct policy *policy, size_t *length)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, length);

	policy_print_text(out, policy);
	fclose(out);
	return text;
}

/* Printing is of what is loaded, so that it always has this setting. */
static void print_twice(struct policy *first)
{
	struct policy second = POLICY_INIT;
	size_t lengths[2];
	char *texts[2];

	if (!first->max_latches)
		first->max_latches = 1;
	texts[0] = print(first, &lengths[0]);
	if (policy_parse(&second, texts[0], lengths[0]) || second.mistake_count)
		abort();
	texts[1] = print(&second, &lengths[1]);
	if (lengths[0] != lengths[1] || memcmp(texts[0], texts[1], lengths[0]))
		abort();
	free(texts[0]);
	free(texts[1]);
	policy_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct policy policy = POLICY_INIT;

	if (!policy_parse(&policy, (const char *)data, size) && !policy.mistake_count)
		print_twice(&policy);
	policy_free(&policy);
	return 0;
}
