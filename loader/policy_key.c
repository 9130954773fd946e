// SPDX-License-Identifier: GPL-2.0-only
#include "policy_key.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "addr.h"
#include "duration.h"
#include "filter.h"
#include "load.h"
#include "names.h"

#define MOST_KEY_BITS 512 /* no cipher of the kernel's has more */

/* Digits only, up to @end. */
static int parse_number(const char *text, const char *end, unsigned long max, unsigned long *number)
{
	*number = 0;
	if (text == end)
		return -EINVAL;
	for (; text < end; text++) {
		if (!isdigit((unsigned char)*text))
			return -EINVAL;
		*number = *number * 10 + (*text - '0');
		if (*number > max)
			return -EINVAL;
	}
	return 0;
}

static int take_number(const char *value, unsigned long min, unsigned long max,
		       unsigned long *number)
{
	int err = parse_number(value, value + strlen(value), max, number);

	return err ? err : *number < min ? -EINVAL : 0;
}

/* One of @count names. */
static int take_name(const char *value, const char *(*name)(unsigned int), unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		if (!strcmp(value, name(i)))
			return i;
	return -EINVAL;
}

static int take_proto(struct policy_draft *draft, const char *value, char why[POLICY_WHY])
{
	__u32 proto = 0;

	(void)why;
	if (strcmp(value, "any") && filter_parse_proto(&proto, value))
		return -EINVAL;
	draft->rule.proto = proto;
	return 0;
}

/* Clears what is not of the prefix; true if there was anything. */
static bool mask_addr(struct clatch_addr *addr, unsigned int bits)
{
	struct clatch_addr before = *addr;

	for (unsigned int i = 0; i < sizeof(addr->b); i++) {
		unsigned int kept = bits > 8 * i ? bits - 8 * i : 0;

		if (kept < 8)
			addr->b[i] &= 0xff00 >> kept;
	}
	return memcmp(&before, addr, sizeof(before));
}

static void say_host_bits(char why[POLICY_WHY], const char *value, const struct clatch_addr *addr,
			  unsigned int bits)
{
	int length = strcspn(value, "/");
	char prefix[ADDR_TEXT];

	snprintf(why, POLICY_WHY,
		 "'%s' is an address and the length of a prefix: expected %s/%u, or %.*s alone",
		 value, addr_text(prefix, addr), addr_is_v4(addr) && bits >= 96 ? bits - 96 : bits,
		 length, value);
}

static int take_prefix(struct clatch_addr *addr, __u8 *bits, const char *value,
		       char why[POLICY_WHY])
{
	struct filter_endpoint e;

	if (!strcmp(value, "any")) {
		*addr = (struct clatch_addr){};
		*bits = 0;
		return 0;
	}
	if (*value == '[' || filter_parse_endpoint(&e, value) || e.has_port)
		return -EINVAL;
	if (mask_addr(&e.addr, e.bits)) {
		say_host_bits(why, value, &e.addr, e.bits);
		return -EINVAL;
	}
	*addr = e.addr;
	*bits = e.bits;
	return 0;
}

static bool only_ipv6(const char *value)
{
	return strchr(value, ':');
}

static int take_local(struct policy_draft *draft, const char *value, char why[POLICY_WHY])
{
	struct clatch_rule *rule = &draft->rule;
	int err = take_prefix(&rule->local, &rule->local_bits, value, why);

	if (!err)
		rule->ipv6 |= only_ipv6(value) && !addr_is_v4(&rule->local);
	return err;
}

static int take_remote(struct policy_draft *draft, const char *value, char why[POLICY_WHY])
{
	struct clatch_rule *rule = &draft->rule;
	int err = take_prefix(&rule->remote, &rule->remote_bits, value, why);

	if (!err)
		rule->ipv6 |= only_ipv6(value) && !addr_is_v4(&rule->remote);
	return err;
}

static int take_ports(__u16 ports[2], const char *value, char why[POLICY_WHY])
{
	const char *end = value + strlen(value), *dash = strchr(value, '-');
	unsigned long first, last;

	if (parse_number(value, dash ? dash : end, 65535, &first) || !first)
		return -EINVAL;
	last = first;
	if (dash && (parse_number(dash + 1, end, 65535, &last) || !last))
		return -EINVAL;
	if (last < first) {
		snprintf(why, POLICY_WHY, "'%s' ends before it begins: expected %lu-%lu", value,
			 last, first);
		return -EINVAL;
	}
	ports[0] = first;
	ports[1] = last;
	return 0;
}

static int take_local_port(struct policy_draft *draft, const char *value, char why[POLICY_WHY])
{
	return take_ports(draft->rule.local_port, value, why);
}

static int take_remote_port(struct policy_draft *draft, const char *value, char why[POLICY_WHY])
{
	return take_ports(draft->rule.remote_port, value, why);
}

static int take_require(struct policy_draft *draft, const char *value, char why[POLICY_WHY])
{
	int require = take_name(value, name_require, CLATCH_REQUIRES);

	(void)why;
	/* whatever was meant, it was not none: no other key is a mistake for this */
	draft->rule.demand.require = require < 0 ? CLATCH_REQUIRE_IPSEC : require;
	return require < 0 ? require : 0;
}

static int take_mode(struct policy_draft *draft, const char *value, char why[POLICY_WHY])
{
	int mode = take_name(value, name_rule_mode, CLATCH_RULE_MODES);

	(void)why;
	if (mode < 0)
		return mode;
	draft->rule.demand.mode = mode;
	return 0;
}

static int take_key_bits(struct policy_draft *draft, const char *value, char why[POLICY_WHY])
{
	unsigned long bits;
	int err = take_number(value, 0, MOST_KEY_BITS, &bits);

	(void)why;
	if (!err)
		draft->rule.demand.min_key_bits = bits;
	return err;
}

static int take_id(char id[CLATCH_RULE_ID], const char *value, char why[POLICY_WHY])
{
	size_t length = strlen(value);

	if (*value == '"' || *value == '\'')
		return -EINVAL;
	if (length >= CLATCH_RULE_ID) {
		snprintf(why, POLICY_WHY, "%zu bytes are too long: expected at most %d", length,
			 CLATCH_RULE_ID - 1);
		return -EINVAL;
	}
	memset(id, 0, CLATCH_RULE_ID);
	memcpy(id, value, length);
	return 0;
}

static int take_local_id(struct policy_draft *draft, const char *value, char why[POLICY_WHY])
{
	return take_id(draft->rule.demand.local_id, value, why);
}

static int take_peer_id(struct policy_draft *draft, const char *value, char why[POLICY_WHY])
{
	return take_id(draft->rule.demand.peer_id, value, why);
}

static int take_rule_reset(struct policy_draft *draft, const char *value, char why[POLICY_WHY])
{
	(void)why;
	return duration_parse(&draft->rule.demand.reset_after, value);
}

static int take_reset(struct policy_draft *draft, const char *value, char why[POLICY_WHY])
{
	(void)why;
	return duration_parse(&draft->policy->reset_after, value);
}

static int take_policy_mode(struct policy_draft *draft, const char *value, char why[POLICY_WHY])
{
	bool enforce = !strcmp(value, "enforce");

	(void)why;
	if (!enforce && strcmp(value, "audit"))
		return -EINVAL;
	draft->policy->mode = enforce ? POLICY_MODE_ENFORCE : POLICY_MODE_AUDIT;
	return 0;
}

static int take_max_latches(struct policy_draft *draft, const char *value, char why[POLICY_WHY])
{
	unsigned long count;
	int err = take_number(value, 1, LOAD_MAX_LATCHES, &count);

	(void)why;
	if (!err)
		draft->policy->max_latches = count;
	return err;
}

/* An absolute path; whether there is such a cgroup is seen when the policy is put in force. */
static int take_may_turn_off(struct policy_draft *draft, const char *value, char why[POLICY_WHY])
{
	struct policy *policy = draft->policy;
	char *grown;

	if (*value != '/' || strpbrk(value, " \t"))
		return -EINVAL;
	if (policy->may_turn_off_count == CLATCH_MAX_MAY_TURN_OFF) {
		snprintf(why, POLICY_WHY, "too many cgroups: expected at most %d",
			 CLATCH_MAX_MAY_TURN_OFF);
		return -EINVAL;
	}
	if (asprintf(&grown, "%s%s%s", policy->may_turn_off ? policy->may_turn_off : "",
		     policy->may_turn_off ? " " : "", value) < 0)
		return -ENOMEM;
	free(policy->may_turn_off);
	policy->may_turn_off = grown;
	policy->may_turn_off_count++;
	return 0;
}

#define PREFIX "an address, ADDRESS/LENGTH (10.20.0.0/16, 2001:db8::/32), or any"
#define PORTS "a port from 1 to 65535, or two with a - between them (5000-5010)"
#define ID "an identity as IKE prints it, without quotes; * is any text"

const struct policy_key policy_settings[] = {
	{ "mode", "enforce or audit", take_policy_mode, false },
	{ "max-latches", "a number from 1 to 16777216", take_max_latches, false },
	{ "reset-after", DURATION_FORM, take_reset, false },
	{ "may-turn-off", "the path of a cgroup (/sys/fs/cgroup/web.slice)", take_may_turn_off,
	  true },
	{},
};

const struct policy_key policy_rule_keys[] = {
	[RULE_PROTO] = { "proto", "tcp, udp, sctp or any", take_proto, false },
	[RULE_LOCAL] = { "local", PREFIX, take_local, false },
	[RULE_REMOTE] = { "remote", PREFIX, take_remote, false },
	[RULE_LOCAL_PORT] = { "local-port", PORTS, take_local_port, false },
	[RULE_REMOTE_PORT] = { "remote-port", PORTS, take_remote_port, false },
	[RULE_REQUIRE] = { "require", "none, ipsec, esp, ah or encrypted", take_require, false },
	[RULE_MODE] = { "mode", "any, transport or tunnel", take_mode, false },
	[RULE_MIN_KEY_BITS] = { "min-key-bits", "a number from 0 to 512", take_key_bits, false },
	[RULE_LOCAL_ID] = { "local-id", ID, take_local_id, false },
	[RULE_PEER_ID] = { "peer-id", ID, take_peer_id, false },
	[RULE_RESET_AFTER] = { "reset-after", DURATION_FORM, take_rule_reset, false },
	{},
};

void policy_rule_init(struct clatch_rule *rule)
{
	*rule = (struct clatch_rule){
		.local_port = { 0, 65535 },
		.remote_port = { 0, 65535 },
		.demand.reset_after = CLATCH_RESET_DEFAULT,
	};
}

static bool is_ipv4(const struct clatch_addr *addr, __u8 bits)
{
	return bits >= 96 && addr_is_v4(addr);
}

void policy_check_rule(const struct clatch_rule *rule, policy_say *say, void *context)
{
	bool demanded[RULE_KEYS] = {
		[RULE_MODE] = rule->demand.mode != CLATCH_MODE_ANY,
		[RULE_MIN_KEY_BITS] = rule->demand.min_key_bits,
		[RULE_LOCAL_ID] = *rule->demand.local_id,
		[RULE_PEER_ID] = *rule->demand.peer_id,
	};

	if (rule->ipv6 &&
	    (is_ipv4(&rule->local, rule->local_bits) || is_ipv4(&rule->remote, rule->remote_bits)))
		say(context, RULE_REMOTE,
		    "is of another family than local: expected both IPv4, or both IPv6");
	if (rule->demand.require == CLATCH_REQUIRE_AH && rule->demand.min_key_bits)
		say(context, RULE_MIN_KEY_BITS,
		    "AH has no cipher: expected require = ipsec, esp or encrypted with it");
	if (rule->demand.require != CLATCH_REQUIRE_NONE)
		return;
	for (enum rule_key key = 0; key < RULE_KEYS; key++)
		if (demanded[key])
			say(context, key,
			    "demands nothing of a connection in clear: expected require = ipsec, "
			    "esp, ah or encrypted with it");
}
