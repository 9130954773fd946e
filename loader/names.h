/* SPDX-License-Identifier: GPL-2.0-only */
/* The one place where enumerations of include/clatch/ get their text, for people and programs. */
#ifndef CLATCH_NAMES_H
#define CLATCH_NAMES_H

#include <clatch/event.h>
#include <clatch/rule.h>

const char *name_reason(unsigned int reason); /* "clear", "sa-mismatch", … */
const char *name_state(unsigned int state); /* "LARVAL", …; "NONE" is no latch */
const char *name_verdict(unsigned int verdict);
const char *name_event(unsigned int type);
const char *name_dir(unsigned int dir); /* "in", "out" */
const char *name_mode(unsigned int mode); /* XFRM mode: "transport", "tunnel", "beet" … */
const char *name_cause(unsigned int bit); /* one bit of enum clatch_cause: "out-clear", … */
const char *name_end(unsigned int end); /* "released", "admin", … */
const char *name_field(unsigned int bit); /* one bit of enum clatch_field: "reqid", … */
const char *name_encap(unsigned int encap); /* "udp", "tcp", …; NULL = none */
const char *name_proto(unsigned int proto); /* "tcp", "udp", "sctp", "esp", "ah" */
const char *name_require(unsigned int require); /* "ipsec", "encrypted", … */
const char *name_rule_mode(unsigned int mode); /* "any", "transport", "tunnel" */

#endif
