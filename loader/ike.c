// SPDX-License-Identifier: GPL-2.0-only
#include "ike.h"

#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "addr.h"
#include "daemon.h"
#include "ike_certs.h"
#include "pins.h"
#include "vici.h"

/* As long as an event may take to come; what it tells of needs no asking. */
#define ASK_AFTER_US 200000ULL
/*
 * An IKE SA's first SAs are told of right after it, and packets wait for that: the daemon is not to
 * list certificates before, nor we to read them.
 */
#define CERTS_AFTER_US 50000ULL

struct ike {
	const struct cli *cli;
	struct ids *ids;
	struct ike_owner owner;
	struct vici *vici;
	struct ike_certs *certs;
	sd_event_source *ask; /* when SAs are there that nobody told of */
	sd_event_source *look; /* at the certificates */
	bool connected;
	bool asking; /* list-sas is under way */
	__u64 asked; /* sad_last_born() when it was asked for last */
	bool told; /* something in this message was news */
	bool full_said; /* that there is no room for another identity */
};

/* If it does not run already. */
static void set_timer(sd_event_source *timer, uint64_t after_us)
{
	int enabled;

	sd_event_source_get_enabled(timer, &enabled);
	if (enabled)
		return;
	sd_event_source_set_time_relative(timer, after_us);
	sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
}

/* Whom one IKE SA is between, and where. */
struct ike_sa {
	struct clatch_who who;
	struct clatch_addr local;
	struct clatch_addr remote;
};

/*
 * Some texts stand for more than one peer: what is not agreed yet, and names of which strongSwan
 * could not print each byte.  Whoever has such a name is not known.
 */
static bool is_exact(const char *text)
{
	return strcmp(text, "%any") && !strchr(text, '?') && !strstr(text, "(invalid ");
}

static __u16 identity(struct ike *ike, struct vici_section sa, const char *key)
{
	char text[CLATCH_ID_TEXT];
	int number;

	if (vici_text(sa, key, text, sizeof(text)) || !is_exact(text))
		return 0;
	number = ids_number(ike->ids, text);
	if (number == -ENOSPC && !ike->full_said) {
		cli_warn(ike->cli, "The identity table clatch_ids is full: peers that are not in "
				   "it are not known by name");
		ike->full_said = true;
	}
	return number > 0 ? number : 0;
}

static int address(struct vici_section sa, const char *key, struct clatch_addr *addr)
{
	char text[INET6_ADDRSTRLEN];
	__be32 v4;
	int err = vici_text(sa, key, text, sizeof(text));

	if (err)
		return err;
	if (inet_pton(AF_INET6, text, addr->b) == 1)
		return 0;
	if (inet_pton(AF_INET, text, &v4) != 1)
		return -EINVAL;
	addr_from_v4(addr, v4);
	return 0;
}

/*
 * By EAP or XAUTH (IKEv1) the peer has proved this identity; its remote-id, only that it may know what
 * a whole group does.
 */
static const char *proved_id(struct vici_section sa)
{
	static const char *const keys[] = { "remote-eap-id", "remote-xauth-id" };

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (vici_get(sa, keys[i]).data)
			return keys[i];
	return "remote-id";
}

/* False: nobody is known by it. */
static bool read_ike_sa(struct ike *ike, struct vici_section section, struct ike_sa *sa)
{
	if (address(section, "local-host", &sa->local) ||
	    address(section, "remote-host", &sa->remote))
		return false;
	sa->who.local_id = identity(ike, section, "local-id");
	sa->who.peer_id = identity(ike, section, proved_id(section));
	return sa->who.peer_id;
}

/* Eight hex digits.  0 = none. */
static __be32 read_spi(struct vici_section child, const char *key)
{
	char text[16], *end;
	unsigned long spi;

	if (vici_text(child, key, text, sizeof(text)) || !isxdigit((unsigned char)*text))
		return 0;
	spi = strtoul(text, &end, 16);
	return *end || spi > 0xffffffff ? 0 : htonl(spi);
}

static void tell(struct ike *ike, struct sad *sad, const struct ike_sa *sa,
		 struct vici_section child, bool in, __u64 asked)
{
	struct clatch_sa_key key = {
		.dst = in ? sa->local : sa->remote,
		.spi = read_spi(child, in ? "spi-in" : "spi-out"),
		.proto = vici_is(vici_get(child, "protocol"), "AH") ? IPPROTO_AH : IPPROTO_ESP,
	};
	int ret = key.spi ? sad_tell(sad, &key, sa->who, asked) : 0;

	if (ret > 0)
		ike->told = true;
	else if (ret == -ESTALE)
		ike_sad_changed(ike); /* to be asked for */
	else if (ret && ret != -ENOENT)
		cli_warn(ike->cli, "Couldn't note whose an SA is: %s; its packets may be refused",
			 strerror(-ret));
}

static void tell_child(struct ike *ike, const struct ike_sa *sa, struct vici_section child,
		       __u64 asked)
{
	struct sad *sad = ike->owner.sad(ike->owner.context);

	if (!sad)
		return;
	tell(ike, sad, sa, child, true, asked);
	tell(ike, sad, sa, child, false, asked);
}

/* All of one IKE SA.  A child that replaces another comes as "old" and "new". */
static void tell_children(struct ike *ike, const struct vici_element *e, __u64 asked)
{
	struct vici_section rest = vici_section(e->inside, "child-sas");
	struct vici_element child;
	struct ike_sa sa;

	if (!rest.bytes.size || !read_ike_sa(ike, e->inside, &sa))
		return;
	while (vici_next(&rest, &child)) {
		struct vici_section new = vici_section(child.inside, "new");

		if (child.kind == VICI_SECTION)
			tell_child(ike, &sa, new.bytes.size ? new : child.inside, asked);
	}
}

/* For the certificates: whom the IKE SA of this connection is between. */
static void note(struct ike *ike, struct vici_bytes connection, struct vici_section section,
		 bool fresh)
{
	struct ike_sa sa;

	if (read_ike_sa(ike, section, &sa))
		ike_certs_note(ike->certs, connection, sa.who, fresh);
}

/* Calls @visit for the IKE SA in a message: a section named as its connection. */
static void each_ike_sa(struct ike *ike, struct vici_section message, __u64 asked,
			void (*visit)(struct ike *, const struct vici_element *, __u64))
{
	struct vici_element e;

	ike->told = false;
	while (vici_next(&message, &e))
		if (e.kind == VICI_SECTION)
			visit(ike, &e, asked);
	if (ike->told)
		ike->owner.told(ike->owner.context);
}

/*
 * Charon gave the peer up, or the peer forgot the IKE SA (INITIAL_CONTACT).  Whoever asks for an end,
 * here or there, has it DELETING; REKEYING it is replaced with IKEv1, but unanswered with IKEv2; and
 * CONNECTING it is whoever failed to prove the name.
 */
static bool is_given_up(struct vici_section sa)
{
	struct vici_bytes state = vici_get(sa, "state");

	return vici_is(state, "ESTABLISHED") ||
	       (vici_is(state, "REKEYING") && vici_is(vici_get(sa, "version"), "2"));
}

/* An IKE SA has ended. */
static void ended(struct ike *ike, const struct vici_element *e, __u64 asked)
{
	struct ike_sa sa;

	(void)asked;
	if (!is_given_up(e->inside) || !read_ike_sa(ike, e->inside, &sa))
		return;
	ike->owner.dead(ike->owner.context, sa.who.peer_id);
}

/* Its peer has proved who it is just now. */
static void began(struct ike *ike, const struct vici_element *e, __u64 asked)
{
	(void)asked;
	note(ike, e->name, e->inside, true);
	set_timer(ike->look, CERTS_AFTER_US);
}

static int on_look(sd_event_source *source, uint64_t usec, void *context)
{
	struct ike *ike = context;

	(void)source, (void)usec;
	ike_certs_refresh(ike->certs, ike->vici);
	return 0;
}

/* Nobody is known by a name that is not proved yet: anybody may claim any. */
static void listed(struct ike *ike, const struct vici_element *e, __u64 asked)
{
	if (vici_is(vici_get(e->inside, "state"), "CONNECTING"))
		return;
	note(ike, e->name, e->inside, false);
	tell_children(ike, e, asked);
}

static void on_listed(void *context, struct vici_section message)
{
	struct ike *ike = context;

	each_ike_sa(ike, message, ike->asked, listed);
}

static void on_list_end(void *context, int error, struct vici_section response)
{
	struct ike *ike = context;

	(void)response;
	ike->asking = false;
	if (!error)
		ike_certs_refresh(ike->certs, ike->vici);
	ike_sad_changed(ike);
}

/* For all: what was missed, as nobody was connected, and what no event tells of. */
static void ask(struct ike *ike)
{
	const struct vici_request request = {
		.command = "list-sas",
		.stream = "list-sa",
		.each = on_listed,
		.done = on_list_end,
		.context = ike,
	};
	struct sad *sad = ike->owner.sad(ike->owner.context);

	if (!sad || ike->asking)
		return;
	ike->asked = sad_last_born(sad);
	ike->asking = !vici_request(ike->vici, &request);
}

static int on_ask(sd_event_source *source, uint64_t usec, void *context)
{
	struct ike *ike = context;
	struct sad *sad = ike->owner.sad(ike->owner.context);

	(void)source, (void)usec;
	if (ike->connected && sad && sa_set_has_unknown(sad_set(sad), ike->asked))
		ask(ike);
	return 0;
}

void ike_sad_changed(struct ike *ike)
{
	struct sad *sad;

	if (!ike || !ike->connected || ike->asking)
		return;
	sad = ike->owner.sad(ike->owner.context);
	if (sad && sad_last_born(sad) > ike->asked)
		set_timer(ike->ask, ASK_AFTER_US);
}

void ike_begin_anew(struct ike *ike, struct ids *ids)
{
	ike->ids = ids;
	ike_certs_begin_anew(ike->certs, ids, pins_map(ike->cli, "clatch_certificates"));
	if (ike->connected)
		ask(ike);
}

/* For `status`; what is not noted is only not shown. */
static void note_state(const struct ike *ike, enum clatch_ike state)
{
	(void)daemon_note_ike(ike->cli, state);
}

static void on_connected(void *context)
{
	struct ike *ike = context;

	note_state(ike, CLATCH_IKE_CONNECTED);
	ike->connected = true;
	ike->asking = false;
	ike_certs_forget(ike->certs);
	ask(ike);
}

static void on_disconnected(void *context, int error)
{
	struct ike *ike = context;

	note_state(ike, CLATCH_IKE_LOST);
	ike->connected = false;
	ike->asking = false;
	cli_warn(ike->cli,
		 "No connection to the IKE daemon: %s; whose new SAs are is not known until it is "
		 "back",
		 strerror(-error));
}

static void on_event(void *context, const char *name, struct vici_section message)
{
	struct ike *ike = context;
	bool up = vici_is(vici_get(message, "up"), "yes");

	if (!strcmp(name, "ike-updown"))
		each_ike_sa(ike, message, 0, up ? began : ended);
	else if (!strcmp(name, "child-rekey") || (!strcmp(name, "child-updown") && up))
		each_ike_sa(ike, message, SAD_UNASKED, tell_children);
	else if (!strcmp(name, "ike-update"))
		ask(ike); /* the peer has moved, and its SAs with it */
}

static int add_timer(sd_event *loop, sd_event_source **timer, sd_event_time_handler_t handler,
		     struct ike *ike)
{
	int err = sd_event_add_time(loop, timer, CLOCK_MONOTONIC, 0, 1, handler, ike);

	return err < 0 ? err : sd_event_source_set_enabled(*timer, SD_EVENT_OFF);
}

int ike_open(struct ike **out, const struct cli *cli, sd_event *loop, const char *path,
	     struct ids *ids, const struct ike_owner *owner)
{
	static const char *const events[] = { "ike-updown",  "ike-update", "child-updown",
					      "child-rekey", "list-sa",	   "list-conn",
					      "list-cert",   NULL };
	struct ike *ike = calloc(1, sizeof(*ike));
	const struct vici_options options = {
		.path = path,
		.events = events,
		.connected = on_connected,
		.disconnected = on_disconnected,
		.event = on_event,
		.context = ike,
	};
	int err;

	if (!ike)
		return -ENOMEM;
	ike->cli = cli;
	ike->ids = ids;
	ike->owner = *owner;
	err = add_timer(loop, &ike->ask, on_ask, ike);
	if (err >= 0)
		err = add_timer(loop, &ike->look, on_look, ike);
	if (err >= 0)
		err = ike_certs_new(&ike->certs, cli, ids, pins_map(cli, "clatch_certificates"));
	if (err >= 0)
		err = vici_open(&ike->vici, loop, &options);
	if (err < 0) {
		ike_close(ike);
		return err;
	}
	note_state(ike, CLATCH_IKE_LOST);
	*out = ike;
	return 0;
}

void ike_close(struct ike *ike)
{
	if (!ike)
		return;
	if (ike->vici)
		vici_close(ike->vici);
	ike_certs_free(ike->certs);
	sd_event_source_unref(ike->ask);
	sd_event_source_unref(ike->look);
	free(ike);
}
