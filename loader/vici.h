/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A client of strongSwan's IKE daemon (vici_message.h), in an event loop.  It connects, and connects
 * again whenever the connection is lost, whatever for: the daemon ended, or is not there yet, sent
 * what is no VICI, or went silent.  It never waits, and nothing that a server does grows without
 * bound.
 */
#ifndef CLATCH_VICI_H
#define CLATCH_VICI_H

#include <sys/un.h>
#include <systemd/sd-event.h>
#include "vici_message.h"

#define VICI_TIMEOUT_US (10 * 1000000ULL)
#define VICI_MAX_QUEUED 64 /* requests */
#define VICI_MAX_PATH (sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1)

struct vici;

/*
 * All functions are called from the event loop, and must not close the client.  A message is theirs
 * to read until they return.
 */
struct vici_options {
	const char *path; /* of the daemon's socket */
	/*
	 * The events wanted, at least one, NULL behind the last, registered at each connection;
	 * among them those that stream an answer (list-sa).  One that this daemon does not know
	 * never comes.
	 */
	const char *const *events;
	/* How long (us) a server may be silent when it has to speak; 0: VICI_TIMEOUT_US. */
	uint64_t timeout;
	/* The daemon answers, and the events are registered: time for requests. */
	void (*connected)(void *context);
	/* Couldn't connect, or lost the connection: -errno.  Once, until connected again. */
	void (*disconnected)(void *context, int error);
	/* Only while connected; @name is from .events. */
	void (*event)(void *context, const char *name, struct vici_section message);
	void *context;
};

/* A command whose answer is a message, and before it, where @stream is set, many events. */
struct vici_request {
	const char *command;
	const struct vici_pair *arguments;
	size_t count;
	const char *stream; /* the event, one of the options'; or NULL */
	void (*each)(void *context, struct vici_section message);
	/*
	 * The end: 0 and the answer, which may well be success=no; or -errno and an empty message:
	 * -EOPNOTSUPP the daemon does not know the command, else the connection is lost.  May be
	 * NULL.
	 */
	void (*done)(void *context, int error, struct vici_section response);
	void *context;
};

/*
 * Connects once @loop runs.  0 or -errno; -ENAMETOOLONG the path.  The texts of @options, and later
 * a request's .stream, must outlive the client.
 */
int vici_open(struct vici **vici, sd_event *loop, const struct vici_options *options);
/* Requests that are not answered end without .done. */
void vici_close(struct vici *vici);

/*
 * One after the other, in this order; @request itself may go.  0; -ENOTCONN while not connected;
 * -ENOBUFS when too many wait; -EMSGSIZE; -ENOMEM.
 */
int vici_request(struct vici *vici, const struct vici_request *request);

#endif
