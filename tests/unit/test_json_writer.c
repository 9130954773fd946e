// SPDX-License-Identifier: GPL-2.0-only
/* JSON as it is written, beside what json-c makes of the same. */
#include "test.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "json_writer.h"

struct written {
	struct json_writer w;
	char *text;
	size_t size;
};

static struct json_writer *begin(struct written *out)
{
	*out = (struct written){};
	out->w.file = open_memstream(&out->text, &out->size);
	assert_non_null(out->w.file);
	put_begin(&out->w, NULL);
	return &out->w;
}

static const char *finish(struct written *out)
{
	put_end(&out->w);
	fclose(out->w.file);
	return out->text;
}

static void test_nesting(void **state)
{
	struct written out;
	struct json_writer *w = begin(&out);

	(void)state;
	put_begin_list(w, "none");
	put_end_list(w);
	put_begin_list(w, "list");
	put_string(w, NULL, "a");
	put_number(w, NULL, 0);
	put_begin(w, NULL);
	put_bool(w, "yes", true);
	put_bool(w, "no", false);
	put_end(w);
	put_begin(w, NULL);
	put_end(w);
	put_end_list(w);
	put_string(w, "null", NULL);
	put_built(w, "built", json_object_new_string("/"));
	put_built(w, "missing", NULL);
	assert_string_equal(finish(&out), "{\"none\":[],\"list\":[\"a\",0,{\"yes\":true,"
					  "\"no\":false},{}],\"null\":null,\"built\":\"/\","
					  "\"missing\":null}");
	free(out.text);
}

static void test_numbers(void **state)
{
	struct written out;
	struct json_writer *w = begin(&out);

	(void)state;
	put_number(w, "one", 1);
	put_number(w, "ten", 10);
	put_number(w, "most", UINT64_MAX);
	assert_string_equal(finish(&out), "{\"one\":1,\"ten\":10,\"most\":18446744073709551615}");
	free(out.text);
}

/* Every byte that an identity, a name or a path may have. */
static void test_strings(void **state)
{
	struct json_object *expected = json_object_new_object();
	struct written out;
	struct json_writer *w = begin(&out);
	char text[256];

	(void)state;
	for (int i = 1; i < 256; i++)
		text[i - 1] = i;
	text[255] = '\0';
	put_string(w, "text", text);
	json_object_object_add(expected, "text", json_object_new_string(text));
	assert_string_equal(
		finish(&out),
		json_object_to_json_string_ext(expected, JSON_C_TO_STRING_PLAIN |
								 JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(expected);
	free(out.text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nesting),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_strings),
	};

	return cmocka_run_group_tests_name("json_writer", tests, NULL, NULL);
}
