// SPDX-License-Identifier: GPL-2.0-only
#include "output_demand.h"

#include <json-c/json.h>

#include "cli.h"
#include "duration.h"
#include "names.h"

/* A program may name its peer by any bytes. */
static const char *peer_text(char text[CLATCH_RULE_ID], const struct clatch_demand *asked)
{
	snprintf(text, CLATCH_RULE_ID, "%.*s", CLATCH_RULE_ID - 1, asked->peer_id);
	return cli_utf8(text);
}

static const char *reset_text(char text[DURATION_TEXT], const struct clatch_demand *asked)
{
	return asked->reset_after == CLATCH_RESET_DEFAULT ? NULL
							  : duration_text(text, asked->reset_after);
}

struct json_object *json_demand(const struct clatch_demand *asked)
{
	struct json_object *object;
	char peer[CLATCH_RULE_ID], reset[DURATION_TEXT];
	const char *after;

	if (!asked)
		return NULL;
	object = json_object_new_object();
	after = reset_text(reset, asked);
	json_object_object_add(object, "require",
			       json_object_new_string(name_require(asked->require)));
	json_object_object_add(object, "mode", json_object_new_string(name_rule_mode(asked->mode)));
	json_object_object_add(object, "min_key_bits", json_object_new_int(asked->min_key_bits));
	json_object_object_add(object, "peer_id",
			       *asked->peer_id ? json_object_new_string(peer_text(peer, asked))
					       : NULL);
	json_object_object_add(object, "reset_after", after ? json_object_new_string(after) : NULL);
	return object;
}

void text_demand(struct output *o, const struct clatch_demand *asked)
{
	char peer[CLATCH_RULE_ID], reset[DURATION_TEXT];
	const char *after;

	if (!asked)
		return;
	after = reset_text(reset, asked);
	fprintf(o->file, "  program:  requires %s, mode %s, key bits %u, peer %s, reset after %s\n",
		name_require(asked->require), name_rule_mode(asked->mode), asked->min_key_bits,
		*asked->peer_id ? peer_text(peer, asked) : "any", after ? after : "(default)");
}
