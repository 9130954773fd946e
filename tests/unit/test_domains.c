// SPDX-License-Identifier: GPL-2.0-only
/* Our own network namespace and a named one, which is there as long as it has its name. */
#include "test.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "domains.h"
#include "netns.h"

#define NAMES "/run/netns"
#define NAME NAMES "/more"

struct world {
	struct cli cli;
	struct sa_table table;
	struct domains domains;
	__u64 own;
	__u64 more; /* the named one's */
	__u64 refused; /* cannot be added */
	int failed; /* how often that was said */
};

static int add(void *context, struct domain *domain)
{
	const struct world *w = context;

	return domain->netns == w->refused ? -ENOMEM : 0;
}

static void hold(void *context, struct domain *domain, pid_t holder)
{
	(void)context, (void)domain;
	assert_int_equal(holder, 0);
}

static void fail_once(void *context)
{
	struct world *w = context;

	w->failed++;
}

/* NAME is a namespace of its own, and nobody is in it. */
static int make_named(__u64 *cookie)
{
	int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	int err = unshare(CLONE_NEWNET) || netns_own(cookie) ||
		  mount("/proc/self/ns/net", NAME, NULL, MS_BIND, NULL);

	return setns(home, CLONE_NEWNET) || close(home) || err;
}

static int begin(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	*state = w;
	w->cli = (struct cli){ .program = "test", .bpffs = "/nonexistent" };
	w->table.sas = bpf_map_create(BPF_MAP_TYPE_HASH, "t_sas", sizeof(struct clatch_sa_key),
				      sizeof(struct clatch_sa), 16, NULL);
	w->table.generation = bpf_map_create(BPF_MAP_TYPE_ARRAY, "t_generation", 4, 4, 1, NULL);
	w->domains = (struct domains){ .cli = &w->cli,
				       .table = &w->table,
				       .added = add,
				       .held = hold,
				       .failed = fail_once,
				       .context = w };
	return w->table.sas < 0 || w->table.generation < 0 || netns_own(&w->own) ||
	       make_named(&w->more);
}

static int end(void **state)
{
	struct world *w = *state;

	domains_close(&w->domains);
	sa_table_close(&w->table);
	free(w);
	return umount2(NAME, MNT_DETACH);
}

static int count(const struct world *w)
{
	int n = 0;

	for (const struct domain *d = w->domains.first; d; d = d->next)
		n++;
	return n;
}

static bool is_open(struct world *w, __u64 netns)
{
	const struct domain *domain = domains_find(&w->domains, netns);

	return domain && domain->spd && domain->netns == netns;
}

/* Exactly these, and nothing is left to be done. */
static void assert_all_open(struct world *w)
{
	w->failed = 0;
	domains_refresh(&w->domains);
	assert_int_equal(w->failed, 0);
	assert_int_equal(count(w), 2);
	assert_true(is_open(w, w->own) && is_open(w, w->more));
}

static void test_all_are_opened(void **state)
{
	struct world *w = *state;

	assert_int_equal(domains_open(&w->domains), 0);
	assert_int_equal(w->failed, 0);
	assert_int_equal(count(w), 2);
	assert_true(is_open(w, w->own) && is_open(w, w->more));
}

static void test_refused_at_first(void **state)
{
	struct world *w = *state;

	w->refused = w->more;
	assert_int_equal(domains_open(&w->domains), 0);
	assert_int_equal(w->failed, 1);
	assert_false(is_open(w, w->more));
	assert_int_equal(w->failed, 1); /* it is not looked for meanwhile */
	domains_refresh(&w->domains);
	assert_int_equal(w->failed, 2);
	assert_int_equal(count(w), 2);
	assert_false(is_open(w, w->more));
	w->refused = 0;
	assert_all_open(w);
}

static void test_refused_when_found(void **state)
{
	struct world *w = *state;

	w->refused = w->more;
	assert_false(is_open(w, w->more));
	assert_int_equal(w->failed, 1);
	w->refused = 0;
	assert_all_open(w);
}

static void test_not_there(void **state)
{
	struct world *w = *state;

	assert_int_equal(domains_open(&w->domains), 0);
	assert_false(is_open(w, UINT64_MAX));
	assert_int_equal(w->failed, 1);
	assert_all_open(w); /* without it */
}

/* However many files it may open: if it lacks one, it says so, and none is lost. */
static void test_no_more_files(void **state)
{
	struct world *w = *state;
	struct rlimit before, few;
	int rounds = 0;

	assert_int_equal(domains_open(&w->domains), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = (struct rlimit){ 0, before.rlim_max };
	do {
		w->failed = 0;
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
		domains_refresh(&w->domains);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
		assert_int_equal(count(w), 2);
		few.rlim_cur++;
	} while (w->failed && ++rounds < 64);
	assert_in_range(rounds, 4, 63);
	assert_all_open(w);
}

static void test_closed_without_its_name(void **state)
{
	struct world *w = *state;

	assert_int_equal(domains_open(&w->domains), 0);
	assert_int_equal(umount2(NAME, MNT_DETACH), 0);
	domains_refresh(&w->domains);
	assert_int_equal(count(w), 1);
	assert_true(is_open(w, w->own));
	assert_int_equal(make_named(&w->more), 0);
}

/* Nobody else has names in here. */
static int enter(void **state)
{
	(void)state;
	return unshare(CLONE_NEWNET | CLONE_NEWNS) ||
	       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	       mount("test", "/run", "tmpfs", 0, NULL) || mkdir(NAMES, 0755) ||
	       close(creat(NAME, 0644));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_all_are_opened, begin, end),
		cmocka_unit_test_setup_teardown(test_refused_at_first, begin, end),
		cmocka_unit_test_setup_teardown(test_refused_when_found, begin, end),
		cmocka_unit_test_setup_teardown(test_not_there, begin, end),
		cmocka_unit_test_setup_teardown(test_no_more_files, begin, end),
		cmocka_unit_test_setup_teardown(test_closed_without_its_name, begin, end),
	};

	return cmocka_run_group_tests_name("domains", tests, enter, NULL);
}
