/* SPDX-License-Identifier: MIT */
/*
 * Hostile - what the workers that misbehave have in common
 *
 * They join as a worker does and speak to the lane itself; nothing of the library's client side is in them. What
 * they know of their connections is what the broker told them.
 */
#ifndef VN_TESTS_HOSTILE_H
#define VN_TESTS_HOSTILE_H

#include <err.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shm/bell.h"
#include "shm/link.h"

#define MAX_KNOWN 512
#define ANSWER    4 /* the block of an honest answer */

/* What it was told of a connection. */
struct known {
	uint32_t index, gen;
	uint64_t delivered, acked, queued, sent;
	bool shut; /* we ended the output */
	bool over; /* the client reset it */
	bool ended;
};

static struct {
	vn_link link;
	struct known known[MAX_KNOWN];
	uint32_t n_known;
	uint64_t random;
} worker;

static inline uint64_t
draw(uint64_t n)
{
	worker.random ^= worker.random << 13;
	worker.random ^= worker.random >> 7;
	worker.random ^= worker.random << 17;
	return worker.random % n;
}

static inline int64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

static inline void
say(const vn_desc *d)
{
	if (vn_lane_tx_has(&worker.link.tx, 1))
		vn_lane_tx_push(&worker.link.tx, d);
}

static inline struct known *
known_find(const vn_desc *d)
{
	for (uint32_t i = 0; i < worker.n_known; i++)
		if (worker.known[i].index == d->conn && worker.known[i].gen == d->gen)
			return &worker.known[i];
	return NULL;
}

/* A connection begins with OPEN, or with the input that carries it. */
static inline struct known *
known_add(const vn_desc *d)
{
	struct known *k =
		&worker.known[worker.n_known < MAX_KNOWN ? worker.n_known++ : draw(MAX_KNOWN)];

	*k = (struct known){.index = d->conn,
		.gen = d->gen,
		.queued = d->report,
		.sent = d->report,
		.delivered = d->pos,
		.acked = d->pos};
	return k;
}

static inline void
learn(const vn_desc *d)
{
	struct known *k = known_find(d);
	bool begins = d->kind == VN_KIND_OPEN || d->kind == VN_KIND_DATA || d->kind == VN_KIND_END;

	if (!k && begins)
		k = known_add(d);
	if (!k)
		return;
	if (d->kind == VN_KIND_DATA)
		k->delivered = d->pos + d->len;
	else if (d->kind == VN_KIND_END)
		k->delivered = d->pos + 1;
	if (d->kind == VN_KIND_DATA || d->kind == VN_KIND_SENT)
		k->sent = d->report;
	k->ended |= d->kind == VN_KIND_END;
	k->over |= d->kind == VN_KIND_RESET;
	if (d->kind == VN_KIND_FINAL || d->kind == VN_KIND_REVOKED || (d->flags & VN_FINAL))
		*k = worker.known[--worker.n_known];
}

static inline void
listen_to_broker(void)
{
	vn_desc batch[64];
	int n = vn_lane_rx_take(&worker.link.rx, batch, 64);

	for (int i = 0; i < n; i++)
		learn(&batch[i]);
	vn_link_release(&worker.link);
}

/* Waits for the broker's bell, a millisecond at most. */
static inline void
rest(void)
{
	struct pollfd p = {.fd = worker.link.bell_in, .events = POLLIN};

	if (poll(&p, 1, 1) == 1 && vn_bell_drain(worker.link.bell_in) == -EPIPE)
		exit(0);
}

static inline void
begin(const char *url, uint8_t flags)
{
	vn_area_write(&worker.link.own, 0, 0, url, (uint32_t)strlen(url));
	say(&(vn_desc){.kind = VN_KIND_LISTEN, .flags = flags, .len = (uint32_t)strlen(url)});
	say(&(vn_desc){.kind = VN_KIND_READY});
	vn_link_flush(&worker.link);
}

/* Answers all input that there is, as an honest worker would. */
static inline void
answer(struct known *k)
{
	vn_area_write(&worker.link.own, ANSWER, 0, "yes", 3);
	say(&(vn_desc){.kind = VN_KIND_SEND,
		.flags = VN_ACK | VN_COMMIT,
		.conn = k->index,
		.gen = k->gen,
		.pos = k->queued,
		.block = ANSWER,
		.len = 3,
		.report = k->delivered});
	k->queued += 3;
	k->acked = k->delivered;
}

/* What its client has left is left. */
static inline void
bury(struct known *k)
{
	if (!k->shut && (k->over || k->ended))
		say(&(vn_desc){
			.kind = VN_KIND_CLOSE, .conn = k->index, .gen = k->gen, .pos = k->queued});
	k->shut = k->over || k->ended;
}

/* Waits for a connection with a request. */
static inline struct known *
request(void)
{
	for (;;) {
		listen_to_broker();
		for (uint32_t i = 0; i < worker.n_known; i++) {
			struct known *k = &worker.known[i];

			if (k->delivered > k->acked && !k->over && !k->ended)
				return k;
			bury(k);
		}
		vn_link_flush(&worker.link);
		rest();
	}
}

/* Publishes, and waits until the broker has taken it all. */
static inline void
wait_until_taken(void)
{
	vn_link_flush(&worker.link);
	while (!vn_lane_tx_has(&worker.link.tx, worker.link.geometry.n_slots))
		rest();
}

/* The number of its end of the handshake socket. */
static inline int
handshake_fd(void)
{
	const char *fd = getenv(VN_LINK_FD_ENV);

	if (!fd)
		errx(2, "this is run as a worker");
	return atoi(fd);
}

static inline void
join(const char *seed)
{
	const char *why;

	if (vn_link_join(&worker.link, handshake_fd(), &why) < 0)
		errx(1, "%s", why);
	worker.random =
		(strtoull(seed, NULL, 10) + worker.link.incarnation) * 0x9e3779b97f4a7c15u | 1;
}

#endif
