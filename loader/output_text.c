// SPDX-License-Identifier: GPL-2.0-only
/* The form for people.  It may change; programs read the JSON. */
#include <inttypes.h>

#include "names.h"
#include "output_certificate.h"
#include "output_demand.h"
#include "output_forms.h"
#include "parts.h"

#define ROW "%-6s %-11s %-5s %-23s %-23s %-46s %-46s %-14s %s\n"

void text_list_head(struct output *o)
{
	fprintf(o->file, ROW, "ID", "STATE", "PROTO", "LOCAL", "REMOTE", "IN", "OUT",
		"PACKETS IN/OUT", "PEER");
}

static const char *remote_text(char text[ENDPOINT_TEXT], const struct clatch_tuple *tuple)
{
	if (tuple_is_listener(tuple))
		return "*";
	return endpoint_text(text, &tuple->remote, tuple->remote_port);
}

/* "-": not known yet, or a listener's. */
static const char *side_text(char text[SAS_TEXT], const struct latch_side *side)
{
	return side->count ? sas_text(text, side->sa, side->count) : "-";
}

void text_list_latch(struct output *o, const struct latch_view *view)
{
	const struct clatch_latch *l = &view->latch;
	char id[24], packets[48], in[SAS_TEXT], out[SAS_TEXT];
	char local[ENDPOINT_TEXT], remote[ENDPOINT_TEXT];

	snprintf(id, sizeof(id), "%" PRIu64, (uint64_t)l->id);
	snprintf(packets, sizeof(packets), "%" PRIu64 "/%" PRIu64, (uint64_t)view->in.packets,
		 (uint64_t)view->out.packets);
	fprintf(o->file, ROW, id, name_state(l->state), name_proto(view->tuple.proto),
		endpoint_text(local, &view->tuple.local, view->tuple.local_port),
		remote_text(remote, &view->tuple), side_text(in, &view->in),
		side_text(out, &view->out), packets, view->peer_id ? view->peer_id : "-");
}

static void text_causes(struct output *o, unsigned int causes)
{
	const char *before = " (";

	for_each_bit(bit, causes)
	{
		fprintf(o->file, "%s%s", before, name_cause(bit));
		before = ", ";
	}
	if (causes)
		putc(')', o->file);
}

/* Of an SA; @side: whose outermost it is, NULL = none's.  NAT traversal's ports with them. */
static void text_outer_addresses(struct output *o, const struct clatch_sa *sa,
				 const struct latch_side *side)
{
	char src[ENDPOINT_TEXT], dst[ENDPOINT_TEXT];

	if (addr_is_zero(&sa->src))
		return;
	if (side && (side->encap_sport || side->encap_dport))
		fprintf(o->file, ", %s -> %s",
			endpoint_text(src, &sa->src, ntohs(side->encap_sport)),
			endpoint_text(dst, &sa->dst, ntohs(side->encap_dport)));
	else
		fprintf(o->file, ", %s -> %s", addr_text(src, &sa->src), addr_text(dst, &sa->dst));
}

static void text_sa(struct output *o, const struct clatch_sa *sa, const struct latch_side *side)
{
	char text[SA_TEXT];

	fprintf(o->file, "    %s, icv %u\n    spi 0x%08x", sa_text(text, sa), sa->suite.icv_bits,
		ntohl(sa->spi));
	text_outer_addresses(o, sa, side);
	putc('\n', o->file);
}

static void text_side(struct output *o, const char *name, const struct latch_side *side)
{
	fprintf(o->file, "  %s: %" PRIu64 " packets, %" PRIu64 " bytes, %" PRIu64 " violations\n",
		name, (uint64_t)side->packets, (uint64_t)side->bytes, (uint64_t)side->violations);
	if (!side->count)
		fprintf(o->file, "    not known yet\n");
	for (__u64 i = 0; i < side->count; i++)
		text_sa(o, &side->sa[i], i ? NULL : side);
	if (side->mark)
		fprintf(o->file, "    mark 0x%x\n", side->mark);
	if (side->ifindex)
		fprintf(o->file, "    device number %u\n", side->ifindex);
}

static void text_line(struct output *o, const char *label, const char *value)
{
	fprintf(o->file, "  %-9s %s\n", label, value);
}

static void text_number(struct output *o, const char *label, __u64 number)
{
	fprintf(o->file, "  %-9s %" PRIu64 "\n", label, (uint64_t)number);
}

static const char *yes_no(bool yes)
{
	return yes ? "yes" : "no";
}

/* Which it is, and since when. */
static void text_who(struct output *o, const struct latch_view *view)
{
	const struct clatch_latch *l = &view->latch;
	char local[ENDPOINT_TEXT], remote[ENDPOINT_TEXT], time[TIME_TEXT];

	text_line(o, "proto:", name_proto(view->tuple.proto));
	text_line(o, "local:", endpoint_text(local, &view->tuple.local, view->tuple.local_port));
	text_line(o, "remote:", remote_text(remote, &view->tuple));
	text_number(o, "netns:", view->tuple.netns);
	text_line(o, "since:", time_text(time, l->since_ns + o->utc_offset, false));
	if (l->changed_ns)
		time_text(time, l->changed_ns + o->utc_offset, false);
	text_line(o, "changed:", l->changed_ns ? time : "-");
	text_line(o, "rule:", view->rule[0] ? view->rule : "-");
}

static void text_ends(struct output *o, const struct latch_view *view,
		      const struct latch_proof *proof)
{
	text_line(o, "local id:", view->local_id ? view->local_id : "-");
	text_line(o, "peer id:",
		  view->peer_id ? view->peer_id
				: "- (not known from IKE: reqid and if_id stand in)");
	text_certificate(o, proof->peer);
	text_channel_binding(o, proof->binding);
}

/* Where a connection's latch comes from, and what it holds it to. */
static void text_connection(struct output *o, const struct latch_view *view,
			    const struct latch_proof *proof)
{
	const struct clatch_latch *l = &view->latch;
	static const char *const policed[] = { "no", "in", "out", "in, out" };
	unsigned int sides =
		(l->flags & CLATCH_POLICED_IN ? 1 : 0) | (l->flags & CLATCH_POLICED_OUT ? 2 : 0);

	if (l->listener.id)
		text_number(o, "listener:", l->listener.id);
	text_line(o, "adopted:", yes_no(l->flags & CLATCH_ADOPTED));
	text_line(o, "demanded:", yes_no(l->flags & CLATCH_DEMANDED));
	if (l->flags & CLATCH_FORWARDED)
		text_line(o, "forwarded:", "yes");
	text_demand(o, proof->asked);
	text_line(o, "policed:", policed[sides]);
	text_ends(o, view, proof);
	text_side(o, "in", &view->in);
	text_side(o, "out", &view->out);
}

void text_latch(struct output *o, const struct latch_view *view, const struct latch_proof *proof)
{
	const struct clatch_latch *l = &view->latch;

	fprintf(o->file, "latch %" PRIu64 "\n  %-9s %s", (uint64_t)l->id,
		"state:", name_state(l->state));
	text_causes(o, l->causes);
	putc('\n', o->file);
	text_who(o, view);
	if (tuple_is_listener(&view->tuple))
		text_number(o, "sockets:", l->listener.sockets);
	else
		text_connection(o, view, proof);
}

/* Without SAs: a packet in clear, or one of an SA that nobody knows.  NULL: no packet at all. */
static const char *got_text(char text[SAS_TEXT], const struct clatch_event *e)
{
	if (e->got_count)
		return sas_text(text, e->got, e->got_count);
	if (e->reason == CLATCH_UNKNOWN_SA)
		return "an unknown SA";
	return e->type == CLATCH_EV_VIOLATION || e->reason == CLATCH_CLEAR ? "clear" : NULL;
}

static void text_reason(struct output *o, const struct clatch_event *e)
{
	const char *before = " (";

	fprintf(o->file, " %s", name_reason(e->reason));
	for_each_bit(bit, e->fields)
	{
		fprintf(o->file, "%s%s", before, field_text(bit, e));
		before = ", ";
	}
	if (e->fields)
		putc(')', o->file);
}

/* " peer db1.example" of the innermost SA, where it is known. */
static void text_peer(struct output *o, const struct clatch_sa *sas, unsigned int count)
{
	const char *peer = NULL;

	if (o->ids && count && count <= CLATCH_MAX_NEST)
		peer = ids_text(o->ids, sas[count - 1].who.peer_id);
	if (peer)
		fprintf(o->file, " peer %s", peer);
}

static void text_compared(struct output *o, const struct clatch_event *e)
{
	char expected[SAS_TEXT], got[SAS_TEXT];
	const char *found = got_text(got, e);

	if (e->expected_count) {
		fprintf(o->file, ", expected %s",
			sas_text(expected, e->expected, e->expected_count));
		text_peer(o, e->expected, e->expected_count);
	}
	if (found) {
		fprintf(o->file, ", got %s", found);
		text_peer(o, e->got, e->got_count);
	}
}

static void text_transition(struct output *o, const struct clatch_event *e)
{
	if (e->old_state && e->old_state != e->state)
		fprintf(o->file, " %s ->", name_state(e->old_state));
	fprintf(o->file, " %s", name_state(e->state));
}

/* The cause; and in brackets all of them, where it is not the only one. */
static void text_cause(struct output *o, const struct clatch_event *e)
{
	if (event_cause(e))
		fprintf(o->file, " %s", event_cause(e));
	if (e->causes != e->cause)
		text_causes(o, e->causes);
}

static void text_violation(struct output *o, const struct clatch_event *e)
{
	text_reason(o, e);
	fprintf(o->file, ": %s", name_verdict(e->verdict));
	if (e->count > 1)
		fprintf(o->file, " (%u times)", e->count);
	text_compared(o, e);
}

/* A dead peer breaks a latch without a reason: nothing was compared. */
static void text_broken(struct output *o, const struct clatch_event *e)
{
	text_transition(o, e);
	text_cause(o, e);
	if (!e->reason)
		return;
	putc(':', o->file);
	text_reason(o, e);
	text_compared(o, e);
}

static void text_restored(struct output *o, const struct clatch_event *e)
{
	text_transition(o, e);
	text_cause(o, e);
	if (e->got_count)
		text_compared(o, e);
}

static void text_latched(struct output *o, const struct clatch_event *e)
{
	text_transition(o, e);
	if (e->other)
		fprintf(o->file, ", listener latch %" PRIu64, (uint64_t)e->other);
	if (e->got_count)
		text_compared(o, e);
	else
		fprintf(o->file, ", a rule demands protection");
}

static void text_details(struct output *o, const struct clatch_event *e)
{
	switch (e->type) {
	case CLATCH_EV_VIOLATION:
		text_violation(o, e);
		break;
	case CLATCH_EV_BROKEN:
		text_broken(o, e);
		break;
	case CLATCH_EV_RESTORED:
		text_restored(o, e);
		break;
	case CLATCH_EV_LATCHED:
		text_latched(o, e);
		break;
	case CLATCH_EV_CLOSED:
		text_transition(o, e);
		if (event_cause(e))
			fprintf(o->file, " %s", event_cause(e));
		break;
	case CLATCH_EV_LISTENING:
		text_transition(o, e);
		if (e->other)
			fprintf(o->file, ", spawned latch %" PRIu64, (uint64_t)e->other);
		break;
	}
}

/* "tcp 10.9.0.1:40000 -> 10.9.0.2:5000 out"; a listener has no remote end. */
static void text_flow(struct output *o, const struct clatch_event *e)
{
	bool has_direction = e->type != CLATCH_EV_CLOSED && e->type != CLATCH_EV_LISTENING;
	const char *arrow = e->direction == CLATCH_IN ? "<-" : "->";
	char local[ENDPOINT_TEXT], remote[ENDPOINT_TEXT];

	fprintf(o->file, " %s %s", name_proto(e->tuple.proto),
		endpoint_text(local, &e->tuple.local, e->tuple.local_port));
	if (!tuple_is_listener(&e->tuple))
		fprintf(o->file, " %s %s", has_direction ? arrow : "-",
			endpoint_text(remote, &e->tuple.remote, e->tuple.remote_port));
	if (has_direction)
		fprintf(o->file, " %s", name_dir(e->direction));
}

void text_event(struct output *o, const struct clatch_event *e)
{
	char time[TIME_TEXT];

	fprintf(o->file, "%s %s", time_text(time, e->time_ns + o->utc_offset, true),
		name_event(e->type));
	if (e->latch)
		fprintf(o->file, " latch %" PRIu64, (uint64_t)e->latch);
	text_flow(o, e);
	text_details(o, e);
	putc('\n', o->file);
}

void text_lost(struct output *o, __s64 utc_ns, __u64 count)
{
	char time[TIME_TEXT];

	fprintf(o->file, "%s %s %" PRIu64 " events: the ring was full\n",
		time_text(time, utc_ns, true), name_event(CLATCH_EV_LOST), (uint64_t)count);
}
