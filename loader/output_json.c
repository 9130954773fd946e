// SPDX-License-Identifier: GPL-2.0-only
/* The JSON form.  Keys and their order are a promise to programs: see docs. */
#include <string.h>

#include "json_writer.h"
#include "names.h"
#include "output_certificate.h"
#include "output_demand.h"
#include "output_forms.h"
#include "parts.h"

typedef struct json_writer json;

static void put_time(json *to, const char *key, __s64 utc_ns, bool micros)
{
	char text[TIME_TEXT];

	put_string(to, key, time_text(text, utc_ns, micros));
}

/* null where 0: no latch has that id, no device that index, and it is no UDP port. */
static void put_known(json *to, const char *key, __u64 value)
{
	if (value)
		put_number(to, key, value);
	else
		put_string(to, key, NULL);
}

/* null where the address is not known. */
static void put_addr(json *to, const char *key, const struct clatch_addr *addr)
{
	char text[ADDR_TEXT];

	put_string(to, key, addr_is_zero(addr) ? NULL : addr_text(text, addr));
}

/* A kernel name may fill its place without a NUL. */
static void put_alg(json *to, const char *key, const char name[CLATCH_ALG_LEN])
{
	char text[CLATCH_ALG_LEN + 1] = "";

	put_string(to, key, strncpy(text, name, CLATCH_ALG_LEN));
}

static void put_endpoint(json *to, const char *key, const struct clatch_addr *addr, __u16 port)
{
	char text[ADDR_TEXT];

	put_begin(to, key);
	put_string(to, "addr", addr_text(text, addr));
	put_number(to, "port", port);
	put_end(to);
}

static void put_tuple(json *to, const struct clatch_tuple *t)
{
	put_string(to, "proto", name_proto(t->proto));
	put_endpoint(to, "local", &t->local, t->local_port);
	if (tuple_is_listener(t))
		put_string(to, "remote", NULL);
	else
		put_endpoint(to, "remote", &t->remote, t->remote_port);
}

static void put_algorithms(json *to, const struct clatch_suite *s)
{
	bool aead = s->flags & CLATCH_SUITE_AEAD;

	if (s->enc[0]) {
		put_alg(to, aead ? "aead" : "enc", s->enc);
		put_number(to, aead ? "aead_key_bits" : "enc_key_bits", enc_key_bits(s));
	}
	if (s->auth[0]) {
		put_alg(to, "auth", s->auth);
		put_number(to, "auth_key_bits", s->auth_key_bits);
	}
	put_number(to, "icv_bits", s->icv_bits);
}

static void put_encap(json *to, const struct clatch_suite *s, const struct latch_side *side)
{
	put_string(to, "encap", name_encap(s->encap));
	if (!s->encap || !side)
		return;
	put_known(to, "encap_src_port", ntohs(side->encap_sport));
	put_known(to, "encap_dst_port", ntohs(side->encap_dport));
}

static void put_id(json *to, const char *key, const struct output *o, unsigned int number)
{
	put_string(to, key, o->ids ? ids_text(o->ids, number) : NULL);
}

/* @side: whose outermost SA it is, NULL = none's. */
static void put_sa(json *o, const struct output *out, const struct clatch_sa *sa,
		   const struct latch_side *side)
{
	const struct clatch_suite *s = &sa->suite;
	char spi[16];

	put_begin(o, NULL);
	snprintf(spi, sizeof(spi), "0x%08x", ntohl(sa->spi));
	put_string(o, "proto", name_proto(s->proto));
	put_string(o, "mode", name_mode(s->mode));
	put_algorithms(o, s);
	put_bool(o, "esn", s->flags & CLATCH_SUITE_ESN);
	put_bool(o, "replay", s->flags & CLATCH_SUITE_REPLAY);
	put_encap(o, s, side);
	put_number(o, "reqid", sa->reqid);
	put_number(o, "if_id", sa->if_id);
	put_string(o, "spi", spi);
	put_addr(o, "src", &sa->src);
	put_addr(o, "dst", &sa->dst);
	put_id(o, "local_id", out, sa->who.local_id);
	put_id(o, "peer_id", out, sa->who.peer_id);
	put_end(o);
}

static void put_sas(json *to, const char *key, const struct output *o, const struct clatch_sa *sas,
		    __u64 count, const struct latch_side *side)
{
	put_begin_list(to, key);
	for (__u64 i = 0; i < count && i < CLATCH_MAX_NEST; i++)
		put_sa(to, o, &sas[i], i ? NULL : side);
	put_end_list(to);
}

static void put_side(json *to, const char *key, const struct output *out,
		     const struct latch_side *side, bool all)
{
	put_begin(to, key);
	put_sas(to, "sa", out, side->sa, side->count, side);
	put_number(to, "packets", side->packets);
	put_number(to, "bytes", side->bytes);
	put_number(to, "violations", side->violations);
	if (all) {
		put_number(to, "mark", side->mark);
		put_known(to, "ifindex", side->ifindex);
	}
	put_end(to);
}

static void put_causes(json *to, unsigned int causes)
{
	put_begin_list(to, "causes");
	for_each_bit(bit, causes) put_string(to, NULL, name_cause(bit));
	put_end_list(to);
}

static void put_fields(json *to, const struct clatch_event *e)
{
	put_begin_list(to, "fields");
	for_each_bit(bit, e->fields) put_string(to, NULL, field_text(bit, e));
	put_end_list(to);
}

static void put_policed(json *to, unsigned int flags)
{
	put_begin(to, "policed");
	put_bool(to, "in", flags & CLATCH_POLICED_IN);
	put_bool(to, "out", flags & CLATCH_POLICED_OUT);
	put_end(to);
}

static void put_times(json *to, const struct clatch_latch *l, __s64 utc_offset)
{
	put_time(to, "since", l->since_ns + utc_offset, false);
	if (l->changed_ns)
		put_time(to, "changed", l->changed_ns + utc_offset, false);
	else
		put_string(to, "changed", NULL);
}

/* What `list` leaves out. */
static void put_more(json *to, const struct latch_view *view, const struct latch_proof *proof)
{
	put_number(to, "netns", view->tuple.netns);
	put_policed(to, view->latch.flags);
	if (tuple_is_listener(&view->tuple))
		return;
	put_built(to, "asked", json_demand(proof->asked));
	put_string(to, "identity", view->peer_id ? "ike" : "reqid");
	put_built(to, "local_certificate", json_certificate(proof->local));
	put_built(to, "certificate", json_certificate(proof->peer));
	put_built(to, "channel_binding", json_channel_binding(proof->binding));
}

void json_latch(struct output *o, const struct latch_view *view, const struct latch_proof *proof)
{
	const struct clatch_latch *l = &view->latch;
	json writer = { o->file, false }, *object = &writer;

	put_begin(object, NULL);
	put_number(object, "id", l->id);
	put_tuple(object, &view->tuple);
	put_string(object, "state", name_state(l->state));
	put_causes(object, l->causes);
	put_bool(object, "adopted", l->flags & CLATCH_ADOPTED);
	put_bool(object, "demanded", l->flags & CLATCH_DEMANDED);
	put_bool(object, "forwarded", l->flags & CLATCH_FORWARDED);
	put_string(object, "rule", view->rule[0] ? view->rule : NULL);
	put_known(object, "listener", tuple_is_listener(&view->tuple) ? 0 : l->listener.id);
	put_side(object, "in", o, &view->in, proof);
	put_side(object, "out", o, &view->out, proof);
	put_string(object, "local_id", view->local_id);
	put_string(object, "peer_id", view->peer_id);
	put_times(object, l, o->utc_offset);
	if (tuple_is_listener(&view->tuple))
		put_number(object, "sockets", l->listener.sockets);
	if (proof)
		put_more(object, view, proof);
	put_end(object);
}

static void put_compared(json *to, const struct output *o, const struct clatch_event *e)
{
	put_sas(to, "expected", o, e->expected, e->expected_count, NULL);
	put_sas(to, "got", o, e->got, e->got_count, NULL);
}

static void put_transition(json *to, const struct clatch_event *e)
{
	put_string(to, "old_state", e->old_state ? name_state(e->old_state) : NULL);
	put_string(to, "state", name_state(e->state));
	put_string(to, "cause", event_cause(e));
	if (e->type == CLATCH_EV_LATCHED)
		put_known(to, "listener", e->other);
	if (e->type == CLATCH_EV_LISTENING)
		put_known(to, "spawned", e->other);
}

/* What each kind of event has beside its time, latch and connection. */
static void put_details(json *to, const struct output *o, const struct clatch_event *e)
{
	bool objects = e->type == CLATCH_EV_VIOLATION || e->type == CLATCH_EV_BROKEN;

	if (e->type != CLATCH_EV_CLOSED && e->type != CLATCH_EV_LISTENING)
		put_string(to, "direction", name_dir(e->direction));
	if (objects) {
		put_string(to, "reason", e->reason ? name_reason(e->reason) : NULL);
		put_fields(to, e);
	}
	if (e->type == CLATCH_EV_BROKEN || e->type == CLATCH_EV_RESTORED)
		put_causes(to, e->causes);
	if (e->type != CLATCH_EV_VIOLATION)
		put_transition(to, e);
	if (objects || e->type == CLATCH_EV_RESTORED)
		put_compared(to, o, e);
	if (e->type == CLATCH_EV_LATCHED)
		put_sas(to, "got", o, e->got, e->got_count, NULL);
	if (e->type == CLATCH_EV_VIOLATION) {
		put_string(to, "verdict", name_verdict(e->verdict));
		put_number(to, "count", e->count);
	}
}

void json_event(struct output *o, const struct clatch_event *e)
{
	json writer = { o->file, false }, *object = &writer;

	put_begin(object, NULL);
	put_time(object, "time", e->time_ns + o->utc_offset, true);
	put_string(object, "event", name_event(e->type));
	put_known(object, "latch", e->latch);
	put_tuple(object, &e->tuple);
	put_details(object, o, e);
	put_end(object);
	putc('\n', o->file);
}

void json_lost(struct output *o, __s64 utc_ns, __u64 count)
{
	json writer = { o->file, false }, *object = &writer;

	put_begin(object, NULL);
	put_time(object, "time", utc_ns, true);
	put_string(object, "event", name_event(CLATCH_EV_LOST));
	put_number(object, "count", count);
	put_end(object);
	putc('\n', o->file);
}
