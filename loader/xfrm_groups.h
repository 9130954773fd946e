/* SPDX-License-Identifier: GPL-2.0-only */
/* Hearing of changes to a network namespace's SPD and SAD. */
#ifndef CLATCH_XFRM_GROUPS_H
#define CLATCH_XFRM_GROUPS_H

#include <libmnl/libmnl.h>
#include <stddef.h>

/* Joins @groups (XFRMNLGRP_*), with room for what comes at once. 0 or -errno. */
int xfrm_groups_join(struct mnl_socket *socket, const int *groups, size_t count);

#endif
