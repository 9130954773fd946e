/* SPDX-License-Identifier: GPL-2.0-only */
/* Certificates and channel bindings, for output_json.c and output_text.c. */
#ifndef CLATCH_OUTPUT_CERTIFICATE_H
#define CLATCH_OUTPUT_CERTIFICATE_H

#include <clatch/certificate.h>
#include "output.h"

/* The values of "certificate" and "channel_binding"; NULL gives null. */
struct json_object *json_certificate(const struct clatch_certificate *certificate);
struct json_object *json_channel_binding(const __u8 *binding);

/* Lines; nothing for NULL. */
void text_certificate(struct output *o, const struct clatch_certificate *certificate);
void text_channel_binding(struct output *o, const __u8 *binding);

#endif
