/* SPDX-License-Identifier: MIT */
/*
 * Idle - many connections that do nothing, or one request each when told to
 *
 * Opens its connections and holds them. Each line on stdin makes each connection send one request and read
 * its answer, one after the other, so that at most one is in flight; then the connections are idle again.
 * "{"done": N}" on stdout follows the opening and each line. End of file on stdin closes them all.
 */
#include <stdio.h>
#include <string.h>

#include "client.h"

#define REQUEST_BYTES 64
#define ANSWER_S      10

static void
conn_ask(int fd, size_t i)
{
	char request[REQUEST_BYTES] = {0}, answer[REQUEST_BYTES];
	ssize_t n;

	memcpy(request, &i, sizeof i);
	if (send(fd, request, sizeof request, MSG_NOSIGNAL) != sizeof request)
		err(1, "send on connection %zu", i);
	n = recv(fd, answer, sizeof answer, MSG_WAITALL);
	if (n < 0)
		err(1, "recv on connection %zu", i);
	if (n != sizeof answer || memcmp(answer, request, sizeof answer) != 0)
		errx(1, "connection %zu: the answer is not what was sent", i);
}

static void
idle_report(size_t n_done)
{
	printf("{\"done\": %zu}\n", n_done);
	fflush(stdout);
}

int
main(int argc, char **argv)
{
	const struct timeval limit = {.tv_sec = ANSWER_S};
	size_t n_conns;
	uint16_t port;
	int *fds;
	int c;

	if (argc != 3)
		errx(2, "usage: idle CONNS PORT");
	n_conns = client_number(argv[1], 1, 1000000);
	port = (uint16_t)client_number(argv[2], 1, 65535);
	client_raise_fd_limit();
	fds = calloc(n_conns, sizeof *fds);
	if (!fds)
		err(1, "memory for %zu connections", n_conns);
	for (size_t i = 0; i < n_conns; i++) {
		fds[i] = client_connect(port);
		setsockopt(fds[i], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	}
	idle_report(n_conns);
	while ((c = getchar()) != EOF) {
		if (c != '\n')
			continue;
		for (size_t i = 0; i < n_conns; i++)
			conn_ask(fds[i], i);
		idle_report(n_conns);
	}
	free(fds);
	return 0;
}
