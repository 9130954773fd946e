/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The SA table: clatch_sas, filled from XFRM netlink (libmnl) of the caller's network namespace.
 */
#ifndef CLATCH_SAD_H
#define CLATCH_SAD_H

struct sad;

/*
 * Opens an XFRM netlink socket in the caller's network namespace, for the clatch_sas map @map_fd.
 * With @follow it joins the SA and expire groups before the first dump, so that nothing is missed.
 * 0 and *sad, or -errno.
 */
int sad_open(struct sad **sad, int map_fd, int follow);
void sad_close(struct sad *sad);

/*
 * Makes the table equal to the kernel's SAD: adds, changes and removes.  0 or -errno; -ENOSPC the
 * table is full: what did not fit is missing, everything else was done.
 */
int sad_fill(struct sad *sad);

/*
 * For the event loop: the socket, and what to do when it is readable (overruns: fills again).
 * 0 or -errno; -ENOSPC as above.
 */
int sad_fd(const struct sad *sad);
int sad_receive(struct sad *sad);

#endif
