/* SPDX-License-Identifier: GPL-2.0-only */
/* A policy as text, which is a policy file again, and as JSON. */
#ifndef CLATCH_POLICY_PRINT_H
#define CLATCH_POLICY_PRINT_H

#include <stdio.h>
#include "policy.h"

void policy_print_text(FILE *out, const struct policy *policy);
/* One line, {"generation":…,"mode":…,…,"rules":[…]} */
void policy_print_json(FILE *out, const struct policy *policy, unsigned int generation);

#endif
