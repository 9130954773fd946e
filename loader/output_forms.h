/* SPDX-License-Identifier: GPL-2.0-only */
/* The two forms behind output.h. */
#ifndef CLATCH_OUTPUT_FORMS_H
#define CLATCH_OUTPUT_FORMS_H

#include "output.h"

void text_list_head(struct output *o);
void text_list_latch(struct output *o, const struct latch_view *view);
void text_latch(struct output *o, const struct latch_view *view, const struct latch_proof *proof);
void text_event(struct output *o, const struct clatch_event *event);
void text_lost(struct output *o, __s64 utc_ns, __u64 count);

/* Without the end of line; with @proof as `show` has it, with what `list` leaves out. */
void json_latch(struct output *o, const struct latch_view *view, const struct latch_proof *proof);
void json_event(struct output *o, const struct clatch_event *event);
void json_lost(struct output *o, __s64 utc_ns, __u64 count);

#endif
