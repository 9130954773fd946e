// SPDX-License-Identifier: GPL-2.0-only
#include "ike_certs.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "certificate_chain.h"
#include "cleanup.h"
#include "ike_conns.h"

#define MAX_LISTED 1024 /* certificates and keys */
#define MAX_NOTES 16384

struct note {
	struct clatch_who who;
	struct ike_name conn;
	bool fresh; /* what follows is not compared */
};

enum role { LOCAL = 1, PEER = 2 };

enum proof {
	NO_PROOF, /* is known */
	CERTIFICATE,
	KEY, /* the certificate is one of several, or there is none */
	DOUBTFUL, /* for good, as what was listed once may not be any more */
};

struct person {
	__u16 number; /* of the identity */
	__u8 roles; /* enum role, seen so far */
	bool now; /* authenticated since the last refresh */
	bool check; /* to be compared with everything that is listed */
	enum proof proof;
	__u8 key[CLATCH_HASH_LEN];
	__u8 fingerprint[CLATCH_HASH_LEN];
};

struct listed {
	struct certificate c;
	char *subject; /* of a bare key: its identity */
	bool own; /* the daemon has the private key */
	bool fresh; /* was not listed the last time */
};

struct fingerprint {
	__u8 hash[CLATCH_HASH_LEN];
};

struct ike_certs {
	const struct cli *cli;
	struct ids *ids;
	int map;
	struct vici *vici; /* of the refresh that is under way; NULL = none is */
	bool again;
	bool too_many;
	bool said;
	struct tree waiting; /* notes for the next refresh */
	struct tree notes;
	struct tree conns;
	struct person people[CLATCH_MAX_IDS];
	__u16 place[CLATCH_MAX_IDS + 1]; /* of a number in people, from 1 */
	size_t count;
	struct listed listed[MAX_LISTED];
	size_t listed_count;
	struct certificate authorities[MAX_LISTED]; /* of those that are, borrowed */
	size_t authority_count;
	struct fingerprint known[MAX_LISTED]; /* of what was listed the last time */
	size_t known_count;
};

static int compare_notes(const void *a, const void *b)
{
	return memcmp(a, b, offsetof(struct note, fresh));
}

static void empty_map(struct ike_certs *certs)
{
	__u32 number;

	while (!bpf_map_get_next_key(certs->map, NULL, &number))
		if (bpf_map_delete_elem(certs->map, &number) && errno != ENOENT)
			break;
}

static void show_none(struct ike_certs *certs)
{
	ike_certs_forget(certs);
	empty_map(certs);
	if (!certs->said)
		cli_warn(certs->cli, "The IKE daemon has more connections or certificates than are "
				     "looked at: no certificate is shown");
	certs->said = true;
}

static void hide(const struct ike_certs *certs, __u32 number)
{
	bpf_map_delete_elem(certs->map, &number);
}

/* A full map shows none. */
static void show(const struct ike_certs *certs, __u32 number,
		 const struct clatch_certificate *facts)
{
	struct clatch_certificate shown;

	if (!bpf_map_lookup_elem(certs->map, &number, &shown) &&
	    !memcmp(&shown, facts, sizeof(shown)))
		return;
	if (bpf_map_update_elem(certs->map, &number, facts, BPF_ANY))
		hide(certs, number);
}

/* What was shown, by an earlier `run` too, was listed when the IKE SA came up. */
static void recall(const struct ike_certs *certs, struct person *p)
{
	struct clatch_certificate shown;
	__u32 number = p->number;

	if (bpf_map_lookup_elem(certs->map, &number, &shown))
		return;
	p->proof = shown.flags & CLATCH_CERTIFICATE_X509 ? CERTIFICATE : KEY;
	memcpy(p->key, shown.key, sizeof(p->key));
	memcpy(p->fingerprint, shown.fingerprint, sizeof(p->fingerprint));
}

static struct person *get_person(struct ike_certs *certs, __u16 number, bool fresh)
{
	struct person *p;

	if (!certs->place[number]) {
		p = &certs->people[certs->count];
		*p = (struct person){ .number = number, .check = true };
		if (!fresh)
			recall(certs, p);
		certs->place[number] = ++certs->count;
	}
	return &certs->people[certs->place[number] - 1];
}

static void take_note(struct ike_certs *certs, __u16 number, enum role role, bool by_key,
		      bool fresh)
{
	struct person *p;

	if (!number)
		return;
	p = get_person(certs, number, fresh);
	p->roles |= role;
	p->now |= fresh;
	p->check |= fresh || !by_key;
	if (!by_key)
		p->proof = DOUBTFUL;
}

static void visit_note(const void *node, VISIT visit, void *context)
{
	struct ike_certs *certs = context;
	const struct note *note = *(const struct note *const *)node;
	const struct ike_conn *conn;

	if (visit != postorder && visit != leaf)
		return;
	conn = ike_conns_find(&certs->conns, &note->conn);
	take_note(certs, note->who.local_id, LOCAL, conn && conn->local_key, note->fresh);
	take_note(certs, note->who.peer_id, PEER, conn && conn->remote_key, note->fresh);
}

/*
 * Other certificates of an end's own do not matter, only those that it can use.  Of a peer any may
 * be the one: also those that it should not have used.
 */
static bool is_of(const struct listed *l, const struct person *p, const char *id)
{
	if (!p->check && !l->fresh)
		return false;
	if (!l->own && !(p->roles & PEER))
		return false;
	return l->subject ? !strcmp(l->subject, id) : certificate_has_id(&l->c, id);
}

/* The only authority at the end of its signatures; false: there is none, or more than one. */
static bool find_authority(const struct ike_certs *certs, const struct listed *l,
			   __u8 fingerprint[CLATCH_HASH_LEN])
{
	struct certificate c = l->c;

	if (l->subject ||
	    !certificate_find_only_anchor(&c, certs->authorities, certs->authority_count))
		return false;
	memcpy(fingerprint, c.facts.anchor_fingerprint, CLATCH_HASH_LEN);
	return true;
}

/*
 * Is it of the authority that certified this host itself?  A stranger has no certificate of that one,
 * so it need not have been listed just now.
 */
static bool is_vouched(const struct ike_certs *certs, const struct listed *l)
{
	__u8 wanted[CLATCH_HASH_LEN], found[CLATCH_HASH_LEN];

	if (!find_authority(certs, l, wanted))
		return false;
	for (size_t i = 0; i < certs->listed_count; i++)
		if (certs->listed[i].own && find_authority(certs, &certs->listed[i], found) &&
		    !memcmp(wanted, found, sizeof(wanted)))
			return true;
	return false;
}

/* True if it was news. */
static bool learn(const struct ike_certs *certs, struct person *p, const struct listed *l)
{
	const struct clatch_certificate *facts = &l->c.facts;
	bool same_key = !memcmp(p->key, facts->key, sizeof(p->key));

	if (p->proof == DOUBTFUL)
		return false;
	if (p->proof == NO_PROOF) {
		if (!p->now && !is_vouched(certs, l))
			return false;
		p->proof = facts->flags & CLATCH_CERTIFICATE_X509 ? CERTIFICATE : KEY;
		memcpy(p->key, facts->key, sizeof(p->key));
		memcpy(p->fingerprint, facts->fingerprint, sizeof(p->fingerprint));
		return true;
	}
	if (same_key && (p->proof == KEY ||
			 !memcmp(p->fingerprint, facts->fingerprint, sizeof(p->fingerprint))))
		return false;
	p->proof = same_key ? KEY : DOUBTFUL;
	return true;
}

/*
 * Any authority that is listed may be the one that the daemon trusts, but may be a stranger's, too.
 * That the certificate is good is known: the daemon has verified it.
 */
static void show_certificate(const struct ike_certs *certs, __u16 number, const struct listed *l)
{
	struct certificate c = l->c;

	certificate_find_only_anchor(&c, certs->authorities, certs->authority_count);
	show(certs, number, &c.facts);
}

static void show_key(const struct ike_certs *certs, const struct person *p)
{
	struct clatch_certificate facts = {};

	memcpy(facts.key, p->key, sizeof(facts.key));
	show(certs, p->number, &facts);
}

static void judge(struct ike_certs *certs, struct person *p)
{
	const char *id = ids_text(certs->ids, p->number);
	const struct listed *last = NULL; /* that was news */

	for (size_t i = 0; id && i < certs->listed_count; i++)
		if (is_of(&certs->listed[i], p, id) && learn(certs, p, &certs->listed[i]))
			last = &certs->listed[i];
	if (p->proof == CERTIFICATE && last)
		show_certificate(certs, p->number, last);
	else if (p->proof == KEY && last)
		show_key(certs, p);
	else if ((p->check || last) && p->proof != CERTIFICATE && p->proof != KEY)
		hide(certs, p->number);
	p->now = p->check = false;
}

static bool is_known(const struct ike_certs *certs, const struct clatch_certificate *facts)
{
	for (size_t i = 0; i < certs->known_count; i++)
		if (!memcmp(certs->known[i].hash, facts->fingerprint, CLATCH_HASH_LEN))
			return true;
	return false;
}

/* Of many people, those who are not new are only compared with the few certificates that are. */
static void mark_fresh(struct ike_certs *certs)
{
	for (size_t i = 0; i < certs->listed_count; i++) {
		struct listed *l = &certs->listed[i];

		l->fresh = l->subject || !is_known(certs, &l->c.facts);
	}
	certs->known_count = certs->listed_count;
	for (size_t i = 0; i < certs->listed_count; i++)
		memcpy(certs->known[i].hash, certs->listed[i].c.facts.fingerprint, CLATCH_HASH_LEN);
}

static void judge_all(struct ike_certs *certs)
{
	if (certs->too_many) {
		show_none(certs);
		return;
	}
	twalk_r(certs->notes.root, visit_note, certs);
	mark_fresh(certs);
	for (size_t i = 0; i < certs->count; i++)
		judge(certs, &certs->people[i]);
}

static void drop_lists(struct ike_certs *certs)
{
	while (certs->listed_count) {
		struct listed *l = &certs->listed[--certs->listed_count];

		certificate_free(&l->c);
		free(l->subject);
	}
	certs->authority_count = 0;
	tree_empty(&certs->conns);
	tree_empty(&certs->notes);
	certs->too_many = false;
}

static void finish(struct ike_certs *certs)
{
	struct vici *vici = certs->vici;

	drop_lists(certs);
	certs->vici = NULL;
	if (certs->again)
		ike_certs_refresh(certs, vici);
}

static void on_certs_end(void *context, int error, struct vici_section response)
{
	struct ike_certs *certs = context;

	(void)response;
	if (!error || error == -EOPNOTSUPP)
		judge_all(certs);
	finish(certs);
}

/* What it cannot read it leaves out. */
static int read_listed(struct listed *l, struct vici_section message)
{
	struct vici_bytes type = vici_get(message, "type"), data = vici_get(message, "data");
	char subject[CLATCH_ID_TEXT];

	if (vici_is(type, "X509"))
		return certificate_read(&l->c, data.data, data.size);
	if (!vici_is(type, "PUBKEY") || vici_text(message, "subject", subject, sizeof(subject)))
		return -EBADMSG;
	l->subject = strdup(subject);
	return l->subject ? certificate_read_key(&l->c, data.data, data.size) : -ENOMEM;
}

static void on_cert(void *context, struct vici_section message)
{
	struct ike_certs *certs = context;
	struct listed l = { .own = vici_is(vici_get(message, "has_privkey"), "yes") };
	int err = certs->too_many ? -EBADMSG : read_listed(&l, message);

	if (!err && certs->listed_count < MAX_LISTED) {
		certs->listed[certs->listed_count++] = l;
		if (vici_is(vici_get(message, "flag"), "CA"))
			certs->authorities[certs->authority_count++] = l.c;
		return;
	}
	certs->too_many |= !err || err == -ENOMEM;
	certificate_free(&l.c);
	free(l.subject);
}

static void on_conns_end(void *context, int error, struct vici_section response)
{
	struct ike_certs *certs = context;
	const struct vici_request request = {
		.command = "list-certs",
		.stream = "list-cert",
		.each = on_cert,
		.done = on_certs_end,
		.context = certs,
	};

	(void)response;
	if ((error && error != -EOPNOTSUPP) || vici_request(certs->vici, &request))
		finish(certs);
}

static void on_conn(void *context, struct vici_section message)
{
	struct ike_certs *certs = context;

	if (!certs->too_many && ike_conns_read(&certs->conns, message))
		certs->too_many = true;
}

void ike_certs_refresh(struct ike_certs *certs, struct vici *vici)
{
	const struct vici_request request = {
		.command = "list-conns",
		.stream = "list-conn",
		.each = on_conn,
		.done = on_conns_end,
		.context = certs,
	};

	certs->again = certs->vici;
	if (certs->vici || vici_request(vici, &request))
		return;
	certs->vici = vici;
	certs->notes = certs->waiting;
	certs->waiting = (struct tree){};
}

void ike_certs_note(struct ike_certs *certs, struct vici_bytes name, struct clatch_who who,
		    bool fresh)
{
	const struct note wanted = { .who = who, .conn = ike_name(name) };
	struct note *note;
	bool added;

	note = tree_get(&certs->waiting, &wanted, sizeof(wanted), compare_notes, &added);
	if (note && certs->waiting.count <= MAX_NOTES)
		note->fresh |= fresh;
	else
		show_none(certs);
}

void ike_certs_forget(struct ike_certs *certs)
{
	tree_empty(&certs->waiting);
	tree_empty(&certs->notes);
	memset(certs->place, 0, sizeof(certs->place));
	certs->count = 0;
	certs->known_count = 0;
}

void ike_certs_begin_anew(struct ike_certs *certs, struct ids *ids, int map)
{
	ike_certs_forget(certs);
	cleanup_close(&certs->map);
	certs->map = map;
	certs->ids = ids;
}

int ike_certs_new(struct ike_certs **out, const struct cli *cli, struct ids *ids, int map)
{
	struct ike_certs *certs = calloc(1, sizeof(*certs));

	if (!certs) {
		cleanup_close(&map);
		return -ENOMEM;
	}
	certs->cli = cli;
	certs->ids = ids;
	certs->map = map;
	*out = certs;
	return 0;
}

void ike_certs_free(struct ike_certs *certs)
{
	if (!certs)
		return;
	drop_lists(certs);
	tree_empty(&certs->waiting);
	cleanup_close(&certs->map);
	free(certs);
}
