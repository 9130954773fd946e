// SPDX-License-Identifier: GPL-2.0-only
#include "identities.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "ids_in_use.h"
#include "map.h"
#include "netns.h"
#include "pins.h"

#define RECEIVES 16 /* of what sad_receive() takes at once: then the SAs come too fast */

struct identities {
	const struct cli *cli;
	struct domains *domains;
	struct identities_owner owner;
	__u64 netns; /* our own: the IKE daemon's */
	int id_map;
	int used; /* clatch_ids_used */
	struct ids *ids;
	int latches;
	int more;
	bool checked; /* the table, at first, against the numbers that are in use */
	struct ike *ike; /* NULL = none */
	__u32 generation; /* of what is told, as far as we know */
};

static bool has_more(const struct sad *sad)
{
	struct pollfd socket = { .fd = sad_fd(sad), .events = POLLIN };

	return poll(&socket, 1, 0) > 0;
}

/* All that the kernel has told of our SAs by now, so that what the IKE daemon says is of these. */
static struct sad *own_sad(void *context)
{
	struct identities *i = context;
	struct domain *domain = domains_find(i->domains, i->netns);
	int err;

	if (!domain)
		return NULL;
	for (int n = 0; has_more(domain->sad) || sad_is_stale(domain->sad); n++) {
		if (n == RECEIVES)
			return NULL;
		err = sad_receive(domain->sad);
		i->owner.received(i->owner.context, domain, err);
		if (err < 0 && err != -ENOSPC)
			return NULL;
	}
	return domain->sad;
}

static void on_told(void *context)
{
	struct identities *i = context;

	sa_table_generation(i->domains->table, &i->generation);
	i->owner.told(i->owner.context);
}

static void on_dead(void *context, __u16 peer_id)
{
	struct identities *i = context;

	i->owner.dead(i->owner.context, i->netns, peer_id);
}

/* Somebody else has told (`identity add`): the copies of the SAs do not have it yet. */
void identities_take_over(struct identities *i)
{
	__u32 generation = i->generation;
	bool news = false;

	if (sa_table_generation(i->domains->table, &generation) || generation == i->generation)
		return;
	i->generation = generation;
	for (struct domain *d = i->domains->first; d; d = d->next)
		news |= d->sad && sad_recall(d->sad) > 0;
	if (news)
		i->owner.told(i->owner.context);
}

static int forget_id(void *context, const void *key, const void *value)
{
	int *fd = context;

	(void)value;
	bpf_map_delete_elem(*fd, key);
	return 0;
}

static int forget_who(void *context, const void *key, const void *value)
{
	(void)value;
	sa_table_forget(context, key);
	return 0;
}

/*
 * What has a number in it that may stand for anybody goes; the IKE daemon is asked anew.  Latches are
 * closed while their SAs' identities are there still, as their resets would not go out without; and
 * once more, as connections may have begun meanwhile.
 */
static void begin_anew(struct identities *i)
{
	struct sa_table table = *i->domains->table;
	struct ids *ids = ids_new(i->id_map);

	cli_warn(i->cli, "The identity table clatch_ids is damaged: closing all connections");
	i->owner.damaged(i->owner.context);
	map_each(table.sas, sizeof(struct clatch_sa_key), sizeof(struct clatch_sa), forget_who,
		 &table);
	i->owner.damaged(i->owner.context);
	map_each(i->id_map, sizeof(__u32), sizeof(struct clatch_id), forget_id, &i->id_map);
	identities_take_over(i);
	if (!ids)
		return;
	ids_free(i->ids);
	i->ids = ids;
	if (i->ike)
		ike_begin_anew(i->ike, ids);
}

void identities_look(struct identities *i)
{
	const __u32 zero = 0, none = 0;
	unsigned int highest = 0;

	bpf_map_update_elem(i->used, &zero, &none,
			    BPF_ANY); /* first: what comes later is told anew */
	if (!i->checked)
		(void)ids_in_use(i->domains->table->sas, i->latches, i->more, &highest);
	if (ids_check(i->ids, highest) == -EUCLEAN)
		begin_anew(i);
	i->checked = true;
	identities_take_over(i);
}

static int open_parts(struct identities *i, sd_event *loop, const char *vici)
{
	const struct ike_owner owner = { own_sad, on_told, on_dead, i };
	int err = netns_own(&i->netns);

	if (err)
		return err;
	i->id_map = pins_map(i->cli, "clatch_ids");
	if (i->id_map < 0)
		return i->id_map;
	i->used = pins_map(i->cli, "clatch_ids_used");
	if (i->used < 0)
		return i->used;
	i->latches = pins_map(i->cli, "clatch_latches");
	if (i->latches < 0)
		return i->latches;
	i->more = pins_map(i->cli, "clatch_more");
	if (i->more < 0)
		return i->more;
	i->ids = ids_new(i->id_map);
	if (!i->ids)
		return -ENOMEM;
	err = sa_table_generation(i->domains->table, &i->generation);
	if (!err && vici)
		err = ike_open(&i->ike, i->cli, loop, vici, i->ids, &owner);
	return err;
}

int identities_open(struct identities **out, const struct cli *cli, sd_event *loop,
		    struct domains *domains, const char *vici, const struct identities_owner *owner)
{
	struct identities *i = calloc(1, sizeof(*i));
	int err;

	if (!i)
		return -ENOMEM;
	i->cli = cli;
	i->domains = domains;
	i->owner = *owner;
	i->id_map = i->used = i->latches = i->more = -1;
	err = open_parts(i, loop, vici);
	if (err) {
		identities_close(i);
		return err;
	}
	*out = i;
	return 0;
}

void identities_close(struct identities *i)
{
	if (!i)
		return;
	ike_close(i->ike);
	ids_free(i->ids);
	cleanup_close(&i->id_map);
	cleanup_close(&i->used);
	cleanup_close(&i->latches);
	cleanup_close(&i->more);
	free(i);
}

void identities_changed(struct identities *i, const struct domain *domain)
{
	if (i->ike && domain->netns == i->netns)
		ike_sad_changed(i->ike);
}
