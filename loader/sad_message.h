/* SPDX-License-Identifier: GPL-2.0-only */
/* One XFRM netlink message, as a change of the SA table.  Pure: fuzzed and unit tested. */
#ifndef CLATCH_SAD_MESSAGE_H
#define CLATCH_SAD_MESSAGE_H

#include <clatch/sa.h>
#include <linux/netlink.h>
#include "sa_set.h"

enum sad_kind {
	SAD_NOTHING, /* not about SAs that clatch knows: IPComp, a larval SA, a soft expiry */
	SAD_SET,
	SAD_REMOVE,
	SAD_REFILL, /* many SAs changed at once: only a dump tells which */
};

struct sad_change {
	enum sad_kind kind;
	struct clatch_sa_key key; /* on SET and REMOVE */
	/* On SET; of class.sa each byte as bpf/sa.h fills it from the kernel's state. */
	struct sa_class class;
};

/*
 * What @message, all of whose nlmsg_len bytes are there, says of the namespace with cookie @netns.
 * 0, or -EBADMSG with *change as it was.
 */
int sad_message(struct sad_change *change, const struct nlmsghdr *message, __u64 netns);

#endif
