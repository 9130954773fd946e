// SPDX-License-Identifier: GPL-2.0-only
#include "test.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>

#include "sa_table.h"

static const struct clatch_sa_key key = { .netns = 1, .spi = 0x1001, .proto = 50 };
static const struct clatch_who db1 = { .local_id = 1, .peer_id = 2 };

static int make_maps(void **state)
{
	struct sa_table *t = malloc(sizeof(*t));

	t->sas = bpf_map_create(BPF_MAP_TYPE_HASH, "t_sas", sizeof(struct clatch_sa_key),
				sizeof(struct clatch_sa), 1, NULL);
	t->generation = bpf_map_create(BPF_MAP_TYPE_ARRAY, "t_generation", 4, 4, 1, NULL);
	*state = t;
	return t->sas < 0 || t->generation < 0;
}

static int close_maps(void **state)
{
	sa_table_close(*state);
	free(*state);
	return 0;
}

static __u32 generation(const struct sa_table *t)
{
	__u32 now;

	assert_int_equal(sa_table_generation(t, &now), 0);
	return now;
}

/* What was told is of one key: another SA with the SPI is nobody's. */
static void test_recall(void **state)
{
	const struct clatch_who web7 = { .local_id = 1, .peer_id = 3 };
	const struct sa_table *t = *state;
	struct clatch_sa sa = { .key_tag = 42 }, same = sa, other = { .key_tag = 43 };

	assert_int_equal(sa_table_put(t, &key, &sa), 0);
	assert_int_equal(sa_table_tell(t, &key, 42, db1, 7), 0);
	assert_int_equal(sa_table_tell(t, &key, 43, web7, 0), -ESTALE);
	sa_table_recall(t, &key, &same);
	assert_memory_equal(&same.who, &db1, sizeof(db1));
	assert_int_equal(same.told_us, 7);
	sa_table_recall(t, &key, &other);
	assert_int_equal(other.who.peer_id, 0);
}

/* The packet path looks again only if something has changed. */
static void test_generation(void **state)
{
	const struct clatch_who web7 = { .local_id = 1, .peer_id = 3 }, app4 = { 4, 3 };
	const struct sa_table *t = *state;
	struct clatch_sa sa = {};
	__u32 before = generation(t);

	assert_int_equal(sa_table_tell(t, &key, 0, db1, 0), -ENOENT);
	assert_int_equal(sa_table_put(t, &key, &sa), 0);
	assert_int_equal(generation(t), before);
	assert_int_equal(sa_table_tell(t, &key, 0, db1, 0), 0);
	assert_int_equal(generation(t), before + 1);
	assert_int_equal(sa_table_tell(t, &key, 0, db1, 0), 0);
	assert_int_equal(generation(t), before + 1);
	assert_int_equal(sa_table_tell(t, &key, 0, web7, 0), 0);
	assert_int_equal(generation(t), before + 2);
	assert_int_equal(sa_table_tell(t, &key, 0, app4, 0), 0);
	assert_int_equal(generation(t), before + 3);
	assert_int_equal(sa_table_forget(t, &key), 0);
	assert_int_equal(generation(t), before + 4);
	assert_int_equal(sa_table_forget(t, &key), 0);
	assert_int_equal(generation(t), before + 4);
}

static void test_full_and_remove(void **state)
{
	struct clatch_sa_key second = key;
	const struct sa_table *t = *state;
	struct clatch_sa sa = {};

	second.spi++;
	assert_int_equal(sa_table_put(t, &key, &sa), 0);
	assert_int_equal(sa_table_put(t, &second, &sa), -ENOSPC);
	assert_int_equal(sa_table_remove(t, &key), 0);
	assert_int_equal(sa_table_remove(t, &key), 0);
	assert_int_equal(sa_table_put(t, &second, &sa), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_recall, make_maps, close_maps),
		cmocka_unit_test_setup_teardown(test_generation, make_maps, close_maps),
		cmocka_unit_test_setup_teardown(test_full_and_remove, make_maps, close_maps),
	};

	return cmocka_run_group_tests_name("sa_table", tests, NULL, NULL);
}
