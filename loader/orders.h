/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Orders to the packet path as a walk over the latches gives them: carried out some at a time, as
 * one change of policy may break a million latches.
 */
#ifndef CLATCH_ORDERS_H
#define CLATCH_ORDERS_H

#include <clatch/control.h>
#include <stddef.h>
#include "cli.h"

#define ORDERS_AT_ONCE 256

struct orders {
	const struct cli *cli;
	int control; /* the program that carries them out */
	long given;
	int error;
	size_t count; /* of those that wait */
	struct clatch_order items[ORDERS_AT_ONCE];
};

/* Carried out soon, at the latest by orders_finish(). */
void orders_give(struct orders *orders, const struct clatch_order *order);
/* What cannot be carried out is warned of.  0, or -errno of any since it was called last. */
int orders_finish(struct orders *orders);

#endif
