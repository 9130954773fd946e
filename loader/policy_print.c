// SPDX-License-Identifier: GPL-2.0-only
#include "policy_print.h"

#include <json-c/json.h>
#include <string.h>

#include "addr.h"
#include "duration.h"
#include "names.h"

#define PREFIX_TEXT (ADDR_TEXT + 4)
#define PORTS_TEXT 12
#define KEYS 11 /* of a rule */

struct value {
	const char *key; /* as in the file */
	const char *text; /* NULL = not said: whatever there is */
};

/* The texts of a rule, by key; both forms are made of these. */
struct texts {
	char local[PREFIX_TEXT], remote[PREFIX_TEXT];
	char local_port[PORTS_TEXT], remote_port[PORTS_TEXT];
	char key_bits[8];
	char reset_after[DURATION_TEXT];
	struct value values[KEYS];
};

static const char *mode_text(const struct policy *policy)
{
	return policy->mode == POLICY_MODE_AUDIT ? "audit" : "enforce";
}

static const char *reset_text(char text[DURATION_TEXT], __u64 ns)
{
	return ns == CLATCH_RESET_DEFAULT ? NULL : duration_text(text, ns);
}

static const char *prefix_text(char text[PREFIX_TEXT], const struct clatch_addr *addr,
			       unsigned int bits, bool ipv6)
{
	bool v4 = bits >= 96 && addr_is_v4(addr);
	char a[ADDR_TEXT];

	if (!bits && !ipv6)
		return NULL;
	snprintf(text, PREFIX_TEXT, "%s/%u", addr_text(a, addr), v4 ? bits - 96 : bits);
	return text;
}

static const char *ports_text(char text[PORTS_TEXT], const __u16 ports[2])
{
	if (!ports[0])
		return NULL;
	if (ports[0] == ports[1])
		snprintf(text, PORTS_TEXT, "%u", ports[0]);
	else
		snprintf(text, PORTS_TEXT, "%u-%u", ports[0], ports[1]);
	return text;
}

static const char *bits_text(char text[8], __u16 bits)
{
	snprintf(text, 8, "%u", bits);
	return bits ? text : NULL;
}

static const char *id_text(const char *id)
{
	return *id ? id : NULL;
}

static void rule_texts(struct texts *t, const struct clatch_rule *r)
{
	/* one end says that it is IPv6: the other need not */
	bool all_ipv6 = r->ipv6 && !r->local_bits && !r->remote_bits;
	const struct value values[KEYS] = {
		{ "proto", r->proto ? name_proto(r->proto) : NULL },
		{ "local", prefix_text(t->local, &r->local, r->local_bits, false) },
		{ "local-port", ports_text(t->local_port, r->local_port) },
		{ "remote", prefix_text(t->remote, &r->remote, r->remote_bits, all_ipv6) },
		{ "remote-port", ports_text(t->remote_port, r->remote_port) },
		{ "require", name_require(r->demand.require) },
		{ "mode", r->demand.mode ? name_rule_mode(r->demand.mode) : NULL },
		{ "min-key-bits", bits_text(t->key_bits, r->demand.min_key_bits) },
		{ "local-id", id_text(r->demand.local_id) },
		{ "peer-id", id_text(r->demand.peer_id) },
		{ "reset-after", reset_text(t->reset_after, r->demand.reset_after) },
	};

	memcpy(t->values, values, sizeof(values));
}

/* The length of the first path in @paths, and with it the blank behind it. */
static size_t path_length(const char *paths, size_t *step)
{
	size_t length = strcspn(paths, " ");

	*step = length + (paths[length] == ' ');
	return length;
}

static void print_may_turn_off(FILE *out, const char *paths)
{
	size_t length, step;

	for (; paths && *paths; paths += step) {
		length = path_length(paths, &step);
		fprintf(out, "may-turn-off = %.*s\n", (int)length, paths);
	}
}

static struct json_object *json_may_turn_off(const char *paths)
{
	struct json_object *array = json_object_new_array();
	size_t length, step;

	for (; paths && *paths; paths += step) {
		length = path_length(paths, &step);
		json_object_array_add(array, json_object_new_string_len(paths, length));
	}
	return array;
}

void policy_print_text(FILE *out, const struct policy *policy)
{
	char reset[DURATION_TEXT];
	struct texts t;

	fprintf(out, "[clatch]\nmode = %s\nmax-latches = %u\n", mode_text(policy),
		policy->max_latches);
	if (policy->reset_after != CLATCH_RESET_DEFAULT)
		fprintf(out, "reset-after = %s\n", duration_text(reset, policy->reset_after));
	print_may_turn_off(out, policy->may_turn_off);
	for (unsigned int i = 0; i < policy->rule_count; i++) {
		rule_texts(&t, &policy->rules[i]);
		fprintf(out, "\n[rule %s]\n", policy->rules[i].name);
		for (unsigned int j = 0; j < KEYS; j++)
			if (t.values[j].text)
				fprintf(out, "%s = %s\n", t.values[j].key, t.values[j].text);
	}
}

static void put(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, text ? json_object_new_string(text) : NULL);
}

/* As elsewhere in JSON: words are joined by _ */
static void put_value(struct json_object *object, const struct value *value)
{
	char key[16];
	char *dash;

	snprintf(key, sizeof(key), "%s", value->key);
	while ((dash = strchr(key, '-')))
		*dash = '_';
	put(object, key, value->text);
}

static struct json_object *rule_json(const struct clatch_rule *rule)
{
	struct json_object *object = json_object_new_object();
	struct texts t;

	rule_texts(&t, rule);
	put(object, "name", rule->name);
	for (unsigned int i = 0; i < KEYS; i++)
		put_value(object, &t.values[i]);
	json_object_object_add(object, "min_key_bits",
			       json_object_new_int(rule->demand.min_key_bits));
	return object;
}

void policy_print_json(FILE *out, const struct policy *policy, unsigned int generation)
{
	struct json_object *line = json_object_new_object(), *rules = json_object_new_array();
	char reset[DURATION_TEXT];

	json_object_object_add(line, "generation", json_object_new_int64(generation));
	put(line, "mode", mode_text(policy));
	json_object_object_add(line, "max_latches", json_object_new_int64(policy->max_latches));
	put(line, "reset_after", reset_text(reset, policy->reset_after));
	json_object_object_add(line, "may_turn_off", json_may_turn_off(policy->may_turn_off));
	json_object_object_add(line, "rules", rules);
	for (unsigned int i = 0; i < policy->rule_count; i++)
		json_object_array_add(rules, rule_json(&policy->rules[i]));
	fprintf(out, "%s\n",
		json_object_to_json_string_ext(line, JSON_C_TO_STRING_PLAIN |
							     JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(line);
}
