// SPDX-License-Identifier: GPL-2.0-only
/* The client against a server that is this test itself, in turns with the event loop. */
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vici_server.h"

#define LONG (60000 * MS)
#define PACKETS_PER_TURN 32

#define EVENT_UNKNOWN "\006"
#define RESPONSE "\001"
#define UNKNOWN "\002"
#define UPDOWN "\007\012ike-updown"
#define LIST_SA "\007\007list-sa"
#define VALUE "\003\002up\000\003yes"

static void test_registers_one_after_the_other(void **state)
{
	struct world *w = *state;

	start_listening(w);
	open_client(w, LONG);
	accept_client(w);
	expect(w, VICI_EVENT_REGISTER, "ike-updown");
	expect_nothing(w);
	say(w, BYTES(UPDOWN VALUE)); /* before all is registered: for nobody */
	say(w, BYTES(CONFIRM));
	expect(w, VICI_EVENT_REGISTER, "list-sa");
	assert_int_equal(w->connected, 0);
	assert_int_equal(ask(w, "list-sas"), -ENOTCONN);
	say(w, BYTES(EVENT_UNKNOWN)); /* a daemon of another version */
	until(w, w->connected == 1);
	assert_int_equal(w->disconnected, 0);
	assert_int_equal(w->events, 0);
}

static void test_stream(void **state)
{
	struct world *w = *state;

	set_up_connected(w, LONG);
	assert_int_equal(ask(w, "list-sas"), 0);
	assert_int_equal(ask(w, "second"), 0);
	expect(w, VICI_CMD_REQUEST, "list-sas");
	expect_nothing(w);
	say(w, BYTES(LIST_SA));
	say(w, BYTES(UPDOWN));
	say(w, BYTES(LIST_SA VALUE));
	until(w, w->each == 2);
	assert_true(w->said_yes);
	assert_int_equal(w->events, 1);
	say(w, BYTES(RESPONSE));
	until(w, w->done == 1);
	assert_int_equal(w->done_error, 0);
	assert_false(w->said_yes);
	expect(w, VICI_CMD_REQUEST, "second");
	say(w, BYTES(RESPONSE VALUE));
	until(w, w->done == 2);
	assert_true(w->said_yes);
	assert_int_equal(w->each, 2);
}

static void test_unknown_command(void **state)
{
	struct world *w = *state;

	set_up_connected(w, LONG);
	w->ask_again = true;
	assert_int_equal(ask(w, "no-such"), 0);
	expect(w, VICI_CMD_REQUEST, "no-such");
	say(w, BYTES(UNKNOWN));
	until(w, w->done == 1);
	assert_int_equal(w->done_error, -EOPNOTSUPP);
	assert_int_equal(w->asked_again, 0);
	expect(w, VICI_CMD_REQUEST, "again");
	assert_int_equal(w->disconnected, 0);
}

static void test_byte_by_byte(void **state)
{
	static const char bytes[] = "\000\000\000\025" UPDOWN VALUE "\000\000\000\022" LIST_SA VALUE
				    "\000\000\000\012" RESPONSE VALUE;
	struct world *w = *state;

	set_up_connected(w, LONG);
	assert_int_equal(ask(w, "list-sas"), 0);
	expect(w, VICI_CMD_REQUEST, "list-sas");
	for (size_t i = 0; i < sizeof(bytes) - 1; i++) {
		assert_int_equal(w->done, 0);
		say_raw(w, bytes + i, 1);
		assert_true(sd_event_run(w->loop, STEP) >= 0);
	}
	until(w, w->done == 1);
	assert_true(w->said_yes);
	assert_int_equal(w->events, 1);
	assert_int_equal(w->each, 1);
}

static void test_longest_packet(void **state)
{
	static const char before[] = LIST_SA VALUE, element[] = "\003\001x\377\376";
	static char body[VICI_MAX_PACKET];
	struct world *w = *state;
	size_t size = sizeof(before) - 1;

	memcpy(body, before, size);
	for (; size < sizeof(body); size += 5 + 0xfffe) {
		size_t left = sizeof(body) - size - 5;

		memcpy(body + size, element, 5);
		if (left < 0xfffe)
			memcpy(body + size + 3, &(__be16){ htobe16(left) }, 2);
	}
	set_up_connected(w, LONG);
	assert_int_equal(ask(w, "list-sas"), 0);
	expect(w, VICI_CMD_REQUEST, "list-sas");
	say(w, body, sizeof(body));
	until(w, w->each == 1);
	assert_true(w->said_yes);
}

static void test_unexpected(void **state)
{
	static const struct {
		const char *name;
		const char *bytes;
		size_t size;
	} rows[] = {
		{ "answer to nothing", BYTES("\000\000\000\001" RESPONSE) },
		{ "unknown nothing", BYTES("\000\000\000\001" UNKNOWN) },
		{ "confirms nothing", BYTES("\000\000\000\001" CONFIRM) },
		{ "does not know nothing", BYTES("\000\000\000\001" EVENT_UNKNOWN) },
		{ "request", BYTES("\000\000\000\002\000\000") },
		{ "register", BYTES("\000\000\000\005\003\003abc") },
		{ "unregister", BYTES("\000\000\000\005\004\003abc") },
		{ "event that is not ours", BYTES("\000\000\000\005\007\003abc") },
		{ "event by a prefix", BYTES("\000\000\000\006\007\004list") },
		{ "unknown type", BYTES("\000\000\000\001\010") },
		{ "malformed", BYTES("\000\000\000\002\007\003") },
		{ "empty", BYTES("\000\000\000\000") },
		{ "too long by one", BYTES("\000\010\000\001\007") },
		{ "of 4 GiB", BYTES("\377\377\377\377\007") },
		{ "HTTP", BYTES("HTTP/1.1 400 Bad Request\r\n") },
	};
	struct world *w = *state;

	start_listening(w);
	for (size_t i = 0; i < COUNT(rows); i++) {
		int before = w->disconnected;

		open_client(w, LONG);
		accept_client(w);
		answer_registrations(w);
		say_raw(w, rows[i].bytes, rows[i].size);
		until(w, w->disconnected > before);
		assert_row(rows[i].name, w->error == -EBADMSG);
		expect_end(w);
		vici_close(w->vici);
		w->vici = NULL;
	}
	assert_int_equal(w->events + w->each, 0);
}

static void test_wrong_answers(void **state)
{
	struct world *w = *state;
	uint64_t lost;

	set_up_connected(w, LONG);
	assert_int_equal(ask(w, "list-sas"), 0);
	expect(w, VICI_CMD_REQUEST, "list-sas");
	say(w, BYTES(CONFIRM));
	until(w, w->disconnected == 1);
	assert_int_equal(w->done_error, -EBADMSG);
	lost = now();
	accept_client(w);
	assert_true(now() - lost >= 900 * MS); /* it is not asked again so soon */
	expect(w, VICI_EVENT_REGISTER, "ike-updown");
	say(w, BYTES(RESPONSE));
	expect_end(w);
	accept_client(w);
	say_raw(w, BYTES("\000\000\000\001" CONFIRM "\000\000\000\001" CONFIRM));
	expect(w, VICI_EVENT_REGISTER, "ike-updown");
	expect_end(w); /* the second was not asked for yet */
	assert_int_equal(w->connected, 1);
}

static void test_lost_and_connected_again(void **state)
{
	struct world *w = *state;

	set_up_connected(w, LONG);
	w->ask_again = true;
	assert_int_equal(ask(w, "list-sas"), 0);
	assert_int_equal(ask(w, "second"), 0);
	expect(w, VICI_CMD_REQUEST, "list-sas");
	say_raw(w, "\000\000\000\177\001", 5); /* half a packet */
	shutdown(w->peer, SHUT_RDWR);
	until(w, w->disconnected == 1);
	assert_int_equal(w->error, -ECONNRESET);
	assert_int_equal(w->done, 2);
	assert_int_equal(w->done_error, -ECONNRESET);
	assert_int_equal(w->asked_again, -ENOTCONN);
	accept_client(w);
	answer_registrations(w);
	assert_int_equal(ask(w, "list-sas"), 0);
	expect(w, VICI_CMD_REQUEST, "list-sas");
	say(w, BYTES(RESPONSE));
	until(w, w->done == 3);
	assert_int_equal(w->done_error, 0);
	assert_int_equal(w->connected, 2);
	assert_int_equal(w->disconnected, 1);
	shutdown(w->peer, SHUT_RDWR);
	until(w, w->disconnected == 2);
}

static void test_server_comes_later(void **state)
{
	struct world *w = *state;

	open_client(w, LONG);
	until(w, w->disconnected == 1);
	assert_int_equal(w->error, -ENOENT);
	start_listening(w);
	accept_client(w);
	answer_registrations(w);
	assert_int_equal(w->disconnected, 1);
}

/* One that hangs up at once is not called without a pause. */
static void test_backs_off(void **state)
{
	struct world *w = *state;
	uint64_t began = now();

	start_listening(w);
	open_client(w, LONG);
	for (int i = 0; i < 4; i++)
		accept_client(w);
	assert_true(now() - began >= (100 + 200 + 400) * MS);
	assert_int_equal(w->disconnected, 1);
	assert_true(w->error == -ECONNRESET || w->error == -EPIPE);
}

/* Nor is one that hangs up as soon as it has answered. */
static void test_backs_off_from_one_that_answers(void **state)
{
	struct world *w = *state;
	uint64_t began = now();

	start_listening(w);
	open_client(w, LONG);
	for (int i = 0; i < 4; i++) {
		accept_client(w);
		answer_registrations(w);
	}
	assert_true(now() - began >= (100 + 200 + 400) * MS);
}

static void test_silent_when_registering(void **state)
{
	struct world *w = *state;

	start_listening(w);
	open_client(w, 50 * MS);
	until(w, w->disconnected == 1);
	assert_int_equal(w->error, -ETIMEDOUT);
}

static void test_silent_when_asked(void **state)
{
	struct world *w = *state;

	set_up_connected(w, 200 * MS);
	assert_int_equal(ask(w, "list-sas"), 0);
	assert_int_equal(ask(w, "second"), 0);
	until(w, w->disconnected == 1);
	assert_int_equal(w->error, -ETIMEDOUT);
	assert_int_equal(w->done, 2);
	assert_int_equal(w->done_error, -ETIMEDOUT);
}

/* Events that were not asked for are no answer. */
static void test_talks_but_does_not_answer(void **state)
{
	struct world *w = *state;

	set_up_connected(w, 200 * MS);
	assert_int_equal(ask(w, "list-sas"), 0);
	until(w, ({
		      send(w->peer, BYTES("\000\000\000\014" UPDOWN), MSG_NOSIGNAL);
		      w->disconnected;
	      }));
	assert_int_equal(w->error, -ETIMEDOUT);
	assert_true(w->events > 0);
}

static void test_packet_without_end(void **state)
{
	struct world *w = *state;

	set_up_connected(w, 200 * MS);
	/* so long that it does not end before the time is out */
	say_raw(w, "\000\007\377\377\007", 5);
	until(w, ({
		      send(w->peer, "x", 1, MSG_NOSIGNAL);
		      w->disconnected;
	      }));
	assert_int_equal(w->error, -ETIMEDOUT);
}

/* A stream may take longer than the time-out, as long as it goes on. */
static void test_long_stream(void **state)
{
	struct world *w = *state;
	uint64_t began;

	set_up_connected(w, 400 * MS);
	assert_int_equal(ask(w, "list-sas"), 0);
	expect(w, VICI_CMD_REQUEST, "list-sas");
	began = now();
	while (now() < began + 800 * MS) {
		int before = w->each;

		say(w, BYTES(LIST_SA));
		until(w, w->each > before);
		expect_nothing(w);
	}
	say(w, BYTES(RESPONSE));
	until(w, w->done == 1);
	assert_int_equal(w->done_error, 0);
}

static int on_turn(sd_event_source *source, int fd, uint32_t revents, void *context)
{
	(void)source, (void)fd, (void)revents;
	++*(int *)context;
	return 0;
}

static void test_flood(void **state)
{
	static const char event[] = "\000\000\000\014" UPDOWN;
	struct world *w = *state;
	int turns = 0, sent = 0, always = eventfd(1, 0);
	sd_event_source *other;

	set_up_connected(w, LONG);
	assert_true(sd_event_add_io(w->loop, &other, always, EPOLLIN, on_turn, &turns) >= 0);
	while (sent < 2000) {
		ssize_t size = send(w->peer, BYTES(event), MSG_NOSIGNAL);

		if (size < 0)
			break; /* all that the socket takes */
		assert_int_equal(size, sizeof(event) - 1);
		sent++;
	}
	assert_true(sent > 2 * PACKETS_PER_TURN);
	until(w, ({
		      assert_true(w->events <= (turns + 1) * PACKETS_PER_TURN);
		      w->events == sent;
	      }));
	sd_event_source_disable_unref(other);
	close(always);
}

static void test_queue_is_bounded(void **state)
{
	struct world *w = *state;

	set_up_connected(w, LONG);
	for (int i = 0; i < VICI_MAX_QUEUED; i++)
		assert_int_equal(ask(w, "list-sas"), 0);
	assert_int_equal(ask(w, "list-sas"), -ENOBUFS);
	expect(w, VICI_CMD_REQUEST, "list-sas");
	say(w, BYTES(RESPONSE));
	until(w, w->done == 1);
	assert_int_equal(ask(w, "list-sas"), 0);
	expect(w, VICI_CMD_REQUEST, "list-sas");
	vici_close(w->vici);
	w->vici = NULL;
	expect_end(w);
	assert_int_equal(w->done, 1);
}

static void test_no_room_for_the_path(void **state)
{
	static const char *const events[] = { "list-sa", NULL };
	struct vici_options options = { .events = events };
	struct world *w = *state;
	char path[sizeof(w->address.sun_path) + 1] = {};

	options.path = path;
	memset(path, 'x', sizeof(path) - 1); /* fits, but for its NUL */
	assert_int_equal(vici_open(&w->vici, w->loop, &options), -ENAMETOOLONG);
	assert_null(w->vici);
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ROW(test_registers_one_after_the_other),
		ROW(test_stream),
		ROW(test_unknown_command),
		ROW(test_byte_by_byte),
		ROW(test_longest_packet),
		ROW(test_unexpected),
		ROW(test_wrong_answers),
		ROW(test_lost_and_connected_again),
		ROW(test_server_comes_later),
		ROW(test_backs_off),
		ROW(test_backs_off_from_one_that_answers),
		ROW(test_silent_when_registering),
		ROW(test_silent_when_asked),
		ROW(test_talks_but_does_not_answer),
		ROW(test_packet_without_end),
		ROW(test_long_stream),
		ROW(test_flood),
		ROW(test_queue_is_bounded),
		ROW(test_no_room_for_the_path),
	};

	return cmocka_run_group_tests_name("vici", tests, NULL, NULL);
}
