// SPDX-License-Identifier: GPL-2.0-only
/* clatch-loader list: the latches, all or some. */
#include <string.h>
#include <unistd.h>

#include "latches.h"
#include "output.h"
#include "pins.h"
#include "progress.h"

#define ROOM 65536 /* for what goes to a file or a pipe: a write for each page takes longer */

struct words {
	struct cli_list states;
	const char *proto;
	const char *local;
	const char *remote;
};

static int parse_endpoint(const struct cli *cli, const char *option, const char *word,
			  struct filter_endpoint *endpoint)
{
	if (!word || !filter_parse_endpoint(endpoint, word))
		return 0;
	return cli_usage(cli, "--%s '%s' is not " FILTER_ENDPOINT ", IPv6 with a port in brackets",
			 option, word);
}

static int parse_filter(const struct cli *cli, const struct words *w, struct filter *f)
{
	int status;

	for (size_t i = 0; i < w->states.count; i++)
		if (filter_parse_state(&f->states, w->states.items[i]))
			return cli_usage(cli,
					 "--state '%s' is none of LISTENER, LARVAL, "
					 "ESTABLISHED, BROKEN, CLOSED",
					 w->states.items[i]);
	if (w->proto && filter_parse_proto(&f->proto, w->proto))
		return cli_usage(cli, "--proto '%s' is none of tcp, udp, sctp", w->proto);
	status = parse_endpoint(cli, "local", w->local, &f->local);
	return status ? status : parse_endpoint(cli, "remote", w->remote, &f->remote);
}

struct listing {
	struct output out;
	struct progress progress;
	bool terminal; /* what is printed goes where the progress is shown */
};

/* A full disk or a reader that went away: no sense in going on. */
static int print_latch(void *context, const struct latch_view *view)
{
	struct listing *l = context;

	if (l->terminal)
		progress_clear(&l->progress);
	output_list_latch(&l->out, view);
	return ferror(l->out.file) ? output_flush(&l->out) : 0;
}

static int print_all(struct latches *latches, const struct cli *cli, const struct filter *f)
{
	static char room[ROOM]; /* the C library takes the size of no other */
	struct listing l = {
		.out = OUTPUT_INIT(stdout, cli->json),
		.progress = progress_begin(cli),
		.terminal = isatty(STDOUT_FILENO),
	};
	int err;

	if (!l.terminal)
		setvbuf(stdout, room, _IOFBF, sizeof(room));
	ids_remember(latches->ids);
	l.out.ids = latches->ids;
	latches->progress = &l.progress;
	output_list_begin(&l.out);
	err = latches_each(latches, f, print_latch, &l);
	progress_clear(&l.progress);
	if (err)
		return err;
	output_list_end(&l.out);
	return output_flush(&l.out);
}

static int print_latches(const struct cli *cli, const struct filter *f, __u32 max)
{
	__attribute__((cleanup(latches_close))) struct latches l = LATCHES_INIT;
	int err = latches_open(&l, cli);

	if (err)
		return cli_fail(cli, "Couldn't open the latches at %s: %s", cli->bpffs,
				pins_strerror(err));
	l.max = max;
	err = print_all(&l, cli, f);
	if (err)
		return cli_fail(cli, "Couldn't list the latches: %s", strerror(-err));
	return EXIT_DONE;
}

static int list(struct cli *cli, int argc, char **argv, struct words *w)
{
	const struct cli_option table[] = {
		{ "state", "STATE", "LISTENER, LARVAL, ESTABLISHED, BROKEN, CLOSED (several times)",
		  OPT_LIST, &w->states, 0, 0 },
		{ "proto", "tcp|udp|sctp", "only this transport", OPT_STRING, &w->proto, 0, 0 },
		{ "local", "END", "only with this local end, " FILTER_ENDPOINT, OPT_STRING,
		  &w->local, 0, 0 },
		{ "remote", "END", "only with this remote end", OPT_STRING, &w->remote, 0, 0 },
		{},
	};
	struct filter f = {};
	struct clatch_meta meta;
	int positionals, status = cli_parse(cli, table, argc, argv, 0, &positionals);

	if (!status)
		status = parse_filter(cli, w, &f);
	if (!status)
		status = pins_open(cli, &meta);
	if (!status)
		status = print_latches(cli, &f, meta.max_latches);
	return status < 0 ? EXIT_DONE : status;
}

int cmd_list(struct cli *cli, int argc, char **argv)
{
	struct words w = {};
	int status = list(cli, argc, argv, &w);

	cli_list_free(&w.states);
	return status;
}
