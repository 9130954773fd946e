// SPDX-License-Identifier: GPL-2.0-only
/* The client against a server that registers its events, gets a request, and then sends any bytes. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "vici.h"

#define MAX_STEPS 100000 /* as many as no input needs */
#define CONFIRM "\000\000\000\001\005"

struct world {
	sd_event *loop;
	struct sockaddr_un address;
	int listener;
	int peer;
	struct vici *vici;
	bool connected;
	bool lost;
	unsigned int steps;
};

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void step(struct world *w)
{
	check(++w->steps < MAX_STEPS);
	check(sd_event_run(w->loop, UINT64_MAX) >= 0);
}

static size_t read_all(struct vici_section section)
{
	struct vici_element e;
	size_t sum = 0;

	while (vici_next(&section, &e)) {
		for (size_t i = 0; i < e.value.size; i++)
			sum += e.value.data[i];
		sum += read_all(e.inside);
	}
	return sum;
}

static void on_each(void *context, struct vici_section message)
{
	struct world *w = context;

	check(!w->lost);
	read_all(message);
}

static void on_event(void *context, const char *name, struct vici_section message)
{
	check(name[0]);
	on_each(context, message);
}

static void on_done(void *context, int error, struct vici_section response)
{
	check(!error || !response.bytes.size);
	on_each(context, response);
}

static void on_connected(void *context)
{
	struct world *w = context;
	const struct vici_request request = { .command = "list-sas",
					      .stream = "list-sa",
					      .each = on_each,
					      .done = on_done,
					      .context = w };

	w->connected = true;
	check(!vici_request(w->vici, &request));
	check(!vici_request(w->vici, &request));
}

static void on_disconnected(void *context, int error)
{
	struct world *w = context;

	check(error < 0 && w->connected && !w->lost);
	w->lost = true;
}

static void begin(struct world *w)
{
	static const char *const events[] = { "list-sa", "ike-updown", NULL };
	const struct vici_options options = { .path = w->address.sun_path,
					      .events = events,
					      .connected = on_connected,
					      .disconnected = on_disconnected,
					      .event = on_event,
					      .context = w };

	w->address.sun_family = AF_UNIX;
	snprintf(w->address.sun_path, sizeof(w->address.sun_path), "/tmp/clatch-fuzz-%d", getpid());
	unlink(w->address.sun_path);
	w->listener = socket(AF_UNIX, SOCK_STREAM, 0);
	check(!bind(w->listener, (void *)&w->address, sizeof(w->address)));
	check(!listen(w->listener, 1));
	check(sd_event_new(&w->loop) >= 0);
	check(!vici_open(&w->vici, w->loop, &options));
	step(w);
	w->peer = accept4(w->listener, NULL, NULL, SOCK_NONBLOCK);
	check(w->peer >= 0);
}

/* Lets the client send what it has to. */
static void hear(struct world *w)
{
	char bytes[64];

	while (recv(w->peer, bytes, sizeof(bytes), 0) < 0)
		step(w);
}

static void say(struct world *w, const uint8_t *data, size_t size)
{
	while (size && !w->lost) {
		ssize_t sent = send(w->peer, data, size, MSG_NOSIGNAL);

		if (sent > 0) {
			data += sent;
			size -= sent;
		}
		if (size)
			step(w);
	}
}

static void end(struct world *w)
{
	vici_close(w->vici);
	sd_event_unref(w->loop);
	close(w->peer);
	close(w->listener);
	unlink(w->address.sun_path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world w = {};

	begin(&w);
	for (int i = 0; i < 2; i++) {
		hear(&w);
		say(&w, (const uint8_t *)CONFIRM, sizeof(CONFIRM) - 1);
	}
	hear(&w);
	check(w.connected);
	say(&w, data, size);
	shutdown(w.peer, SHUT_WR);
	while (!w.lost)
		step(&w);
	end(&w);
	return 0;
}
