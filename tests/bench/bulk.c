/* SPDX-License-Identifier: MIT */
/*
 * Bulk - many bytes through an echo server on one connection, and a checksum of both directions
 *
 * The stream is a sequence of 64-bit words, each the product of its position and an odd constant: no two
 * are alike, so bytes that are lost, doubled or moved change the sum of what comes back. What was sent and
 * what came back are summed by the same function, word by word, in order. When all is sent the output is
 * shut, and after the last byte the server has to say end of file: one byte too many fails as well.
 *
 * Both directions are kept going by one poll loop. One line of JSON on stdout: bytes, wall time, both sums.
 */
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "client.h"

#define CHUNK_WORDS 16384 /* 128 KiB a call */
#define SILENCE_MS  30000

typedef struct bulk_sum {
	uint64_t sum;
	uint64_t n_words;
} bulk_sum;

typedef struct bulk {
	int fd;
	uint64_t n_words; /* of the whole stream */
	uint64_t out[CHUNK_WORDS];
	size_t out_at, out_len; /* bytes of out that are sent, and that are there */
	bulk_sum sent;
	uint64_t in[CHUNK_WORDS];
	size_t in_len; /* bytes of a word that has not come whole */
	bulk_sum received;
	bool received_end;
} bulk;

static void
sum_add(bulk_sum *s, const uint64_t *words, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		s->sum = (s->sum ^ words[i]) * 0x100000001b3;
		s->sum = s->sum << 29 | s->sum >> 35;
	}
	s->n_words += n;
}

/* Return: false when the stream has no more. */
static bool
bulk_fill(bulk *b)
{
	uint64_t left = b->n_words - b->sent.n_words;
	size_t n = left < CHUNK_WORDS ? left : CHUNK_WORDS;

	for (size_t i = 0; i < n; i++)
		b->out[i] = (b->sent.n_words + i + 1) * 0x9e3779b97f4a7c15;
	sum_add(&b->sent, b->out, n);
	b->out_at = 0;
	b->out_len = n * sizeof *b->out;
	return n > 0;
}

/* Return: false when everything is sent. */
static bool
bulk_send(bulk *b)
{
	ssize_t n;

	if (b->out_at == b->out_len && !bulk_fill(b)) {
		if (shutdown(b->fd, SHUT_WR) < 0)
			err(1, "shutdown");
		return false;
	}
	n = send(b->fd, (char *)b->out + b->out_at, b->out_len - b->out_at,
		MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && errno != EAGAIN)
		err(1, "send");
	if (n > 0)
		b->out_at += (size_t)n;
	return true;
}

static void
bulk_receive(bulk *b)
{
	char *in = (char *)b->in;
	ssize_t n = recv(b->fd, in + b->in_len, sizeof b->in - b->in_len, MSG_DONTWAIT);
	size_t n_words;

	if (n < 0 && errno == EAGAIN)
		return;
	if (n < 0)
		err(1, "recv after %ju bytes", (uintmax_t)(b->received.n_words * sizeof *b->in));
	if (n == 0) {
		b->received_end = true;
		return;
	}
	b->in_len += (size_t)n;
	n_words = b->in_len / sizeof *b->in;
	sum_add(&b->received, b->in, n_words);
	b->in_len %= sizeof *b->in;
	memcpy(b->in, b->in + n_words, b->in_len);
}

static void
bulk_run(bulk *b)
{
	struct pollfd poll_fd = {.fd = b->fd, .events = POLLIN | POLLOUT};

	while (!b->received_end) {
		int n = poll(&poll_fd, 1, SILENCE_MS);

		if (n < 0 && errno != EINTR)
			err(1, "poll");
		if (n == 0)
			errx(1, "nothing moved for %d s", SILENCE_MS / 1000);
		if (poll_fd.revents & POLLOUT && !bulk_send(b))
			poll_fd.events &= ~POLLOUT;
		if (poll_fd.revents & (POLLIN | POLLHUP | POLLERR))
			bulk_receive(b);
	}
}

int
main(int argc, char **argv)
{
	static bulk b;
	uint64_t start_ns;
	bool whole;

	if (argc != 3)
		errx(2, "usage: bulk MIBIBYTES PORT");
	b.n_words = client_number(argv[1], 1, 1 << 20) * (1 << 20) / sizeof *b.out;
	b.fd = client_connect((uint16_t)client_number(argv[2], 1, 65535));
	start_ns = client_clock_ns(CLOCK_MONOTONIC);
	bulk_run(&b);
	whole = b.received.n_words == b.n_words && b.in_len == 0 && b.received.sum == b.sent.sum;
	printf("{\"bytes\": %ju, \"wall_ns\": %ju, \"sent_sum\": \"%016jx\", \"received_sum\": "
	       "\"%016jx\", "
	       "\"whole\": %s}\n",
		(uintmax_t)(b.n_words * sizeof *b.out),
		(uintmax_t)(client_clock_ns(CLOCK_MONOTONIC) - start_ns), (uintmax_t)b.sent.sum,
		(uintmax_t)b.received.sum, whole ? "true" : "false");
	return whole ? 0 : 1;
}
