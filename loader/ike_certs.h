/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which certificate, or bare public key, each end of strongSwan's IKE SAs authenticated itself with,
 * kept in the map clatch_certificates (RFC 5660 R7).
 *
 * VICI does not tell.  It lists connections, with how their ends are to authenticate themselves, and
 * certificates: whose they are has to be found.  Among them are those that strangers sent, even
 * where they were refused, and of peers' it keeps a few dozen, of which any stranger can have it
 * displace some (5.9.8: 32, at random).  So nothing is shown of an identity
 *
 * - that an end had that did not have to prove it with a public key, once, and nothing else.  The
 *   connection must say so (auth = pubkey): where it says nothing, a secret will do;
 * - of which not exactly one public key is listed when an IKE SA has just come up: that is the one
 *   that the daemon verified the end with, which it had just put into its list.
 *
 * What is listed later cannot be what an IKE SA began with.  It can only make it doubtful.
 */
#ifndef CLATCH_IKE_CERTS_H
#define CLATCH_IKE_CERTS_H

#include "cli.h"
#include "ids.h"
#include "vici.h"

struct ike_certs;

/*
 * @ids outlives it.  The file descriptor @map, of clatch_certificates, becomes its own; a negative
 * one: nothing can be shown.  0 and *certs, or -errno.
 */
int ike_certs_new(struct ike_certs **certs, const struct cli *cli, struct ids *ids, int map);
/* A refresh may be under way: the client is to be closed first. */
void ike_certs_free(struct ike_certs *certs);

/*
 * What was noted is forgotten, to be noted anew; what the map shows stays until then.  Once
 * connected: the daemon may be another one.
 */
void ike_certs_forget(struct ike_certs *certs);
/* The same, where the tables are others. */
void ike_certs_begin_anew(struct ike_certs *certs, struct ids *ids, int map);

/*
 * An IKE SA of the connection @name is between these, authenticated.  0 in @who: not known.  The next
 * refresh, to be asked for soon, says what is shown of them.
 *
 * @fresh: it was authenticated just now.  Of an older one only that is shown which was shown before, or
 * which the authority of this host's own certificate has signed, if nothing speaks against it.
 */
void ike_certs_note(struct ike_certs *certs, struct vici_bytes name, struct clatch_who who,
		    bool fresh);

/*
 * Asks the daemon.  Its client must have the events list-conn and list-cert.  If it is being asked
 * already it is once more afterwards.
 */
void ike_certs_refresh(struct ike_certs *certs, struct vici *vici);

#endif
