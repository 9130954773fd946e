/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * RFC 5660 R14: the latches of a peer that has died are BROKEN for good, as whatever it remembered of
 * its connections is gone, or it is.  What cannot be done is tried again each second: nothing else
 * would tell of it.
 */
#ifndef CLATCH_DEAD_PEERS_H
#define CLATCH_DEAD_PEERS_H

#include <stdbool.h>
#include <systemd/sd-event.h>
#include "cli.h"
#include "latches.h"
#include "orders.h"

struct dead_peers {
	const struct cli *cli;
	struct latches *latches;
	struct orders *orders;
	sd_event_source *again;
	__u64 netns; /* theirs: the IKE daemon's */
	__u64 *died; /* by number: CLOCK_BOOTTIME, ns; 0 = no, or it is done */
	bool said; /* that it could not be done */
};

/* With what is in front of the source set. 0 or -errno. */
int dead_peers_open(struct dead_peers *d, sd_event *loop);
void dead_peers_close(struct dead_peers *d);

/* It died just now: what latches came later are not its. */
void dead_peers_note(struct dead_peers *d, __u64 netns, __u16 peer_id);

#endif
