// SPDX-License-Identifier: GPL-2.0-only
#include "orders.h"

#include <string.h>

#include "control.h"

void orders_finish(struct orders *o)
{
	long done = o->count ? control_run(o->control, o->items, o->count) : 0;

	if (done < 0)
		cli_warn(o->cli, "Couldn't break or restore latches: %s; what they hold stays held",
			 strerror(-done));
	o->count = 0;
}

void orders_give(struct orders *o, const struct clatch_order *order)
{
	o->items[o->count++] = *order;
	o->given++;
	if (o->count == ORDERS_AT_ONCE)
		orders_finish(o);
}
