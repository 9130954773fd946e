/* SPDX-License-Identifier: GPL-2.0-only */
/* One IKE SA between two identities, an IKE daemon that lists what a test says, and what is shown. */
#ifndef CLATCH_UNIT_IKE_CERTS_WORLD_H
#define CLATCH_UNIT_IKE_CERTS_WORLD_H

#include "ike_certs_server.h"

#include <bpf/bpf.h>

#include "ike_certs.h"

#define LOCAL_ID "web7.example" /* of ecdsa.der */
#define PEER_ID "db1.example" /* of rsa.der */
#define MAX_ROW 6

static const struct cli cli = { .program = "test_ike_certs" };

/* What the stranger makes, with an authority of his own. */
enum stranger { EVIL, TWIN, COPY, OWN_COPY, MIDDLE, STRANGERS };

static const char *const stranger_names[STRANGERS] = { "evil", "twin", "copy", "own-copy",
						       "evil-middle" };

struct fixture {
	struct world *w;
	int ids_map, map;
	struct ids *ids;
	struct ike_certs *certs;
	struct clatch_who who;
	struct der stranger[STRANGERS];
};

static inline void make_strangers(struct fixture *f)
{
	EVP_PKEY *evil = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	EVP_PKEY *rsa = public_key("rsa"), *ecdsa = public_key("ecdsa");
	EVP_PKEY *middle_key = public_key("middle");
	struct certificate middle = certificate_file("middle");

	f->stranger[EVIL] = issue(name_of("evil"), evil, NULL, "evil", evil);
	f->stranger[TWIN] = issue(name_of("twin"), evil, "DNS:" PEER_ID, "evil", evil);
	f->stranger[COPY] = issue(name_of("copy"), rsa, "DNS:" PEER_ID, "evil", evil);
	f->stranger[OWN_COPY] = issue(name_of("own"), ecdsa, "DNS:" LOCAL_ID, "evil", evil);
	f->stranger[MIDDLE] = issue(X509_NAME_dup(X509_get_subject_name(middle.x509)), middle_key,
				    NULL, "evil", evil);
	certificate_free(&middle);
	EVP_PKEY_free(middle_key);
	EVP_PKEY_free(ecdsa);
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(evil);
}

static inline void open_vici(struct fixture *f)
{
	static const char *const events[] = { "list-conn", "list-cert", NULL };
	const struct vici_options options = {
		.path = f->w->address.sun_path,
		.events = events,
		.connected = on_connected,
		.disconnected = on_disconnected,
		.event = on_event,
		.context = f->w,
	};

	start_listening(f->w);
	assert_int_equal(vici_open(&f->w->vici, f->w->loop, &options), 0);
	accept_client(f->w);
	for (const char *const *event = events; *event; event++) {
		expect_command(f->w, VICI_EVENT_REGISTER, *event);
		say(f->w, BYTES(CONFIRM));
	}
	until(f->w, f->w->connected);
}

static inline int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	setup((void **)&f->w);
	make_strangers(f);
	f->ids_map =
		bpf_map_create(BPF_MAP_TYPE_HASH, "t_ids", 4, sizeof(struct clatch_id), 16, NULL);
	f->map = bpf_map_create(BPF_MAP_TYPE_HASH, "t_certificates", 4,
				sizeof(struct clatch_certificate), 16, NULL);
	f->ids = ids_new(f->ids_map);
	f->who.local_id = ids_number(f->ids, LOCAL_ID);
	f->who.peer_id = ids_number(f->ids, PEER_ID);
	assert_int_equal(ike_certs_new(&f->certs, &cli, f->ids, dup(f->map)), 0);
	open_vici(f);
	*state = f;
	return f->ids_map < 0 || f->map < 0;
}

static inline int tear_down(void **state)
{
	struct fixture *f = *state;

	teardown((void **)&f->w);
	ike_certs_free(f->certs);
	ids_free(f->ids);
	close(f->ids_map);
	close(f->map);
	free(f);
	return 0;
}

static inline struct der der_of(const struct fixture *f, const char *name)
{
	for (int i = 0; i < STRANGERS; i++)
		if (!strcmp(name, stranger_names[i]))
			return f->stranger[i];
	return der_file(name);
}

/* "+rsa" is the daemon's own, "^root" an authority, "=rsa.key" a bare key of the peer's. */
static inline void say_cert(struct fixture *f, const char *name)
{
	char kind = strchr("+^=", *name) ? *name++ : 0;
	struct der der = der_of(f, name);

	if (kind == '=')
		say_listed(f->w, "PUBKEY", NULL, false, PEER_ID, der.bytes, der.size);
	else
		say_listed(f->w, "X509", kind == '^' ? "CA" : "NONE", kind == '+', NULL, der.bytes,
			   der.size);
}

static inline void note_sa_as(struct fixture *f, const char *conn, bool fresh)
{
	ike_certs_note(f->certs, (struct vici_bytes){ (const __u8 *)conn, strlen(conn) }, f->who,
		       fresh);
}

static inline void note_sa(struct fixture *f, const char *conn)
{
	note_sa_as(f, conn, true);
}

/* The client has taken all that was said. */
static inline void wait_for_client(struct fixture *f)
{
	const struct vici_request request = { .command = "version",
					      .done = on_done,
					      .context = f->w };
	int before = f->w->done;

	assert_int_equal(vici_request(f->w->vici, &request), 0);
	say_response(f->w); /* of the list */
	expect_command(f->w, VICI_CMD_REQUEST, "version");
	say_response(f->w);
	until(f->w, f->w->done > before);
}

static inline void say_conns_end(struct fixture *f)
{
	say_response(f->w);
	expect_command(f->w, VICI_CMD_REQUEST, "list-certs");
}

static inline void serve(struct fixture *f, const char *local, const char *remote,
			 const char *const certs[MAX_ROW])
{
	expect_command(f->w, VICI_CMD_REQUEST, "list-conns");
	say_conn(f->w, "other", "pre-shared key", "pre-shared key");
	if (local)
		say_conn(f->w, "net", local, remote);
	say_conns_end(f);
	for (int i = 0; i < MAX_ROW && certs[i]; i++)
		say_cert(f, certs[i]);
	wait_for_client(f);
}

static inline void serve_keys(struct fixture *f, const char *const certs[MAX_ROW])
{
	serve(f, "public key", "public key", certs);
}

/* An IKE SA has come up. */
static inline void refresh(struct fixture *f, const char *const certs[MAX_ROW])
{
	note_sa(f, "net");
	ike_certs_refresh(f->certs, f->w->vici);
	serve_keys(f, certs);
}

/* @name is the certificate, "=rsa" its key only, or NULL: none. */
static inline void assert_shown(struct fixture *f, const char *row, __u32 number, const char *name,
				const char *anchor)
{
	struct clatch_certificate shown, expected = {};
	bool there = !bpf_map_lookup_elem(f->map, &number, &shown);

	assert_row(row, there == !!name);
	if (!name)
		return;
	struct der der = der_of(f, name + (*name == '='));
	struct certificate c, root;

	assert_int_equal(certificate_read(&c, der.bytes, der.size), 0);
	if (*name == '=')
		memcpy(expected.key, c.facts.key, sizeof(expected.key));
	else
		expected = c.facts;
	if (anchor) {
		root = certificate_file(anchor);
		strcpy(expected.anchor, root.facts.subject);
		memcpy(expected.anchor_fingerprint, root.facts.fingerprint, CLATCH_HASH_LEN);
		expected.flags |= CLATCH_CERTIFICATE_ANCHOR;
		certificate_free(&root);
	}
	certificate_free(&c);
	assert_row(row, !memcmp(&shown, &expected, sizeof(shown)));
}

#endif
