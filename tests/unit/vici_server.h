/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A VICI client, and the server that it talks to, in turns in one process: whatever waits for the
 * client runs its event loop.
 */
#ifndef CLATCH_UNIT_VICI_SERVER_H
#define CLATCH_UNIT_VICI_SERVER_H

#include "test.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "vici.h"

#define MS 1000ULL /* in us */
#define LIMIT (10000 * MS) /* of a wait that should end at once */
#define STEP (5 * MS)

#define BYTES(text) (text), sizeof(text) - 1
#define CONFIRM "\005"

struct world {
	sd_event *loop;
	char dir[32];
	struct sockaddr_un address;
	int listener;
	int peer; /* the server's end */
	struct vici *vici;
	int connected, disconnected, events, each, done;
	int error; /* of the last disconnected */
	int done_error; /* of the last done */
	bool said_yes; /* the last message had up = yes */
	bool ask_again; /* in .done */
	int asked_again; /* with this result */
};

static inline uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000ULL + t.tv_nsec / 1000;
}

#define until(w, condition)                                                                        \
	do {                                                                                       \
		uint64_t end_ = now() + LIMIT;                                                     \
		while (!(condition)) {                                                             \
			assert_true(sd_event_run((w)->loop, STEP) >= 0);                           \
			if (now() > end_)                                                          \
				fail_msg("waited for: %s", #condition);                            \
		}                                                                                  \
	} while (0)

static inline void note(struct world *w, struct vici_section message)
{
	w->said_yes = vici_is(vici_get(message, "up"), "yes");
}

static inline void on_connected(void *context)
{
	((struct world *)context)->connected++;
}

static inline void on_disconnected(void *context, int error)
{
	struct world *w = context;

	w->disconnected++;
	w->error = error;
}

static inline void on_event(void *context, const char *name, struct vici_section message)
{
	struct world *w = context;

	assert_string_equal(name, "ike-updown");
	w->events++;
	note(w, message);
}

static inline void on_each(void *context, struct vici_section message)
{
	struct world *w = context;

	w->each++;
	note(w, message);
}

static inline int ask(struct world *w, const char *command);

static inline void on_done(void *context, int error, struct vici_section response)
{
	struct world *w = context;

	w->done++;
	w->done_error = error;
	note(w, response);
	if (w->ask_again) {
		w->ask_again = false;
		w->asked_again = ask(w, "again");
	}
}

static inline int ask(struct world *w, const char *command)
{
	static const struct vici_pair pair = { "noblock", "yes" };
	const struct vici_request request = {
		.command = command,
		.arguments = &pair,
		.count = 1,
		.stream = "list-sa",
		.each = on_each,
		.done = on_done,
		.context = w,
	};

	return vici_request(w->vici, &request);
}

static inline void open_client(struct world *w, uint64_t timeout)
{
	static const char *const events[] = { "ike-updown", "list-sa", NULL };
	const struct vici_options options = {
		.path = w->address.sun_path,
		.events = events,
		.timeout = timeout,
		.connected = on_connected,
		.disconnected = on_disconnected,
		.event = on_event,
		.context = w,
	};

	assert_int_equal(vici_open(&w->vici, w->loop, &options), 0);
}

static inline void start_listening(struct world *w)
{
	w->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_true(w->listener >= 0);
	assert_int_equal(bind(w->listener, (void *)&w->address, sizeof(w->address)), 0);
	assert_int_equal(listen(w->listener, 8), 0);
}

static inline void accept_client(struct world *w)
{
	if (w->peer >= 0)
		close(w->peer);
	until(w, (w->peer = accept4(w->listener, NULL, NULL, SOCK_NONBLOCK)) >= 0);
}

static inline void say_raw(struct world *w, const void *data, size_t size)
{
	for (const char *byte = data; size;) {
		ssize_t sent = send(w->peer, byte, size, MSG_NOSIGNAL);

		if (sent < 0) {
			assert_int_equal(errno, EAGAIN);
			assert_true(sd_event_run(w->loop, STEP) >= 0);
			continue;
		}
		byte += sent;
		size -= sent;
	}
}

static inline void say(struct world *w, const void *body, size_t size)
{
	__be32 length = htobe32(size);

	say_raw(w, &length, sizeof(length));
	say_raw(w, body, size);
}

/* Waits for exactly this packet from the client. */
static inline void expect(struct world *w, enum vici_type type, const char *name)
{
	static const struct vici_pair pair = { "noblock", "yes" };
	char expected[256], got[256];
	long size =
		vici_build(expected, sizeof(expected), type, name, &pair, type == VICI_CMD_REQUEST);
	long have = 0;

	assert_true(size > 0);
	until(w, ({
		      ssize_t more = recv(w->peer, got + have, size - have, 0);

		      assert_int_not_equal(more, 0);
		      have += more > 0 ? more : 0;
		      have == size;
	      }));
	assert_memory_equal(got, expected, size);
}

/* Nothing has come that was not expected. */
static inline void expect_nothing(struct world *w)
{
	char byte;

	while (sd_event_run(w->loop, STEP) > 0)
		;
	assert_int_equal(recv(w->peer, &byte, 1, 0), -1);
	assert_int_equal(errno, EAGAIN);
}

static inline void expect_end(struct world *w)
{
	char byte;

	until(w, recv(w->peer, &byte, 1, 0) == 0 || errno == ECONNRESET);
}

static inline void answer_registrations(struct world *w)
{
	int before = w->connected;

	expect(w, VICI_EVENT_REGISTER, "ike-updown");
	say(w, BYTES(CONFIRM));
	expect(w, VICI_EVENT_REGISTER, "list-sa");
	say(w, BYTES(CONFIRM));
	until(w, w->connected > before);
}

static inline void set_up_connected(struct world *w, uint64_t timeout)
{
	start_listening(w);
	open_client(w, timeout);
	accept_client(w);
	answer_registrations(w);
}

static inline int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->listener = -1;
	w->peer = -1;
	strcpy(w->dir, "/tmp/clatch-vici-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	w->address.sun_family = AF_UNIX;
	snprintf(w->address.sun_path, sizeof(w->address.sun_path), "%s/socket", w->dir);
	assert_true(sd_event_new(&w->loop) >= 0);
	*state = w;
	return 0;
}

static inline int teardown(void **state)
{
	struct world *w = *state;

	vici_close(w->vici);
	sd_event_unref(w->loop);
	if (w->listener >= 0)
		close(w->listener);
	if (w->peer >= 0)
		close(w->peer);
	unlink(w->address.sun_path);
	rmdir(w->dir);
	free(w);
	return 0;
}

#endif
