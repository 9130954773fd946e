// SPDX-License-Identifier: GPL-2.0-only
#include "ike_conns.h"

#include <errno.h>
#include <string.h>

struct ike_name ike_name(struct vici_bytes bytes)
{
	struct ike_name name = {};

	if (bytes.size < sizeof(name.text) && !memchr(bytes.data, '\0', bytes.size))
		memcpy(name.text, bytes.data, bytes.size);
	return name;
}

static int compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* Rounds of authentication are sections @round and a number: local-1, remote-2. */
static bool is_by_key(struct vici_section conn, const char *round)
{
	struct vici_element e;
	bool by_key = false;
	int rounds = 0;

	while (vici_next(&conn, &e)) {
		if (e.kind != VICI_SECTION || e.name.size < strlen(round) ||
		    memcmp(e.name.data, round, strlen(round)))
			continue;
		by_key = vici_is(vici_get(e.inside, "class"), "public key");
		rounds++;
	}
	return by_key && rounds == 1;
}

/* Which one of two with a name an IKE SA has is not known: the ends of both have to. */
static int read_conn(struct tree *conns, struct vici_element *e)
{
	const struct ike_conn read = {
		.name = ike_name(e->name),
		.local_key = is_by_key(e->inside, "local-"),
		.remote_key = is_by_key(e->inside, "remote-"),
	};
	struct ike_conn *conn;
	bool added;

	if (!*read.name.text)
		return 0;
	conn = tree_get(conns, &read, sizeof(read), compare, &added);
	if (!conn)
		return -ENOMEM;
	conn->local_key &= read.local_key;
	conn->remote_key &= read.remote_key;
	return conns->count > IKE_MAX_CONNS ? -ENOSPC : 0;
}

int ike_conns_read(struct tree *conns, struct vici_section message)
{
	struct vici_element e;
	int err = 0;

	while (!err && vici_next(&message, &e))
		if (e.kind == VICI_SECTION)
			err = read_conn(conns, &e);
	return err;
}

const struct ike_conn *ike_conns_find(const struct tree *conns, const struct ike_name *name)
{
	return tree_find(conns, name, compare);
}
