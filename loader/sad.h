/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The SAs of one network namespace, kept equal to the kernel's SAD (XFRM netlink, libmnl): in the
 * clatch_sas map for the packet path, and in classes for whoever judges latches.
 */
#ifndef CLATCH_SAD_H
#define CLATCH_SAD_H

#include "sa_set.h"
#include "sa_table.h"

struct sad;

/*
 * Opens an XFRM netlink socket in the caller's network namespace, for the SA table @table.
 * With @follow it joins the SA and expire groups before the first dump, so that nothing is missed.
 * 0 and *sad, or -errno.
 */
int sad_open(struct sad **sad, const struct sa_table *table, int follow);
void sad_close(struct sad *sad);

/*
 * Makes map and classes equal to the kernel's SAD: adds, changes and removes.  0 or -errno; -ENOSPC
 * the map is full: what did not fit is missing there, everything else was done.
 */
int sad_fill(struct sad *sad);

/*
 * For the event loop: the socket, and what to do when it is readable (overruns: fills again).
 * An enum news, or -errno.  -ENOSPC as above: then there may be news too.
 */
int sad_fd(const struct sad *sad);
int sad_receive(struct sad *sad);
/* An error has left it incomplete: the next sad_receive() reads it anew. */
bool sad_is_stale(const struct sad *sad);
/* What sad_receive() would return, did it find nothing: from what was told or recalled since. */
enum news sad_news(struct sad *sad);

/*
 * Who is at the ends of an SA of this namespace (key->netns is not looked at).  What is said may be
 * of an SA that was there before under the same SPI; so all that the kernel has to tell must have
 * been received.  @asked: sad_last_born() when the question was asked whose answer this is: the SA
 * must have been there; SAD_UNASKED: it must be the first of this SPI that we know of.
 * 1 = it was not known; 0 = it was; -ENOENT no such SA; -ESTALE it may not be the one meant; -errno.
 */
#define SAD_UNASKED (~(__u64)0)
int sad_tell(struct sad *sad, const struct clatch_sa_key *key, struct clatch_who who, __u64 asked);
__u64 sad_last_born(const struct sad *sad);
/*
 * Others have told too, which stands in the SA table: takes it over from there.  1 = something was
 * not known; 0 = all was; or -errno.
 */
int sad_recall(struct sad *sad);

/* Who the ends of an SA are that is there, as the packet path would find it now. */
struct clatch_who sad_who(const struct sad *sad, const struct clatch_sa_key *key);

/* The classes, valid until sad_close(). */
const struct sa_set *sad_set(const struct sad *sad);

#endif
