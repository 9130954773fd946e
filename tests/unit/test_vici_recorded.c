// SPDX-License-Identifier: GPL-2.0-only
/*
 * What strongSwan 5.9.8 really sends: two daemons, first with a secret and transport mode, then with
 * certificates and tunnel mode, that set up, rekeyed and ended their SAs.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vici_parts.h"

/* `make` runs the tests in the repository. */
#define RECORDED "tests/fuzz/corpus/vici_message/recorded/"

static size_t read_recorded(const char *name, char body[4096])
{
	char path[512];
	size_t size;
	FILE *file;

	snprintf(path, sizeof(path), RECORDED "%s", name);
	file = fopen(path, "r");
	if (!file)
		fail_msg("%s: %s", path, strerror(errno));
	size = fread(body, 1, 4096, file);
	assert_true(size < 4096);
	fclose(file);
	return size;
}

static void test_whole(void **state)
{
	DIR *dir = opendir(RECORDED);
	const struct dirent *entry;
	char body[4096];
	int count = 0;

	(void)state;
	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		size_t size;

		if (entry->d_name[0] == '.')
			continue;
		size = read_recorded(entry->d_name, body);
		assert_row(entry->d_name, !parse_copy(body, size));
		walk(parse(body, size).message);
		assert_truncated(body, size);
		count++;
	}
	closedir(dir);
	assert_true(count >= 20);
}

static void assert_text(struct vici_section section, const char *key, const char *expected)
{
	char text[128];

	assert_int_equal(vici_text(section, key, text, sizeof(text)), 0);
	assert_string_equal(text, expected);
}

static struct vici_section recorded(const char *name, const char *event, char body[4096])
{
	struct vici_packet packet = parse(body, read_recorded(name, body));

	if (event)
		assert_bytes(packet.name, event);
	assert_int_equal(packet.type, event ? VICI_EVENT : VICI_CMD_RESPONSE);
	return packet.message;
}

static void test_sas(void **state)
{
	static const struct {
		const char *name, *state, *spi_in, *spi_out;
	} rows[] = {
		{ "net-1", "DELETED", "caa8530f", "c57a6e38" },
		{ "cbc-2", "INSTALLED", "cc3a5a9f", "ce138b73" },
		{ "net-3", "INSTALLED", "c25f09a9", "c46db5c5" },
	};
	char body[4096];
	struct vici_section message = recorded("list-sa-rekeyed", "list-sa", body);
	struct vici_section ike = vici_section(message, "to-b0"), children;

	(void)state;
	assert_text(ike, "local-id", "a0.example");
	assert_text(ike, "remote-id", "b0.example");
	assert_text(ike, "uniqueid", "1");
	children = vici_section(ike, "child-sas");
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct vici_element child = next(&children, VICI_SECTION);

		assert_bytes(child.name, rows[i].name);
		assert_text(child.inside, "state", rows[i].state);
		assert_text(child.inside, "spi-in", rows[i].spi_in);
		assert_text(child.inside, "spi-out", rows[i].spi_out);
		assert_text(child.inside, "protocol", "ESP");
	}
	assert_end(&children);
}

static void test_rekey(void **state)
{
	char body[4096];
	struct vici_section message = recorded("child-rekey", "child-rekey", body);
	struct vici_section ike = vici_section(message, "to-b0");
	struct vici_section child = vici_section(vici_section(ike, "child-sas"), "net");

	(void)state;
	assert_text(ike, "remote-id", "b0.example");
	assert_text(vici_section(child, "old"), "spi-in", "caa8530f");
	assert_text(vici_section(child, "new"), "spi-in", "c25f09a9");
	message = recorded("ike-rekey", "ike-rekey", body);
	ike = vici_section(message, "to-b0");
	assert_text(vici_section(ike, "old"), "uniqueid", "1");
	assert_text(vici_section(ike, "new"), "uniqueid", "2");
}

static void test_updown(void **state)
{
	char body[4096];
	struct vici_section message = recorded("child-up", "child-updown", body);

	(void)state;
	assert_text(message, "up", "yes");
	assert_text(vici_section(message, "to-b0"), "remote-id", "b0.example");
	message = recorded("child-down", "child-updown", body);
	assert_null(vici_get(message, "up").data);
	message = recorded("ike-up", "ike-updown", body);
	assert_text(message, "up", "yes");
}

/* Of a peer that is dead, or has forgotten the SA, the IKE SA ends without a DELETE. */
static void test_down(void **state)
{
	static const struct {
		const char *name, *state;
	} rows[] = {
		{ "ike-down-deleted", "DELETING" },
		{ "ike-down-reauthenticated", "DELETING" },
		{ "ike-down-dead", "ESTABLISHED" },
		{ "ike-down-initial-contact", "ESTABLISHED" },
	};
	char body[4096];

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct vici_section message = recorded(rows[i].name, "ike-updown", body);

		assert_null(vici_get(message, "up").data);
		assert_text(vici_section(message, "to-b0"), "state", rows[i].state);
	}
}

static void test_certificate(void **state)
{
	char body[4096], text[128];
	struct vici_section message = recorded("list-cert-peer", "list-cert", body);
	struct vici_bytes data = vici_get(message, "data");

	(void)state;
	assert_text(message, "type", "X509");
	assert_text(message, "flag", "NONE");
	assert_int_equal(data.size, 603);
	assert_memory_equal(data.data, "\x30\x82\x02\x57", 4); /* DER */
	assert_int_equal(vici_text(message, "data", text, sizeof(text)), -EMSGSIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole), cmocka_unit_test(test_sas),
		cmocka_unit_test(test_rekey), cmocka_unit_test(test_updown),
		cmocka_unit_test(test_down),  cmocka_unit_test(test_certificate),
	};

	return cmocka_run_group_tests_name("vici_recorded", tests, NULL, NULL);
}
