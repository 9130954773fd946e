// SPDX-License-Identifier: GPL-2.0-only
/* Whom `run` holds to be dead when an IKE SA ends: by what name, and in which states of it. */
#include "ids_map.h"
#include "ike_certs_server.h"

#include "ike.h"

#define LAST "last.example" /* to die */

static const struct cli cli = { .program = "test_ike", .bpffs = "/nowhere" };

struct fixture {
	struct world *w;
	int ids_map;
	struct ids *ids;
	struct ike *ike;
	__u16 dead[2]; /* the first peers */
	int deaths;
};

static struct sad *no_sad(void *context)
{
	(void)context;
	return NULL;
}

static void on_told(void *context)
{
	(void)context;
}

static void on_dead(void *context, __u16 peer_id)
{
	struct fixture *f = context;

	assert_true(f->deaths < 2);
	f->dead[f->deaths++] = peer_id;
}

static void open_ike(struct fixture *f)
{
	static const char *const events[] = { "ike-updown",  "ike-update", "child-updown",
					      "child-rekey", "list-sa",	   "list-conn",
					      "list-cert" };
	const struct ike_owner owner = {
		.sad = no_sad, .told = on_told, .dead = on_dead, .context = f
	};

	start_listening(f->w);
	assert_int_equal(
		ike_open(&f->ike, &cli, f->w->loop, f->w->address.sun_path, f->ids, &owner), 0);
	accept_client(f->w);
	for (size_t i = 0; i < COUNT(events); i++) {
		expect_command(f->w, VICI_EVENT_REGISTER, events[i]);
		say(f->w, BYTES(CONFIRM));
	}
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	setup((void **)&f->w);
	f->ids_map = ids_map(16);
	f->ids = ids_new(f->ids_map);
	open_ike(f);
	return f->ids_map < 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	ike_close(f->ike);
	teardown((void **)&f->w);
	ids_free(f->ids);
	close(f->ids_map);
	free(f);
	return 0;
}

/* Of an IKE SA that ends. */
struct end {
	const char *state, *version, *remote;
	const char *key, *name; /* of one more name; NULL = none */
};

static void say_end(struct fixture *f, const struct end *end)
{
	static struct packet p;

	p.size = 0;
	put_name(&p, VICI_EVENT, "ike-updown");
	put_name(&p, 1, "peer");
	put_text(&p, "version", end->version);
	put_text(&p, "state", end->state);
	put_text(&p, "local-host", "10.9.0.1");
	put_text(&p, "remote-host", "10.9.0.2");
	put_text(&p, "local-id", "app3.example");
	put_text(&p, "remote-id", end->remote);
	if (end->key)
		put_text(&p, end->key, end->name);
	put_end(&p);
	say(f->w, p.bytes, p.size);
}

/* Who is dead by it, or NULL. */
static const char *dead_by(struct fixture *f, const struct end *end)
{
	static const struct end last = { "ESTABLISHED", "2", LAST, NULL, NULL };

	f->deaths = 0;
	say_end(f, end);
	say_end(f, &last);
	until(f->w, f->deaths && is_text(ids_text(f->ids, f->dead[f->deaths - 1]), LAST));
	return f->deaths > 1 ? ids_text(f->ids, f->dead[0]) : NULL;
}

/* What the IKE SA is between is not proved where a user logs in besides, or instead. */
static void test_peer(void **state)
{
	static const struct {
		const char *remote, *key, *name, *peer;
	} rows[] = {
		{ "db1.example", NULL, NULL, "db1.example" },
		{ "db1.example", "remote-eap-id", "alice", "alice" },
		{ "db1.example", "remote-xauth-id", "bob", "bob" },
		{ "C=CH, O=Z??rich", NULL, NULL, NULL },
		{ "db1.example", "remote-eap-id", "al?ce", NULL },
		{ "db1.example", "remote-xauth-id", "%any", NULL },
		{ "%any", NULL, NULL, NULL },
		{ "(invalid ID_IPV4_ADDR)", NULL, NULL, NULL },
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct end end = { "ESTABLISHED", "2", rows[i].remote, rows[i].key,
					 rows[i].name };

		assert_row(rows[i].name ?: rows[i].remote,
			   is_text(dead_by(*state, &end), rows[i].peer));
	}
}

/* Charon gave the peer up, or it forgot the IKE SA: not else. */
static void test_dead(void **state)
{
	static const struct {
		const char *state, *version;
		bool dead;
	} rows[] = {
		{ "CONNECTING", "2", false }, /* it proved nothing */
		{ "CONNECTING", "1", false }, { "REKEYING", "1", false }, /* replaced */
		{ "REKEYED", "2", false },    { "DELETING", "2", false },
		{ "REKEYING", "2", true }, /* unanswered */
		{ "ESTABLISHED", "2", true }, { "ESTABLISHED", "1", true },
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct end end = { rows[i].state, rows[i].version, "db1.example", NULL,
					 NULL };

		assert_row(rows[i].state,
			   is_text(dead_by(*state, &end), rows[i].dead ? end.remote : NULL));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_peer, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_dead, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
