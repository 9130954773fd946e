// SPDX-License-Identifier: GPL-2.0-only
#include "kick.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "cleanup.h"
#include "netns.h"
#include "pins.h"

struct kick {
	int held; /* the clatch_held map */
	int link; /* the program as an iterator */
};

static int open_parts(struct kick *k, const struct cli *cli)
{
	_cleanup_close_ int program = pins_program(cli->bpffs, "clatch_kick");

	if (program < 0)
		return program;
	k->held = pins_map(cli, "clatch_held");
	if (k->held < 0)
		return k->held;
	k->link = bpf_link_create(program, 0, BPF_TRACE_ITER, NULL);
	return k->link < 0 ? -errno : 0;
}

int kick_open(struct kick **kick, const struct cli *cli)
{
	struct kick *k = malloc(sizeof(*k));
	int err;

	if (!k)
		return -ENOMEM;
	*k = (struct kick){ .held = -1, .link = -1 };
	err = open_parts(k, cli);
	if (err) {
		kick_close(k);
		return err;
	}
	*kick = k;
	return 0;
}

void kick_close(struct kick *k)
{
	if (!k)
		return;
	cleanup_close(&k->held);
	cleanup_close(&k->link);
	free(k);
}

/* Sockets are walked over by reading; the program writes nothing that could be read. */
static int walk(int iterator)
{
	char nothing[1];
	ssize_t length;

	do
		length = read(iterator, nothing, sizeof(nothing));
	while (length > 0 || (length < 0 && (errno == EAGAIN || errno == EINTR)));
	return length < 0 ? -errno : 0;
}

/* An iterator is of the namespace in which it is made. */
static int walk_inside(void *context)
{
	const struct kick *k = context;
	_cleanup_close_ int iterator = bpf_iter_create(k->link);

	return iterator < 0 ? -errno : walk(iterator);
}

int kick_tcp(struct kick *k, __u64 netns, int sock)
{
	_cleanup_close_ int fd = -1;

	/* Deleted before the walk: what is refused behind its back is noted anew. */
	if (bpf_map_delete_elem(k->held, &netns))
		return errno == ENOENT ? 0 : -errno;
	fd = ioctl(sock, SIOCGSKNS);
	return fd < 0 ? -errno : netns_inside(fd, walk_inside, k);
}
