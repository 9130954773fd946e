// SPDX-License-Identifier: GPL-2.0-only
/* The identity table, on maps of the test's own: needs CAP_BPF. */
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "ids.h"
#include "ids_map.h"

static struct ids *ids_on(int fd)
{
	struct ids *ids = ids_new(fd);

	assert_true(fd >= 0);
	assert_non_null(ids);
	return ids;
}

/* A table of three, "a", "b" and "c", and a map with it. */
static struct ids *three_ids(int *fd)
{
	struct ids *ids;

	*fd = ids_map(8);
	ids = ids_on(*fd);
	assert_int_equal(ids_number(ids, "a"), 1);
	assert_int_equal(ids_number(ids, "b"), 2);
	assert_int_equal(ids_number(ids, "c"), 3);
	return ids;
}

static struct clatch_id entry_of(int fd, __u32 number)
{
	struct clatch_id entry;

	assert_int_equal(bpf_map_lookup_elem(fd, &number, &entry), 0);
	return entry;
}

static void put_entry(int fd, __u32 number, const struct clatch_id *entry)
{
	assert_int_equal(bpf_map_update_elem(fd, &number, entry, BPF_ANY), 0);
}

/* With the seal that it should have. */
static void put_text(int fd, __u32 number, const char *text)
{
	struct clatch_id entry = {};

	strcpy(entry.text, text);
	entry.seal = clatch_id_seal(number, entry.text);
	put_entry(fd, number, &entry);
}

static void remove_entry(int fd, __u32 number)
{
	assert_int_equal(bpf_map_delete_elem(fd, &number), 0);
}

static void test_numbers(void **state)
{
	int fd;
	struct ids *ids = three_ids(&fd);

	(void)state;
	assert_int_equal(ids_number(ids, "b"), 2); /* again */
	assert_int_equal(ids_number(ids, "B"), 4); /* another */
	assert_string_equal(ids_text(ids, 1), "a");
	assert_string_equal(ids_text(ids, 4), "B");
	assert_null(ids_text(ids, 0));
	assert_null(ids_text(ids, 5));
	assert_null(ids_text(ids, CLATCH_MAX_IDS + 1));
	assert_null(ids_text(ids, ~0U));
	assert_int_equal(ids_check(ids, 0), 0);
	ids_free(ids);
	close(fd);
}

/* What the packet path and other processes read. */
static void test_entries(void **state)
{
	struct clatch_id expected = { .text = "b" }, entry;
	int fd;
	struct ids *ids = three_ids(&fd);

	(void)state;
	expected.seal = clatch_id_seal(2, expected.text);
	entry = entry_of(fd, 2);
	assert_memory_equal(&entry, &expected, sizeof(entry));
	assert_int_not_equal(expected.seal, clatch_id_seal(3, expected.text));
	ids_free(ids);
	close(fd);
}

/* Two processes: whatever one adds, the other finds, and no number is used twice. */
static void test_two_tables(void **state)
{
	int fd;
	struct ids *one = three_ids(&fd), *two = ids_on(fd), *late;

	(void)state;
	assert_int_equal(ids_number(two, "c"), 3); /* looked for before it is added */
	assert_int_equal(ids_number(two, "d"), 4);
	assert_int_equal(ids_number(one, "e"), 5); /* 4 is taken */
	assert_int_equal(ids_number(one, "d"), 4);
	assert_string_equal(ids_text(two, 5), "e");
	assert_int_equal(ids_number(two, "e"), 5);
	late = ids_on(fd);
	assert_string_equal(ids_text(late, 5), "e"); /* and all before it */
	assert_string_equal(ids_text(late, 1), "a");
	assert_int_equal(ids_check(one, 0), 0);
	assert_int_equal(ids_check(two, 0), 0);
	ids_free(one);
	ids_free(two);
	ids_free(late);
	close(fd);
}

static void test_full(void **state)
{
	int fd = ids_map(2);
	struct ids *ids = ids_on(fd);

	(void)state;
	assert_int_equal(ids_number(ids, "a"), 1);
	assert_int_equal(ids_number(ids, "b"), 2);
	assert_int_equal(ids_number(ids, "c"), -ENOSPC);
	assert_int_equal(ids_number(ids, "b"), 2);
	assert_null(ids_text(ids, 3));
	assert_int_equal(ids_check(ids, 0), 0);
	ids_free(ids);
	close(fd);
}

/* A number has 16 bits: the map's size is not what says so. */
static void test_numbers_end(void **state)
{
	int fd = ids_map(CLATCH_MAX_IDS + 1);
	struct ids *ids = ids_on(fd);
	char text[16];

	(void)state;
	for (int i = 1; i <= CLATCH_MAX_IDS; i++) {
		snprintf(text, sizeof(text), "%d", i);
		if (ids_number(ids, text) != i)
			fail_msg("%d", i);
	}
	assert_int_equal(ids_number(ids, "one more"), -ENOSPC);
	assert_int_equal(ids_number(ids, "65535"), 65535);
	assert_string_equal(ids_text(ids, 65535), "65535");
	put_text(fd, CLATCH_MAX_IDS + 1, "beyond");
	assert_null(ids_text(ids, CLATCH_MAX_IDS + 1));
	ids_free(ids);
	close(fd);
}

static void flip_text(int fd)
{
	struct clatch_id entry = entry_of(fd, 2);

	entry.text[0] ^= 1;
	put_entry(fd, 2, &entry);
}

static void flip_behind_text(int fd)
{
	struct clatch_id entry = entry_of(fd, 2);

	entry.text[CLATCH_ID_TEXT - 2] ^= 1;
	put_entry(fd, 2, &entry);
}

static void flip_seal(int fd)
{
	struct clatch_id entry = entry_of(fd, 2);

	entry.seal ^= 1;
	put_entry(fd, 2, &entry);
}

static void all_zero(int fd)
{
	put_entry(fd, 2, &(struct clatch_id){});
}

static void empty_sealed(int fd)
{
	put_text(fd, 2, "");
}

static void endless_sealed(int fd)
{
	struct clatch_id entry;

	memset(entry.text, 'b', sizeof(entry.text));
	entry.seal = clatch_id_seal(2, entry.text);
	put_entry(fd, 2, &entry);
}

/* Each is whole, but stands at another's number. */
static void moved(int fd)
{
	struct clatch_id entry = entry_of(fd, 1);

	put_entry(fd, 2, &entry);
}

static void changed_sealed(int fd)
{
	put_text(fd, 2, "someone.else");
}

static void deleted(int fd)
{
	remove_entry(fd, 2);
}

static void deleted_last(int fd)
{
	remove_entry(fd, 3);
}

static void all_deleted(int fd)
{
	for (__u32 number = 1; number <= 3; number++)
		remove_entry(fd, number);
}

static void damaged_behind_gap(int fd)
{
	put_text(fd, 5, "e");
	put_entry(fd, 6, &(struct clatch_id){});
}

static void number_0(int fd)
{
	put_entry(fd, 0, &(struct clatch_id){});
}

/* "Not known" is nobody's number, however whole its entry is. */
static void number_0_sealed(int fd)
{
	put_text(fd, 0, "nobody");
}

struct damage {
	const char *name;
	void (*damage)(int fd);
	bool shows_at_once; /* also to a process that has not read the table before */
};

static const struct damage damages[] = {
	{ "text", flip_text, true },
	{ "behind the text", flip_behind_text, true },
	{ "seal", flip_seal, true },
	{ "zeroes", all_zero, true },
	{ "an empty text, sealed", empty_sealed, true },
	{ "a text without an end, sealed", endless_sealed, true },
	{ "another's entry", moved, true },
	{ "another text, sealed", changed_sealed, false },
	{ "deleted", deleted, false },
	{ "the last deleted", deleted_last, false },
	{ "all deleted", all_deleted, false },
	{ "damage behind a gap", damaged_behind_gap, true },
	{ "damage at number 0", number_0, true },
	{ "number 0, sealed", number_0_sealed, true },
};

static void test_damage(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(damages); i++) {
		const struct damage *d = &damages[i];
		int fd;
		struct ids *before = three_ids(&fd), *after = ids_on(fd);

		assert_row(d->name, !ids_check(before, 0));
		d->damage(fd);
		assert_row(d->name, ids_check(before, 0) == -EUCLEAN);
		assert_row(d->name, !d->shows_at_once || ids_check(after, 0) == -EUCLEAN);
		assert_row(d->name, is_text(ids_text(after, 1), "a") || d->damage == all_deleted);
		ids_free(before);
		ids_free(after);
		close(fd);
	}
}

/* Nobody has a damaged number, and its text gets another. */
static void test_damaged_entry(void **state)
{
	(void)state;
	for (size_t i = 0; damages[i].damage != changed_sealed; i++) {
		int fd;
		struct ids *before = three_ids(&fd), *after;

		damages[i].damage(fd);
		after = ids_on(fd);
		assert_row(damages[i].name, !ids_text(after, 2));
		assert_row(damages[i].name, is_text(ids_text(after, 3), "c"));
		assert_row(damages[i].name, ids_number(after, "b") == 4);
		ids_free(before);
		ids_free(after);
		close(fd);
	}
}

/* Who has gone has no text; the table is not to be relied on. */
static void test_gap(void **state)
{
	int fd;
	struct ids *before = three_ids(&fd), *after;

	(void)state;
	remove_entry(fd, 2);
	after = ids_on(fd);
	assert_string_equal(ids_text(after, 1), "a");
	assert_null(ids_text(after, 2));
	assert_int_equal(ids_check(after, 0), -EUCLEAN);
	ids_free(before);
	ids_free(after);
	close(fd);
}

static void test_texts(void **state)
{
	static const struct {
		const char *text;
		bool can;
	} rows[] = {
		{ "a", true },
		{ "192.0.2.1", true },
		{ "C=CH, O=Example, CN=\"a b\"", true },
		{ "M\xc3\xbcller", true },
		{ "%any", true },
		{ "a\xc2\xa0", true },
		{ "", false },
		{ "a\nb", false },
		{ "a\tb", false },
		{ "\x01", false },
		{ "\x1f", false },
		{ "a\x7f", false },
		{ "a\xc2\x9b", false }, /* CSI, as terminals take it */
		{ "M\xfcller", false }, /* Latin-1 */
		{ "\xc3", false },
		{ "\xc0\xaf", false }, /* longer than it has to be */
		{ "\xed\xa0\x80", false }, /* half of a pair */
	};
	int fd = ids_map(COUNT(rows));
	struct ids *ids = ids_on(fd);

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		int number = ids_number(ids, rows[i].text);

		assert_row(rows[i].text, ids_is_text(rows[i].text) == rows[i].can);
		assert_row(rows[i].text, rows[i].can ? number == (int)i + 1 : number == -EINVAL);
	}
	ids_free(ids);
	close(fd);
}

static void test_longest(void **state)
{
	char text[CLATCH_ID_TEXT + 1] = {};
	int fd = ids_map(2);
	struct ids *ids = ids_on(fd), *again = ids_on(fd);

	(void)state;
	memset(text, 'x', CLATCH_ID_TEXT);
	assert_false(ids_is_text(text));
	assert_int_equal(ids_number(ids, text), -EINVAL);
	text[CLATCH_ID_TEXT - 1] = 0;
	assert_true(ids_is_text(text));
	assert_int_equal(ids_number(ids, text), 1);
	assert_string_equal(ids_text(again, 1), text);
	ids_free(ids);
	ids_free(again);
	close(fd);
}

/* What was shown stays so; what was not there may come. */
static void test_remembers(void **state)
{
	int fd;
	struct ids *ids = three_ids(&fd);

	(void)state;
	ids_remember(ids);
	assert_string_equal(ids_text(ids, 1), "a");
	assert_null(ids_text(ids, 0));
	assert_null(ids_text(ids, 4));
	put_text(fd, 1, "z");
	put_text(fd, 2, "y");
	put_text(fd, 4, "x");
	assert_string_equal(ids_text(ids, 1), "a");
	assert_string_equal(ids_text(ids, 2), "y");
	assert_string_equal(ids_text(ids, 4), "x");
	ids_free(ids);
	close(fd);
}

static void test_no_map(void **state)
{
	struct ids *ids = ids_new(-1);

	(void)state;
	assert_true(ids_number(ids, "a") < 0);
	assert_null(ids_text(ids, 1));
	assert_true(ids_check(ids, 0) < 0);
	ids_free(ids);
	ids_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),	      cmocka_unit_test(test_entries),
		cmocka_unit_test(test_two_tables),    cmocka_unit_test(test_full),
		cmocka_unit_test(test_numbers_end),   cmocka_unit_test(test_damage),
		cmocka_unit_test(test_damaged_entry), cmocka_unit_test(test_gap),
		cmocka_unit_test(test_texts),	      cmocka_unit_test(test_longest),
		cmocka_unit_test(test_remembers),     cmocka_unit_test(test_no_map),
	};

	return cmocka_run_group_tests_name("ids", tests, NULL, NULL);
}
