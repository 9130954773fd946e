// SPDX-License-Identifier: GPL-2.0-only
#include "spd.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>

#include "cleanup.h"
#include "spd_index.h"
#include "spd_message.h"
#include "xfrm_groups.h"

#define MESSAGE_ROOM 65536
#define READ_ATTEMPTS 10
#define MESSAGES_AT_ONCE 4096 /* then the event loop's other sources have their turn */

/* Both sockets are opened at once: later the caller may be in another network namespace. */
struct spd {
	struct mnl_socket *groups; /* NULL in a test's */
	struct mnl_socket *requests;
	__u32 sequence; /* of the last request */
	bool stale; /* a change was heard of, and not read yet */
	struct spd_policy *policies;
	size_t count;
	struct spd_index *index;
	enum spd_ties ties;
	bool blocks[XFRM_POLICY_MAX];
	enum news news; /* of what was read since spd_receive() returned last */
};

void spd_close(struct spd *spd)
{
	if (!spd)
		return;
	if (spd->groups)
		mnl_socket_close(spd->groups);
	if (spd->requests)
		mnl_socket_close(spd->requests);
	spd_index_free(spd->index);
	free(spd->policies);
	free(spd);
}

/* @policies becomes the copy's own, if it succeeds. */
static int take_policies(struct spd *spd, struct spd_policy *policies, size_t count)
{
	struct spd_index *index;
	int err = spd_index_new(&index, spd->ties, policies, count);

	if (err)
		return err;
	spd_index_free(spd->index);
	free(spd->policies);
	spd->index = index;
	spd->policies = policies;
	spd->count = count;
	return 0;
}

int spd_set(struct spd *spd, const struct spd_policy *policies, size_t count)
{
	struct spd_policy *copy = NULL;
	int err;

	if (count) {
		copy = calloc(count, sizeof(*copy));
		if (!copy)
			return -ENOMEM;
		memcpy(copy, policies, count * sizeof(*copy));
	}
	err = take_policies(spd, copy, count);
	if (err)
		free(copy);
	return err;
}

static enum spd_ties ties_of_kernel(void)
{
	unsigned int major, minor;
	struct utsname name;

	if (uname(&name) || sscanf(name.release, "%u.%u", &major, &minor) != 2)
		return SPD_TIES_BY_AGE;
	return major < 6 || (major == 6 && minor < 12) ? SPD_TIES_EXACT_FIRST : SPD_TIES_BY_AGE;
}

struct spd *spd_new(void)
{
	struct spd *spd = calloc(1, sizeof(*spd));

	if (!spd)
		return NULL;
	spd->ties = ties_of_kernel();
	if (spd_set(spd, NULL, 0)) {
		free(spd);
		return NULL;
	}
	return spd;
}

void spd_set_default(struct spd *spd, __u8 dir, bool blocks)
{
	if (dir < XFRM_POLICY_MAX)
		spd->blocks[dir] = blocks;
}

bool spd_default_blocks(const struct spd *spd, __u8 dir)
{
	return dir < XFRM_POLICY_MAX && spd->blocks[dir];
}

size_t spd_count(const struct spd *spd)
{
	return spd->count;
}

const struct spd_policy *spd_find(const struct spd *spd, const struct spd_flow *flow)
{
	return spd_index_find(spd->index, flow);
}

int spd_fd(const struct spd *spd)
{
	return mnl_socket_get_fd(spd->groups);
}

/* The kernel's answer to a request. */
struct answer {
	struct spd_policy *policies; /* newest first, as the kernel dumps them */
	size_t count;
	size_t room;
	struct xfrm_userpolicy_default defaults;
	bool complete;
};

static void cleanup_answer(struct answer *a)
{
	free(a->policies);
}

static int add_policy(struct answer *a, const struct spd_policy *policy)
{
	if (a->count == a->room) {
		size_t room = a->room ? 2 * a->room : 64;
		struct spd_policy *more = reallocarray(a->policies, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		a->policies = more;
		a->room = room;
	}
	a->policies[a->count++] = *policy;
	return 0;
}

static int note_policy(struct answer *a, const struct nlmsghdr *message)
{
	struct spd_policy policy;
	int ret = spd_message(&policy, message);

	return ret == 1 ? add_policy(a, &policy) : ret;
}

static int note_defaults(struct answer *a, const struct nlmsghdr *message)
{
	if (mnl_nlmsg_get_payload_len(message) < sizeof(a->defaults))
		return -EBADMSG;
	memcpy(&a->defaults, mnl_nlmsg_get_payload(message), sizeof(a->defaults));
	return 0;
}

/* The number that an acknowledgement, or the end of a dump, begins with: 0 or -errno. */
static int status_of(const struct nlmsghdr *message)
{
	int status = 0;

	if (mnl_nlmsg_get_payload_len(message) >= sizeof(status))
		memcpy(&status, mnl_nlmsg_get_payload(message), sizeof(status));
	return status;
}

/* 0; -EINTR the SPD changed in the middle of a dump; -errno. */
static int note_message(struct answer *a, const struct nlmsghdr *message)
{
	if (!(message->nlmsg_flags & NLM_F_MULTI) || message->nlmsg_type == NLMSG_DONE)
		a->complete = true;
	if (message->nlmsg_flags & NLM_F_DUMP_INTR)
		return -EINTR;
	switch (message->nlmsg_type) {
	case NLMSG_DONE:
	case NLMSG_ERROR:
		return status_of(message);
	case XFRM_MSG_NEWPOLICY:
		return note_policy(a, message);
	case XFRM_MSG_GETDEFAULT:
		return note_defaults(a, message);
	}
	return 0;
}

static void keep_first(int *err, int other)
{
	if (!*err)
		*err = other;
}

/* Whatever goes wrong, it reads to the end: what is left of an answer would spoil the next. */
static int receive_answer(struct spd *spd, struct answer *a, char *buffer)
{
	int err = 0;

	for (a->complete = false; !a->complete;) {
		ssize_t received = mnl_socket_recvfrom(spd->requests, buffer, MESSAGE_ROOM);
		const struct nlmsghdr *message = (const void *)buffer;
		int length = received;

		if (received < 0 && errno != EINTR)
			return -errno;
		for (; mnl_nlmsg_ok(message, length); message = mnl_nlmsg_next(message, &length))
			if (message->nlmsg_seq == spd->sequence && !a->complete)
				keep_first(&err, note_message(a, message));
	}
	return err;
}

static int ask(struct spd *spd, struct nlmsghdr *request, struct answer *a)
{
	_cleanup_free_ char *buffer = malloc(MESSAGE_ROOM);

	if (!buffer)
		return -ENOMEM;
	request->nlmsg_seq = ++spd->sequence;
	if (mnl_socket_sendto(spd->requests, request, request->nlmsg_len) < 0)
		return -errno;
	return receive_answer(spd, a, buffer);
}

static int ask_policies(struct spd *spd, struct answer *a)
{
	/* No payload: what follows the header is read as attributes. */
	struct nlmsghdr request = {
		.nlmsg_len = sizeof(request),
		.nlmsg_type = XFRM_MSG_GETPOLICY,
		.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
	};
	int err = ask(spd, &request, a);

	for (size_t i = 0; !err && i < a->count; i++)
		a->policies[i].age = a->count - 1 - i;
	return err;
}

/* Kernels before 5.15 have no defaults that could be changed, and refuse: nothing blocks. */
static int ask_defaults(struct spd *spd, struct answer *a)
{
	char buffer[MNL_NLMSG_HDRLEN + MNL_ALIGN(sizeof(struct xfrm_userpolicy_default))]
		__attribute__((aligned(NLMSG_ALIGNTO))) = {};
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	int err;

	request->nlmsg_type = XFRM_MSG_GETDEFAULT;
	request->nlmsg_flags = NLM_F_REQUEST;
	mnl_nlmsg_put_extra_header(request, sizeof(struct xfrm_userpolicy_default));
	err = ask(spd, request, a);
	return err == -EINVAL || err == -EOPNOTSUPP ? 0 : err;
}

static bool blocks(__u8 action)
{
	return action == XFRM_USERPOLICY_BLOCK;
}

/* As the IKE daemon leaves a policy at a rekey: it names another SPI, and is a new one. */
static bool differs(const struct spd_policy *a, const struct spd_policy *b)
{
	struct spd_policy x = *a, y = *b;

	x.age = y.age = 0;
	for (int i = 0; i < SPD_MAX_TEMPLATES; i++)
		x.templates[i].spi = y.templates[i].spi = 0;
	return memcmp(&x, &y, sizeof(x));
}

/* The next policy of this direction, from the one at @i on; NULL = none. */
static const struct spd_policy *next_of(const struct spd_policy *policies, size_t count, size_t *i,
					__u8 dir)
{
	while (*i < count)
		if (policies[(*i)++].dir == dir)
			return &policies[*i - 1];
	return NULL;
}

/* Those of one direction compete with each other alone, so it is in these that order tells. */
static bool differs_in(const struct spd *spd, const struct answer *a, __u8 dir)
{
	const struct spd_policy *old, *new;
	size_t i = 0, j = 0;

	do {
		old = next_of(spd->policies, spd->count, &i, dir);
		new = next_of(a->policies, a->count, &j, dir);
		if (old && new ? differs(old, new) : old || new)
			return true;
	} while (old);
	return false;
}

static enum news news_of(const struct spd *spd, const struct answer *a)
{
	if (spd->blocks[XFRM_POLICY_IN] != blocks(a->defaults.in) ||
	    spd->blocks[XFRM_POLICY_FWD] != blocks(a->defaults.fwd) ||
	    spd->blocks[XFRM_POLICY_OUT] != blocks(a->defaults.out))
		return NEWS;
	for (__u8 dir = 0; dir < XFRM_POLICY_MAX; dir++)
		if (differs_in(spd, a, dir))
			return NEWS;
	return NEWS_OF_REKEY;
}

/*
 * A policy that is replaced during a dump may be missing from it.  The message about that has come
 * by the time that the defaults have: the kernel answers such requests one after the other, each
 * with its messages (xfrm_cfg_mutex).
 */
static int read_all(struct spd *spd)
{
	__attribute__((cleanup(cleanup_answer))) struct answer a = {};
	int err = ask_policies(spd, &a);
	enum news news;

	if (!err)
		err = ask_defaults(spd, &a);
	if (err)
		return err;
	news = news_of(spd, &a);
	err = take_policies(spd, a.policies, a.count);
	if (err)
		return err;
	a.policies = NULL;
	spd->stale = false;
	spd->news = news_more(spd->news, news);
	spd->blocks[XFRM_POLICY_IN] = blocks(a.defaults.in);
	spd->blocks[XFRM_POLICY_FWD] = blocks(a.defaults.fwd);
	spd->blocks[XFRM_POLICY_OUT] = blocks(a.defaults.out);
	return 0;
}

static bool is_change(const struct nlmsghdr *message)
{
	const struct xfrm_user_polexpire *e;

	switch (message->nlmsg_type) {
	case XFRM_MSG_POLEXPIRE:
		e = mnl_nlmsg_get_payload(message);
		return mnl_nlmsg_get_payload_len(message) < sizeof(*e) || e->hard;
	case XFRM_MSG_NEWPOLICY:
	case XFRM_MSG_UPDPOLICY:
	case XFRM_MSG_DELPOLICY:
	case XFRM_MSG_FLUSHPOLICY:
	case XFRM_MSG_MIGRATE:
	case XFRM_MSG_SETDEFAULT:
	case XFRM_MSG_GETDEFAULT: /* how SETDEFAULT is told to the group */
		return true;
	}
	return false;
}

/* One datagram: 1 the SPD has changed; 0 it has not; -EAGAIN there is none; -errno. */
static int receive_one(const struct spd *spd, char *buffer)
{
	ssize_t received = mnl_socket_recvfrom(spd->groups, buffer, MESSAGE_ROOM);
	const struct nlmsghdr *message = (const void *)buffer;
	int length = received;

	if (received < 0 && (errno == ENOBUFS || errno == ENOSPC))
		return 1; /* messages were lost, or one did not fit */
	if (received < 0)
		return errno == EINTR ? 0 : -errno;
	for (; mnl_nlmsg_ok(message, length); message = mnl_nlmsg_next(message, &length))
		if (is_change(message))
			return 1;
	return 0;
}

/* Everything that waits: 1 = the SPD has changed. */
static int drain(struct spd *spd)
{
	_cleanup_free_ char *buffer = malloc(MESSAGE_ROOM);
	int ret = 0;

	if (!buffer)
		return -ENOMEM;
	for (int i = 0; i < MESSAGES_AT_ONCE && ret >= 0; i++) {
		ret = receive_one(spd, buffer);
		if (ret > 0)
			spd->stale = true;
	}
	return ret < 0 && ret != -EAGAIN ? ret : spd->stale;
}

/*
 * Until nothing changed meanwhile.  After the last attempt nothing is drained: what has come since
 * makes the socket readable, and so there will be another.
 */
static int read_until_quiet(struct spd *spd)
{
	int ret;

	for (int i = 1;; i++) {
		ret = read_all(spd);
		if (i == READ_ATTEMPTS)
			return ret == -EINTR ? -EAGAIN : ret;
		if (!ret)
			ret = drain(spd);
		if (ret <= 0 && ret != -EINTR)
			return ret;
	}
}

int spd_receive(struct spd *spd)
{
	int ret = drain(spd);

	if (ret > 0)
		ret = read_until_quiet(spd);
	if (ret < 0)
		return ret;
	ret = spd->news; /* an error may have kept it from being told before */
	spd->news = NO_NEWS;
	return ret;
}

static int open_sockets(struct spd *spd)
{
	static const int groups[] = { XFRMNLGRP_POLICY, XFRMNLGRP_EXPIRE, XFRMNLGRP_MIGRATE };

	spd->groups = mnl_socket_open2(NETLINK_XFRM, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (!spd->groups || mnl_socket_bind(spd->groups, 0, MNL_SOCKET_AUTOPID))
		return -errno;
	spd->requests = mnl_socket_open2(NETLINK_XFRM, SOCK_CLOEXEC);
	if (!spd->requests || mnl_socket_bind(spd->requests, 0, MNL_SOCKET_AUTOPID))
		return -errno;
	return xfrm_groups_join(spd->groups, groups, sizeof(groups) / sizeof(groups[0]));
}

int spd_open(struct spd **out)
{
	struct spd *spd = spd_new();
	int err;

	if (!spd)
		return -ENOMEM;
	err = open_sockets(spd);
	if (!err)
		err = read_until_quiet(spd);
	if (err) {
		spd_close(spd);
		return err;
	}
	spd->news = NO_NEWS;
	*out = spd;
	return 0;
}
