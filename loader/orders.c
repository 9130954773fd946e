// SPDX-License-Identifier: GPL-2.0-only
#include "orders.h"

#include <errno.h>
#include <stdlib.h>

int orders_add(struct orders *orders, const struct clatch_order *order)
{
	if (orders->count == orders->room) {
		size_t room = orders->room ? 2 * orders->room : 64;
		struct clatch_order *more = reallocarray(orders->items, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		orders->items = more;
		orders->room = room;
	}
	orders->items[orders->count++] = *order;
	return 0;
}

void orders_free(struct orders *orders)
{
	free(orders->items);
	*orders = (struct orders){};
}
