/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * strongSwan's connections, as list-conns lists them: which ends have to prove their identity with a
 * public key?  Pure.
 */
#ifndef CLATCH_IKE_CONNS_H
#define CLATCH_IKE_CONNS_H

#include "tree.h"
#include "vici_message.h"

#define IKE_MAX_CONNS 4096

struct ike_name {
	char text[256]; /* no name in VICI is longer; "" where it is no text */
};

struct ike_conn {
	struct ike_name name;
	bool local_key; /* once, with a public key, and with nothing else */
	bool remote_key;
};

struct ike_name ike_name(struct vici_bytes bytes);

/* Of a list-conn event into a tree of struct ike_conn.  0; -ENOSPC too many; -ENOMEM. */
int ike_conns_read(struct tree *conns, struct vici_section message);
/* NULL = there is none. */
const struct ike_conn *ike_conns_find(const struct tree *conns, const struct ike_name *name);

#endif
