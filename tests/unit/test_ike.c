// SPDX-License-Identifier: GPL-2.0-only
/* Who the peer of an IKE SA is, seen from whom `run` holds to be dead when it ends unasked. */
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

/* An IKE SA's end that nobody asked for.  @key: of one more name; NULL = none. */
static void say_death(struct fixture *f, const char *remote, const char *key, const char *name)
{
	static struct packet p;

	p.size = 0;
	put_name(&p, VICI_EVENT, "ike-updown");
	put_name(&p, 1, "peer");
	put_text(&p, "state", "ESTABLISHED");
	put_text(&p, "local-host", "10.9.0.1");
	put_text(&p, "remote-host", "10.9.0.2");
	put_text(&p, "local-id", "app3.example");
	put_text(&p, "remote-id", remote);
	if (key)
		put_text(&p, key, name);
	put_end(&p);
	say(f->w, p.bytes, p.size);
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
	struct fixture *f = *state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		const char *found;

		f->deaths = 0;
		say_death(f, rows[i].remote, rows[i].key, rows[i].name);
		say_death(f, LAST, NULL, NULL);
		until(f->w, f->deaths && is_text(ids_text(f->ids, f->dead[f->deaths - 1]), LAST));
		found = f->deaths > 1 ? ids_text(f->ids, f->dead[0]) : NULL;
		assert_row(rows[i].name ?: rows[i].remote, is_text(found, rows[i].peer));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_peer, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
