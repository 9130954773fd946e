/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every map, with its size and with what happens when it is full.  All are pinned by the loader
 * under their names and carry BTF, so that `bpftool map dump` shows fields by name.
 */
#ifndef CLATCH_BPF_MAPS_H
#define CLATCH_BPF_MAPS_H

#include "kernel.h"
#include <clatch/certificate.h>
#include <clatch/control.h>
#include <clatch/event.h>
#include <clatch/fast.h>
#include <clatch/latch.h>
#include <clatch/meta.h>
#include <clatch/rule.h>

/* The latch database.  Full: table-full, see latch_create().  Size: --max-latches. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct clatch_tuple);
	__type(value, struct clatch_latch);
} clatch_latches SEC(".maps");

/*
 * How many latches there are whose ports look like these, the one XOR the other (latch.h): where there
 * is none, none needs to be looked up.  The packet path alone counts.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << 16);
	__type(key, __u32);
	__type(value, __u32);
} clatch_ports SEC(".maps");

/* The numbers given last.  Not variables: the gateway's programs give some too. */
enum last_number {
	CLATCH_LAST_LATCH,
	CLATCH_LAST_SUITE,
	CLATCH_LAST_SLOT,
	CLATCH_LAST_REQUEST,
	CLATCH_LAST_NUMBERS
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CLATCH_LAST_NUMBERS);
	__type(key, __u32);
	__type(value, __u64);
} clatch_last SEC(".maps");

/*
 * What few latches have (clatch/latch.h), by the latch's id.  Full: as when the latch database is
 * full.  Size: CLATCH_FEW.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct clatch_more);
} clatch_more SEC(".maps");

/*
 * What the packets of a latch are counted in, and known again by (slot.h); one more than latches, as
 * slot 0 is none.  Full: as when the latch database is full.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536 + 1);
	__type(key, __u32);
	__type(value, struct clatch_fast);
} clatch_fast SEC(".maps");

/* Slots that were given back. */
struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, 65536);
	__type(value, __u32);
} clatch_fast_free SEC(".maps");

/* A connected socket's slot in clatch_fast, and the latch that it was for. */
struct place {
	__u64 latch; /* id; 0 = none */
	__u32 slot;
	__u16 local_port; /* how the socket was connected then */
	__be16 remote_port;
	__u32 remote[4];
};
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct place);
} clatch_places SEC(".maps");

/*
 * The certificates with which an identity was authenticated, as the IKE daemon told: for `show`, by
 * the identity's number.  Full: it shows none.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, CLATCH_MAX_IDS);
	__type(key, __u32);
	__type(value, struct clatch_certificate);
} clatch_certificates SEC(".maps");

/*
 * SA table: filled by the loader from XFRM netlink, with the identities that the IKE daemon told.
 * Asked for these (identity.h), and for the SA where the kernel's own SAD does not tell (sa.h).
 * Full: the loader says so, and such a packet is of an unknown SA, or of an unknown identity.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct clatch_sa_key);
	__type(value, struct clatch_sa);
} clatch_sas SEC(".maps");

/*
 * Suites by index, and the way back.  A host uses a handful.  Full: a flow with yet another suite
 * is treated as when the latch database is full.
 */
#define CLATCH_MAX_SUITES 1024
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CLATCH_MAX_SUITES);
	__type(key, __u32);
	__type(value, struct clatch_suite);
} clatch_suites SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CLATCH_MAX_SUITES);
	__type(key, struct clatch_suite);
	__type(value, __u32);
} clatch_suite_ids SEC(".maps");

/*
 * Raised by the loader whenever an SA's identity was told, changed or taken back: what was found
 * congruent before is looked at again.  An array of one element like others, but a variable to the
 * programs, as each packet reads it.
 */
volatile __u32 clatch_generation SEC(".data.clatch_generation");

/*
 * The network namespaces that have a latch with CLATCH_HELD; what is read is the key alone.  Full:
 * a held segment is sent when TCP's own timer runs out.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u32);
} clatch_held SEC(".maps");

/* Identities as text, by number.  Full: the loader says so, and a new identity is not known. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, CLATCH_MAX_IDS);
	__type(key, __u32);
	__type(value, struct clatch_id);
} clatch_ids SEC(".maps");

/*
 * 1 = one of our programs has read clatch_ids since `run` has last looked whether that is sound
 * (identity.h).
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} clatch_ids_used SEC(".maps");

/*
 * Rules by number: those of the policy in force, of the one before, and older ones that a latch was
 * made under.  Full: `policy load` fails, and the policy stays.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16 * CLATCH_MAX_RULES);
	__type(key, __u32);
	__type(value, struct clatch_rule);
} clatch_rules SEC(".maps");

/*
 * The cgroups whose programs may turn protection off, of each policy.  Full: `policy load` fails.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4 * CLATCH_MAX_MAY_TURN_OFF);
	__type(key, struct clatch_may_turn_off);
	__type(value, __u32);
} clatch_may_turn_off SEC(".maps");

/* Mapped by the loader, as writing to an array by bpf() is not one store. */
volatile struct clatch_policy clatch_policy SEC(".data.clatch_policy");

/* Events for `run`.  Full: the event is lost and counted in clatch_lost. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} clatch_events SEC(".maps");

/* A ring for each running `monitor`, which it makes and puts here itself; none taken = empty. */
struct monitor_ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, CLATCH_MAX_MONITORS);
	__type(key, __u32);
	__array(values, struct monitor_ring);
} clatch_monitors SEC(".maps");

/* Events lost for want of room, and the violations that they stood for: by enum clatch_lost. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CLATCH_LOSTS);
	__type(key, __u32);
	__type(value, __u64);
} clatch_lost SEC(".maps");

/*
 * Events under way.  A violation stays here for a second, so that its repeats are merged into one
 * line (event.h).  Full: the event is lost and counted in clatch_lost.
 */
struct report_key {
	__u64 latch; /* a violation's; any other event has the time here, and its CPU as port */
	__u8 type; /* enum clatch_event_type */
	__u8 direction;
	__u8 reason;
	__u8 verdict;
	/* where there is no latch: one service's are not merged with another's */
	__u16 port;
	__u8 proto;
	__u8 pad;
};
struct report {
	struct clatch_event event;
	__u64 due; /* when its repeats are to be sent, CLOCK_BOOTTIME; 0 = it is not sent yet itself */
	__u64 repeats; /* since the last line */
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, struct report_key);
	__type(value, struct report);
} clatch_reports SEC(".maps");

/* Looks at all of them, while there is one (timer.h). */
struct shared_timer {
	struct bpf_timer timer;
	__u32 set; /* 1 = it is to run */
	__u32 made; /* 1 = there is memory for it */
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct shared_timer);
} clatch_report_timer SEC(".maps");

/*
 * Latches that end at a time, by their ids, where the kernel had no timer for that (ending.h).  Full:
 * such a latch stays until another `run` finds it without its connection.  Size: CLATCH_FEW.
 */
struct ending {
	struct clatch_tuple tuple;
	__u64 due; /* CLOCK_BOOTTIME; 0 = it is just being made */
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct ending);
} clatch_endings SEC(".maps");

/* Looks at all of them, while there is one. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct shared_timer);
} clatch_ending_timer SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH); /* an array's key cannot be an enum, which bpftool names */
	__uint(max_entries, CLATCH_REASONS);
	__type(key, enum clatch_reason);
	__type(value, struct clatch_stat);
} clatch_stats SEC(".maps");

/*
 * What connect() said of a UDP socket, and which latch is its own; of a TCP listener that is older
 * than its latch, the latch alone.  Lives as long as the socket.
 */
struct udp_socket {
	struct clatch_tuple tuple; /* of its latch; proto 0 = none */
	struct clatch_addr wanted; /* what connect() was asked for: it may fail */
	__u16 wanted_port;
	__u8 fresh; /* connect() was called and nothing was sent since */
	__u8 released; /* no descriptor is left: makes no latch any more */
	__u32 free_under; /* generation of the policy that lets this connection be in clear: */
	struct clatch_tuple free;
};
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct udp_socket);
} clatch_sockets SEC(".maps");

/*
 * What a thread last sent on a UDP socket, to an address that it named, and from where
 * (datagram.h).  Full: the oldest go, and of what is not noted nothing is known.
 */
struct datagram_key {
	__u64 task; /* kernel address */
	__u64 socket; /* cookie */
};
struct datagram_note {
	struct clatch_addr local; /* 0 = its route will tell */
	struct clatch_addr remote;
	__u16 remote_port;
	__u16 pad;
	__u32 generation; /* of the policy by which it is to be judged */
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct datagram_key);
	__type(value, struct datagram_note);
} clatch_datagrams SEC(".maps");

/* What a program asked for its socket (ask.h); what listen() accepts inherits it. */
struct request {
	struct clatch_demand now;
	struct clatch_demand
		tried; /* by the option that is just being set, under the socket's lock */
	__u64 made; /* 1 = reset_after is set */
	__u64 off_by; /* the cgroup by which now.off was allowed */
};
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct request);
} clatch_requests SEC(".maps");

/*
 * What the program of a latch with CLATCH_ASKED had asked for when it was made, by the latch's id.
 * Full: as when the latch database is full.  Size: CLATCH_FEW.  An entry that is not there is taken
 * for a demand that is not met.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct clatch_demand);
} clatch_asked SEC(".maps");

/* The SA that an order names (control.h): too large for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct clatch_sa);
} clatch_found SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct clatch_meta);
} clatch_meta SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CLATCH_MAX_DEVICES);
	__type(key, __u32);
	__type(value, struct clatch_device);
} clatch_devices SEC(".maps");

/* The number of a kind that was given last. */
static __always_inline __u64 *last_number(enum last_number which)
{
	__u32 key = which;

	return bpf_map_lookup_elem(&clatch_last, &key);
}

/* The next number of a kind, from 1 to @limit; 0 where all were given. */
static __always_inline __u64 count_up(enum last_number which, __u64 limit)
{
	__u64 *last = last_number(which);

	return last && *last < limit ? __sync_fetch_and_add(last, 1) + 1 : 0;
}

#endif
