/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Network namespaces, by cookie: how the daemon and `close` reach the SAs, policies and sockets of
 * a latch in another namespace than their own.
 */
#ifndef CLATCH_NETNS_H
#define CLATCH_NETNS_H

#include <linux/types.h>
#include <sys/types.h>

/* The cookie of the caller's own network namespace; 0 and *cookie, or -errno. */
int netns_own(__u64 *cookie);

/*
 * Finds the namespace with @cookie: the caller's own, that of a process in one of the cgroups
 * guarded at @bpffs (their descendants too), or a named one (/run/netns).  A file descriptor of
 * it, and unless NULL *holder as netns_visit has it; or -errno; -ENOENT there is none.
 */
int netns_find(const char *bpffs, __u64 cookie, pid_t *holder);

/*
 * Calls @visit once for each namespace that netns_find() would find.  0, what @visit returned
 * where that was not 0, or -errno.  @holder: the guarded thread that it was found with; 0 = by its
 * name, or it is the caller's own.
 */
typedef int netns_visit(void *context, int fd, __u64 cookie, pid_t holder);
int netns_each(const char *bpffs, netns_visit *visit, void *context);

/*
 * Calls @inside with @context inside the namespace of @fd, and comes back: what sockets it opens
 * are of that namespace.  What @inside returned, or -errno.
 */
int netns_inside(int fd, int (*inside)(void *context), void *context);

#endif
