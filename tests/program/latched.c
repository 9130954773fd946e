// SPDX-License-Identifier: MIT
/*
 * Sends what it reads to a server and prints the answer, if the connection is protected by IPsec;
 * then says who is at the other end.  All that clatch asks of a program is in here; it is C and C++.
 *
 *   latched ADDRESS PORT [PEER-ID]
 */
#include <arpa/inet.h>
#include <clatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void check(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
}

static void demand(int fd, const char *peer_id)
{
	struct clatch_requirement want;

	memset(&want, 0, sizeof(want));
	want.version = CLATCH_VERSION_1;
	want.protection = CLATCH_ENCRYPTED;
	want.min_key_bits = 128;
	snprintf(want.peer_id, sizeof(want.peer_id), "%s", peer_id);
	check(setsockopt(fd, SOL_CLATCH, CLATCH_SO_REQUIRE, &want, sizeof(want)),
	      "Couldn't demand protection (does clatch guard this program?)");
}

static void say(int fd)
{
	struct clatch_inquiry now;
	char peer_id[CLATCH_IDENTITY_SIZE];
	socklen_t size = sizeof(now);

	check(getsockopt(fd, SOL_CLATCH, CLATCH_SO_INQUIRE, &now, &size), "Couldn't inquire");
	size = sizeof(peer_id);
	check(getsockopt(fd, SOL_CLATCH, CLATCH_SO_PEER_ID, peer_id, &size), "Couldn't inquire");
	if (!(now.flags & CLATCH_IS_LATCHED)) {
		printf("not latched\n");
		return;
	}
	printf("latch %llu, state %u, %s, %u bits, peer %s\n", (unsigned long long)now.id,
	       now.state, now.out.sa[0].encryption, now.out.sa[0].encryption_key_bits,
	       peer_id[0] ? peer_id : "not known");
}

int main(int argc, char **argv)
{
	struct sockaddr_in to;
	char text[1024];
	ssize_t length;
	int fd;

	memset(&to, 0, sizeof(to));
	to.sin_family = AF_INET;
	if (argc < 3 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1) {
		fprintf(stderr, "Usage: %s ADDRESS PORT [PEER-ID]\n", argv[0]);
		return 2;
	}
	to.sin_port = htons((unsigned short)atoi(argv[2]));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	check(fd, "Couldn't make a socket");
	demand(fd, argc > 3 ? argv[3] : "");
	check(connect(fd, (struct sockaddr *)&to, sizeof(to)), "Couldn't connect");
	while ((length = read(STDIN_FILENO, text, sizeof(text))) > 0)
		check((int)write(fd, text, (size_t)length), "Couldn't send");
	shutdown(fd, SHUT_WR);
	while ((length = read(fd, text, sizeof(text))) > 0)
		fwrite(text, 1, (size_t)length, stdout);
	say(fd);
	close(fd);
	return 0;
}
