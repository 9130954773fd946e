// SPDX-License-Identifier: GPL-2.0-only
#include "end.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "control.h"
#include "netns.h"
#include "parts.h"
#include "pins.h"
#include "sockets.h"

/* A network namespace that latches are in. */
struct place {
	__u64 netns;
	struct sockets *sockets; /* NULL where it could not be reached */
	int error; /* then: why */
};

struct ender {
	const char *bpffs;
	int latches;
	int control;
	struct place *places;
	size_t count;
};

static int open_pins(struct ender *e, const struct cli *cli)
{
	e->bpffs = cli->bpffs;
	e->control = -1;
	e->latches = pins_map(cli, "clatch_latches");
	if (e->latches < 0)
		return e->latches;
	e->control = control_open(cli->bpffs);
	return e->control < 0 ? e->control : 0;
}

int ender_open(struct ender **ender, const struct cli *cli)
{
	struct ender *e = calloc(1, sizeof(*e));
	int err;

	if (!e)
		return -ENOMEM;
	err = open_pins(e, cli);
	if (err) {
		ender_close(e);
		return err;
	}
	*ender = e;
	return 0;
}

void ender_close(struct ender *e)
{
	if (!e)
		return;
	for (size_t i = 0; i < e->count; i++)
		sockets_close(e->places[i].sockets);
	cleanup_close(&e->latches);
	cleanup_close(&e->control);
	free(e->places);
	free(e);
}

static int open_inside(void *context)
{
	struct place *place = context;

	return sockets_open(&place->sockets);
}

static void reach(const char *bpffs, struct place *place)
{
	_cleanup_close_ int fd = netns_find(bpffs, place->netns, NULL);

	if (fd < 0)
		place->error = fd == -ENOENT ? -ENONET : fd;
	else
		place->error = netns_inside(fd, open_inside, place);
}

/* 0 and *sockets, or -errno. */
static int sockets_in(struct ender *e, __u64 netns, struct sockets **sockets)
{
	struct place *place = NULL, *more;

	for (size_t i = 0; i < e->count && !place; i++)
		if (e->places[i].netns == netns)
			place = &e->places[i];
	if (!place) {
		more = reallocarray(e->places, e->count + 1, sizeof(*more));
		if (!more)
			return -ENOMEM;
		e->places = more;
		place = &more[e->count++];
		*place = (struct place){ .netns = netns };
		reach(e->bpffs, place);
	}
	*sockets = place->sockets;
	return place->error;
}

/* A newer connection on this 5-tuple, which has a latch of its own, is not meant. */
static int check_it_stands(const struct ender *e, const struct clatch_tuple *tuple, __u64 id)
{
	struct clatch_latch now;
	int err = bpf_map_lookup_elem(e->latches, tuple, &now);

	if (err)
		return err == -ENOENT ? -ESTALE : err;
	return now.id == id ? 0 : -ESTALE;
}

static int destroy(struct ender *e, const struct clatch_tuple *tuple,
		   const struct clatch_latch *latch)
{
	struct sockets *sockets;
	int err = sockets_in(e, tuple->netns, &sockets);

	return err ? err : sockets_destroy(sockets, tuple, latch);
}

/* It may be gone by now: that is what it is to come to. */
static int give(const struct ender *e, struct clatch_order *order, enum clatch_order_type type)
{
	long found;

	order->type = type;
	found = control_run(e->control, order, 1);
	return found < 0 ? found : 0;
}

/* Its ends are not on this host: what they send is lost from now on. */
static int end_forwarded(struct ender *e, struct clatch_order *order)
{
	return give(e, order, CLATCH_ORDER_CLOSE);
}

/*
 * The reset of a connection goes out while its latch still stands.  UDP sends none, and its socket
 * is unconnected at once: nothing of it is to pass between the two.
 */
static int end_connection(struct ender *e, const struct clatch_latch *latch,
			  struct clatch_order *order)
{
	bool silent = order->tuple.proto == IPPROTO_UDP;
	int err = silent ? give(e, order, CLATCH_ORDER_CLOSE) : 0;
	int ret = destroy(e, &order->tuple, latch);

	if (ret == -ENOENT)
		return give(e, order, CLATCH_ORDER_REMOVE);
	if (!silent)
		err = give(e, order, CLATCH_ORDER_CLOSE);
	return err ? err : ret;
}

/* Its latch goes with the socket, and so is closed first: else its end would be another. */
static int end_listener(struct ender *e, const struct clatch_latch *latch,
			struct clatch_order *order)
{
	int err = give(e, order, CLATCH_ORDER_CLOSE);

	if (!err)
		err = destroy(e, &order->tuple, latch);
	if (err && err != -ENOENT)
		return err;
	return give(e, order, CLATCH_ORDER_REMOVE);
}

int ender_end(struct ender *e, const struct clatch_tuple *tuple, const struct clatch_latch *latch,
	      enum clatch_end why)
{
	struct clatch_order order = { .tuple = *tuple, .id = latch->id, .end = why };
	int err = check_it_stands(e, tuple, latch->id);

	if (err)
		return err;
	if (latch->flags & CLATCH_FORWARDED)
		return end_forwarded(e, &order);
	return tuple_is_listener(tuple) ? end_listener(e, latch, &order)
					: end_connection(e, latch, &order);
}

const char *ender_strerror(int error)
{
	switch (-error) {
	case ENONET:
		return "its network namespace was not found";
	case EOPNOTSUPP:
		return "this kernel cannot end its sockets (CONFIG_INET_DIAG_DESTROY, a module)";
	case EBUSY:
		return "another socket has the same addresses and ports";
	default:
		return strerror(-error);
	}
}
