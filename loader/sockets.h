/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel's sockets (sock_diag, libmnl) of one network namespace. */
#ifndef CLATCH_SOCKETS_H
#define CLATCH_SOCKETS_H

#include <clatch/latch.h>
#include <stdbool.h>

struct sockets; /* a sock_diag netlink socket */

/* Of the namespace that the caller is in.  0 and *sockets, or -errno. */
int sockets_open(struct sockets **sockets);
void sockets_close(struct sockets *sockets);

/*
 * Is the connection of this latch (a listener: its listening socket) still there?  A handshake and
 * TIME_WAIT count.  UDP: the socket with the latch's cookie, still connected to this peer; several
 * may share the 5-tuple.  1 (also where this kernel does not show sockets of its transport), 0, or
 * -errno.
 */
int sockets_have(struct sockets *s, const struct clatch_tuple *tuple,
		 const struct clatch_latch *latch);

/*
 * Ends it as SOCK_DESTROY does.  TCP: its peer gets a reset, the program ECONNABORTED.  A listener:
 * accept() fails with EINVAL, whoever connects is refused; all that listen there are ended.  UDP:
 * the socket is disconnected, and gave its port back where it had not asked for one: send() fails
 * with EDESTADDRREQ, the first sendto() or receive with ECONNABORTED, and what follows works again
 * (seen on 6.1, 6.12 and 6.18): only the latch stops it.
 * 0; -ENOENT there is no such connection; -EOPNOTSUPP this kernel cannot (CONFIG_INET_DIAG_DESTROY,
 * SCTP); -EBUSY UDP: another socket with the same addresses and ports hides it; -errno.
 */
int sockets_destroy(struct sockets *s, const struct clatch_tuple *tuple,
		    const struct clatch_latch *latch);

#endif
