/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * SCTP: one latch for each address pair of an association (RFC 5660 §5).
 *
 * Its sockets do not tell whose packet it is: one may have many associations, and each of them many
 * pairs.  But the kernel notes the path that it sends on, in the socket and in the association.
 */
#ifndef CLATCH_BPF_SCTP_H
#define CLATCH_BPF_SCTP_H

#include "tcp.h"

#define SCTP_MAX_ASSOCIATIONS 1024 /* of one socket, that are looked through */
#define SCTP_MAX_PATHS 64 /* of one association */
#define SCTP_INIT 1
#define SCTP_INIT_ACK 2
#define SCTP_HEARTBEAT_ACK 5
#define SCTP_ABORT 6
#define SCTP_SHUTDOWN_ACK 8
#define SCTP_COOKIE_ECHO 10
#define SCTP_COOKIE_ACK 11
#define SCTP_SHUTDOWN_COMPLETE 14
#define SCTP_STATE_CLOSED 0
#define SCTP_STATE_ESTABLISHED 3
#define SCTP_UNCONFIRMED 3
#define SCTP_ENDED_TIME SECOND /* after its last packet: what is under way still finds the latch */

enum sctp_phase {
	SCTP_UNKNOWN,
	SCTP_OPENS,
	SCTP_BEGINS,
	SCTP_GOES_ON,
	SCTP_ENDS,
};

static __always_inline void sctp_address(struct clatch_addr *to, union sctp_addr *from)
{
	if (kread(from, v4.sin_family) == AF_INET)
		addr_v4(to, kread(from, v4.sin_addr.s_addr));
	else
		*to = kread(from, v6.sin6_addr);
}

static __always_inline void sctp_pair(struct clatch_tuple *t, struct sctp_association *a,
				      struct sctp_transport *path)
{
	sctp_address(&t->local, &path->saddr);
	sctp_address(&t->remote, &path->ipaddr);
	t->local_port = kread(a, base.bind_addr.port);
	t->remote_port = kread(a, peer.port);
	t->proto = IPPROTO_SCTP;
}

static __always_inline struct sctp_association *sctp_entry(__u64 node)
{
	return kcast(struct sctp_association,
		     node - bpf_core_field_offset(struct sctp_association, asocs));
}

/* A walk over the associations of a socket. */
struct sctp_walk {
	__u64 head;
	__u64 node;
	__u64 dst; /* of the path that is looked for */
	__u64 found;
	__u32 local_port; /* of the association that is looked for, 0 = any */
	__u32 remote_port;
};

static __always_inline bool sctp_has_ports(struct sctp_association *a, const struct sctp_walk *w)
{
	return !w->local_port || (kread(a, base.bind_addr.port) == w->local_port &&
				  kread(a, peer.port) == w->remote_port);
}

static __always_inline void sctp_walk_begin(struct sctp_walk *w, __u64 sk)
{
	struct sctp_endpoint *ep = kread(kcast(struct sctp_sock, sk), ep);

	w->head = (__u64)ep + bpf_core_field_offset(struct sctp_endpoint, asocs);
	w->node = (__u64)kread(kcast(struct list_head, w->head), next);
}

static long sctp_find_step(__u32 index, struct sctp_walk *w)
{
	struct sctp_association *a = sctp_entry(w->node);
	struct sctp_transport *path;

	(void)index;
	if (!w->node || w->node == w->head)
		return 1;
	path = kread(a, peer.last_sent_to);
	if (path && (__u64)kread(path, dst) == w->dst) {
		bool exact = sctp_has_ports(a, w);

		if (exact || !w->found)
			w->found = w->node;
		if (exact)
			return 1;
	}
	w->node = (__u64)kread(kcast(struct list_head, w->node), next);
	return 0;
}

/*
 * The pair that @sk is sending on, into @t, whatever the packet hides; and what the association is
 * at.  SCTP_UNKNOWN: it has none (yet), as an INIT-ACK.  In clear several associations may share a
 * route: then it is the one with the packet's @ports in @t, unless NAT has changed these.
 */
static __noinline int sctp_sending(struct clatch_tuple *t, __u64 sk, __u32 ports)
{
	struct sctp_association *a;
	struct sctp_transport *path;
	struct sctp_walk w = { .found = unknown_zero() };
	__u32 state;

	if (!bpf_core_type_exists(struct sctp_association))
		return SCTP_UNKNOWN;
	w.dst = (__u64)kread(kcast(struct sock, sk), sk_dst_cache);
	if (ports) {
		w.local_port = t->local_port;
		w.remote_port = t->remote_port;
	}
	sctp_walk_begin(&w, sk);
	bpf_loop(SCTP_MAX_ASSOCIATIONS, sctp_find_step, &w, 0);
	if (!w.found)
		return SCTP_UNKNOWN;
	a = sctp_entry(w.found);
	path = kread(a, peer.last_sent_to);
	sctp_pair(t, a, path);
	state = kread(a, state);
	if (state == SCTP_STATE_CLOSED)
		return SCTP_ENDS;
	if (state < SCTP_STATE_ESTABLISHED)
		return SCTP_OPENS;
	return kread(path, state) == SCTP_UNCONFIRMED ? SCTP_BEGINS : SCTP_GOES_ON;
}

/* What an incoming packet's first chunk says. */
static __always_inline enum sctp_phase sctp_receiving(const struct packet *p)
{
	if (p->first == SCTP_ABORT || p->first == SCTP_SHUTDOWN_COMPLETE)
		return SCTP_ENDS;
	if (p->first == SCTP_SHUTDOWN_ACK)
		return SCTP_UNKNOWN; /* may be repeated to an association that is no more */
	if (p->first == SCTP_COOKIE_ECHO || p->first == SCTP_COOKIE_ACK ||
	    (p->first >= SCTP_INIT && p->first <= SCTP_HEARTBEAT_ACK && p->first != 3))
		return SCTP_BEGINS;
	return SCTP_GOES_ON;
}

/* The latch may go, as the association may have ended: unless more follows (sctp_held). */
static __always_inline void sctp_latch_ends(const struct clatch_tuple *tuple,
					    struct clatch_latch *l)
{
	l->cookie = bpf_ktime_get_boot_ns();
	latch_end_in(tuple, l, SCTP_ENDED_TIME);
}

/* A walk over the associations of a socket to one that has a pair, and then over its paths. */
struct sctp_search {
	struct sctp_walk walk;
	const struct clatch_tuple *pair;
	__u64 head; /* of the paths */
	__u64 node;
	__u32 found; /* how many paths */
	__u32 ends; /* their latches may go */
};

static __always_inline void sctp_paths_begin(struct sctp_search *s)
{
	s->head = (__u64)sctp_entry(s->walk.node) +
		  bpf_core_field_offset(struct sctp_association, peer.transport_addr_list);
	s->node = (__u64)kread(kcast(struct list_head, s->head), next);
	s->found = unknown_zero();
}

static __always_inline struct sctp_transport *sctp_path(const struct sctp_search *s)
{
	return kcast(struct sctp_transport,
		     s->node - bpf_core_field_offset(struct sctp_transport, transports));
}

static long sctp_find_path(__u32 index, struct sctp_search *s)
{
	struct clatch_addr remote;

	(void)index;
	if (!s->node || s->node == s->head)
		return 1;
	sctp_address(&remote, &sctp_path(s)->ipaddr);
	s->found = addr_equal(&remote, &s->pair->remote);
	s->node = (__u64)kread(kcast(struct list_head, s->node), next);
	return s->found;
}

/* Two associations of one socket may have the same ports, but not the same remote addresses too. */
static long sctp_find_pair(__u32 index, struct sctp_search *s)
{
	struct sctp_walk *w = &s->walk;

	(void)index;
	if (!w->node || w->node == w->head)
		return 1;
	if (sctp_has_ports(sctp_entry(w->node), w)) {
		sctp_paths_begin(s);
		bpf_loop(SCTP_MAX_PATHS, sctp_find_path, s, 0);
		if (s->found)
			return 1;
	}
	w->node = (__u64)kread(kcast(struct list_head, w->node), next);
	return 0;
}

static long sctp_find_latch(__u32 index, struct sctp_search *s)
{
	struct clatch_tuple tuple = { .netns = s->pair->netns };
	struct clatch_latch *l;

	(void)index;
	if (!s->node || s->node == s->head)
		return 1;
	sctp_pair(&tuple, sctp_entry(s->walk.node), sctp_path(s));
	l = bpf_map_lookup_elem(&clatch_latches, &tuple);
	if (l)
		s->found++;
	if (l && s->ends)
		sctp_latch_ends(&tuple, l);
	s->node = (__u64)kread(kcast(struct list_head, s->node), next);
	return 0;
}

/* Has the socket an association that has @pair? */
static __always_inline bool sctp_search(struct sctp_search *s, __u64 sk)
{
	if (!bpf_core_type_exists(struct sctp_association))
		return false;
	s->walk.local_port = s->pair->local_port;
	s->walk.remote_port = s->pair->remote_port;
	sctp_walk_begin(&s->walk, sk);
	bpf_loop(SCTP_MAX_ASSOCIATIONS, sctp_find_pair, s, 0);
	return s->found;
}

/* May the socket have it?  Of more associations than are looked through, it may. */
static __noinline bool sctp_may_have(__u64 sk, const struct clatch_tuple *pair)
{
	struct sctp_search s = { .pair = pair };

	return sctp_search(&s, sk) || s.walk.node != s.walk.head;
}

/* How many pairs of the association that has @pair are latched; with @ends they may go. */
static __noinline int sctp_latches(__u64 sk, const struct clatch_tuple *pair, __u32 ends)
{
	struct sctp_search s = { .pair = pair, .ends = ends };

	if (!sctp_search(&s, sk))
		return 0;
	sctp_paths_begin(&s);
	bpf_loop(SCTP_MAX_PATHS, sctp_find_latch, &s, 0);
	return s.found;
}

/*
 * A packet in clear of a pair without a latch.  If another pair of its association has one, it must
 * not pass either: SCTP would send there what it cannot send here.
 */
static __noinline int sctp_in_clear(struct __sk_buff *ctx, const struct flow *f, __u32 begins)
{
	struct what w = { .type = CLATCH_EV_VIOLATION, .reason = CLATCH_CLEAR };

	if (begins && packet_must(ctx, &f->tuple))
		return unwatched(f, CLATCH_CLEAR, true);
	if (!sctp_latches((__u64)kread(kskb(ctx), sk), &f->tuple, false))
		return CLATCH_PASS;
	w.direction = f->dir;
	w.verdict = audit ? CLATCH_AUDIT : CLATCH_DROP;
	count_reason(CLATCH_CLEAR, w.verdict);
	report(&f->tuple, NULL, &f->sas, &w);
	return w.verdict;
}

/* The latch of an association that our INIT opens: that may come to nothing, and no hook tells. */
static __noinline struct clatch_latch *sctp_opens(const struct clatch_tuple *tuple,
						  const struct clatch_demand *asked)
{
	struct birth birth = {
		.step = CLATCH_STEP_OPEN,
		.flags = CLATCH_OPENING,
		.asked = asked,
	};

	return latch_create(tuple, &birth);
}

/* An INIT where an association has ended: another begins, that may come to nothing. */
static __always_inline void sctp_opens_anew(struct clatch_latch *l)
{
	__sync_fetch_and_or(&l->flags, CLATCH_OPENING);
	l->cookie = 0;
}

static __always_inline void sctp_ended(__u64 sk, struct clatch_latch *l,
				       const struct clatch_tuple *tuple)
{
	sctp_latch_ends(tuple, l);
	sctp_latches(sk, tuple, true);
}

/* More of an association; but its end may have been announced, and be true or not. */
static __always_inline void sctp_goes_on(__u64 sk, struct clatch_latch *l,
					 const struct clatch_tuple *tuple)
{
	volatile __u64 *cookie = &l->cookie;
	__u64 ended = *cookie; /* before the time is read, which is never less then */

	if (ended && !sctp_may_have(sk, tuple))
		return; /* that is no more: a listener answers a peer that has not heard of its end */
	if (bpf_ktime_get_boot_ns() - ended < SCTP_ENDED_TIME) {
		/* Was under way, or waits for the socket to read the end: more may follow. */
		latch_end_in(tuple, l, SCTP_ENDED_TIME);
		return;
	}
	if (!kread(kcast(struct sock, sk), sk_socket))
		/* close() was called; what is unsent still goes */
		latch_end_in(tuple, l, UNSEEN_END_TIME);
	else if (l->flags & CLATCH_OPENING)
		/* longer than the kernel waits to repeat an INIT */
		latch_end_in(tuple, l, LARVAL_TIME);
	else
		latch_goes_on(l);
	if (*cookie != ended) /* meanwhile, by a packet on another CPU: nobody says it again */
		latch_end_in(tuple, l, SCTP_ENDED_TIME);
}

/*
 * At a packet of a latched pair: is this the association's end, or has it begun?  An end may have
 * been announced by a forger who got past IPsec but not past SCTP: then more follows.
 */
static __noinline void sctp_held(struct __sk_buff *ctx, struct clatch_latch *l,
				 const struct flow *f, __u32 phase)
{
	__u64 sk = (__u64)kread(kskb(ctx), sk);

	/* held for good, it refuses another's INIT: that is not to keep it */
	if (phase == SCTP_OPENS && l->cookie && l->state < CLATCH_BROKEN)
		sctp_opens_anew(l);
	if (phase == SCTP_ENDS)
		sctp_ended(sk, l, &f->tuple);
	else
		sctp_goes_on(sk, l, &f->tuple);
}

/*
 * close().  Nothing to do for associations: each sends more, be it ABORT or SHUTDOWN until it is
 * answered; or its INIT was not, and its latch will expire.
 */
static __always_inline void sctp_release(struct bpf_sock *ctx)
{
	__u64 sk = (__u64)ctx; /* the context of this hook is the kernel's socket */

	/* A socket that was accepted has the address and the port of its listener. */
	if (kread(kcast(struct sock_common, sk), skc_state) == BPF_TCP_LISTEN)
		listener_released(sk, IPPROTO_SCTP);
}

#endif
