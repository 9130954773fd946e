// SPDX-License-Identifier: GPL-2.0-only
/*
 * What it takes to find a latch among many: random ones of those that tests/native/test_scale.py
 * writes, so that each is likely to be in no cache.  Run by BPF_PROG_TEST_RUN (growth.py) on the
 * map of a loaded instance.  Returns nanoseconds, 0 where a latch was not found.
 */
#include <clatch/latch.h>
#include <bpf/bpf_helpers.h>

#define LOOKUPS 1000
#define NETWORKS 500
#define PEERS 200

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct clatch_tuple);
	__type(value, struct clatch_latch);
} clatch_latches SEC(".maps");

/* What it is given: a frame. */
struct frame {
	__u8 header[14];
	__u8 idle; /* everything but the lookups: to be subtracted */
	__u8 pad;
	__u32 latches;
	__u32 more_pad;
	__u64 netns;
};

struct search {
	__u32 latches, idle, found;
	__u64 netns;
};

static void make_key(struct clatch_tuple *key, __u64 netns, __u32 number)
{
	__u32 place = number % (NETWORKS * PEERS);
	__u32 network = place % NETWORKS;

	*key = (struct clatch_tuple){
		.netns = netns,
		.local.b = { [10] = 0xff, 0xff, 192, 0, 2, 1 },
		.remote.b = { [10] = 0xff, 0xff, 10, network / 256, network % 256,
			      place / NETWORKS + 1 },
		.local_port = 40000 + number / (NETWORKS * PEERS),
		.remote_port = 5000,
		.proto = 6,
	};
}

static long look_up(__u32 index, struct search *s)
{
	struct clatch_tuple key;

	(void)index;
	if (!s->latches)
		return 1;
	make_key(&key, s->netns, bpf_get_prandom_u32() % s->latches);
	asm volatile("" ::"r"(&key) : "memory");
	if (s->idle || bpf_map_lookup_elem(&clatch_latches, &key))
		s->found++;
	return 0;
}

SEC("tc")
int lookup(struct __sk_buff *skb)
{
	struct search s = {};
	struct frame f;
	__u64 began;

	if (bpf_skb_load_bytes(skb, 0, &f, sizeof(f)))
		return 0;
	s.latches = f.latches;
	s.netns = f.netns;
	s.idle = f.idle;
	began = bpf_ktime_get_ns();
	bpf_loop(LOOKUPS, look_up, &s, 0);
	began = bpf_ktime_get_ns() - began;
	return s.found == LOOKUPS ? began : 0;
}

char LICENSE[] SEC("license") = "GPL";
