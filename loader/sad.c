// SPDX-License-Identifier: GPL-2.0-only
#include "sad.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/xfrm.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "map.h"
#include "netns.h"
#include "sad_message.h"
#include "xfrm_groups.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

#define MESSAGE_ROOM 65536
#define DUMP_ATTEMPTS 10
#define MESSAGES_AT_ONCE 8192 /* then the event loop's other sources have their turn */

/*
 * How many SAs that have gone are remembered: more than an IKE daemon's words about SAs can be late
 * by.
 */
#define GONE 4096

/*
 * The groups have a socket of their own: what arrives there during a dump is applied after it, and
 * as each message says all of its SA, doing it twice does no harm.
 */
struct sad {
	struct mnl_socket *socket;
	struct sa_set *set;
	struct sa_table table; /* somebody else's */
	__u64 netns;
	int netns_fd; /* of the same: whoever asks for a dump may be in another by then */
	struct clatch_sa_key gone[GONE]; /* SPIs that were used, the last ones */
	size_t gone_next;
	enum news news; /* that nobody was told of yet */
	bool stale; /* only a dump can tell what the SAD has become */
};

static void cleanup_socket(struct mnl_socket **socket)
{
	if (*socket)
		mnl_socket_close(*socket);
}
#define _cleanup_socket_ __attribute__((cleanup(cleanup_socket)))

static int open_socket(struct sad *sad, int follow)
{
	static const int groups[] = { XFRMNLGRP_SA, XFRMNLGRP_EXPIRE, XFRMNLGRP_MIGRATE };
	socklen_t length = sizeof(sad->netns);

	sad->socket = mnl_socket_open2(NETLINK_XFRM, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (!sad->socket)
		return -errno;
	if (getsockopt(mnl_socket_get_fd(sad->socket), SOL_SOCKET, SO_NETNS_COOKIE, &sad->netns,
		       &length))
		return -errno;
	if (mnl_socket_bind(sad->socket, 0, MNL_SOCKET_AUTOPID))
		return -errno;
	sad->netns_fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (sad->netns_fd < 0)
		return -errno;
	return follow ? xfrm_groups_join(sad->socket, groups, sizeof(groups) / sizeof(groups[0]))
		      : 0;
}

int sad_open(struct sad **out, const struct sa_table *table, int follow)
{
	struct sad *sad = calloc(1, sizeof(*sad));
	int err;

	if (!sad)
		return -ENOMEM;
	sad->table = *table;
	sad->netns_fd = -1;
	sad->set = sa_set_new();
	err = sad->set ? open_socket(sad, follow) : -ENOMEM;
	if (err) {
		sad_close(sad);
		return err;
	}
	*out = sad;
	return 0;
}

void sad_close(struct sad *sad)
{
	if (!sad)
		return;
	cleanup_socket(&sad->socket);
	cleanup_close(&sad->netns_fd);
	sa_set_free(sad->set);
	free(sad);
}

const struct sa_set *sad_set(const struct sad *sad)
{
	return sad->set;
}

int sad_fd(const struct sad *sad)
{
	return mnl_socket_get_fd(sad->socket);
}

static void note_gone(struct sad *sad, const struct clatch_sa_key *key)
{
	sad->gone[sad->gone_next++ % GONE] = *key;
}

static bool was_used(const struct sad *sad, const struct clatch_sa_key *key)
{
	for (size_t i = 0; i < GONE && i < sad->gone_next; i++)
		if (!memcmp(&sad->gone[i], key, sizeof(*key)))
			return true;
	return false;
}

static void note_news(struct sad *sad, int news)
{
	sad->news = news_more(sad->news, news); /* more than an error is */
}

enum news sad_news(struct sad *sad)
{
	enum news news = sad->news;

	sad->news = NO_NEWS;
	return news;
}

static int set_entry(struct sad *sad, struct sad_change *c)
{
	__u64 before = sa_set_born(sad->set, &c->key), now;
	int ret, err;

	sa_table_recall(&sad->table, &c->key, &c->class.sa);
	ret = sa_set_put(sad->set, &c->key, &c->class);
	err = sa_table_put(&sad->table, &c->key, &c->class.sa);
	now = sa_set_born(sad->set, &c->key);
	note_news(sad, ret);
	if (before && before != now)
		note_gone(sad, &c->key);
	if (err)
		return err;
	return ret < 0 ? ret : 0;
}

static int remove_entry(struct sad *sad, const struct clatch_sa_key *key)
{
	if (sa_set_born(sad->set, key))
		note_gone(sad, key);
	note_news(sad, sa_set_remove(sad->set, key));
	return sa_table_remove(&sad->table, key);
}

struct clatch_who sad_who(const struct sad *sad, const struct clatch_sa_key *key)
{
	struct clatch_sa sa = { .key_tag = sa_set_key_tag(sad->set, key) };

	sa_table_recall(&sad->table, key, &sa);
	return sa.who;
}

__u64 sad_last_born(const struct sad *sad)
{
	return sa_set_last_born(sad->set);
}

struct recall {
	struct sad *sad;
	bool news;
};

static int recall_entry(void *context, const void *k, const void *value)
{
	struct recall *r = context;
	struct sad *sad = r->sad;
	const struct clatch_sa *entry = value;
	struct clatch_sa_key key;
	int ret;

	memcpy(&key, k, sizeof(key));
	if (key.netns != sad->netns)
		return 0;
	ret = sa_set_tell(sad->set, &key, entry->key_tag, entry->who);
	note_news(sad, ret);
	r->news |= ret > 0;
	return ret < 0 ? ret : 0;
}

int sad_recall(struct sad *sad)
{
	struct recall r = { .sad = sad };
	int err = map_each(sad->table.sas, sizeof(struct clatch_sa_key), sizeof(struct clatch_sa),
			   recall_entry, &r);

	return err ? err : r.news;
}

int sad_tell(struct sad *sad, const struct clatch_sa_key *key, struct clatch_who who, __u64 asked)
{
	struct clatch_sa_key own = *key;
	const struct sa_class *known;
	__u64 born, age;
	__u32 tag;
	int err;

	own.netns = sad->netns;
	born = sa_set_born(sad->set, &own);
	known = sa_set_find(sad->set, &own);
	if (!known)
		return -ENOENT;
	if (asked == SAD_UNASKED ? was_used(sad, &own) : born > asked)
		return -ESTALE;
	if (known->sa.who.local_id == who.local_id && known->sa.who.peer_id == who.peer_id)
		return 0;
	age = sa_set_age_us(sad->set, &own);
	tag = sa_set_key_tag(sad->set, &own);
	err = sa_table_tell(&sad->table, &own, tag, who, age < 1000000000 ? age : 0);
	if (err)
		return err;
	err = sa_set_tell(sad->set, &own, tag, who);
	note_news(sad, err);
	return err < 0 ? err : 1;
}

/* The keys that the table had before a dump, sorted, and whether the dump had them too. */
struct known {
	struct clatch_sa_key key;
	bool alive;
};

struct fill {
	struct sad *sad;
	struct known *known;
	size_t count;
	size_t room;
	int error; /* of the table; the dump goes on when it is full */
};

static void cleanup_fill(struct fill *f)
{
	free(f->known);
}

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct clatch_sa_key));
}

static int note_known(void *context, const void *key, const void *value)
{
	struct fill *f = context;
	const struct clatch_sa_key *k = key;

	(void)value;
	if (k->netns != f->sad->netns)
		return 0;
	if (f->count == f->room) {
		size_t room = f->room ? 2 * f->room : 64;
		struct known *more = reallocarray(f->known, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		f->known = more;
		f->room = room;
	}
	f->known[f->count++] = (struct known){ .key = *k };
	return 0;
}

/* That the table is full is the least: what is missing there is known here. */
static void note_error(int *error, int err)
{
	if (err && (!*error || *error == -ENOSPC))
		*error = err;
}

static int note_dumped(const struct nlmsghdr *message, void *context)
{
	struct fill *f = context;
	struct sad_change c;
	struct known *k = NULL;

	if (sad_message(&c, message, f->sad->netns) || c.kind != SAD_SET)
		return MNL_CB_OK;
	if (f->count)
		k = bsearch(&c.key, f->known, f->count, sizeof(*k), compare);
	if (k)
		k->alive = true;
	note_error(&f->error, set_entry(f->sad, &c));
	return MNL_CB_OK;
}

static int open_dump_socket(void *socket)
{
	*(struct mnl_socket **)socket = mnl_socket_open2(NETLINK_XFRM, SOCK_CLOEXEC);
	return *(struct mnl_socket **)socket ? 0 : -errno;
}

static int dump_socket(const struct sad *sad, struct mnl_socket **socket)
{
	__u64 here;
	int err = netns_own(&here);

	if (err)
		return err;
	return here == sad->netns ? open_dump_socket(socket)
				  : netns_inside(sad->netns_fd, open_dump_socket, socket);
}

static int request_dump(struct mnl_socket *socket)
{
	/* No payload: what follows the header is read as attributes, a dump's filter. */
	struct nlmsghdr request = {
		.nlmsg_len = sizeof(request),
		.nlmsg_type = XFRM_MSG_GETSA,
		.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
		.nlmsg_seq = 1,
	};

	if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) ||
	    mnl_socket_sendto(socket, &request, sizeof(request)) < 0)
		return -errno;
	return 0;
}

/* 0; -EINTR the SAD changed in the middle of it (NLM_F_DUMP_INTR); -errno. */
static int dump(struct fill *f)
{
	_cleanup_socket_ struct mnl_socket *socket = NULL;
	_cleanup_free_ char *buffer = malloc(MESSAGE_ROOM);
	ssize_t length;
	int ret;

	if (!buffer)
		return -ENOMEM;
	ret = dump_socket(f->sad, &socket);
	if (!ret)
		ret = request_dump(socket);
	if (ret)
		return ret;
	do {
		length = mnl_socket_recvfrom(socket, buffer, MESSAGE_ROOM);
		if (length < 0)
			return -errno;
		ret = mnl_cb_run(buffer, length, 1, mnl_socket_get_portid(socket), note_dumped, f);
	} while (ret > MNL_CB_STOP);
	return ret < 0 ? -errno : 0;
}

static int remove_stale(const struct fill *f)
{
	int err = 0;

	for (size_t i = 0; i < f->count && !err; i++)
		if (!f->known[i].alive)
			err = remove_entry(f->sad, &f->known[i].key);
	return err;
}

/* What others put into the table during the dump is not known, and so is not taken for stale. */
int sad_fill(struct sad *sad)
{
	__attribute__((cleanup(cleanup_fill))) struct fill f = { .sad = sad };
	int err = map_each(sad->table.sas, sizeof(struct clatch_sa_key), sizeof(struct clatch_sa),
			   note_known, &f);

	sad->stale = true;
	if (err)
		return err;
	if (f.count)
		qsort(f.known, f.count, sizeof(*f.known), compare);
	for (int i = 0; i < DUMP_ATTEMPTS; i++) {
		sa_set_begin(sad->set);
		err = dump(&f);
		if (err != -EINTR)
			break;
	}
	if (err)
		return err == -EINTR ? -EAGAIN : err;
	note_error(&f.error, remove_stale(&f));
	note_news(sad, sa_set_end(sad->set));
	sad->stale = f.error && f.error != -ENOSPC;
	return f.error;
}

bool sad_is_stale(const struct sad *sad)
{
	return sad->stale;
}

static int apply(struct sad *sad, struct sad_change *c)
{
	switch (c->kind) {
	case SAD_SET:
		return set_entry(sad, c);
	case SAD_REMOVE:
		return remove_entry(sad, &c->key);
	default:
		return 0;
	}
}

static void apply_all(struct sad *sad, const void *buffer, int length, int *error)
{
	const struct nlmsghdr *message = buffer;
	struct sad_change c;
	int err;

	for (; !sad->stale && mnl_nlmsg_ok(message, length);
	     message = mnl_nlmsg_next(message, &length)) {
		if (sad_message(&c, message, sad->netns) || c.kind == SAD_REFILL) {
			sad->stale = true;
			continue;
		}
		err = apply(sad, &c);
		note_error(error, err);
		sad->stale |= err && err != -ENOSPC;
	}
}

/* One datagram: 0; -EAGAIN there is none; -errno of the socket. */
static int receive_one(struct sad *sad, char *buffer, int *error)
{
	ssize_t length = mnl_socket_recvfrom(sad->socket, buffer, MESSAGE_ROOM);

	if (length >= 0)
		apply_all(sad, buffer, length, error);
	else if (errno == ENOBUFS || errno == ENOSPC)
		sad->stale = true; /* messages were lost, or one did not fit */
	else if (errno != EINTR)
		return -errno;
	return 0;
}

/*
 * Before a dump everything that is waiting has to go: applied after it, an SA that was added, and
 * whose removal is among what was lost, would stay for ever.
 */
int sad_receive(struct sad *sad)
{
	_cleanup_free_ char *buffer = malloc(MESSAGE_ROOM);
	int err = 0, error = 0; /* of the table */

	if (!buffer)
		return -ENOMEM;
	for (int i = 0; (i < MESSAGES_AT_ONCE || sad->stale) && !err; i++)
		err = receive_one(sad, buffer, &error);
	if (err && err != -EAGAIN)
		return err;
	if (sad->stale)
		error = sad_fill(sad);
	return error ? error : (int)sad_news(sad);
}
