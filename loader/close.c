// SPDX-License-Identifier: GPL-2.0-only
/* clatch-loader close: end connections, as if their peers had reset them (RFC 5660 R31, R37). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <clatch/glob.h>
#include "addr.h"
#include "cleanup.h"
#include "end.h"
#include "latches.h"
#include "parts.h"
#include "pins.h"
#include "progress.h"

#define MAX_IDS 1024

struct words {
	int ids;
	char **id;
	const char *remote;
	const char *peer_id;
	bool all;
};

struct wanted {
	__u64 ids[MAX_IDS];
	int count; /* 0 = whatever the filter lets through */
	struct filter filter;
	const char *peer_id;
};

struct target {
	struct clatch_tuple tuple;
	struct clatch_latch latch;
};

struct targets {
	const struct wanted *wanted;
	struct target *all;
	size_t count;
	size_t room;
};

static void cleanup_targets(struct targets *t)
{
	free(t->all);
}

static void cleanup_ender(struct ender **ender)
{
	ender_close(*ender);
}

static bool has_id(const struct wanted *w, __u64 id)
{
	for (int i = 0; i < w->count; i++)
		if (w->ids[i] == id)
			return true;
	return false;
}

/* Whose peer is not known is nobody's. */
static bool has_peer(const struct latch_view *view, const char *pattern)
{
	struct clatch_glob g = { .pattern = pattern, .text = view->peer_id };
	int step;

	if (!view->peer_id)
		return false;
	do {
		step = clatch_glob_step(&g, CLATCH_ID_TEXT);
	} while (step == CLATCH_GLOB_ON);
	return step == CLATCH_GLOB_MATCH;
}

static bool is_wanted(const struct wanted *w, const struct latch_view *view)
{
	if (w->count)
		return has_id(w, view->latch.id);
	return !w->peer_id || has_peer(view, w->peer_id);
}

static int gather(void *context, const struct latch_view *view)
{
	struct targets *t = context;

	if (!is_wanted(t->wanted, view))
		return 0;
	if (t->count == t->room) {
		size_t room = t->room ? 2 * t->room : 64;
		struct target *more = reallocarray(t->all, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		t->all = more;
		t->room = room;
	}
	t->all[t->count++] = (struct target){ view->tuple, view->latch };
	return 0;
}

static int no_latch(const struct cli *cli, const struct words *w)
{
	if (w->peer_id)
		return cli_fail(cli, "No latch%s%s has the peer identity '%s'",
				w->remote ? " to " : "", w->remote ? w->remote : "", w->peer_id);
	if (w->remote)
		return cli_fail(cli, "No latch to %s", w->remote);
	return cli_fail(cli, "No latch");
}

/* All that were asked for by number must be there, or none is closed. */
static int check_found(const struct cli *cli, const struct words *w, const struct targets *t)
{
	for (int i = 0; i < t->wanted->count; i++) {
		bool found = false;

		for (size_t j = 0; j < t->count && !found; j++)
			found = t->all[j].latch.id == t->wanted->ids[i];
		if (!found)
			return cli_fail(cli, "No latch %llu",
					(unsigned long long)t->wanted->ids[i]);
	}
	return t->count ? 0 : no_latch(cli, w);
}

static int find_targets(const struct cli *cli, const struct words *w, struct targets *t)
{
	__attribute__((cleanup(latches_close))) struct latches l = LATCHES_INIT;
	int err = latches_open(&l, cli);

	if (err)
		return cli_fail(cli, "Couldn't open the latches at %s: %s", cli->bpffs,
				pins_strerror(err));
	err = latches_each(&l, &t->wanted->filter, gather, t);
	if (err)
		return cli_fail(cli, "Couldn't read the latches: %s", strerror(-err));
	return check_found(cli, w, t);
}

static void warn_of(const struct cli *cli, const struct target *t, int err)
{
	bool listener = tuple_is_listener(&t->tuple);
	char end[ENDPOINT_TEXT];

	cli_warn(cli, "Couldn't end the %s of latch %llu, %s %s: %s",
		 listener ? "listener" : "connection", (unsigned long long)t->latch.id,
		 listener ? "on" : "to",
		 listener ? endpoint_text(end, &t->tuple.local, t->tuple.local_port)
			  : endpoint_text(end, &t->tuple.remote, t->tuple.remote_port),
		 ender_strerror(err));
}

/* Moves those that were closed to the front; how many.  *failed: how many were not. */
static size_t close_all(const struct cli *cli, struct ender *ender, struct targets *t,
			size_t *failed)
{
	struct progress p = progress_begin(cli);
	size_t closed = 0;

	for (size_t i = 0; i < t->count; i++) {
		struct target *target = &t->all[i];
		int err = ender_end(ender, &target->tuple, &target->latch, CLATCH_END_ADMIN);

		if (!err) {
			t->all[closed++] = *target;
		} else if (err != -ESTALE) { /* which ended by itself */
			progress_clear(&p);
			warn_of(cli, target, err);
			(*failed)++;
		}
		progress_show(&p, "Closing: %zu of %zu", i + 1, t->count);
	}
	progress_clear(&p);
	return closed;
}

static void print_ids(const struct targets *t, size_t closed)
{
	printf("{\"closed\":[");
	for (size_t i = 0; i < closed; i++)
		printf("%s%llu", i ? "," : "", (unsigned long long)t->all[i].latch.id);
	printf("]}\n");
}

static void print_count(const struct targets *t, size_t closed)
{
	size_t listeners = 0, connections;

	for (size_t i = 0; i < closed; i++)
		listeners += tuple_is_listener(&t->all[i].tuple);
	connections = closed - listeners;
	printf("Closed ");
	if (connections || !listeners)
		printf("%zu connection%s", connections, connections == 1 ? "" : "s");
	if (listeners)
		printf("%s%zu listener%s", connections ? " and " : "", listeners,
		       listeners == 1 ? "" : "s");
	printf("\n");
}

static int close_wanted(const struct cli *cli, const struct words *w, const struct wanted *wanted)
{
	__attribute__((cleanup(cleanup_targets))) struct targets t = { .wanted = wanted };
	__attribute__((cleanup(cleanup_ender))) struct ender *ender = NULL;
	size_t closed, failed = 0;
	int status = find_targets(cli, w, &t), err;

	if (status)
		return status;
	err = ender_open(&ender, cli);
	if (err)
		return cli_fail(cli, "Couldn't open the pins at %s: %s", cli->bpffs,
				pins_strerror(err));
	closed = close_all(cli, ender, &t, &failed);
	if (cli->json)
		print_ids(&t, closed);
	else
		print_count(&t, closed);
	status = cli_flush(cli);
	return status || !failed ? status : EXIT_FAILED;
}

static int parse_ids(const struct cli *cli, const struct words *w, struct wanted *wanted)
{
	if (w->all || w->remote || w->peer_id)
		return cli_usage(cli, "Give numbers of latches, or --remote, --peer-id or --all, "
				      "not both");
	for (int i = 0; i < w->ids; i++)
		if (filter_parse_id(&wanted->ids[i], w->id[i]))
			return cli_usage(cli, "'%s' is not a latch's number", w->id[i]);
	wanted->count = w->ids;
	return 0;
}

static int parse_wanted(const struct cli *cli, const struct words *w, struct wanted *wanted)
{
	if (w->ids)
		return parse_ids(cli, w, wanted);
	if (!w->all && !w->remote && !w->peer_id)
		return cli_usage(cli, "Which latches? Give their numbers, --remote, --peer-id or "
				      "--all");
	if (w->all && (w->remote || w->peer_id))
		return cli_usage(cli, "--all leaves nothing to narrow with --remote or --peer-id");
	if (w->remote && filter_parse_endpoint(&wanted->filter.remote, w->remote))
		return cli_usage(cli,
				 "--remote '%s' is not " FILTER_ENDPOINT
				 ", IPv6 with a port in brackets",
				 w->remote);
	if (w->peer_id && strlen(w->peer_id) >= CLATCH_RULE_ID)
		return cli_usage(cli, "--peer-id is longer than %d bytes", CLATCH_RULE_ID - 1);
	wanted->filter.states = ~(1U << CLATCH_CLOSED);
	wanted->peer_id = w->peer_id;
	return 0;
}

int cmd_close(struct cli *cli, int argc, char **argv)
{
	struct words w = { .id = argv + 1 };
	const struct cli_option table[] = {
		{ "remote", "END", "instead of IDs: all to this remote end, " FILTER_ENDPOINT,
		  OPT_STRING, &w.remote, 0, 0 },
		{ "peer-id", "ID", "all whose peer has this identity; * is any text", OPT_STRING,
		  &w.peer_id, 0, 0 },
		{ "all", NULL, "all, listeners too", OPT_FLAG, &w.all, 0, 0 },
		{},
	};
	struct wanted wanted = {};
	struct clatch_meta meta;
	int status = cli_parse(cli, table, argc, argv, MAX_IDS, &w.ids);

	if (!status)
		status = parse_wanted(cli, &w, &wanted);
	if (!status)
		status = pins_may_change(cli);
	if (!status)
		status = pins_open(cli, &meta);
	if (!status)
		status = close_wanted(cli, &w, &wanted);
	return status < 0 ? EXIT_DONE : status;
}
