/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The record of a connection that is forwarded: latched or not, as its packets must be known again
 * when they come to an uplink under ESP.  There a number is all that is left of them.
 */
#ifndef CLATCH_BPF_FORWARD_H
#define CLATCH_BPF_FORWARD_H

#include "tc.h"
#include <clatch/gateway.h>

#define MAX_FORWARDS 65536
#define NUMBER_TRIES 4
#define FORWARD_TICK SECOND

/* Set by the loader before the programs are attached. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct clatch_gateway);
} clatch_gateway SEC(".maps");

enum forward_flag {
	FORWARD_ADOPTED = 1, /* in mid-flow when it was seen first */
	FORWARD_ACKED = 2, /* acked is known */
	FORWARD_FIN_OUT = 4,
	FORWARD_FIN_IN = 8,
};

struct forward {
	__u32 number; /* never 0, and at random, as the kernel spreads packets by their hash */
	__u32 stage; /* enum clatch_stage */
	__u32 flags; /* enum forward_flag */
	__u32 first; /* TCP: sequence number of the SYN that our side sent */
	__u32 acked; /* TCP: what our side expects next, as it last said */
	__u32 untimed; /* 1 = the kernel had no timer for it: one for all such looks at it */
	__u64 last_ns; /* its last packet, CLOCK_BOOTTIME */
	struct bpf_timer still;
};

/*
 * Every TCP and UDP connection of a guarded veth.  Full: what begins is counted as table-full, and
 * passes without a latch if no rule demands protection.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_FORWARDS);
	__type(key, struct clatch_tuple);
	__type(value, struct forward);
} clatch_forwards SEC(".maps");

/* Looks at all that have no timer, while there is one (timer.h). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct shared_timer);
} clatch_forward_timer SEC(".maps");

/* The way back.  Full: as if clatch_forwards were. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_FORWARDS);
	__type(key, __u32);
	__type(value, struct clatch_tuple);
} clatch_numbers SEC(".maps");

static __always_inline struct clatch_gateway *gateway_settings(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&clatch_gateway, &zero);
}

static __always_inline __u64 still_ns(__u32 stage)
{
	struct clatch_gateway *settings = gateway_settings();

	return settings && stage < CLATCH_STAGES ? settings->still_ns[stage] : 0;
}

static __always_inline struct forward *forward_find(const struct clatch_tuple *tuple)
{
	return bpf_map_lookup_elem(&clatch_forwards, tuple);
}

static __always_inline void forward_forget(const struct clatch_tuple *tuple, __u32 number)
{
	bpf_map_delete_elem(&clatch_numbers, &number);
	bpf_map_delete_elem(&clatch_forwards, tuple);
}

static __noinline void forward_delete(const struct clatch_tuple *tuple, __u32 number,
				      enum clatch_end end)
{
	latch_delete(tuple, end);
	forward_forget(tuple, number);
}

/* Has it been still for as long as it may?  Then it goes; else how long it may be yet. */
static __always_inline __s64 forward_look(const struct clatch_tuple *tuple,
					  const struct forward *fw)
{
	__s64 allowed = still_ns(fw->stage);
	/* less than nothing where a packet comes meanwhile */
	__s64 still = bpf_ktime_get_boot_ns() - fw->last_ns;

	if (still < allowed)
		return allowed - still;
	forward_delete(tuple, fw->number,
		       fw->stage == CLATCH_STAGE_OPENING ? CLATCH_END_EXPIRED
							 : CLATCH_END_RELEASED);
	return 0;
}

/* Nobody sets the timer anew for a packet: it finds out by itself when the last one was. */
static int forward_still(void *map, struct clatch_tuple *tuple, struct forward *fw)
{
	struct clatch_tuple copy = *tuple;
	__s64 left = forward_look(&copy, fw);

	(void)map;
	if (left)
		bpf_timer_start(&fw->still, left, 0);
	return 0;
}

static long forward_visit(void *map, struct clatch_tuple *tuple, struct forward *fw,
			  struct tick_walk *walk)
{
	struct clatch_tuple copy = *tuple;

	(void)map;
	if (fw->untimed && forward_look(&copy, fw))
		walk->left = 1;
	return 0;
}

static int forward_tick(void *map, __u32 *key, struct shared_timer *t)
{
	struct tick_walk walk = { .left = unknown_zero() };

	(void)map, (void)key;
	tick_begins(t);
	bpf_for_each_map_elem(&clatch_forwards, forward_visit, &walk, 0);
	tick_ends(t, &walk, FORWARD_TICK);
	return 0;
}

static __noinline int forward_set_timer(struct shared_timer *t)
{
	return tick_start(t, &clatch_forward_timer, forward_tick, FORWARD_TICK);
}

/* Its end is seen by a timer of its own, or by that of all.  False where there is none at all. */
static __noinline bool forward_watch(struct forward *fw)
{
	__u32 zero = 0;
	struct shared_timer *t = bpf_map_lookup_elem(&clatch_forward_timer, &zero);

	if (t && !t->made) /* while there is memory for it */
		forward_set_timer(t);
	if (!bpf_timer_init(&fw->still, &clatch_forwards, CLOCK_BOOTTIME))
		return !bpf_timer_set_callback(&fw->still, forward_still);
	fw->untimed = 1;
	return t && !forward_set_timer(t);
}

/* Its end is nearer now, or farther: the timer runs anew. */
static __always_inline void forward_stage(struct forward *fw, enum clatch_stage stage)
{
	if (fw->stage == stage)
		return;
	/* Another CPU may not have made the timer yet: then the next packet does this. */
	if (fw->untimed || !bpf_timer_start(&fw->still, still_ns(stage), 0))
		fw->stage = stage;
}

/* A number that no other connection has; 0 where there is none to be had. */
static __always_inline __u32 number_take(const struct clatch_tuple *tuple)
{
	for (int i = 0; i < NUMBER_TRIES; i++) {
		__u32 number = bpf_get_prandom_u32();

		if (number && !bpf_map_update_elem(&clatch_numbers, &number, tuple, BPF_NOEXIST))
			return number;
	}
	return 0;
}

/* The connection's record, made now unless another CPU just did.  NULL where there is no room. */
static __noinline struct forward *forward_make(const struct clatch_tuple *tuple)
{
	struct forward *fw;
	__u32 number;

	bpf_map_update_elem(&clatch_forwards, tuple, zeroes, BPF_NOEXIST);
	fw = forward_find(tuple);
	if (!fw || fw->number)
		return fw;
	number = number_take(tuple);
	if (!number) {
		bpf_map_delete_elem(&clatch_forwards, tuple);
		return NULL;
	}
	if (__sync_val_compare_and_swap(&fw->number, 0, number)) {
		bpf_map_delete_elem(&clatch_numbers, &number);
		return fw;
	}
	fw->last_ns = bpf_ktime_get_boot_ns();
	if (forward_watch(fw))
		return fw;
	forward_forget(tuple, number); /* it would be there for ever */
	return NULL;
}

#endif
