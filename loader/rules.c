// SPDX-License-Identifier: GPL-2.0-only
#include "rules.h"

#include <bpf/bpf.h>
#include <clatch/latch.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "attach.h"
#include "cleanup.h"
#include "map.h"
#include "may_turn_off.h"
#include "pins.h"

/* Rules that are older than what is in force, and which of them a latch was made under. */
struct old_rules {
	__u32 in_force; /* generation */
	__u32 *numbers; /* in order */
	bool *used;
	size_t count;
};

static void free_old(struct old_rules *old)
{
	free(old->numbers);
	free(old->used);
}

static void unmap_policy(struct clatch_policy **policy)
{
	rules_unwatch(*policy);
}

static struct clatch_policy *map_policy(const struct cli *cli, int protection)
{
	_cleanup_close_ int fd = pins_map(cli, "clatch_policy");
	void *map;

	if (fd < 0) {
		errno = -fd;
		return NULL;
	}
	map = mmap(NULL, sysconf(_SC_PAGESIZE), protection, MAP_SHARED, fd, 0);
	return map == MAP_FAILED ? NULL : map;
}

const struct clatch_policy *rules_watch(const struct cli *cli)
{
	return map_policy(cli, PROT_READ);
}

void rules_unwatch(const struct clatch_policy *in_force)
{
	if (in_force)
		munmap((void *)in_force, sysconf(_SC_PAGESIZE));
}

/* All but what is in force: also what a load that was killed has left of the next generation. */
static int note_old(void *context, const void *key, const void *value)
{
	struct old_rules *old = context;
	__u32 number = *(const __u32 *)key, *grown;

	(void)value;
	if (number / CLATCH_MAX_RULES == old->in_force)
		return 0;
	grown = reallocarray(old->numbers, old->count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	old->numbers = grown;
	old->numbers[old->count++] = number;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	__u32 x = *(const __u32 *)a, y = *(const __u32 *)b;

	return (x > y) - (x < y);
}

static int note_use(void *context, const void *key, const void *value)
{
	const struct clatch_latch *latch = value;
	struct old_rules *old = context;
	__u32 *found = bsearch(&latch->rule, old->numbers, old->count, sizeof(*found), by_number);

	(void)key;
	if (latch->id && found)
		old->used[found - old->numbers] = true;
	return 0;
}

/* Removes rules that are neither in force nor of use to a latch. */
static int remove_unused(const struct cli *cli, int rules, __u32 in_force)
{
	__attribute__((cleanup(free_old))) struct old_rules old = { .in_force = in_force };
	_cleanup_close_ int latches = pins_map(cli, "clatch_latches");
	int err = latches < 0 ? latches : 0;

	if (!err)
		err = map_each(rules, sizeof(__u32), sizeof(struct clatch_rule), note_old, &old);
	if (err || !old.count)
		return err;
	qsort(old.numbers, old.count, sizeof(*old.numbers), by_number);
	old.used = calloc(old.count, sizeof(*old.used));
	if (!old.used)
		return -ENOMEM;
	err = map_each(latches, sizeof(struct clatch_tuple), sizeof(struct clatch_latch), note_use,
		       &old);
	for (size_t i = 0; !err && i < old.count; i++)
		if (!old.used[i] && bpf_map_delete_elem(rules, &old.numbers[i]))
			err = -errno;
	return err;
}

static int write_rules(int rules, const struct policy *policy, __u32 generation)
{
	for (unsigned int i = 0; i < policy->rule_count; i++) {
		__u32 number = clatch_rule_number(generation, i);
		int err;

		if (!bpf_map_update_elem(rules, &number, &policy->rules[i], BPF_ANY))
			continue;
		err = -errno;
		for (; i; i--) {
			number--;
			bpf_map_delete_elem(rules, &number);
		}
		return err;
	}
	return 0;
}

/* One store: whoever looks sees the old policy or the new one. */
static void switch_to(struct clatch_policy *in_force, const struct policy *policy, __u32 generation)
{
	const struct clatch_policy next = { .generation = generation, .count = policy->rule_count };
	__u64 word;

	memcpy(&word, &next, sizeof(word));
	in_force->reset_after = policy->reset_after; /* run's alone: no packet's matter */
	__atomic_store_n((__u64 *)in_force, word, __ATOMIC_RELEASE);
}

/* Before there are rules, as from then on nothing may go by what they need. */
static int attach_needed(const struct cli *cli, const struct policy *policy)
{
	int err = policy->rule_count ? attach_rules(cli->bpffs) : 0;

	if (!err)
		return 0;
	cli_fail(cli,
		 "Couldn't load the policy: what its rules need cannot be attached to all guarded "
		 "cgroups: %s",
		 pins_strerror(err));
	return -ESRCH;
}

int rules_replace(const struct cli *cli, const struct policy *policy)
{
	__attribute__((cleanup(unmap_policy))) struct clatch_policy *in_force =
		map_policy(cli, PROT_READ | PROT_WRITE);
	_cleanup_close_ int rules = -1;
	__u32 generation;
	int err;

	if (!in_force)
		return -errno;
	rules = pins_map(cli, "clatch_rules");
	if (rules < 0)
		return rules;
	generation = in_force->generation + 1;
	if (generation > CLATCH_MAX_GENERATION)
		return -EOVERFLOW;
	err = attach_needed(cli, policy);
	if (!err)
		err = remove_unused(cli, rules, in_force->generation);
	if (!err)
		err = may_turn_off_keep(cli, in_force->generation);
	if (!err)
		err = may_turn_off_write(cli, policy->may_turn_off, generation);
	if (!err)
		err = write_rules(rules, policy, generation);
	if (!err)
		switch_to(in_force, policy, generation);
	if (!in_force->count) /* nor before, where it failed */
		detach_rules(cli->bpffs);
	return err;
}

int rules_fail(const struct cli *cli, int err)
{
	if (err == -ESRCH)
		return EXIT_FAILED; /* said before */
	if (err == -E2BIG)
		return cli_fail(cli, "Couldn't load the policy: there is no room for its rules, as "
				     "latches were made under too many older policies; close them, "
				     "or load it when they have ended");
	if (err == -EOVERFLOW)
		return cli_fail(cli, "Couldn't load the policy: %u were loaded, unload first",
				CLATCH_MAX_GENERATION);
	return cli_fail(cli, "Couldn't load the policy: %s", pins_strerror(err));
}

int rules_read(const struct cli *cli, struct policy *policy, __u32 *generation)
{
	__attribute__((cleanup(unmap_policy))) struct clatch_policy *in_force =
		map_policy(cli, PROT_READ);
	_cleanup_close_ int rules = -1;
	struct clatch_policy now;
	__u64 word;

	if (!in_force)
		return -errno;
	rules = pins_map(cli, "clatch_rules");
	if (rules < 0)
		return rules;
	word = __atomic_load_n((__u64 *)in_force, __ATOMIC_ACQUIRE);
	memcpy(&now, &word, sizeof(word));
	policy->rules = calloc(CLATCH_MAX_RULES, sizeof(*policy->rules));
	if (!policy->rules)
		return -ENOMEM;
	for (__u32 i = 0; i < now.count && i < CLATCH_MAX_RULES; i++) {
		__u32 number = clatch_rule_number(now.generation, i);

		if (bpf_map_lookup_elem(rules, &number, &policy->rules[i]))
			return -errno;
		policy->rule_count++;
	}
	policy->reset_after = in_force->reset_after;
	*generation = now.generation;
	return may_turn_off_read(cli, now.generation, &policy->may_turn_off);
}
