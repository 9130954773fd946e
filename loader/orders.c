// SPDX-License-Identifier: GPL-2.0-only
#include "orders.h"

#include <string.h>

#include "control.h"

static void carry_out(struct orders *o)
{
	long done = o->count ? control_run(o->control, o->items, o->count) : 0;

	if (done < 0) {
		cli_warn(o->cli, "Couldn't break or restore latches: %s; what they hold stays held",
			 strerror(-done));
		o->error = done;
	}
	o->count = 0;
}

int orders_finish(struct orders *o)
{
	int error;

	carry_out(o);
	error = o->error;
	o->error = 0;
	return error;
}

void orders_give(struct orders *o, const struct clatch_order *order)
{
	o->items[o->count++] = *order;
	o->given++;
	if (o->count == ORDERS_AT_ONCE)
		carry_out(o);
}
