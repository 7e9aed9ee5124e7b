/* SPDX-License-Identifier: MIT */
/*
 * hostile - a worker that lies to its broker
 *
 * hostile URL MODE SEED
 *
 * It joins as a worker does, listens on the URL, says that it is ready, and then publishes what no honest worker
 * would. The modes:
 *
 *   plausible  what fits the state of its connections, at random times and with any block, and one lie in a while
 *   random     descriptors of which any field may be anything
 *   cursors    cursors that cannot be
 *   scribble   random words all over its segment, slots and cursors included, after the first descriptors
 *   deaf       takes nothing any more and answers nothing
 *   flood      output that nobody asked for, to everybody, without end, and a bell for each
 *
 * It ends when it is killed, or by itself after two seconds.
 */
#include <err.h>
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
#define LIFE_MS   2000

/* What it was told of a connection. */
struct known {
	uint32_t index, gen;
	uint64_t delivered, acked, queued;
	bool shut;
};

static struct {
	vn_link link;
	struct known known[MAX_KNOWN];
	uint32_t n_known;
	uint64_t random;
} worker;

static uint64_t
draw(uint64_t n)
{
	worker.random ^= worker.random << 13;
	worker.random ^= worker.random >> 7;
	worker.random ^= worker.random << 17;
	return worker.random % n;
}

static int64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

static void
say(const vn_desc *d)
{
	if (vn_lane_tx_has(&worker.link.tx, 1))
		vn_lane_tx_push(&worker.link.tx, d);
}

static void
learn(const vn_desc *d)
{
	struct known *k = NULL;

	for (uint32_t i = 0; i < worker.n_known && !k; i++)
		if (worker.known[i].index == d->conn && worker.known[i].gen == d->gen)
			k = &worker.known[i];
	if (!k) {
		k = &worker.known[worker.n_known < MAX_KNOWN ? worker.n_known++ : draw(MAX_KNOWN)];
		*k = (struct known){.index = d->conn,
			.gen = d->gen,
			.queued = d->report,
			.delivered = d->pos,
			.acked = d->pos};
	}
	if (d->kind == VN_KIND_DATA)
		k->delivered = d->pos + d->len;
	else if (d->kind == VN_KIND_END)
		k->delivered = d->pos + 1;
}

static void
listen_to_broker(void)
{
	vn_desc batch[64];
	int n = vn_lane_rx_take(&worker.link.rx, batch, 64);

	for (int i = 0; i < n; i++)
		if (batch[i].kind == VN_KIND_OPEN || batch[i].kind == VN_KIND_DATA ||
			batch[i].kind == VN_KIND_END)
			learn(&batch[i]);
	vn_link_release(&worker.link);
}

static void
begin(const char *url)
{
	vn_area_write(&worker.link.own, 0, 0, url, (uint32_t)strlen(url));
	say(&(vn_desc){.kind = VN_KIND_LISTEN, .flags = VN_RESUME, .len = (uint32_t)strlen(url)});
	say(&(vn_desc){.kind = VN_KIND_READY});
	vn_link_flush(&worker.link);
}

/* What fits, as far as it knows. */
static vn_desc
fitting(struct known *k)
{
	static const uint8_t kinds[] = {VN_KIND_SEND, VN_KIND_SEND, VN_KIND_SEND, VN_KIND_SEND,
		VN_KIND_ACK, VN_KIND_ACK, VN_KIND_NEED, VN_KIND_NEED_INPUT, VN_KIND_SHUTDOWN,
		VN_KIND_CLOSE};
	vn_desc d = {.kind = kinds[draw(sizeof kinds)], .conn = k->index, .gen = k->gen};

	if (k->shut && (d.kind == VN_KIND_SEND || d.kind == VN_KIND_SHUTDOWN))
		d.kind = VN_KIND_ACK;
	if (d.kind == VN_KIND_SEND) {
		d.pos = k->queued;
		d.len = 1 + (uint32_t)draw(draw(2) ? 300 : 65536);
		d.block = (uint32_t)draw(worker.link.geometry.area_bytes / VN_GRANULE - 256);
		d.flags = draw(2) ? VN_ACK | (draw(2) ? VN_COMMIT : 0) : 0;
		k->queued += d.len;
	} else if (d.kind == VN_KIND_ACK) {
		d.flags = draw(2) ? VN_COMMIT : 0;
	} else if (d.kind == VN_KIND_SHUTDOWN || d.kind == VN_KIND_CLOSE) {
		d.pos = k->queued;
		d.flags = d.kind == VN_KIND_CLOSE && draw(3) == 0 ? VN_ABORT : 0;
		k->shut = true;
	}
	if (d.kind == VN_KIND_ACK || d.flags & VN_ACK)
		d.report = k->acked +=
			draw(2) ? k->delivered - k->acked : draw(k->delivered - k->acked + 1);
	return d;
}

static void
lie(vn_desc *d)
{
	unsigned char *byte = (unsigned char *)d;

	switch (draw(4)) {
	case 0:
		byte[draw(sizeof *d)] ^= (unsigned char)(1 << draw(8));
		break;
	case 1:
		d->gen = (uint32_t)draw(8);
		break;
	case 2:
		d->conn = (uint32_t)draw(64);
		break;
	default:
		d->pos += draw(3) - 1;
		d->report += draw(3) - 1;
		break;
	}
}

static void
be_plausible(void)
{
	struct known *k;
	vn_desc d;

	listen_to_broker();
	for (uint64_t i = draw(40); i && worker.n_known; i--) {
		k = &worker.known[draw(worker.n_known)];
		d = fitting(k);
		if (draw(400) == 0)
			lie(&d);
		say(&d);
		if (d.kind == VN_KIND_CLOSE)
			*k = worker.known[--worker.n_known];
	}
	vn_link_flush(&worker.link);
}

static void
be_random(void)
{
	vn_desc d;
	unsigned char *bytes = (unsigned char *)&d;

	listen_to_broker();
	for (size_t i = 0; i < sizeof d; i++)
		bytes[i] = draw(3) ? 0 : (unsigned char)draw(256);
	d.kind = (uint8_t)draw(VN_N_KINDS + 2);
	say(&d);
	vn_link_flush(&worker.link);
}

static void
lie_of_cursors(void)
{
	uint32_t *words[] = {worker.link.tx.tail, worker.link.rx.head, worker.link.tx.space_ev,
		worker.link.rx.ev};
	static const uint32_t jumps[] = {1, 511, 512, 513, 100000, 0x80000000u, 0xffffffffu};
	uint32_t *word = words[draw(4)];

	listen_to_broker();
	__atomic_fetch_add(word, jumps[draw(sizeof jumps / sizeof *jumps)], __ATOMIC_SEQ_CST);
	vn_bell_ring(worker.link.bell_out);
}

static void
scribble(void)
{
	listen_to_broker();
	for (int i = 0; i < 1000; i++) {
		size_t at = draw(3) ? 4096 + draw(40000) : draw(worker.link.own.size);

		memcpy(worker.link.own.base + at % (worker.link.own.size - 8), &worker.random,
			1 + draw(8));
	}
	vn_bell_ring(worker.link.bell_out);
}

static void
flood(void)
{
	listen_to_broker();
	for (uint32_t i = 0; i < worker.n_known; i++) {
		struct known *k = &worker.known[i];
		uint32_t block =
			(uint32_t)draw(worker.link.geometry.area_bytes / VN_BLOCK_MAX) * 256;

		if (!vn_lane_tx_has(&worker.link.tx, 1))
			break;
		say(&(vn_desc){.kind = VN_KIND_SEND,
			.conn = k->index,
			.gen = k->gen,
			.pos = k->queued,
			.block = block,
			.len = VN_BLOCK_MAX});
		k->queued += VN_BLOCK_MAX;
		vn_link_flush(&worker.link);
		vn_bell_ring(worker.link.bell_out);
	}
}

static void
be_deaf(void)
{
	usleep(10000);
}

int
main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*act)(void);
	} modes[] = {{"plausible", be_plausible}, {"random", be_random},
		{"cursors", lie_of_cursors}, {"scribble", scribble}, {"deaf", be_deaf},
		{"flood", flood}};
	const char *why, *fd = getenv(VN_LINK_FD_ENV);
	int64_t start = now_ms();
	size_t mode = 0;

	if (argc != 4 || !fd)
		errx(2, "usage: hostile URL MODE SEED, as a worker");
	while (mode < sizeof modes / sizeof *modes && strcmp(modes[mode].name, argv[2]) != 0)
		mode++;
	if (mode == sizeof modes / sizeof *modes)
		errx(2, "%s is no mode", argv[2]);
	if (vn_link_join(&worker.link, atoi(fd), &why) < 0)
		errx(1, "%s", why);
	worker.random =
		(strtoull(argv[3], NULL, 10) + worker.link.incarnation) * 0x9e3779b97f4a7c15u | 1;
	begin(argv[1]);
	while (now_ms() - start < LIFE_MS) {
		struct pollfd p = {.fd = worker.link.bell_in, .events = POLLIN};

		/* Long enough for something to lie about. */
		if (now_ms() - start > 30 || worker.n_known)
			modes[mode].act();
		else
			listen_to_broker();
		poll(&p, 1, 1);
		vn_bell_drain(worker.link.bell_in);
	}
	return 0;
}
