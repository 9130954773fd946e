/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Makes TCP send at once what was refused because its SA's identity was not known (bpf/kick.h).
 * To be called after that identity was told.
 */
#ifndef CLATCH_KICK_H
#define CLATCH_KICK_H

#include <linux/types.h>
#include "cli.h"

struct kick;

/* For the instance at cli->bpffs.  0 and *kick, or -errno. */
int kick_open(struct kick **kick, const struct cli *cli);
void kick_close(struct kick *kick);

/*
 * In the network namespace with the cookie @netns; @sock is any socket of that namespace.  One
 * system call where nothing was refused since the last time; else a walk over the TCP sockets of
 * the namespace, each of which is locked for a moment.  0, or -errno: then they send when their own
 * timers run out.
 */
int kick_tcp(struct kick *kick, __u64 netns, int sock);

#endif
