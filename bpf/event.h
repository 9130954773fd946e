/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reports to user space.  An event is put together in clatch_reports, as it is too large for the
 * stack, and copied to every ring: `run`'s and each monitor's.  The first violation of its kind
 * on a latch is reported at once, its repeats once a second with their count.
 */
#ifndef CLATCH_BPF_EVENT_H
#define CLATCH_BPF_EVENT_H

#include "held.h"
#include "protection.h"
#include "timer.h"
#include <clatch/fields.h>

#define SECOND 1000000000ULL

/* One packet of one connection, and what protects it. */
struct flow {
	struct clatch_tuple tuple;
	struct sas sas;
	__u64 cookie; /* of the socket, where its latch has it (clatch/latch.h), else 0 */
	__u16 dir; /* enum clatch_dir */
	__u16 adopted; /* if a latch is made now, it is in mid-flow */
	__u32 len;
};

/*
 * The verifier forgets what it knows of a packet that was read: else it follows each way on for
 * IPv4 and IPv6, each protocol, each number of SAs …  by itself.  Memory given to a function may be
 * anything then.
 */
verified_once int flow_forget(struct flow *f, struct packet *p)
{
	asm volatile("" : : "r"(f), "r"(p) : "memory");
	return 0;
}

static const char zeroes[sizeof(struct report)];

static __always_inline void count_lost(__u32 ring, __u64 count)
{
	__u64 *lost = bpf_map_lookup_elem(&clatch_lost, &ring);

	if (lost)
		__sync_fetch_and_add(lost, count);
}

/* No reader gets to know of it. */
verified_once int event_lost(__u64 count)
{
	count_lost(CLATCH_LOST_RUN, count);
	for (__u32 i = 0; i < CLATCH_MAX_MONITORS; i++) {
		__u32 slot = i;

		if (bpf_map_lookup_elem(&clatch_monitors, &slot))
			count_lost(CLATCH_LOST_MONITOR + i, count);
	}
	return 0;
}

verified_once int event_send(struct clatch_event *e)
{
	if (!e)
		return 0;
	e->time_ns = bpf_ktime_get_boot_ns();
	if (bpf_ringbuf_output(&clatch_events, e, sizeof(*e), 0))
		count_lost(CLATCH_LOST_RUN, e->count);
	for (__u32 i = 0; i < CLATCH_MAX_MONITORS; i++) {
		__u32 slot = i;
		void *ring = bpf_map_lookup_elem(&clatch_monitors, &slot);

		if (ring && bpf_ringbuf_output(ring, e, sizeof(*e), 0))
			count_lost(CLATCH_LOST_MONITOR + i, e->count);
	}
	return 0;
}

#define REPORT_GONE (1ULL << 63) /* of repeats: it is being deleted, and counts no more */
#define REPORT_TICK (SECOND / 8)

/* Has a line's second passed?  Its repeats are sent; without one, it goes.  1 = it stays. */
static __always_inline int report_look(void *map, struct report_key *key, struct report *r,
				       __u64 now)
{
	if (!r->due || r->due > now)
		return 1;
	if (!__sync_val_compare_and_swap(&r->repeats, 0, REPORT_GONE)) {
		bpf_map_delete_elem(map, key);
		return 0;
	}
	r->event.count = __sync_lock_test_and_set(&r->repeats, 0);
	event_send(&r->event);
	r->due = now + SECOND;
	return 1;
}

static long report_visit(void *map, struct report_key *key, struct report *r,
			 struct tick_walk *walk)
{
	if (report_look(map, key, r, walk->now))
		walk->left = 1;
	return 0;
}

static int report_tick(void *map, __u32 *key, struct shared_timer *t)
{
	struct tick_walk walk = { .now = bpf_ktime_get_boot_ns(), .left = unknown_zero() };

	(void)map, (void)key;
	tick_begins(t);
	bpf_for_each_map_elem(&clatch_reports, report_visit, &walk, 0);
	tick_ends(t, &walk, REPORT_TICK);
	return 0;
}

/* Where that fails, the next violation tries again. */
static __noinline int report_set_timer(struct shared_timer *t)
{
	return tick_start(t, &clatch_report_timer, report_tick, REPORT_TICK);
}

static __always_inline void report_wait(void)
{
	__u32 zero = 0;
	struct shared_timer *t = bpf_map_lookup_elem(&clatch_report_timer, &zero);

	if (t && !t->set)
		report_set_timer(t);
}

/* The SA as the latch recorded it. */
static __always_inline void sa_latched(struct clatch_sa *to, const struct clatch_sa_ref *ref)
{
	__u32 id = ref->suite;
	struct clatch_suite *suite = bpf_map_lookup_elem(&clatch_suites, &id);

	if (suite)
		to->suite = *suite;
	to->spi = ref->spi;
	to->reqid = ref->reqid;
	to->if_id = ref->if_id;
	to->who = ref->who;
}

/* The SA as the packet carries it. */
static __always_inline void sa_seen(struct clatch_sa *to, __u64 address,
				    const struct clatch_sa_key *key)
{
	sa_know((struct sa_facts *)to, address, key);
}

/* Outer addresses of the outermost SA. */
verified_once int sas_addresses(struct clatch_addr *src, struct clatch_addr *dst,
				const struct sas *s)
{
	struct clatch_sa *entry;
	struct xfrm_state *x;
	__u16 family;

	if (!src || !dst || !s)
		return 0;
	if (s->state[0]) {
		x = kcast(struct xfrm_state, s->state[0]);
		family = kread(x, props.family);
		addr_xfrm(src, kread(x, props.saddr), family);
		addr_xfrm(dst, kread(x, id.daddr), family);
		return 0;
	}
	entry = sa_table_find(&s->table);
	if (entry) {
		*src = entry->src;
		*dst = entry->dst;
	}
	return 0;
}

static __always_inline void event_outer(struct clatch_sa *to, const struct clatch_outer *outer,
					__u32 dir)
{
	to->src = dir == CLATCH_IN ? outer->remote : outer->local;
	to->dst = dir == CLATCH_IN ? outer->local : outer->remote;
}

/* What latch e->latch holds the event's direction to. */
static __always_inline void event_expected(struct clatch_event *e, const struct clatch_held *held)
{
	const struct clatch_side *side = e->direction == CLATCH_IN ? &held->in : &held->out;
	__u64 id = e->latch; /* 6.1 wants a key on the stack */
	struct clatch_more *more = bpf_map_lookup_elem(&clatch_more, &id);

	e->expected_count = side->sa.count;
	if (!e->expected_count)
		return;
	sa_latched(&e->expected[0], &side->sa);
	event_outer(&e->expected[0],
		    more && more->apart ? more_outer(more, e->direction) : &held->outer,
		    e->direction);
#pragma unroll
	for (int i = 1; i < CLATCH_MAX_NEST; i++)
		if (more && i < (int)side->sa.count)
			sa_latched(&e->expected[i], more_nested(more, e->direction, i));
}

static __always_inline void event_got(struct clatch_event *e, const struct sas *s)
{
	if (!s->count || s->unknown)
		return;
	e->got_count = s->count;
	sas_addresses(&e->got[0].src, &e->got[0].dst, s);
#pragma unroll
	for (int i = 0; i < CLATCH_MAX_NEST; i++)
		if (i < (int)s->count)
			sa_seen(&e->got[i], s->state[i], &s->table);
}

verified_once int sa_fields(const struct clatch_sa *expected, const struct clatch_sa *got)
{
	return expected && got ? clatch_fields(expected, got) : 0;
}

verified_once int event_fields(struct clatch_event *e)
{
	if (!e)
		return 0;
	if (!e->expected_count) /* a rule's demand, or the other direction's: event_ends() */
		return 0;
	e->fields = e->expected_count != e->got_count ? CLATCH_FIELD_NESTING : 0;
#pragma unroll
	for (int i = 0; i < CLATCH_MAX_NEST; i++)
		if (i < e->expected_count && i < e->got_count)
			e->fields |= sa_fields(&e->expected[i], &e->got[i]);
	return 0;
}

/* Which of these two is not whom a rule names? */
verified_once int rule_fields(__u32 rule, __u32 local_id, __u32 peer_id)
{
	struct clatch_rule *r = rule_get(rule);
	int fields = 0;

	if (r && id_check(r->demand.local_id, local_id) == CLATCH_PEER_ID)
		fields |= CLATCH_FIELD_LOCAL_ID;
	if (r && id_check(r->demand.peer_id, peer_id) == CLATCH_PEER_ID)
		fields |= CLATCH_FIELD_PEER_ID;
	return fields;
}

/* As seen_check() refused it: which of the ends is at fault, where nothing is latched yet? */
static __noinline void event_ends(struct clatch_event *e)
{
	struct clatch_latch *l = bpf_map_lookup_elem(&clatch_latches, &e->tuple);
	struct clatch_sa_ref *other;
	struct clatch_who who = {};

	e->fields = l ? 0 : CLATCH_FIELD_PEER_ID; /* a datagram's */
	if (!l)
		return;
#pragma unroll
	for (int i = 0; i < CLATCH_MAX_NEST; i++) {
		if (i >= e->got_count)
			break;
		who = e->got[i].who;
		other = latch_sa(l, !e->direction, i);
		if (other && latch_side(l, !e->direction)->sa.count == e->got_count)
			e->fields |= clatch_ends_differ(other->who, who);
	}
	e->fields |= rule_fields(l->rule, who.local_id, who.peer_id);
	if (!e->fields)
		e->fields = CLATCH_FIELD_PEER_ID; /* not whom its program names */
}

/* What is to be reported, beside the flow and the latch. */
struct what {
	__u8 type; /* enum clatch_event_type */
	__u8 reason; /* enum clatch_reason */
	__u8 verdict; /* enum clatch_verdict */
	__u8 causes; /* enum clatch_cause */
	__u8 cause; /* one of them */
	__u8 old_state; /* enum clatch_state */
	__u8 state; /* enum clatch_state */
	__u8 direction; /* enum clatch_dir */
	__u8 end; /* enum clatch_end */
	__u8 pad[3];
	__u32 fields; /* enum clatch_field, where the packet's SAs do not tell */
	__u64 latch; /* id, or 0 */
	__u64 other; /* of struct clatch_event */
};

/* Fills a zeroed event.  @held is the latch's, @s what the packet has; both may be NULL. */
verified_once int event_fill(struct clatch_event *e, const struct clatch_tuple *tuple,
			     const struct clatch_held *held, const struct sas *s,
			     const struct what *w)
{
	if (!e || !tuple || !w)
		return 0;
	e->tuple = *tuple;
	e->latch = w->latch;
	e->other = w->other;
	e->type = w->type;
	e->reason = w->reason;
	e->direction = w->direction;
	e->verdict = w->verdict;
	e->causes = w->causes;
	e->cause = w->cause;
	e->old_state = w->old_state;
	e->state = w->state;
	e->end = w->end;
	e->fields = w->fields;
	e->count = 1;
	if (held)
		event_expected(e, held);
	if (s)
		event_got(e, s);
	if (s && (w->reason == CLATCH_SA_MISMATCH || w->reason == CLATCH_PEER_ID))
		event_fields(e);
	return 0;
}

/* Violations are merged with their like; any other event is one of a kind, and has its own key. */
static __always_inline void report_key(struct report_key *key, const struct clatch_tuple *tuple,
				       const struct what *w)
{
	key->type = w->type;
	if (w->type != CLATCH_EV_VIOLATION) {
		key->latch = bpf_ktime_get_boot_ns();
		key->port = bpf_get_smp_processor_id();
		return;
	}
	key->latch = w->latch;
	key->direction = w->direction;
	key->reason = w->reason;
	key->verdict = w->verdict;
	if (!w->latch && tuple) {
		key->proto = tuple->proto;
		key->port = w->direction == CLATCH_OUT ? tuple->remote_port : tuple->local_port;
	}
}

/* Counted where a violation of its kind was reported less than a second ago. */
static __always_inline bool report_merged(const struct report_key *key)
{
	struct report *r;

	if (key->type != CLATCH_EV_VIOLATION)
		return false;
	r = bpf_map_lookup_elem(&clatch_reports, key);
	if (!r || __sync_fetch_and_add(&r->repeats, 1) >= REPORT_GONE)
		return false;
	report_wait();
	return true;
}

/*
 * Reports once, or merges with a report of the same kind under way; event_fill()'s arguments, and
 * the SA that was found, where that is not a packet's.
 */
verified_once int report_found(const struct clatch_tuple *tuple, const struct clatch_held *held,
			       const struct sas *s, const struct what *w,
			       const struct clatch_sa *found)
{
	struct report_key key = {};
	struct report *r;

	if (!w)
		return 0;
	report_key(&key, tuple, w);
	if (report_merged(&key))
		return 0;
	if (bpf_map_update_elem(&clatch_reports, &key, zeroes, BPF_NOEXIST)) {
		if (!report_merged(&key)) /* else another CPU was first */
			event_lost(1);
		return 0;
	}
	r = bpf_map_lookup_elem(&clatch_reports, &key);
	if (!r)
		return event_lost(1);
	event_fill(&r->event, tuple, held, s, w);
	if (w->reason == CLATCH_PEER_ID && !r->event.expected_count)
		event_ends(&r->event);
	if (found) {
		r->event.got[0] = *found;
		r->event.got_count = 1;
	}
	event_send(&r->event);
	if (w->type != CLATCH_EV_VIOLATION) {
		bpf_map_delete_elem(&clatch_reports, &key);
		return 0;
	}
	__sync_lock_test_and_set(&r->due, bpf_ktime_get_boot_ns() + SECOND);
	report_wait();
	return 0;
}

static __always_inline void report(const struct clatch_tuple *tuple, const struct clatch_held *held,
				   const struct sas *s, const struct what *w)
{
	report_found(tuple, held, s, w, NULL);
}

#endif
