/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What strongSwan's IKE daemon tells by VICI of the SAs in our network namespace: who is at their
 * ends, and that a peer is dead.
 *
 * It is told after the kernel has the SA, so its word may come late, when the SAs have changed
 * again.  An event is believed of an SPI that was never used before; an answer only of SAs that
 * were there when it was asked for (sad_tell()).
 */
#ifndef CLATCH_IKE_H
#define CLATCH_IKE_H

#include <systemd/sd-event.h>
#include "cli.h"
#include "ids.h"
#include "sad.h"

struct ike;

struct ike_owner {
	/* The SAs of our namespace, all that the kernel has told received; NULL = they are lost. */
	struct sad *(*sad)(void *context);
	/* Identities of SAs were told: latches may be judged otherwise, and packets that wait may go. */
	void (*told)(void *context);
	/* The peer with this identity does not answer any more, or was started anew (RFC 5660 R14). */
	void (*dead)(void *context, __u16 peer_id);
	void *context;
};

/* @path: of the daemon's socket; @ids outlives it.  0 and *ike, or -errno. */
int ike_open(struct ike **ike, const struct cli *cli, sd_event *loop, const char *path,
	     struct ids *ids, const struct ike_owner *owner);
void ike_close(struct ike *ike);

/* All that was told is forgotten, and is told anew, with another table of identities. */
void ike_begin_anew(struct ike *ike, struct ids *ids);

/* To be called when SAs have come or gone: those that no event tells of are asked for. */
void ike_sad_changed(struct ike *ike);

#endif
