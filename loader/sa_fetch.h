/* SPDX-License-Identifier: GPL-2.0-only */
/* One SA of the kernel's, asked for by name (XFRM netlink). */
#ifndef CLATCH_SA_FETCH_H
#define CLATCH_SA_FETCH_H

#include <clatch/sa.h>

/*
 * The SA with the destination, SPI and protocol of @key, in the caller's network namespace, whose
 * cookie becomes key->netns.  0 and *sa; -ESRCH there is none; -EEXIST there are several, which differ by
 * their mark; -errno.
 */
int sa_fetch(struct clatch_sa_key *key, struct clatch_sa *sa);

#endif
