/* SPDX-License-Identifier: GPL-2.0-only */
/* One XFRM netlink message, as a policy of the SPD.  Pure: fuzzed and unit tested. */
#ifndef CLATCH_SPD_MESSAGE_H
#define CLATCH_SPD_MESSAGE_H

#include "spd.h"

/*
 * The policy in an XFRM_MSG_NEWPOLICY @message, all of whose nlmsg_len bytes are there.  1 and
 * *policy; 0 it is none that matters (a socket's own, a sub policy); -EBADMSG.
 */
int spd_message(struct spd_policy *policy, const struct nlmsghdr *message);

#endif
