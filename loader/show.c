// SPDX-License-Identifier: GPL-2.0-only
/* clatch-loader show ID: all that is known of one latch. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "certificate.h"
#include "latches.h"
#include "output.h"
#include "pins.h"

#define FOUND 1 /* ends the walk */

struct search {
	struct latches *latches;
	struct output out;
};

static int parse_id(const char *word, __u64 *id)
{
	char *end;

	if (!isdigit((unsigned char)*word))
		return -EINVAL;
	errno = 0;
	*id = strtoull(word, &end, 10);
	return *end ? -EINVAL : -errno;
}

/* Of a certificate: NULL where none is known. */
static const struct clatch_certificate *find(const struct latches *l, __u32 number,
					     struct clatch_certificate *c)
{
	return latches_certificate(l, number, c) ? NULL : c;
}

static void print(struct search *s, const struct latch_view *view)
{
	struct clatch_certificate local, peer;
	struct clatch_demand asked;
	struct latch_proof proof = {
		.local = find(s->latches, view->who.local_id, &local),
		.peer = find(s->latches, view->who.peer_id, &peer),
	};
	__u8 binding[CLATCH_HASH_LEN];

	if (proof.local && proof.peer && channel_binding(binding, local.key, peer.key))
		proof.binding = binding;
	if (!latches_asked(s->latches, &view->latch, &asked))
		proof.asked = &asked;
	s->out.ids = s->latches->ids;
	output_latch(&s->out, view, &proof);
}

static int print_it(void *context, const struct latch_view *view)
{
	print(context, view);
	return FOUND;
}

static int print_latch(const struct cli *cli, __u64 id)
{
	__attribute__((cleanup(latches_close))) struct latches l = LATCHES_INIT;
	struct search s = { .latches = &l, .out = OUTPUT_INIT(stdout, cli->json) };
	const struct filter it = { .has_id = true, .id = id };
	int ret = latches_open(&l, cli);

	if (!ret)
		ret = latches_each(&l, &it, print_it, &s);
	if (!ret)
		return cli_fail(cli, "No latch %llu", (unsigned long long)id);
	if (ret == FOUND)
		ret = output_flush(&s.out);
	if (ret)
		return cli_fail(cli, "Couldn't show latch %llu: %s", (unsigned long long)id,
				strerror(-ret));
	return EXIT_DONE;
}

int cmd_show(struct cli *cli, int argc, char **argv)
{
	const struct cli_option table[] = { {} };
	struct clatch_meta meta;
	int positionals, status = cli_parse(cli, table, argc, argv, 1, &positionals);
	__u64 id;

	if (status)
		return status < 0 ? EXIT_DONE : status;
	if (!positionals)
		return cli_usage(cli, "Which latch? Its number is missing");
	if (parse_id(argv[1], &id))
		return cli_usage(cli, "'%s' is not a latch's number", argv[1]);
	status = pins_open(cli, &meta);
	return status ? status : print_latch(cli, id);
}
