/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One packet of VICI, the protocol of strongSwan's IKE daemon, without the length before it.  Pure:
 * fuzzed and unit tested.
 *
 *   packet    type, then of some the length of its name (1 byte) and the name, then its elements
 *   element   SECTION_START name … SECTION_END | KEY_VALUE name value |
 *             LIST_START name (LIST_ITEM value)… LIST_END; a value after its length (2, big endian)
 */
#ifndef CLATCH_VICI_MESSAGE_H
#define CLATCH_VICI_MESSAGE_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#define VICI_MAX_PACKET (512 * 1024) /* the daemon's own bound */
#define VICI_MAX_DEPTH 8 /* of sections in sections; seen are 4 */

enum vici_type {
	VICI_CMD_REQUEST,
	VICI_CMD_RESPONSE,
	VICI_CMD_UNKNOWN,
	VICI_EVENT_REGISTER,
	VICI_EVENT_UNREGISTER,
	VICI_EVENT_CONFIRM,
	VICI_EVENT_UNKNOWN,
	VICI_EVENT,
};

/* Somewhere in the packet: any bytes, NULs among them, and no NUL behind. */
struct vici_bytes {
	const __u8 *data;
	size_t size;
};

/* The elements of a message, of a section in it, or the items of a list: found well-formed. */
struct vici_section {
	struct vici_bytes bytes;
};

struct vici_packet {
	enum vici_type type;
	struct vici_bytes name; /* of a command or an event */
	struct vici_section message;
};

/* All of @body is one packet.  0, or -EBADMSG with *packet as it was. */
int vici_parse(struct vici_packet *packet, const void *body, size_t size);

enum vici_kind { VICI_VALUE, VICI_SECTION, VICI_LIST, VICI_ITEM };

struct vici_element {
	enum vici_kind kind;
	struct vici_bytes name; /* not of an ITEM */
	struct vici_bytes value; /* of a VALUE or an ITEM */
	struct vici_section inside; /* of a SECTION or a LIST */
};

/* Takes the first element off @rest, sections and lists as a whole.  False: there is no more. */
bool vici_next(struct vici_section *rest, struct vici_element *element);

/* What is there twice counts as not there: two readers may take one each. */
struct vici_bytes vici_get(struct vici_section section, const char *key); /* NULL data: none */
struct vici_section vici_section(struct vici_section section, const char *name); /* or empty */
/*
 * vici_get() as a string.  0; -ENOENT none; -EMSGSIZE longer than @room; -EBADMSG with a NUL in it;
 * then @to is empty.
 */
int vici_text(struct vici_section section, const char *key, char *to, size_t room);
bool vici_is(struct vici_bytes bytes, const char *text);

struct vici_pair {
	const char *key;
	const char *value;
};

/*
 * A packet as it goes out, its length before it: a command with its arguments, or an event to
 * register.  Its size, or -EMSGSIZE where it, a name or a value is too long.
 */
long vici_build(void *to, size_t room, enum vici_type type, const char *name,
		const struct vici_pair *pairs, size_t count);

#endif
