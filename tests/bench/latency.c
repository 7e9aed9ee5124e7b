/* SPDX-License-Identifier: MIT */
/*
 * Latency - what answers take, at a rate that does not depend on them
 *
 * Requests are due at a fixed rate, over the connections in turn. One that is due while its connection still waits
 * for an answer is sent when that has come, and counts from when it was due: a server that stops for a while pays
 * for all that would have been asked meanwhile, not for one request of each connection.
 *
 * Each line on stdin is one slice: "{"n": N, "p50_us": X, "p99_us": X, "max_us": X}" on stdout.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "client.h"

#define REQUEST_BYTES 64
#define BATCH_EVENTS  64
#define ANSWER_NS     10000000000ull

typedef struct conn {
	int fd;
	bool busy;
	uint64_t due;     /* of the one in flight */
	uint64_t next_at; /* of the next one */
} conn;

static void
request_send(conn *c, uint64_t every_ns)
{
	const char request[REQUEST_BYTES] = {0};

	if (send(c->fd, request, sizeof request, MSG_NOSIGNAL) != sizeof request)
		err(1, "send");
	c->busy = true;
	c->due = c->next_at;
	c->next_at += every_ns;
}

static uint32_t
answer_take(conn *c)
{
	char answer[REQUEST_BYTES];

	if (recv(c->fd, answer, sizeof answer, MSG_WAITALL) != sizeof answer)
		err(1, "recv");
	c->busy = false;
	return (uint32_t)((client_clock_ns(CLOCK_MONOTONIC) - c->due) / 1000);
}

static int
compare(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return (left > right) - (left < right);
}

static void
report(uint32_t *taken, size_t n)
{
	qsort(taken, n, sizeof *taken, compare);
	printf("{\"n\": %zu, \"p50_us\": %u, \"p99_us\": %u, \"max_us\": %u}\n", n, taken[n / 2],
		taken[n * 99 / 100], taken[n - 1]);
	fflush(stdout);
}

/* Until an answer comes, or the next request is due. */
static int
wait_until(int epoll_fd, struct epoll_event *events, uint64_t due)
{
	uint64_t now = client_clock_ns(CLOCK_MONOTONIC), left = due > now ? due - now : 0;
	struct timespec timeout = {
		.tv_sec = (time_t)(left / 1000000000), .tv_nsec = (long)(left % 1000000000)};

	return epoll_pwait2(epoll_fd, events, BATCH_EVENTS, &timeout, NULL);
}

/* Sends what is due. Return: when the next one is. */
static uint64_t
requests_send(conn *conns, size_t n_conns, uint64_t every_ns)
{
	uint64_t now = client_clock_ns(CLOCK_MONOTONIC), next = now + every_ns;

	for (size_t i = 0; i < n_conns; i++) {
		if (!conns[i].busy && conns[i].next_at <= now)
			request_send(&conns[i], every_ns);
		if (!conns[i].busy && conns[i].next_at < next)
			next = conns[i].next_at;
	}
	return next;
}

static void
slice(conn *conns, size_t n_conns, int epoll_fd, uint64_t every_ns, uint32_t *taken,
	size_t n_wanted)
{
	struct epoll_event events[BATCH_EVENTS];
	uint64_t start = client_clock_ns(CLOCK_MONOTONIC);
	size_t n_taken = 0;

	for (size_t i = 0; i < n_conns; i++)
		conns[i].next_at = start + every_ns * i / n_conns;
	while (n_taken < n_wanted) {
		uint64_t due = requests_send(conns, n_conns, every_ns);
		int n = wait_until(epoll_fd, events, due);

		for (int i = 0; i < n && n_taken < n_wanted; i++)
			taken[n_taken++] = answer_take(&conns[events[i].data.u64]);
		if (due - start > ANSWER_NS + every_ns * n_wanted / n_conns)
			errx(1, "no answer");
	}
	for (size_t i = 0; i < n_conns; i++)
		if (conns[i].busy)
			answer_take(&conns[i]);
	report(taken, n_taken);
}

int
main(int argc, char **argv)
{
	size_t n_conns, rate, n_wanted;
	uint32_t *taken;
	conn *conns;
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC), c;

	if (argc != 5)
		errx(2, "usage: latency CONNS PORT RATE REQUESTS");
	n_conns = client_number(argv[1], 1, 1000);
	rate = client_number(argv[3], 1, 1000000);
	n_wanted = client_number(argv[4], 100, 10000000);
	conns = calloc(n_conns, sizeof *conns);
	taken = calloc(n_wanted, sizeof *taken);
	if (!conns || !taken || epoll_fd < 0)
		err(1, "start");
	for (size_t i = 0; i < n_conns; i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.u64 = i};

		conns[i].fd = client_connect((uint16_t)client_number(argv[2], 1, 65535));
		if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, conns[i].fd, &event) < 0)
			err(1, "epoll_ctl");
	}
	while ((c = getchar()) != EOF)
		if (c == '\n')
			slice(conns, n_conns, epoll_fd, 1000000000ull * n_conns / rate, taken,
				n_wanted);
	free(conns);
	free(taken);
	return 0;
}
