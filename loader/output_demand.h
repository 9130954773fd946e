/* SPDX-License-Identifier: GPL-2.0-only */
/* What a program demands of its connection, for output_json.c and output_text.c. */
#ifndef CLATCH_OUTPUT_DEMAND_H
#define CLATCH_OUTPUT_DEMAND_H

#include <clatch/demand.h>
#include "output.h"

/* The value of "asked"; NULL gives null.  The caller owns it. */
struct json_object *json_demand(const struct clatch_demand *asked);

/* "encrypted transport 128 bits peer db*": a line, if there is anything. */
void text_demand(struct output *o, const struct clatch_demand *asked);

#endif
