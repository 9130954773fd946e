// SPDX-License-Identifier: GPL-2.0-only
/* Whose certificates are shown: needs CAP_BPF. */
#include "ike_certs_world.h"

static void test_rows(void **state)
{
	static const char *const key = "public key", *const secret = "pre-shared key";
	const struct {
		const char *name, *local, *remote;
		const char *certs[MAX_ROW];
		const char *own, *peer, *anchor;
	} rows[] = {
		{ "both",
		  key,
		  key,
		  { "+ecdsa", "rsa", "^middle", "^root" },
		  "ecdsa",
		  "rsa",
		  "root" },
		{ "no root", key, key, { "+ecdsa", "rsa", "^middle" }, "ecdsa", "rsa", "middle" },
		{ "no authority", key, key, { "+ecdsa", "rsa" }, "ecdsa", "rsa", NULL },
		{ "none is listed", key, key, { "^middle", "^root" }, NULL, NULL, NULL },
		{ "own without its key", key, key, { "ecdsa", "rsa" }, NULL, "rsa", NULL },
		{ "own is somebody's", key, key, { "ecdsa", "+ecdsa" }, "ecdsa", NULL, NULL },
		{ "another's", key, key, { "ed25519", "nul", "injected" }, NULL, NULL, NULL },
		{ "listed twice", key, key, { "rsa", "rsa" }, NULL, "rsa", NULL },

		{ "peer by secret", key, secret, { "+ecdsa", "rsa" }, "ecdsa", NULL, NULL },
		{ "own by secret", secret, key, { "+ecdsa", "rsa" }, NULL, "rsa", NULL },
		{ "EAP", key, "EAP", { "+ecdsa", "rsa" }, "ecdsa", NULL, NULL },
		{ "two rounds", key, "public key, EAP", { "+ecdsa", "rsa" }, "ecdsa", NULL, NULL },
		{ "two keys", key, "public key, public key", { "rsa" }, NULL, NULL, NULL },
		{ "any class", key, "any", { "rsa" }, NULL, NULL, NULL },
		{ "no round", key, "", { "rsa" }, NULL, NULL, NULL },
		{ "no connection", NULL, NULL, { "+ecdsa", "rsa" }, NULL, NULL, NULL },

		{ "another key", key, key, { "rsa", "twin", "^evil" }, NULL, NULL, NULL },
		{ "another key first", key, key, { "twin", "rsa", "^evil" }, NULL, NULL, NULL },
		{ "three", key, key, { "rsa", "copy", "twin" }, NULL, NULL, NULL },
		{ "the same key",
		  key,
		  key,
		  { "rsa", "copy", "^root", "^middle" },
		  NULL,
		  "=rsa",
		  NULL },
		{ "own key", key, key, { "+own-copy", "+ecdsa", "rsa" }, "=ecdsa", "rsa", NULL },
		{ "two ends",
		  key,
		  key,
		  { "rsa", "^middle", "^root", "^evil-middle", "^evil" },
		  NULL,
		  "rsa",
		  NULL },
		{ "two ends, one open",
		  key,
		  key,
		  { "rsa", "^evil-middle", "^evil", "^middle" },
		  NULL,
		  "rsa",
		  NULL },
		{ "root's name",
		  key,
		  key,
		  { "rsa", "^middle", "^impostor", "^root" },
		  NULL,
		  "rsa",
		  "root" },
		{ "bare key", key, key, { "=rsa.key", "+ecdsa" }, "ecdsa", "=rsa", NULL },
		{ "bare and another", key, key, { "=rsa.key", "=ed25519.key" }, NULL, NULL, NULL },
		{ "bare and in a certificate",
		  key,
		  key,
		  { "=rsa.key", "rsa" },
		  NULL,
		  "=rsa",
		  NULL },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		ike_certs_forget(f->certs);
		note_sa(f, "net");
		ike_certs_refresh(f->certs, f->w->vici);
		serve(f, rows[i].local, rows[i].remote, rows[i].certs);
		assert_shown(f, rows[i].name, f->who.local_id, rows[i].own,
			     rows[i].own && *rows[i].own != '=' ? rows[i].anchor : NULL);
		assert_shown(f, rows[i].name, f->who.peer_id, rows[i].peer, rows[i].anchor);
	}
}

/* Each step after those before it. */
static void test_in_the_course_of_time(void **state)
{
	const struct {
		const char *name;
		bool up; /* an IKE SA has come up, between the same */
		const char *certs[MAX_ROW];
		const char *peer;
	} steps[] = {
		{ "nothing is noted", false, { "rsa" }, NULL },
		{ "not listed", true, { "ed25519" }, NULL },
		{ "too late for that SA", false, { "ed25519", "copy" }, NULL },
		{ "up again", true, { "rsa" }, "rsa" },
		{ "displaced", false, { "ed25519" }, "rsa" },
		{ "displaced, up again", true, { "ed25519" }, "rsa" },
		{ "the same key", false, { "ed25519", "copy" }, "=rsa" },
		{ "the first again", true, { "rsa" }, "=rsa" },
		{ "another key", false, { "rsa", "twin" }, NULL },
		{ "the first only", true, { "rsa" }, NULL },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < COUNT(steps); i++) {
		if (steps[i].up)
			note_sa(f, "net");
		ike_certs_refresh(f->certs, f->w->vici);
		serve_keys(f, steps[i].certs);
		assert_shown(f, steps[i].name, f->who.peer_id, steps[i].peer, NULL);
	}
	ike_certs_forget(f->certs);
	refresh(f, (const char *[MAX_ROW]){ "rsa" });
	assert_shown(f, "another daemon", f->who.peer_id, "rsa", NULL);
}

/* `run` was not there when the IKE SA came up, but perhaps another one was. */
static void test_old_ike_sa(void **state)
{
	static const char *const key = "public key";
	const struct {
		const char *name, *remote;
		const char *listed_before[MAX_ROW]; /* so shown */
		const char *certs[MAX_ROW];
		const char *peer;
	} rows[] = {
		{ "never shown", key, {}, { "rsa" }, NULL },
		{ "maybe a stranger's", key, {}, { "twin" }, NULL },
		{ "the same", key, { "rsa" }, { "rsa" }, "rsa" },
		{ "displaced", key, { "rsa" }, {}, "rsa" },
		{ "another key", key, { "rsa" }, { "twin" }, NULL },
		{ "another, too", key, { "rsa" }, { "rsa", "twin" }, NULL },
		{ "the same key", key, { "rsa" }, { "copy" }, "=rsa" },
		{ "a key", key, { "rsa", "copy" }, { "rsa" }, "=rsa" },
		{ "by secret", "pre-shared key", { "rsa" }, { "rsa" }, NULL },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		ike_certs_forget(f->certs);
		refresh(f, rows[i].listed_before);
		ike_certs_forget(f->certs);
		note_sa_as(f, "net", false);
		ike_certs_refresh(f->certs, f->w->vici);
		serve(f, key, rows[i].remote, rows[i].certs);
		assert_shown(f, rows[i].name, f->who.peer_id, rows[i].peer, NULL);
	}
	ike_certs_forget(f->certs);
	note_sa_as(f, "net", false);
	refresh(f, (const char *[MAX_ROW]){ "rsa" });
	assert_shown(f, "one is fresh", f->who.peer_id, "rsa", NULL);
	ike_certs_forget(f->certs);
	refresh(f, (const char *[MAX_ROW]){ "twin" });
	assert_shown(f, "renewed", f->who.peer_id, "twin", NULL);
}

/* An identity that an end has by a secret, too, or of one of two connections with that name. */
static void test_more_connections(void **state)
{
	const struct {
		const char *name, *noted;
		const char *remote; /* of the other one */
		const char *peer;
	} rows[] = {
		{ "other", "two", "pre-shared key", NULL },
		{ "other by key", "two", "public key", "rsa" },
		{ "not noted", "net", "pre-shared key", "rsa" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i <= COUNT(rows); i++) {
		bool twice = i == COUNT(rows);

		ike_certs_forget(f->certs);
		note_sa(f, "net");
		if (!twice)
			note_sa(f, rows[i].noted);
		ike_certs_refresh(f->certs, f->w->vici);
		expect_command(f->w, VICI_CMD_REQUEST, "list-conns");
		say_conn(f->w, "net", "public key", "public key");
		say_conn(f->w, twice ? "net" : "two", "public key", twice ? "EAP" : rows[i].remote);
		say_conns_end(f);
		say_cert(f, "rsa");
		wait_for_client(f);
		assert_shown(f, twice ? "twice" : rows[i].name, f->who.peer_id,
			     twice ? NULL : rows[i].peer, NULL);
	}
}

/* What is noted while it is being asked waits for the next time, of which there is one. */
static void test_coalesces(void **state)
{
	struct fixture *f = *state;

	ike_certs_refresh(f->certs, f->w->vici);
	note_sa(f, "net");
	for (int i = 0; i < 5; i++)
		ike_certs_refresh(f->certs, f->w->vici);
	serve_keys(f, (const char *[MAX_ROW]){ "rsa" });
	assert_shown(f, "first", f->who.peer_id, NULL, NULL);
	serve_keys(f, (const char *[MAX_ROW]){ "rsa" });
	assert_shown(f, "second", f->who.peer_id, "rsa", NULL);
	expect_nothing(f->w);
}

static void test_unchanged_is_not_written(void **state)
{
	struct fixture *f = *state;
	struct clatch_certificate mark = { .not_after = 77 }, shown;
	__u32 number = f->who.peer_id;

	refresh(f, (const char *[MAX_ROW]){ "rsa" });
	assert_int_equal(bpf_map_update_elem(f->map, &number, &mark, BPF_ANY), 0);
	refresh(f, (const char *[MAX_ROW]){ "rsa" });
	assert_int_equal(bpf_map_lookup_elem(f->map, &number, &shown), 0);
	assert_memory_equal(&shown, &mark, sizeof(shown));
}

static void test_garbage(void **state)
{
	static unsigned char bytes[CERTIFICATE_MAX];
	struct fixture *f = *state;
	struct der rsa = der_file("rsa");

	note_sa(f, "net");
	note_sa(f, "");
	ike_certs_refresh(f->certs, f->w->vici);
	expect_command(f->w, VICI_CMD_REQUEST, "list-conns");
	say_conn(f->w, "net", "public key", "public key");
	say_conns_end(f);
	say_listed(f->w, "X509", "NONE", true, NULL, bytes, sizeof(bytes));
	say_listed(f->w, "X509", "NONE", true, NULL, "", 0);
	say_listed(f->w, "X509", "CA", false, NULL, rsa.bytes, rsa.size - 1);
	say_listed(f->w, "PUBKEY", NULL, false, NULL, rsa.bytes, rsa.size);
	say_listed(f->w, "PUBKEY", NULL, false, PEER_ID, rsa.bytes, rsa.size);
	say_listed(f->w, "X509_CRL", NULL, false, PEER_ID, rsa.bytes, rsa.size);
	say_listed(f->w, "", "", false, "", "", 0);
	say(f->w, BYTES("\007\011list-cert"));
	wait_for_client(f);
	assert_shown(f, "garbage", f->who.peer_id, NULL, NULL); /* also of a connection "" */
	ike_certs_forget(f->certs);
	refresh(f, (const char *[MAX_ROW]){ "+ecdsa", "rsa" });
	assert_shown(f, "after it", f->who.peer_id, "rsa", NULL);
}

static bool is_empty(int map)
{
	__u32 number;

	return bpf_map_get_next_key(map, NULL, &number) == -ENOENT;
}

static void test_too_many_certificates(void **state)
{
	struct fixture *f = *state;
	struct der other = der_file("ed25519");

	refresh(f, (const char *[MAX_ROW]){ "rsa" });
	for (int last = 0; last < 2; last++) {
		note_sa(f, "net");
		ike_certs_refresh(f->certs, f->w->vici);
		expect_command(f->w, VICI_CMD_REQUEST, "list-conns");
		say_conn(f->w, "net", "public key", "public key");
		say_conns_end(f);
		say_cert(f, "rsa");
		for (int i = 0; i < 1024 + !last * 2000 - last; i++)
			say_listed(f->w, "X509", "CA", false, NULL, other.bytes, other.size);
		wait_for_client(f);
		if (!last)
			assert_true(is_empty(f->map));
	}
	assert_shown(f, "as many as there may be", f->who.peer_id, "rsa", NULL);
}

static void test_too_many_connections(void **state)
{
	struct fixture *f = *state;
	char name[16];

	refresh(f, (const char *[MAX_ROW]){ "rsa" });
	note_sa(f, "net");
	ike_certs_refresh(f->certs, f->w->vici);
	expect_command(f->w, VICI_CMD_REQUEST, "list-conns");
	say_conn(f->w, "net", "public key", "public key");
	for (int i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "c%d", i);
		say_conn(f->w, name, "public key", "public key");
	}
	say_conns_end(f);
	say_cert(f, "rsa");
	wait_for_client(f);
	assert_true(is_empty(f->map));
}

static void test_too_many_notes(void **state)
{
	struct fixture *f = *state;
	char name[16];

	refresh(f, (const char *[MAX_ROW]){ "rsa" });
	assert_false(is_empty(f->map));
	for (int i = 0; i < 17000; i++) {
		snprintf(name, sizeof(name), "c%d", i);
		note_sa(f, name);
	}
	assert_true(is_empty(f->map));
}

/* Authorities that all certify each other: found out in bounded time, and no anchor. */
static void test_maze(void **state)
{
	struct fixture *f = *state;
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	struct der peer = issue(name_of("x"), key, "DNS:" PEER_ID, "maze", key), one;
	struct clatch_certificate shown;
	__u32 number = f->who.peer_id;

	note_sa(f, "net");
	ike_certs_refresh(f->certs, f->w->vici);
	expect_command(f->w, VICI_CMD_REQUEST, "list-conns");
	say_conn(f->w, "net", "public key", "public key");
	say_conns_end(f);
	say_listed(f->w, "X509", "NONE", false, NULL, peer.bytes, peer.size);
	for (int i = 0; i < 1000; i++) {
		char names[32];

		snprintf(names, sizeof(names), "DNS:%d.example", i);
		one = issue(name_of("maze"), key, names, "maze", key);
		say_listed(f->w, "X509", "CA", false, NULL, one.bytes, one.size);
	}
	wait_for_client(f);
	assert_int_equal(bpf_map_lookup_elem(f->map, &number, &shown), 0);
	assert_string_equal(shown.subject, "CN=x");
	assert_int_equal(shown.flags, CLATCH_CERTIFICATE_X509);
	EVP_PKEY_free(key);
}

/* The daemon goes in between, and comes again. */
static void test_lost(void **state)
{
	struct fixture *f = *state;

	note_sa(f, "net");
	ike_certs_refresh(f->certs, f->w->vici);
	expect_command(f->w, VICI_CMD_REQUEST, "list-conns");
	say_conn(f->w, "net", "public key", "public key");
	say_conns_end(f);
	say_cert(f, "rsa");
	ike_certs_refresh(f->certs, f->w->vici);
	close(f->w->peer);
	f->w->peer = -1;
	until(f->w, f->w->disconnected);
	assert_true(is_empty(f->map));
	ike_certs_refresh(f->certs, f->w->vici); /* not connected: nothing comes of it */
	f->w->connected = 0;
	accept_client(f->w);
	expect_command(f->w, VICI_EVENT_REGISTER, "list-conn");
	say(f->w, BYTES(CONFIRM));
	expect_command(f->w, VICI_EVENT_REGISTER, "list-cert");
	say(f->w, BYTES(CONFIRM));
	until(f->w, f->w->connected);
	ike_certs_forget(f->certs);
	refresh(f, (const char *[MAX_ROW]){ "rsa" });
	assert_shown(f, "again", f->who.peer_id, "rsa", NULL);
}

/* Another table: what was shown before is not touched. */
static void test_another_map(void **state)
{
	struct fixture *f = *state;
	int map = bpf_map_create(BPF_MAP_TYPE_HASH, "t_certificates", 4,
				 sizeof(struct clatch_certificate), 1, NULL);

	refresh(f, (const char *[MAX_ROW]){ "rsa" });
	ike_certs_begin_anew(f->certs, f->ids, dup(map));
	refresh(f, (const char *[MAX_ROW]){ "twin", "+ecdsa" }); /* and only one finds room */
	assert_shown(f, "before", f->who.peer_id, "rsa", NULL);
	close(f->map);
	f->map = map;
	assert_false(is_empty(map));
	ike_certs_begin_anew(f->certs, f->ids, -1);
	refresh(f, (const char *[MAX_ROW]){ "rsa" });
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_rows),
		TEST(test_in_the_course_of_time),
		TEST(test_old_ike_sa),
		TEST(test_more_connections),
		TEST(test_coalesces),
		TEST(test_unchanged_is_not_written),
		TEST(test_garbage),
		TEST(test_too_many_certificates),
		TEST(test_too_many_connections),
		TEST(test_too_many_notes),
		TEST(test_maze),
		TEST(test_lost),
		TEST(test_another_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
