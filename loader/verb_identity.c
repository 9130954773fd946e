// SPDX-License-Identifier: GPL-2.0-only
/* clatch-loader identity: says who is at the ends of an SA, for IKE daemons without VICI. */
#include <ctype.h>
#include <errno.h>
#include <json-c/json.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "addr.h"
#include "cleanup.h"
#include "ids.h"
#include "ids_in_use.h"
#include "kick.h"
#include "map.h"
#include "names.h"
#include "netns.h"
#include "pins.h"
#include "sa_fetch.h"
#include "sa_table.h"

/* The options' values. */
struct words {
	const char *spi;
	const char *dst;
	const char *proto;
	const char *local_id;
	const char *peer_id;
};

/* The pinned maps. */
struct tables {
	struct sa_table sas;
	int latches;
	int more;
	int id_map;
	struct ids *ids;
};

static void tables_close(struct tables *t)
{
	sa_table_close(&t->sas);
	ids_free(t->ids);
	cleanup_close(&t->id_map);
	cleanup_close(&t->latches);
	cleanup_close(&t->more);
}
#define _cleanup_tables_ __attribute__((cleanup(tables_close)))
#define TABLES_INIT                                                                                \
	{                                                                                          \
		SA_TABLE_INIT, -1, -1, -1, NULL                                                    \
	}

static int tables_open(struct tables *t, const struct cli *cli)
{
	int err = sa_table_open(&t->sas, cli);

	if (!err) {
		t->latches = pins_map(cli, "clatch_latches");
		err = t->latches < 0 ? t->latches : 0;
	}
	if (!err) {
		t->more = pins_map(cli, "clatch_more");
		err = t->more < 0 ? t->more : 0;
	}
	if (!err) {
		t->id_map = pins_map(cli, "clatch_ids");
		err = t->id_map < 0 ? t->id_map : 0;
	}
	if (!err) {
		t->ids = ids_new(t->id_map);
		err = t->ids ? 0 : -ENOMEM;
	}
	return err ? cli_fail(cli, "Couldn't open the pins at %s: %s", cli->bpffs,
			      pins_strerror(err))
		   : 0;
}

/* Hexadecimal with 0x before it, or decimal. */
static int parse_spi(const char *word, __be32 *spi)
{
	unsigned long number;
	char *end;

	if (!isdigit((unsigned char)*word))
		return -EINVAL;
	errno = 0;
	number = strtoul(word, &end, strncasecmp(word, "0x", 2) ? 10 : 16);
	if (*end || errno || !number || number > 0xffffffff)
		return -EINVAL;
	*spi = htonl(number);
	return 0;
}

static int parse_addr(const char *word, struct clatch_addr *addr)
{
	__be32 v4;

	if (inet_pton(AF_INET6, word, addr->b) == 1)
		return 0;
	if (inet_pton(AF_INET, word, &v4) != 1)
		return -EINVAL;
	addr_from_v4(addr, v4);
	return 0;
}

/* What is said of the SA; what is not said is left as it is. */
static int parse_words(const struct cli *cli, const struct words *w, struct clatch_sa_key *key)
{
	if (w->spi && parse_spi(w->spi, &key->spi))
		return cli_usage(cli,
				 "--spi '%s' is no SPI: from 1 to 0xffffffff, hexadecimal as 0x1",
				 w->spi);
	if (w->dst && parse_addr(w->dst, &key->dst))
		return cli_usage(cli, "--dst '%s' is no address", w->dst);
	if (w->proto && !strcmp(w->proto, "ah"))
		key->proto = IPPROTO_AH;
	else if (w->proto && !strcmp(w->proto, "esp"))
		key->proto = IPPROTO_ESP;
	else if (w->proto)
		return cli_usage(cli, "--proto '%s' is neither esp nor ah", w->proto);
	return 0;
}

/* Which SA. */
static int parse_key(const struct cli *cli, const struct words *w, struct clatch_sa_key *key)
{
	if (!w->spi || !w->dst)
		return cli_usage(cli, "Which SA? Give its --spi and --dst");
	key->proto = IPPROTO_ESP;
	return parse_words(cli, w, key);
}

static int check_id(const struct cli *cli, const char *option, const char *text)
{
	if (!text || ids_is_text(text))
		return 0;
	return cli_usage(cli,
			 "--%s is no identity: up to %d bytes of UTF-8 without control characters",
			 option, CLATCH_ID_TEXT - 1);
}

/* A new number may be one that has gone, and that somebody is held to still. */
static int find_number(struct tables *t, const char *text)
{
	unsigned int highest;
	int err = ids_in_use(t->sas.sas, t->latches, t->more, &highest);

	if (!err)
		err = ids_check(t->ids, highest);
	return err ? err : ids_number(t->ids, text);
}

static int number_of(const struct cli *cli, struct tables *t, const char *text, __u16 *number)
{
	int ret = text ? find_number(t, text) : 0;

	if (ret == -ENOSPC)
		return cli_fail(cli, "Couldn't note '%s': the identity table is full", text);
	if (ret == -EUCLEAN) {
		pins_tell(cli); /* if `run` did not know */
		return cli_fail(cli, "Couldn't note '%s': the identity table is damaged", text);
	}
	if (ret < 0)
		return cli_fail(cli, "Couldn't note '%s': %s", text, strerror(-ret));
	*number = ret;
	return 0;
}

static int fail(const struct cli *cli, const struct words *w, int err)
{
	if (err == -ESRCH || err == -ENOENT)
		return cli_fail(cli, "No SA with SPI %s to %s in this network namespace", w->spi,
				w->dst);
	if (err == -EEXIST)
		return cli_fail(cli,
				"Several SAs with SPI %s to %s, which differ by their mark only",
				w->spi, w->dst);
	if (err == -ENOSPC)
		return cli_fail(cli, "Couldn't note the SA with SPI %s: the SA table is full",
				w->spi);
	return cli_fail(cli, "Couldn't tell whose the SA with SPI %s is: %s", w->spi,
			strerror(-err));
}

/* What TCP was refused so far may go now.  Without the capabilities for it, its timers do. */
static void kick(const struct cli *cli, __u64 netns)
{
	_cleanup_close_ int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct kick *kick;

	if (sock < 0 || kick_open(&kick, cli))
		return;
	(void)kick_tcp(kick, netns, sock);
	kick_close(kick);
}

static int parse_add(const struct cli *cli, const struct words *w, struct clatch_sa_key *key)
{
	int status = parse_key(cli, w, key);

	if (!status && !w->peer_id)
		status = cli_usage(cli, "Who is it? Give --peer-id");
	if (!status)
		status = check_id(cli, "peer-id", w->peer_id);
	return status ? status : check_id(cli, "local-id", w->local_id);
}

/*
 * The facts are asked of the kernel, as no `run` may be there to have noted them; and before the names
 * get numbers, which are never free again.
 */
static int add(const struct cli *cli, const void *context)
{
	const struct words *w = context;
	_cleanup_tables_ struct tables t = TABLES_INIT;
	struct clatch_sa_key key = {};
	struct clatch_who who = {};
	struct clatch_sa sa;
	int err, status = parse_add(cli, w, &key);

	if (!status)
		status = tables_open(&t, cli);
	if (status)
		return status;
	err = sa_fetch(&key, &sa);
	if (err)
		return fail(cli, w, err);
	status = number_of(cli, &t, w->peer_id, &who.peer_id);
	if (!status)
		status = number_of(cli, &t, w->local_id, &who.local_id);
	if (status)
		return status;
	sa_table_recall(&t.sas, &key, &sa);
	if (!w->local_id)
		who.local_id = sa.who.local_id; /* as it was told of this very SA */
	err = sa_table_put(&t.sas, &key, &sa);
	if (!err)
		err = sa_table_tell(&t.sas, &key, sa.key_tag, who, 0);
	if (err)
		return fail(cli, w, err);
	pins_tell(cli);
	kick(cli, key.netns);
	return EXIT_DONE;
}

static int del(const struct cli *cli, const void *context)
{
	const struct words *w = context;
	_cleanup_tables_ struct tables t = TABLES_INIT;
	struct clatch_sa_key key = {};
	int err, status = parse_key(cli, w, &key);

	if (!status && (w->peer_id || w->local_id))
		status = cli_usage(cli, "The SA alone says what is to be forgotten");
	if (!status)
		status = tables_open(&t, cli);
	if (status)
		return status;
	err = netns_own(&key.netns);
	if (!err)
		err = sa_table_forget(&t.sas, &key);
	pins_tell(cli);
	return err ? fail(cli, w, err) : EXIT_DONE;
}

struct listing {
	const struct cli *cli;
	const struct words *words; /* which were given: … */
	struct clatch_sa_key wanted; /* … and what they say */
	struct ids *ids;
	bool begun;
};

static void put_text(struct json_object *to, const char *key, const char *text)
{
	json_object_object_add(to, key, text ? json_object_new_string(text) : NULL);
}

static void list_json(struct listing *l, const struct clatch_sa_key *key,
		      const struct clatch_sa *sa, const char *spi)
{
	struct json_object *o = json_object_new_object();
	char src[ADDR_TEXT], dst[ADDR_TEXT];

	put_text(o, "proto", name_proto(key->proto));
	put_text(o, "spi", spi);
	put_text(o, "src", addr_text(src, &sa->src));
	put_text(o, "dst", addr_text(dst, &key->dst));
	json_object_object_add(o, "netns", json_object_new_uint64(key->netns));
	put_text(o, "local_id", ids_text(l->ids, sa->who.local_id));
	put_text(o, "peer_id", ids_text(l->ids, sa->who.peer_id));
	json_object_object_add(o, "told_after_us",
			       sa->told_us ? json_object_new_int64(sa->told_us) : NULL);
	printf("%s%s", l->begun ? ",\n" : "",
	       json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
							 JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
	l->begun = true;
}

static void list_text(struct listing *l, const struct clatch_sa_key *key,
		      const struct clatch_sa *sa, const char *spi)
{
	const char *local = ids_text(l->ids, sa->who.local_id);
	const char *peer = ids_text(l->ids, sa->who.peer_id);
	char src[ADDR_TEXT], dst[ADDR_TEXT];

	printf("%-5s %s %s -> %s: local %s, peer %s\n", name_proto(key->proto), spi,
	       addr_text(src, &sa->src), addr_text(dst, &key->dst), local ? local : "-",
	       peer ? peer : "-");
}

static bool is_wanted(const struct listing *l, const struct clatch_sa_key *key)
{
	return (!l->words->spi || key->spi == l->wanted.spi) &&
	       (!l->words->dst || !memcmp(&key->dst, &l->wanted.dst, sizeof(key->dst))) &&
	       (!l->words->proto || key->proto == l->wanted.proto);
}

static int list_entry(void *context, const void *k, const void *value)
{
	struct listing *l = context;
	struct clatch_sa_key key;
	struct clatch_sa sa;
	char spi[16];

	memcpy(&key, k, sizeof(key));
	memcpy(&sa, value, sizeof(sa));
	if ((!sa.who.local_id && !sa.who.peer_id) || !is_wanted(l, &key))
		return 0;
	snprintf(spi, sizeof(spi), "0x%08x", ntohl(key.spi));
	if (l->cli->json)
		list_json(l, &key, &sa, spi);
	else
		list_text(l, &key, &sa, spi);
	return 0;
}

static int list(const struct cli *cli, const void *context)
{
	const struct words *w = context;
	_cleanup_tables_ struct tables t = TABLES_INIT;
	struct listing l = { .cli = cli, .words = w };
	int err, status = parse_words(cli, w, &l.wanted);

	if (!status && (w->peer_id || w->local_id))
		status = cli_usage(cli, "list takes --spi, --dst and --proto");
	if (!status)
		status = tables_open(&t, cli);
	if (status)
		return status;
	l.ids = t.ids;
	if (cli->json)
		printf("{\"identities\":[");
	err = map_each(t.sas.sas, sizeof(struct clatch_sa_key), sizeof(struct clatch_sa),
		       list_entry, &l);
	if (err)
		return cli_fail(cli, "Couldn't read the SA table: %s", strerror(-err));
	if (cli->json)
		printf("]}\n");
	return cli_flush(cli);
}

static const struct cli_word words[] = {
	{ "add", "", "tell who is at the ends of an SA: --spi, --dst, --peer-id, maybe --local-id",
	  add },
	{ "del", "", "forget it: --spi, --dst", del },
	{ "list", "", "print the SAs whose ends are known; of some --spi, --dst, --proto", list },
	{},
};

/*
 * Who calls it may have few capabilities: pluto's scripts have CAP_NET_ADMIN, and neither CAP_BPF nor
 * CAP_PERFMON.  To be root is enough for the pinned maps.
 */
static int act(const struct cli *cli, const char *name, const struct words *w)
{
	struct clatch_meta meta;
	const struct cli_word *word = cli_find_word(cli, name);
	int status;

	if (!word)
		return cli_usage(cli, "identity '%s' is none of add, del, list", name);
	status = pins_open(cli, &meta);
	return status ? status : word->run(cli, w);
}

int cmd_identity(struct cli *cli, int argc, char **argv)
{
	struct words w = {};
	const struct cli_option table[] = {
		{ "spi", "SPI", "the SA's SPI, as 0xc0ffee01", OPT_STRING, &w.spi, 0, 0 },
		{ "dst", "ADDR", "its destination, outermost", OPT_STRING, &w.dst, 0, 0 },
		{ "proto", "esp|ah", "its protocol (esp)", OPT_STRING, &w.proto, 0, 0 },
		{ "local-id", "ID", "who this host is for it", OPT_STRING, &w.local_id, 0, 0 },
		{ "peer-id", "ID", "who is at its other end", OPT_STRING, &w.peer_id, 0, 0 },
		{},
	};
	int count, status;

	cli->words = words;
	status = cli_parse(cli, table, argc, argv, 1, &count);
	if (status)
		return status < 0 ? EXIT_DONE : status;
	if (!count)
		return cli_usage(cli, "What is to be done? add, del or list");
	return act(cli, argv[1], &w);
}
