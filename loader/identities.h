/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The daemon's part in identities: it hears the IKE daemon (ike.h), takes over what others told,
 * and looks after the identity table.
 */
#ifndef CLATCH_IDENTITIES_H
#define CLATCH_IDENTITIES_H

#include "domains.h"
#include "ike.h"

struct identities;

struct identities_owner {
	/* Its SAs were received: as sad_receive() returned. */
	void (*received)(void *context, struct domain *domain, int news);
	void (*told)(void *context); /* as in struct ike_owner */
	void (*dead)(void *context, __u64 netns, __u16 peer_id);
	/* The identity table is damaged, and is begun anew: no latch can be relied on. */
	void (*damaged)(void *context);
	void *context;
};

/* @vici: the IKE daemon's socket, NULL = none.  0 and *identities, or -errno. */
int identities_open(struct identities **identities, const struct cli *cli, sd_event *loop,
		    struct domains *domains, const char *vici,
		    const struct identities_owner *owner);
void identities_close(struct identities *identities);

/* Before SAs are compared by our copies of them: what others have told by now is in these. */
void identities_take_over(struct identities *identities);

/* Is the table sound, and has anybody else told of SAs (look.h)? */
void identities_look(struct identities *identities);

/* SAs of @domain have come or gone. */
void identities_changed(struct identities *identities, const struct domain *domain);

#endif
