// SPDX-License-Identifier: GPL-2.0-only
/* Stops a CPU, not the first, at bpf_timer_cancel(), as if its packet were slow; once, on demand. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define MOST_STEPS (1 << 23) /* that the kernel allows a loop */
#define LONGEST 10000000000ULL /* ns */

enum step { NOTHING, ARMED, HOLDS, LET_GO };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} held SEC(".maps");

struct wait {
	volatile __u32 *step;
	__u64 until;
};

static long wait_step(__u32 index, struct wait *w)
{
	(void)index;
	return *w->step == LET_GO || bpf_ktime_get_ns() > w->until;
}

static long wait_longer(__u32 index, struct wait *w)
{
	bpf_loop(MOST_STEPS, wait_step, w, 0);
	return wait_step(index, w);
}

SEC("kprobe/bpf_timer_cancel")
int hold(void *ctx)
{
	__u32 zero = 0;
	struct wait w = { .step = bpf_map_lookup_elem(&held, &zero) };

	(void)ctx;
	if (!w.step || !bpf_get_smp_processor_id() ||
	    __sync_val_compare_and_swap(w.step, ARMED, HOLDS) != ARMED)
		return 0;
	w.until = bpf_ktime_get_ns() + LONGEST;
	bpf_loop(MOST_STEPS, wait_longer, &w, 0);
	return 0;
}

char _license[] SEC("license") = "GPL";
