// SPDX-License-Identifier: GPL-2.0-only
#include "vici.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"

#define REQUEST_ROOM 4096
#define FIRST_DELAY_US 100000ULL
#define LAST_DELAY_US 1000000ULL
#define PACKETS_PER_TURN 32 /* the loop's other sources want their turn */

/* What goes out, and what its answer is for. */
struct exchange {
	struct exchange *next;
	enum vici_type type; /* a command or an event to register */
	struct vici_request request; /* .command and .arguments are in the packet already */
	size_t size;
	size_t sent;
	__u8 packet[];
};

struct vici {
	struct vici_options options;
	sd_event *loop;
	struct sockaddr_un address;
	int fd; /* -1 between two connections */
	sd_event_source *io;
	sd_event_source *timer; /* while connected, of the server's silence; else to connect */
	bool timed; /* the server has to speak */
	bool connected; /* and all events registered */
	bool said_lost;
	uint64_t since; /* us: when it was connected */
	uint64_t delay; /* us, before the next connection */
	struct exchange *first; /* the one that is going on; those that wait follow */
	size_t queued;
	__be32 length; /* of the packet coming in */
	size_t received; /* bytes of its length and body */
	__u8 *body;
};

static size_t body_size(const struct vici *v)
{
	return be32toh(v->length);
}

static void set_timer(struct vici *v, uint64_t delay)
{
	sd_event_source_set_time_relative(v->timer, delay);
	sd_event_source_set_enabled(v->timer, SD_EVENT_ONESHOT);
}

/* Writing is asked for only while there is something to be written. */
static void set_events(struct vici *v)
{
	bool write = v->first && v->first->sent < v->first->size;

	sd_event_source_set_io_events(v->io, EPOLLIN | (write ? EPOLLOUT : 0));
}

static void drop_packet(struct vici *v)
{
	free(v->body);
	v->body = NULL;
	v->received = 0;
}

static struct exchange *pop(struct vici *v)
{
	struct exchange *e = v->first;

	v->first = e->next;
	v->queued--;
	return e;
}

static void finish(struct exchange *e, int error, struct vici_section response)
{
	if (e->request.done)
		e->request.done(e->request.context, error, response);
	free(e);
}

static void disconnect(struct vici *v)
{
	v->io = sd_event_source_disable_unref(v->io);
	cleanup_close(&v->fd);
	v->fd = -1;
	v->connected = false;
	v->timed = false;
	drop_packet(v);
}

/* A server that cannot be understood is not asked again so soon. */
static void back_off(struct vici *v, int error)
{
	if (error == -EBADMSG || error == -ETIMEDOUT)
		v->delay = LAST_DELAY_US;
	set_timer(v, v->delay);
	v->delay *= 2;
	if (v->delay > LAST_DELAY_US)
		v->delay = LAST_DELAY_US;
}

static uint64_t clock_now(const struct vici *v)
{
	uint64_t now = 0;

	sd_event_now(v->loop, CLOCK_MONOTONIC, &now);
	return now;
}

static void lose(struct vici *v, int error)
{
	/* not whoever answers and hangs up, again and again */
	if (v->connected && clock_now(v) - v->since >= LAST_DELAY_US)
		v->delay = FIRST_DELAY_US;
	disconnect(v);
	back_off(v, error);
	while (v->first)
		finish(pop(v), error, (struct vici_section){});
	if (!v->said_lost) {
		v->said_lost = true;
		v->options.disconnected(v->options.context, error);
	}
}

static int enqueue(struct vici *v, enum vici_type type, const struct vici_request *request)
{
	struct exchange **end = &v->first, *e;
	__u8 packet[REQUEST_ROOM];
	long size = vici_build(packet, sizeof(packet), type, request->command, request->arguments,
			       request->count);

	if (size < 0)
		return size;
	e = malloc(sizeof(*e) + size);
	if (!e)
		return -ENOMEM;
	*e = (struct exchange){ .type = type, .request = *request, .size = size };
	memcpy(e->packet, packet, size);
	while (*end)
		end = &(*end)->next;
	*end = e;
	v->queued++;
	return 0;
}

/* Waits for what comes next from the server; with @anew as long as it may take. */
static void await(struct vici *v, bool anew)
{
	bool timed = v->first || v->received;

	if (!timed)
		sd_event_source_set_enabled(v->timer, SD_EVENT_OFF);
	else if (anew || !v->timed)
		set_timer(v, v->options.timeout);
	v->timed = timed;
	set_events(v);
}

int vici_request(struct vici *v, const struct vici_request *request)
{
	int err;

	if (!v->connected)
		return -ENOTCONN;
	if (v->queued >= VICI_MAX_QUEUED)
		return -ENOBUFS;
	err = enqueue(v, VICI_CMD_REQUEST, request);
	if (!err)
		await(v, false);
	return err;
}

static int send_more(struct vici *v)
{
	struct exchange *e = v->first;
	ssize_t sent =
		send(v->fd, e->packet + e->sent, e->size - e->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	e->sent += sent;
	set_events(v);
	return 0;
}

static void say_connected(struct vici *v)
{
	v->connected = true;
	v->said_lost = false;
	v->since = clock_now(v);
	v->options.connected(v->options.context);
}

/* The answer to what is going on, if that is of @type and was said to its end. */
static int take_answer(struct vici *v, enum vici_type type, int error, struct vici_section message)
{
	if (!v->first || v->first->type != type || v->first->sent < v->first->size)
		return -EBADMSG;
	finish(pop(v), error, message);
	if (!v->first && !v->connected)
		say_connected(v);
	return 1;
}

static const char *find_event(const struct vici *v, struct vici_bytes name)
{
	for (const char *const *event = v->options.events; *event; event++)
		if (vici_is(name, *event))
			return *event;
	return NULL;
}

static int take_event(struct vici *v, const struct vici_packet *packet)
{
	const struct vici_request *r = v->first ? &v->first->request : NULL;
	const char *name = find_event(v, packet->name);

	if (!name)
		return -EBADMSG;
	if (r && r->stream && !strcmp(r->stream, name)) {
		r->each(r->context, packet->message);
		return 1;
	}
	if (v->connected)
		v->options.event(v->options.context, name, packet->message);
	return 0;
}

/* 1 if it belongs to what is going on, 0 if not, -EBADMSG if it has no business here. */
static int take_packet(struct vici *v)
{
	struct vici_packet packet;
	int err = vici_parse(&packet, v->body, body_size(v));

	if (err)
		return err;
	switch (packet.type) {
	case VICI_EVENT:
		return take_event(v, &packet);
	case VICI_CMD_RESPONSE:
		return take_answer(v, VICI_CMD_REQUEST, 0, packet.message);
	case VICI_CMD_UNKNOWN:
		return take_answer(v, VICI_CMD_REQUEST, -EOPNOTSUPP, (struct vici_section){});
	case VICI_EVENT_CONFIRM:
	case VICI_EVENT_UNKNOWN:
		return take_answer(v, VICI_EVENT_REGISTER, 0, packet.message);
	default:
		return -EBADMSG;
	}
}

/* Up to @size bytes: how many, 0 none now, or -errno. */
static ssize_t receive(struct vici *v, void *to, size_t size)
{
	ssize_t got = recv(v->fd, to, size, MSG_DONTWAIT);

	if (!got)
		return -ECONNRESET;
	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	v->received += got;
	return got;
}

static int begin_packet(struct vici *v)
{
	if (body_size(v) > VICI_MAX_PACKET)
		return -EBADMSG;
	v->body = malloc(body_size(v));
	return v->body ? 0 : -ENOMEM;
}

/*
 * Never more than one packet is taken from the socket: what is left there wakes the loop again.
 * 1 there is a whole one, 0 nothing more now, or -errno.
 */
static int receive_packet(struct vici *v)
{
	const size_t header = sizeof(v->length);
	ssize_t got = 1;

	while (got > 0 && v->received < header) {
		got = receive(v, (__u8 *)&v->length + v->received, header - v->received);
		if (got > 0 && v->received == header)
			got = begin_packet(v) ?: 1;
	}
	while (got > 0 && v->received < header + body_size(v))
		got = receive(v, v->body + v->received - header,
			      header + body_size(v) - v->received);
	return got < 0 ? got : got > 0;
}

/* 0 or -errno; *progress when the server did what it has to. */
static int receive_packets(struct vici *v, bool *progress)
{
	int ret;

	for (int i = 0; i < PACKETS_PER_TURN; i++) {
		ret = receive_packet(v);
		if (ret <= 0)
			return ret;
		ret = take_packet(v);
		drop_packet(v);
		if (ret < 0)
			return ret;
		*progress |= ret || !v->first;
	}
	return 0;
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *context)
{
	struct vici *v = context;
	bool progress = false;
	int err = 0;

	(void)source, (void)fd;
	if (revents & EPOLLOUT)
		err = send_more(v);
	if (!err && revents & (EPOLLIN | EPOLLHUP | EPOLLERR))
		err = receive_packets(v, &progress);
	if (err)
		lose(v, err);
	else
		await(v, progress);
	return 0;
}

static int register_events(struct vici *v)
{
	int err = 0;

	for (const char *const *event = v->options.events; *event && !err; event++)
		err = enqueue(v, VICI_EVENT_REGISTER, &(struct vici_request){ .command = *event });
	return err;
}

/* A unix socket connects at once or not at all. */
static int connect_now(struct vici *v)
{
	int err;

	v->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (v->fd < 0)
		return -errno;
	if (connect(v->fd, (const struct sockaddr *)&v->address, sizeof(v->address)))
		return -errno;
	err = sd_event_add_io(v->loop, &v->io, v->fd, EPOLLIN, on_io, v);
	return err < 0 ? err : register_events(v);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *context)
{
	struct vici *v = context;
	int err = v->fd < 0 ? connect_now(v) : -ETIMEDOUT;

	(void)source, (void)usec;
	if (err)
		lose(v, err);
	else
		await(v, true);
	return 0;
}

static int open_parts(struct vici *v, const char *path)
{
	int err;

	if (strlen(path) >= sizeof(v->address.sun_path))
		return -ENAMETOOLONG;
	v->address.sun_family = AF_UNIX;
	strcpy(v->address.sun_path, path);
	err = sd_event_add_time_relative(v->loop, &v->timer, CLOCK_MONOTONIC, 0, 1, on_timer, v);
	return err < 0 ? err : 0;
}

int vici_open(struct vici **vici, sd_event *loop, const struct vici_options *options)
{
	struct vici *v = calloc(1, sizeof(*v));
	int err;

	if (!v)
		return -ENOMEM;
	v->options = *options;
	if (!v->options.timeout)
		v->options.timeout = VICI_TIMEOUT_US;
	v->loop = loop;
	v->fd = -1;
	v->delay = FIRST_DELAY_US;
	err = open_parts(v, options->path);
	if (err) {
		vici_close(v);
		return err;
	}
	*vici = v;
	return 0;
}

void vici_close(struct vici *v)
{
	if (!v)
		return;
	disconnect(v);
	sd_event_source_disable_unref(v->timer);
	while (v->first)
		free(pop(v));
	free(v);
}
