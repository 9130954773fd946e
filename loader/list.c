// SPDX-License-Identifier: GPL-2.0-only
/* clatch-loader list: the latches, all or some. */
#include <string.h>

#include "latches.h"
#include "output.h"
#include "pins.h"

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

/* A full disk or a reader that went away: no sense in going on. */
static int print_latch(void *context, const struct latch_view *view)
{
	struct output *out = context;

	output_list_latch(out, view);
	return ferror(out->file) ? output_flush(out) : 0;
}

static int print_latches(const struct cli *cli, const struct filter *f)
{
	struct output out = OUTPUT_INIT(stdout, cli->json);
	__attribute__((cleanup(latches_close))) struct latches l = LATCHES_INIT;
	int err = latches_open(&l, cli);

	if (err)
		return cli_fail(cli, "Couldn't open the latches at %s: %s", cli->bpffs,
				pins_strerror(err));
	out.ids = l.ids;
	output_list_begin(&out);
	err = latches_each(&l, f, print_latch, &out);
	if (!err) {
		output_list_end(&out);
		err = output_flush(&out);
	}
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
		status = print_latches(cli, &f);
	return status < 0 ? EXIT_DONE : status;
}

int cmd_list(struct cli *cli, int argc, char **argv)
{
	struct words w = {};
	int status = list(cli, argc, argv, &w);

	cli_list_free(&w.states);
	return status;
}
