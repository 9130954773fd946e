// SPDX-License-Identifier: GPL-2.0-only
#include "names.h"

#include <linux/udp.h>
#include <linux/xfrm.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#ifndef TCP_ENCAP_ESPINTCP
#define TCP_ENCAP_ESPINTCP 7
#endif
#define XFRM_MODE_IPTFS_6_14 5 /* not in older headers */

static const char *const reasons[] = {
	[CLATCH_OK] = "ok",
	[CLATCH_CLEAR] = "clear",
	[CLATCH_SA_MISMATCH] = "sa-mismatch",
	[CLATCH_PEER_ID] = "peer-id",
	[CLATCH_IDENTITY_UNKNOWN] = "identity-unknown",
	[CLATCH_UNKNOWN_SA] = "unknown-sa",
	[CLATCH_POLICY] = "policy",
	[CLATCH_REASON_BROKEN] = "broken",
	[CLATCH_TABLE_FULL] = "table-full",
};

static const char *const states[] = {
	[CLATCH_NONE] = "NONE",	    [CLATCH_LISTENER] = "LISTENER",
	[CLATCH_LARVAL] = "LARVAL", [CLATCH_ESTABLISHED] = "ESTABLISHED",
	[CLATCH_BROKEN] = "BROKEN", [CLATCH_CLOSED] = "CLOSED",
};

static const char *const verdicts[] = {
	[CLATCH_PASS] = "pass",
	[CLATCH_DROP] = "drop",
	[CLATCH_AUDIT] = "audit",
};

static const char *const events[] = {
	[CLATCH_EV_LATCHED] = "latched", [CLATCH_EV_VIOLATION] = "violation",
	[CLATCH_EV_BROKEN] = "broken",	 [CLATCH_EV_RESTORED] = "restored",
	[CLATCH_EV_CLOSED] = "closed",	 [CLATCH_EV_LISTENING] = "listening",
	[CLATCH_EV_ASKED] = "asked",	 [CLATCH_EV_LOST] = "lost",
};

static const char *const dirs[] = {
	[CLATCH_IN] = "in",
	[CLATCH_OUT] = "out",
};

static const char *const modes[] = {
	[XFRM_MODE_TRANSPORT] = "transport",
	[XFRM_MODE_TUNNEL] = "tunnel",
	[XFRM_MODE_ROUTEOPTIMIZATION] = "ro",
	[XFRM_MODE_IN_TRIGGER] = "in-trigger",
	[XFRM_MODE_BEET] = "beet",
	[XFRM_MODE_IPTFS_6_14] = "iptfs",
};

static const char *const causes[] = {
	"out-clear", "out-mismatch", "policy", "sa-conflict", "dead-peer",
};

static const char *const ends[] = {
	[CLATCH_END_NONE] = "none",
	[CLATCH_END_RELEASED] = "released",
	[CLATCH_END_REPLACED] = "replaced",
	[CLATCH_END_EXPIRED] = "expired",
	[CLATCH_END_ADMIN] = "admin",
	[CLATCH_END_RESET] = "reset-after",
	[CLATCH_END_IDENTITIES] = "identity-table",
	[CLATCH_END_GONE] = "gone",
};

/* As the SA's keys in JSON. */
static const char *const fields[] = {
	"nesting", "proto",	    "mode",	"enc",	    "enc_key_bits",
	"auth",	   "auth_key_bits", "icv_bits", "esn",	    "replay",
	"encap",   "reqid",	    "if_id",	"local_id", "peer_id",
};

static const char *const encaps[] = {
	[UDP_ENCAP_ESPINUDP_NON_IKE] = "udp-non-ike",
	[UDP_ENCAP_ESPINUDP] = "udp",
	[TCP_ENCAP_ESPINTCP] = "tcp",
};

static const char *const protos[] = {
	[IPPROTO_TCP] = "tcp", [IPPROTO_UDP] = "udp", [IPPROTO_SCTP] = "sctp",
	[IPPROTO_ESP] = "esp", [IPPROTO_AH] = "ah",
};

static const char *const requires[] = {
	[CLATCH_REQUIRE_NONE] = "none",
	[CLATCH_REQUIRE_IPSEC] = "ipsec",
	[CLATCH_REQUIRE_ESP] = "esp",
	[CLATCH_REQUIRE_AH] = "ah",
	[CLATCH_REQUIRE_ENCRYPTED] = "encrypted",
};

static const char *const rule_modes[] = {
	[CLATCH_MODE_ANY] = "any",
	[CLATCH_MODE_TRANSPORT] = "transport",
	[CLATCH_MODE_TUNNEL] = "tunnel",
};

_Static_assert(ARRAY_SIZE(reasons) == CLATCH_REASONS, "every reason has a name");
_Static_assert(ARRAY_SIZE(states) == CLATCH_STATES, "every state has a name");
_Static_assert(ARRAY_SIZE(events) == CLATCH_EV_TYPES, "every event has a name");
_Static_assert(1 << (ARRAY_SIZE(causes) - 1) == CLATCH_CAUSE_DEAD_PEER, "every cause has a name");
_Static_assert(ARRAY_SIZE(ends) == CLATCH_ENDS, "every end has a name");
_Static_assert(1 << (ARRAY_SIZE(fields) - 1) == CLATCH_FIELD_PEER_ID, "every field has a name");
_Static_assert(ARRAY_SIZE(requires) == CLATCH_REQUIRES, "every requirement has a name");
_Static_assert(ARRAY_SIZE(rule_modes) == CLATCH_RULE_MODES, "every mode of a rule has a name");

static const char *name(const char *const *names, size_t count, unsigned int i)
{
	return i < count && names[i] ? names[i] : "unknown";
}

static const char *bit_name(const char *const *names, size_t count, unsigned int bit)
{
	bool single = bit && !(bit & (bit - 1));

	return single ? name(names, count, __builtin_ctz(bit)) : "unknown";
}

const char *name_reason(unsigned int reason)
{
	return name(reasons, ARRAY_SIZE(reasons), reason);
}

const char *name_state(unsigned int state)
{
	return name(states, ARRAY_SIZE(states), state);
}

const char *name_verdict(unsigned int verdict)
{
	return name(verdicts, ARRAY_SIZE(verdicts), verdict);
}

const char *name_event(unsigned int type)
{
	return name(events, ARRAY_SIZE(events), type);
}

const char *name_dir(unsigned int dir)
{
	return name(dirs, ARRAY_SIZE(dirs), dir);
}

const char *name_mode(unsigned int mode)
{
	return name(modes, ARRAY_SIZE(modes), mode);
}

const char *name_cause(unsigned int bit)
{
	return bit_name(causes, ARRAY_SIZE(causes), bit);
}

const char *name_end(unsigned int end)
{
	return name(ends, ARRAY_SIZE(ends), end);
}

const char *name_field(unsigned int bit)
{
	return bit_name(fields, ARRAY_SIZE(fields), bit);
}

const char *name_encap(unsigned int encap)
{
	return encap ? name(encaps, ARRAY_SIZE(encaps), encap) : NULL;
}

const char *name_proto(unsigned int proto)
{
	return name(protos, ARRAY_SIZE(protos), proto);
}

const char *name_require(unsigned int require)
{
	return name(requires, ARRAY_SIZE(requires), require);
}

const char *name_rule_mode(unsigned int mode)
{
	return name(rule_modes, ARRAY_SIZE(rule_modes), mode);
}
