/* SPDX-License-Identifier: GPL-2.0-only */
/* What the tests of VICI messages have in common. */
#ifndef CLATCH_UNIT_VICI_PARTS_H
#define CLATCH_UNIT_VICI_PARTS_H

#include "test.h"

#include <errno.h>
#include <string.h>

#include "vici_message.h"

/* In memory of exactly that size, for the address sanitizer to see. */
static inline int parse_copy(const void *body, size_t size)
{
	struct vici_packet before, packet;
	void *copy = test_malloc(size ? size : 1);
	int err;

	memcpy(copy, body, size);
	memset(&before, 0x5a, sizeof(before));
	packet = before;
	err = vici_parse(&packet, size ? copy : (char *)copy + 1, size);
	if (err)
		assert_memory_equal(&packet, &before, sizeof(packet));
	test_free(copy);
	return err;
}

static inline struct vici_packet parse(const void *body, size_t size)
{
	struct vici_packet packet;

	assert_int_equal(vici_parse(&packet, body, size), 0);
	return packet;
}

static inline void assert_bytes(struct vici_bytes bytes, const char *text)
{
	if (!vici_is(bytes, text))
		fail_msg("'%.*s' is not '%s'", (int)bytes.size, (const char *)bytes.data, text);
}

static inline struct vici_element next(struct vici_section *rest, enum vici_kind kind)
{
	struct vici_element element;

	assert_true(vici_next(rest, &element));
	assert_int_equal(element.kind, kind);
	return element;
}

static inline void assert_end(struct vici_section *rest)
{
	struct vici_element element;

	assert_false(vici_next(rest, &element));
}

/* What is read of every well-formed message, for the sanitizers. */
static inline size_t walk(struct vici_section section)
{
	struct vici_element element;
	size_t values = 0;

	while (vici_next(&section, &element)) {
		assert_true(element.name.size < 256 && element.value.size < 65536);
		values += element.kind == VICI_VALUE || element.kind == VICI_ITEM;
		values += walk(element.inside);
	}
	return values;
}

static inline void assert_truncated(const char *body, size_t size)
{
	for (size_t cut = 0; cut < size; cut++) {
		struct vici_packet packet;

		if (parse_copy(body, cut))
			continue;
		/* only where an element ends, outside all sections */
		packet = parse(body, cut);
		walk(packet.message);
		assert_int_not_equal(parse_copy(body, cut + 1), 0);
	}
}

#endif
