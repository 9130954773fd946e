/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A copy of one network namespace's SPD, kept equal to the kernel's (XFRM netlink, libmnl), and
 * the kernel's own way of finding a connection's policy in it.
 */
#ifndef CLATCH_SPD_H
#define CLATCH_SPD_H

#include <clatch/latch.h>
#include <linux/netlink.h>
#include <linux/xfrm.h>
#include <stdbool.h>
#include <stddef.h>
#include "news.h"

#define SPD_MAX_TEMPLATES 6 /* XFRM_MAX_DEPTH */

/* What a policy demands of one SA, in the order of struct xfrm_user_tmpl: innermost first. */
struct spd_template {
	__u8 proto; /* IPPROTO_ESP, IPPROTO_AH, IPPROTO_COMP */
	__u8 mode; /* XFRM_MODE_* */
	__u8 optional; /* level use */
	__be32 spi; /* 0 = any */
	__u32 reqid; /* 0 = any */
	__u32 aalgos; /* the kernel's masks of algorithms, all ones = any */
	__u32 ealgos;
	__u32 calgos;
	struct clatch_addr src; /* outer, in tunnel mode, all zero = any; else all zero */
	struct clatch_addr dst;
};

struct spd_policy {
	struct xfrm_selector selector;
	__u8 dir; /* XFRM_POLICY_IN, _OUT, _FWD */
	__u8 action; /* XFRM_POLICY_ALLOW, _BLOCK */
	__u8 count; /* templates */
	__u32 priority;
	__u32 index;
	__u32 mark;
	__u32 mark_mask;
	__u32 if_id;
	__u32 age; /* order of creation within its SPD: smaller = older; an update creates anew */
	struct spd_template templates[SPD_MAX_TEMPLATES];
};

/* What the kernel looks a policy up by: source and destination as in the packet. */
struct spd_flow {
	struct clatch_addr src;
	struct clatch_addr dst;
	__u16 sport; /* host order */
	__u16 dport;
	__u8 proto;
	__u8 dir; /* XFRM_POLICY_IN, _OUT */
	__u32 mark;
	__u32 if_id;
	/*
	 * Out: the device that the route leads to; in IPv6 only what the socket is bound to, 0 = no
	 * device.  In: not where it came from, but the loopback's (its VRF's), as of local routes.
	 */
	__u32 ifindex;
};

struct spd;

/* Opens and fills a copy of the SPD of the namespace that the caller is in. 0 and *spd, or -errno. */
int spd_open(struct spd **spd);
void spd_close(struct spd *spd);

/*
 * For an event loop: the socket, and what to do when it is readable.  NO_NEWS: the SPD has not
 * changed; else it was read again, NEWS_OF_REKEY: it is as it was but for SPIs; or -errno.  Overruns are
 * survived, the caller may be in another namespace by then.  After an error the next call reads
 * again, whatever has come.
 */
int spd_fd(const struct spd *spd);
int spd_receive(struct spd *spd);

/* The policy that the kernel would take: by priority, then age (spd_index.h).  NULL = none. */
const struct spd_policy *spd_find(const struct spd *spd, const struct spd_flow *flow);
/* What becomes of packets without a policy (XFRM_MSG_GETDEFAULT). */
bool spd_default_blocks(const struct spd *spd, __u8 dir);
size_t spd_count(const struct spd *spd);

/* For tests: a copy without a socket, its content given at once. */
struct spd *spd_new(void); /* NULL = no memory */
int spd_set(struct spd *spd, const struct spd_policy *policies, size_t count); /* 0 or -ENOMEM */
void spd_set_default(struct spd *spd, __u8 dir, bool blocks);

#endif
