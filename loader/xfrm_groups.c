// SPDX-License-Identifier: GPL-2.0-only
#include "xfrm_groups.h"

#include <errno.h>
#include <sys/socket.h>

#define RECEIVE_BUFFER (8 << 20) /* some 10,000 messages: an IKE daemon that starts again */

int xfrm_groups_join(struct mnl_socket *socket, const int *groups, size_t count)
{
	int size = RECEIVE_BUFFER;

	/* Without CAP_NET_ADMIN it keeps its default size; an overrun is survived anyway. */
	(void)!setsockopt(mnl_socket_get_fd(socket), SOL_SOCKET, SO_RCVBUFFORCE, &size,
			  sizeof(size));
	for (size_t i = 0; i < count; i++) {
		int group = groups[i];

		if (mnl_socket_setsockopt(socket, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)))
			return -errno;
	}
	return 0;
}
