/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The SAs of one network namespace, kept equal to the kernel's SAD (XFRM netlink, libmnl): in the
 * clatch_sas map for the packet path, and in classes for whoever judges latches.
 */
#ifndef CLATCH_SAD_H
#define CLATCH_SAD_H

#include "sa_set.h"

struct sad;

/*
 * Opens an XFRM netlink socket in the caller's network namespace, for the clatch_sas map @map_fd.
 * With @follow it joins the SA and expire groups before the first dump, so that nothing is missed.
 * 0 and *sad, or -errno.
 */
int sad_open(struct sad **sad, int map_fd, int follow);
void sad_close(struct sad *sad);

/*
 * Makes map and classes equal to the kernel's SAD: adds, changes and removes.  0 or -errno; -ENOSPC
 * the map is full: what did not fit is missing there, everything else was done.
 */
int sad_fill(struct sad *sad);

/*
 * For the event loop: the socket, and what to do when it is readable (overruns: fills again).
 * 1 = a class has come or gone, latches are to be judged anew; 0 = not; or -errno.  -ENOSPC as
 * above: then classes may have come or gone too.
 */
int sad_fd(const struct sad *sad);
int sad_receive(struct sad *sad);

/* The classes, valid until sad_close(). */
const struct sa_set *sad_set(const struct sad *sad);

#endif
