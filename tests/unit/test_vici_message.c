// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <string.h>

#include "vici_parts.h"

/* Elements as they go over the wire; names of one byte. */
#define START(name) "\001\001" name
#define END "\002"
#define VALUE(name, value) "\003\001" name "\000\001" value
#define LIST(name) "\004\001" name
#define ITEM(value) "\005\000\001" value
#define LIST_END "\006"

#define RESPONSE "\001"
#define EVENT "\007\002up"
#define BYTES(text) (text), sizeof(text) - 1

static void test_types(void **state)
{
	static const struct {
		const char *body;
		size_t size;
		enum vici_type type;
		const char *name;
	} rows[] = {
		{ BYTES("\000\002up"), VICI_CMD_REQUEST, "up" },
		{ BYTES("\001"), VICI_CMD_RESPONSE, NULL },
		{ BYTES("\002"), VICI_CMD_UNKNOWN, NULL },
		{ BYTES("\003\002up"), VICI_EVENT_REGISTER, "up" },
		{ BYTES("\004\002up"), VICI_EVENT_UNREGISTER, "up" },
		{ BYTES("\005"), VICI_EVENT_CONFIRM, NULL },
		{ BYTES("\006"), VICI_EVENT_UNKNOWN, NULL },
		{ BYTES("\007\002up"), VICI_EVENT, "up" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct vici_packet p = parse(rows[i].body, rows[i].size);

		assert_int_equal(p.type, rows[i].type);
		if (rows[i].name)
			assert_bytes(p.name, rows[i].name);
		else
			assert_null(p.name.data);
		assert_end(&p.message);
	}
}

static void test_elements(void **state)
{
	static const char body[] = EVENT VALUE("a", "1") START("s") START("t") VALUE("b", "2")
		END LIST("l") ITEM("x") ITEM("y") LIST_END END LIST("m") LIST_END;
	struct vici_section rest = parse(BYTES(body)).message, in_s, in_t, in_l;
	struct vici_element element;

	(void)state;
	element = next(&rest, VICI_VALUE);
	assert_bytes(element.name, "a");
	assert_bytes(element.value, "1");
	element = next(&rest, VICI_SECTION);
	assert_bytes(element.name, "s");
	in_s = element.inside;
	element = next(&in_s, VICI_SECTION);
	assert_bytes(element.name, "t");
	in_t = element.inside;
	assert_bytes(next(&in_t, VICI_VALUE).value, "2");
	assert_end(&in_t);
	element = next(&in_s, VICI_LIST);
	assert_bytes(element.name, "l");
	in_l = element.inside;
	assert_bytes(next(&in_l, VICI_ITEM).value, "x");
	assert_bytes(next(&in_l, VICI_ITEM).value, "y");
	assert_end(&in_l);
	assert_end(&in_s);
	element = next(&rest, VICI_LIST);
	assert_bytes(element.name, "m");
	assert_end(&element.inside);
	assert_end(&rest);
}

static void test_malformed(void **state)
{
	static const struct {
		const char *name;
		const char *body;
		size_t size;
	} rows[] = {
		{ "nothing", BYTES("") },
		{ "unknown type", BYTES("\010") },
		{ "unknown type 255", BYTES("\377") },
		{ "no name", BYTES("\007") },
		{ "name is longer than all", BYTES("\007\003up") },
		{ "unknown element 0", BYTES(RESPONSE "\000") },
		{ "unknown element 7", BYTES(RESPONSE "\007") },
		{ "section without a name", BYTES(RESPONSE "\001") },
		{ "section's name is cut", BYTES(RESPONSE "\001\002s") },
		{ "section is not ended", BYTES(RESPONSE START("s")) },
		{ "section in it is not ended", BYTES(RESPONSE START("s") START("t") END) },
		{ "end of no section", BYTES(RESPONSE END) },
		{ "two ends", BYTES(RESPONSE START("s") END END) },
		{ "end before start", BYTES(RESPONSE END START("s")) },
		{ "key alone", BYTES(RESPONSE "\003\001k") },
		{ "half of a length", BYTES(RESPONSE "\003\001k\000") },
		{ "value is cut", BYTES(RESPONSE "\003\001k\000\002v") },
		{ "value of 65535 bytes", BYTES(RESPONSE "\003\001k\377\377v") },
		{ "item outside a list", BYTES(RESPONSE ITEM("x")) },
		{ "item in a section", BYTES(RESPONSE START("s") ITEM("x") END) },
		{ "item is cut", BYTES(RESPONSE LIST("l") "\005\000\002x") },
		{ "list is not ended", BYTES(RESPONSE LIST("l") ITEM("x")) },
		{ "end of no list", BYTES(RESPONSE LIST_END) },
		{ "list ended as a section", BYTES(RESPONSE LIST("l") END) },
		{ "section ended as a list", BYTES(RESPONSE START("s") LIST_END) },
		{ "key in a list", BYTES(RESPONSE LIST("l") VALUE("k", "v") LIST_END) },
		{ "section in a list", BYTES(RESPONSE LIST("l") START("s") END LIST_END) },
		{ "list in a list", BYTES(RESPONSE LIST("l") LIST("m") LIST_END LIST_END) },
		{ "section's end in a list", BYTES(RESPONSE START("s") LIST("l") END LIST_END) },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		assert_row(rows[i].name, parse_copy(rows[i].body, rows[i].size) == -EBADMSG);
}

static int parse_nested(unsigned int depth)
{
	char body[1 + 4 * 16] = RESPONSE;
	size_t size = 1;

	for (unsigned int i = 0; i < depth; i++, size += 3)
		memcpy(body + size, START("s"), 3);
	for (unsigned int i = 0; i < depth; i++, size++)
		body[size] = 2;
	return parse_copy(body, size);
}

static void test_depth_is_bounded(void **state)
{
	(void)state;
	assert_int_equal(parse_nested(VICI_MAX_DEPTH), 0);
	assert_int_equal(parse_nested(VICI_MAX_DEPTH + 1), -EBADMSG);
}

static void test_get(void **state)
{
	static const char body[] = RESPONSE START("k") VALUE("i", "3") END VALUE("k", "1")
		VALUE("t", "1") VALUE("t", "2") "\003\001e\000\000" LIST("l") ITEM("x") LIST_END;
	struct vici_section message = parse(BYTES(body)).message;

	(void)state;
	assert_bytes(vici_get(message, "k"), "1"); /* the section has the same name */
	assert_bytes(vici_get(vici_section(message, "k"), "i"), "3");
	assert_null(vici_get(message, "i").data);
	assert_null(vici_get(message, "l").data);
	assert_null(vici_get(message, "").data);
	assert_null(vici_get(message, "kk").data);
	assert_bytes(vici_get(message, "e"), "");
	assert_null(vici_get(message, "t").data); /* there twice, even if the same */
	assert_null(vici_get(vici_section(message, "none"), "i").data);
}

static void test_same_section_twice(void **state)
{
	static const char body[] = RESPONSE START("s") VALUE("k", "1") END START("s") END;
	struct vici_section rest = parse(BYTES(body)).message;

	(void)state;
	assert_null(vici_get(vici_section(rest, "s"), "k").data);
	next(&rest, VICI_SECTION);
	next(&rest, VICI_SECTION);
	assert_end(&rest);
}

static void test_bytes_are_any(void **state)
{
	static const char body[] = RESPONSE "\001\003a.b"
					    "\003\003k\000x"
					    "\000\004\000\377.\n" END "\001\000" END;
	struct vici_section rest = parse(BYTES(body)).message;
	struct vici_element section = next(&rest, VICI_SECTION);
	struct vici_element value = next(&section.inside, VICI_VALUE);

	(void)state;
	assert_bytes(section.name, "a.b");
	assert_int_equal(value.name.size, 3);
	assert_memory_equal(value.name.data, "k\000x", 3);
	assert_false(vici_is(value.name, "k"));
	assert_int_equal(value.value.size, 4);
	assert_memory_equal(value.value.data, "\000\377.\n", 4);
	assert_bytes(next(&rest, VICI_SECTION).name, "");
}

static void test_text(void **state)
{
	static const char body[] = RESPONSE "\003\001a\000\003abc"
					    "\003\001n\000\003a\000c"
					    "\003\001e\000\000";
	static const struct {
		const char *name;
		const char *key;
		size_t room;
		int err;
		const char *text;
	} rows[] = {
		{ "just fits", "a", 4, 0, "abc" },
		{ "too long by one", "a", 3, -EMSGSIZE, "" },
		{ "no room but for the NUL", "a", 1, -EMSGSIZE, "" },
		{ "a NUL inside", "n", 8, -EBADMSG, "" },
		{ "empty", "e", 1, 0, "" },
		{ "none", "x", 8, -ENOENT, "" },
	};
	struct vici_section message = parse(BYTES(body)).message;
	char text[8];

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		memset(text, 'x', sizeof(text));
		assert_row(rows[i].name,
			   vici_text(message, rows[i].key, text, rows[i].room) == rows[i].err);
		assert_string_equal(text, rows[i].text);
	}
}

static void test_truncated(void **state)
{
	static const char body[] =
		EVENT START("s") VALUE("b", "2") LIST("l") ITEM("x") LIST_END END START("t") END;

	(void)state;
	assert_truncated(BYTES(body));
	assert_int_equal(walk(parse(BYTES(body)).message), 2);
}

static void test_build(void **state)
{
	static const struct vici_pair pairs[] = { { "k", "v" }, { "noblock", "yes" } };
	static const char request[] =
		"\000\000\000\036\000\010list-sas" VALUE("k", "v") "\003\007noblock\000\003yes";
	static const char event[] = "\000\000\000\004\003\002up";
	char to[64];

	(void)state;
	assert_int_equal(vici_build(to, sizeof(to), VICI_CMD_REQUEST, "list-sas", pairs, 2),
			 sizeof(request) - 1);
	assert_memory_equal(to, request, sizeof(request) - 1);
	assert_int_equal(vici_build(to, sizeof(to), VICI_EVENT_REGISTER, "up", NULL, 0),
			 sizeof(event) - 1);
	assert_memory_equal(to, event, sizeof(event) - 1);
}

static void test_build_is_bounded(void **state)
{
	static const struct vici_pair pair = { "k", "v" };
	static char longest[0x10001], to[0x20000];
	long size = vici_build(to, sizeof(to), VICI_CMD_REQUEST, "up", &pair, 1);

	(void)state;
	for (long room = 0; room < size; room++)
		assert_int_equal(vici_build(to, room, VICI_CMD_REQUEST, "up", &pair, 1), -EMSGSIZE);
	memset(longest, 'x', sizeof(longest) - 1);
	assert_int_equal(vici_build(to, sizeof(to), VICI_CMD_REQUEST, "up",
				    &(struct vici_pair){ "k", longest }, 1),
			 -EMSGSIZE);
	longest[0xffff] = '\0';
	assert_true(vici_build(to, sizeof(to), VICI_CMD_REQUEST, "up",
			       &(struct vici_pair){ "k", longest }, 1) > 0);
	longest[256] = '\0';
	assert_int_equal(vici_build(to, sizeof(to), VICI_CMD_REQUEST, longest, NULL, 0), -EMSGSIZE);
	assert_int_equal(vici_build(to, sizeof(to), VICI_CMD_REQUEST, "up",
				    &(struct vici_pair){ longest, "v" }, 1),
			 -EMSGSIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_elements),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_depth_is_bounded),
		cmocka_unit_test(test_get),
		cmocka_unit_test(test_same_section_twice),
		cmocka_unit_test(test_bytes_are_any),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_build),
		cmocka_unit_test(test_build_is_bounded),
	};

	return cmocka_run_group_tests_name("vici_message", tests, NULL, NULL);
}
