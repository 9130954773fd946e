/* SPDX-License-Identifier: GPL-2.0-only */
/* A list of orders to the packet path, gathered in a walk over the latches and carried out after. */
#ifndef CLATCH_ORDERS_H
#define CLATCH_ORDERS_H

#include <clatch/control.h>
#include <stddef.h>

struct orders {
	struct clatch_order *items;
	size_t count;
	size_t room;
};

int orders_add(struct orders *orders, const struct clatch_order *order); /* 0 or -ENOMEM */
void orders_free(struct orders *orders);

#endif
