// SPDX-License-Identifier: GPL-2.0-only
/* Any bytes as a VICI packet: what is well-formed is, read and written again, the same bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vici_message.h"

static void check(bool holds)
{
	if (!holds)
		abort();
}

/* Takes @bytes, and what stands before them of their @type and length, off @rest. */
static void expect(struct vici_bytes *rest, int type, size_t width, struct vici_bytes bytes)
{
	check(type < 0 || (rest->size && *rest->data == type));
	rest->data += type >= 0;
	rest->size -= type >= 0;
	check(rest->size >= width + bytes.size);
	for (size_t i = 0; i < width; i++)
		check(rest->data[i] == (__u8)(bytes.size >> 8 * (width - 1 - i)));
	check(!bytes.size || !memcmp(rest->data + width, bytes.data, bytes.size));
	rest->data += width + bytes.size;
	rest->size -= width + bytes.size;
}

static void compare(struct vici_bytes *rest, struct vici_section section)
{
	static const int types[] = {
		[VICI_VALUE] = 3, [VICI_SECTION] = 1, [VICI_LIST] = 4, [VICI_ITEM] = 5
	};
	struct vici_element e;

	while (vici_next(&section, &e)) {
		expect(rest, types[e.kind], e.kind == VICI_ITEM ? 2 : 1,
		       e.kind == VICI_ITEM ? e.value : e.name);
		if (e.kind == VICI_VALUE)
			expect(rest, -1, 2, e.value);
		compare(rest, e.inside);
		if (e.kind == VICI_SECTION || e.kind == VICI_LIST)
			expect(rest, types[e.kind] == 1 ? 2 : 6, 0, (struct vici_bytes){});
	}
}

/* As its readers do: by names that are there, be it once or more often. */
static void look_up(struct vici_section section)
{
	struct vici_section rest = section;
	struct vici_element e;
	char name[256], text[64];
	int elements = 0;

	while (vici_next(&rest, &e) && elements++ < 64) {
		memset(name, 0, sizeof(name));
		if (e.name.size)
			memcpy(name, e.name.data, e.name.size);
		check(vici_get(section, name).size <= UINT16_MAX);
		if (!vici_text(section, name, text, sizeof(text)))
			check(vici_is(vici_get(section, name), text));
		look_up(vici_section(section, name));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vici_packet packet;
	struct vici_bytes rest;

	if (vici_parse(&packet, data, size))
		return 0;
	rest = packet.message.bytes;
	compare(&rest, packet.message);
	check(!rest.size);
	look_up(packet.message);
	return 0;
}
