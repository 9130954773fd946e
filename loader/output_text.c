// SPDX-License-Identifier: GPL-2.0-only
/* The form for people.  It may change; programs read the JSON. */
#include <inttypes.h>

#include "names.h"
#include "output_forms.h"
#include "parts.h"

#define ROW "%-6s %-11s %-5s %-23s %-23s %-46s %-46s %s\n"

void text_list_head(struct output *o)
{
	fprintf(o->file, ROW, "ID", "STATE", "PROTO", "LOCAL", "REMOTE", "IN", "OUT",
		"PACKETS IN/OUT");
}

/* "-" for what is not known yet, or is not there: a listener's remote end. */
static const char *remote_text(char text[ENDPOINT_TEXT], const struct latch_view *view)
{
	if (view->latch.state == CLATCH_LISTENER)
		return "-";
	return endpoint_text(text, &view->tuple.remote, view->tuple.remote_port);
}

static const char *side_text(char text[SAS_TEXT], const struct clatch_side *side,
			     const struct clatch_sa *sas)
{
	return side->count ? sas_text(text, sas, side->count) : "-";
}

void text_list_latch(struct output *o, const struct latch_view *view)
{
	const struct clatch_latch *l = &view->latch;
	char id[24], packets[48], in[SAS_TEXT], out[SAS_TEXT];
	char local[ENDPOINT_TEXT], remote[ENDPOINT_TEXT];

	snprintf(id, sizeof(id), "%" PRIu64, (uint64_t)l->id);
	snprintf(packets, sizeof(packets), "%" PRIu64 "/%" PRIu64, (uint64_t)l->in.packets,
		 (uint64_t)l->out.packets);
	fprintf(o->file, ROW, id, name_state(l->state), name_proto(view->tuple.proto),
		endpoint_text(local, &view->tuple.local, view->tuple.local_port),
		remote_text(remote, view), side_text(in, &l->in, view->in),
		side_text(out, &l->out, view->out), packets);
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

static void text_sa(struct output *o, const struct clatch_sa *sa)
{
	char text[SA_TEXT], src[ADDR_TEXT], dst[ADDR_TEXT];

	fprintf(o->file, "    %s, icv %u\n    spi 0x%08x", sa_text(text, sa), sa->suite.icv_bits,
		ntohl(sa->spi));
	if (!addr_is_zero(&sa->src))
		fprintf(o->file, ", %s -> %s", addr_text(src, &sa->src), addr_text(dst, &sa->dst));
	putc('\n', o->file);
}

static void text_side(struct output *o, const char *name, const struct clatch_side *side,
		      const struct clatch_sa *sas)
{
	fprintf(o->file, "  %s: %" PRIu64 " packets, %" PRIu64 " bytes, %" PRIu64 " violations\n",
		name, (uint64_t)side->packets, (uint64_t)side->bytes, (uint64_t)side->violations);
	if (!side->count)
		fprintf(o->file, "    not known yet\n");
	for (__u64 i = 0; i < side->count && i < CLATCH_MAX_NEST; i++)
		text_sa(o, &sas[i]);
}

void text_latch(struct output *o, const struct latch_view *view)
{
	const struct clatch_latch *l = &view->latch;
	char local[ENDPOINT_TEXT], remote[ENDPOINT_TEXT], since[TIME_TEXT];

	fprintf(o->file, "latch %" PRIu64 "\n  state:   %s", (uint64_t)l->id, name_state(l->state));
	text_causes(o, l->causes);
	fprintf(o->file, "\n  proto:   %s\n", name_proto(view->tuple.proto));
	fprintf(o->file, "  local:   %s\n",
		endpoint_text(local, &view->tuple.local, view->tuple.local_port));
	fprintf(o->file, "  remote:  %s\n", remote_text(remote, view));
	fprintf(o->file, "  netns:   %" PRIu64 "\n", (uint64_t)view->tuple.netns);
	fprintf(o->file, "  since:   %s\n", time_text(since, l->since_ns + o->utc_offset, false));
	fprintf(o->file, "  adopted: %s\n", l->flags & CLATCH_ADOPTED ? "yes" : "no");
	fprintf(o->file, "  rule:    %s\n", view->rule[0] ? view->rule : "-");
	text_side(o, "in", &l->in, view->in);
	text_side(o, "out", &l->out, view->out);
}

/* An empty list of SAs is a packet in clear, or one of an SA that nobody knows. */
static const char *got_text(char text[SAS_TEXT], const struct clatch_event *e)
{
	if (e->got_count)
		return sas_text(text, e->got, e->got_count);
	return e->reason == CLATCH_UNKNOWN_SA ? "an unknown SA" : "clear";
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

static void text_compared(struct output *o, const struct clatch_event *e)
{
	char expected[SAS_TEXT], got[SAS_TEXT];

	if (e->expected_count)
		fprintf(o->file, ", expected %s",
			sas_text(expected, e->expected, e->expected_count));
	fprintf(o->file, ", got %s", got_text(got, e));
}

static void text_details(struct output *o, const struct clatch_event *e)
{
	switch (e->type) {
	case CLATCH_EV_VIOLATION:
		text_reason(o, e);
		fprintf(o->file, ": %s", name_verdict(e->verdict));
		if (e->count > 1)
			fprintf(o->file, " (%u times)", e->count);
		text_compared(o, e);
		break;
	case CLATCH_EV_BROKEN:
		text_reason(o, e);
		text_causes(o, e->causes);
		text_compared(o, e);
		break;
	case CLATCH_EV_RESTORED:
		fprintf(o->file, " %s", name_state(e->state));
		text_causes(o, e->causes);
		text_compared(o, e);
		break;
	case CLATCH_EV_LATCHED:
		fprintf(o->file, " %s", name_state(e->state));
		text_compared(o, e);
		break;
	}
}

void text_event(struct output *o, const struct clatch_event *e)
{
	char time[TIME_TEXT], local[ENDPOINT_TEXT], remote[ENDPOINT_TEXT];
	bool has_direction = e->type != CLATCH_EV_CLOSED && e->type != CLATCH_EV_LISTENING;

	fprintf(o->file, "%s %s", time_text(time, e->time_ns + o->utc_offset, true),
		name_event(e->type));
	if (e->latch)
		fprintf(o->file, " latch %" PRIu64, (uint64_t)e->latch);
	fprintf(o->file, " %s %s", name_proto(e->tuple.proto),
		endpoint_text(local, &e->tuple.local, e->tuple.local_port));
	if (e->type != CLATCH_EV_LISTENING)
		fprintf(o->file, " %s %s",
			!has_direction		    ? "-"
			: e->direction == CLATCH_IN ? "<-"
						    : "->",
			endpoint_text(remote, &e->tuple.remote, e->tuple.remote_port));
	if (has_direction)
		fprintf(o->file, " %s", name_dir(e->direction));
	text_details(o, e);
	putc('\n', o->file);
}

void text_lost(struct output *o, __s64 utc_ns, __u64 count)
{
	char time[TIME_TEXT];

	fprintf(o->file, "%s %s %" PRIu64 " events: the ring was full\n",
		time_text(time, utc_ns, true), name_event(CLATCH_EV_LOST), (uint64_t)count);
}
