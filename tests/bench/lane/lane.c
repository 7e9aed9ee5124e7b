/* SPDX-License-Identifier: MIT */
/*
 * Lane - the code of shm/ as a carrier: messages in the descriptor, in a block, and of a MiB in sixteen
 *
 * Everything that a hub does to a descriptor is done here: the receiver checks each one, gives the slots back
 * once per batch, and reports what it has taken, so that the sender gets its blocks back. What fits goes in
 * the descriptor itself: 32 bytes lie where OPEN has its report and its peer. What does not goes where vn_write()
 * would have put it: into the last block while there is room, and into larger ones while the receiver is behind.
 * What was pushed is published when it is a batch, and before anything is waited for.
 *
 * `polls` looks at the lane until there is something (one core: it yields in between, as the raw ring does),
 * `sleeps` arms its bell and waits in epoll_wait, as a hub with no processor to spare does.
 */
#include <stdlib.h>
#include <string.h>

#include "shm/chain.h"
#include "tests/bench/lane/link.h"

#define BIG_AHEAD  4            /* messages of a MiB that are under way */
#define WINDOW     (256u << 10) /* of a connection, by default */
#define BIG_BLOCKS (CARRIER_BIG_BYTES / VN_BLOCK_MAX)

typedef struct lane {
	bench_link b;
	bool sleeps;
	bool checks;          /* descriptors, as everything that another process wrote */
	uint32_t block_bytes; /* of payload; 0: in the descriptor */
	uint64_t number;      /* of the next message */
	uint64_t pos, done;   /* of the stream: sent or taken, and reported to be */
	vn_chain chain;       /* the sender's blocks that are out */
	vn_chain_link *table;
	unsigned int size_class; /* of the last block of small messages, and room in it */
	uint32_t room;
	unsigned char *payload; /* private: a MiB */
} lane;

static lane *
lane_new(const carrier *c, const carrier_place *place, bool sleeps)
{
	lane *l = calloc(1, sizeof *l);

	if (!l)
		err(1, "lane");
	bench_link_open(&l->b, place);
	l->sleeps = sleeps;
	l->checks = c != &carrier_lane32;
	l->block_bytes = c->message > 32 ? c->message : 0;
	l->chain = VN_CHAIN_EMPTY;
	return l;
}

static void
lane_begin(void *state, bool sends)
{
	lane *l = state;

	bench_link_begin(&l->b, sends);
	if (l->block_bytes && sends) {
		l->table = calloc(l->b.link.geometry.area_bytes / VN_GRANULE, sizeof *l->table);
		l->payload = aligned_alloc(4096, CARRIER_BIG_BYTES); /* as the other pass has it */
		if (!l->table || !l->payload)
			err(1, "lane");
		memset(l->payload, 1, CARRIER_BIG_BYTES);
	}
}

static __attribute__((cold, noreturn)) void
lane_bad(const char *field)
{
	errx(1, "a descriptor with a wrong %s came", field);
}

static inline void
lane_check(const lane *l, const vn_desc *d, bool from_worker)
{
	const char *bad;

	if (!l->checks)
		return;
	bad = vn_desc_check(d, from_worker, l->b.link.geometry.area_bytes);
	if (bad)
		lane_bad(bad);
}

/* Waits until there is something to take. */
static void
lane_await(lane *l)
{
	if (!l->sleeps)
		carrier_relax(l->b.one_core);
	else if (vn_lane_rx_arm(&l->b.link.rx))
		bench_link_nap(&l->b);
}

static int
lane_take(lane *l, vn_desc batch[CARRIER_BATCH])
{
	int n = vn_lane_rx_take(&l->b.link.rx, batch, CARRIER_BATCH);

	if (n < 0)
		errx(1, "the other side's tail makes no sense");
	if (n > 0)
		vn_link_release(&l->b.link);
	return n;
}

/* The sender: takes reports, and gives blocks back. */
static bool
lane_reports(lane *l)
{
	vn_desc batch[CARRIER_BATCH];
	int n = lane_take(l, batch);

	for (int i = 0; i < n; i++) {
		lane_check(l, &batch[i], true);
		l->done = batch[i].report;
	}
	if (n > 0)
		vn_chain_free(&l->chain, l->table, l->b.link.blocks, l->done);
	return n > 0;
}

/* Room for a batch of descriptors. The bell is asked for when half of the lane is free. */
static void
lane_room(lane *l, uint32_t n)
{
	vn_lane_tx *tx = &l->b.link.tx;

	while (!vn_lane_tx_has(tx, n)) {
		if (l->block_bytes && lane_reports(l))
			continue;
		if (!l->sleeps)
			carrier_relax(l->b.one_core);
		else if (!vn_lane_tx_want(tx, CARRIER_SLOTS / 2) &&
			 (!l->block_bytes || vn_lane_rx_arm(&l->b.link.rx)))
			bench_link_nap(&l->b);
	}
}

static void
put_inline(lane *l)
{
	vn_desc d = {.kind = VN_KIND_OPEN, .arg = 1, .conn = 1, .gen = 1, .pos = l->number};
	uint64_t words[4];

	carrier_fill(words, sizeof words, l->number++);
	d.report = words[0];
	memcpy(&d.peer, words + 1, sizeof d.peer);
	vn_lane_tx_push(&l->b.link.tx, &d);
}

static uint32_t
block_take(lane *l, unsigned int size_class)
{
	uint32_t block;

	while ((block = vn_block_alloc(l->b.link.blocks, size_class)) == VN_NO_BLOCK) {
		vn_link_flush(&l->b.link);
		if (!lane_reports(l))
			lane_await(l);
	}
	return block;
}

static inline void
push_data(lane *l, uint32_t block, uint32_t offset, uint32_t len, uint64_t pos)
{
	vn_desc d = {
		.kind = VN_KIND_DATA,
		.len = len,
		.conn = 1,
		.gen = 1,
		.pos = pos,
		.block = block,
		.offset = offset,
	};

	vn_lane_tx_push(&l->b.link.tx, &d);
}

/* As vn_write() chooses: it begins small, and grows while blocks are out and the window takes the next size. */
static unsigned int
class_next(lane *l)
{
	if (vn_chain_is_empty(&l->chain))
		l->size_class = 0;
	else if (l->size_class < VN_N_CLASSES - 1)
		l->size_class++;
	while (l->size_class && l->chain.charge + vn_block_class_bytes(l->size_class) > WINDOW)
		l->size_class--;
	return l->size_class;
}

static void
block_chain(lane *l, unsigned int size_class)
{
	uint32_t block = block_take(l, size_class);

	l->room = vn_block_class_bytes(size_class);
	l->chain.charge += l->room;
	vn_chain_push(&l->chain, l->table, block, 0, l->pos);
}

/* Room in the last block, for a message at least. */
static uint32_t
block_room(lane *l)
{
	if (l->chain.last == VN_NO_BLOCK || l->room < l->block_bytes)
		block_chain(l, class_next(l));
	return l->room;
}

static void
block_filled(lane *l, uint32_t len)
{
	vn_chain_extend(&l->chain, l->table, len);
	l->pos += len;
	l->room -= len;
}

/* n messages, as many as fit into the last block. Return: how many that are. */
static uint32_t
put_small(lane *l, uint32_t n)
{
	uint64_t words[8], number = l->number;
	uint32_t room = block_room(l) / sizeof words, block = l->chain.last;
	uint32_t offset = l->table[block].fill, done = 0;

	n = n < room ? n : room;
	for (; done < n * sizeof words; done += sizeof words) {
		carrier_fill(words, sizeof words, number++);
		vn_area_write(&l->b.link.own, block, offset + done, words, sizeof words);
		push_data(l, block, offset + done, sizeof words, l->pos + done);
	}
	l->number = number;
	block_filled(l, done);
	return n;
}

static void
put_batch(lane *l, uint32_t n, carrier_tally *t)
{
	if (!l->block_bytes) {
		while (n-- > 0)
			put_inline(l);
		return;
	}
	t->copied += n * l->block_bytes;
	while (n > 0)
		n -= put_small(l, n);
}

static void
lane_send(void *state, uint64_t n, carrier_tally *t)
{
	lane *l = state;

	while (n > 0) {
		uint32_t batch = n < CARRIER_BATCH ? (uint32_t)n : CARRIER_BATCH;

		lane_room(l, batch);
		put_batch(l, batch, t);
		vn_link_flush(&l->b.link);
		if (l->block_bytes)
			lane_reports(l);
		n -= batch;
	}
	bench_link_tally(&l->b, t);
}

static void
get_inline(lane *l, const vn_desc *batch, int n)
{
	uint64_t words[4], number = l->number;

	for (int i = 0; i < n; i++) {
		lane_check(l, &batch[i], false);
		words[0] = batch[i].report;
		memcpy(words + 1, &batch[i].peer, sizeof batch[i].peer);
		carrier_verify(words, sizeof words, number++);
	}
	l->number = number;
}

static void
get_small(lane *l, const vn_desc *batch, int n)
{
	uint64_t words[8], number = l->number;

	for (int i = 0; i < n; i++) {
		const vn_desc *d = &batch[i];

		lane_check(l, d, false);
		vn_area_read(&l->b.link.peer, d->block, d->offset, words, sizeof words);
		carrier_verify(words, sizeof words, number++);
	}
	l->number = number;
	l->pos = batch[n - 1].pos + batch[n - 1].len;
}

/* What was taken up to here, so that its blocks can go home. */
static void
report(lane *l)
{
	vn_desc d = {.kind = VN_KIND_ACK, .conn = 1, .gen = 1, .report = l->pos};

	while (!vn_lane_tx_has(&l->b.link.tx, 1))
		carrier_relax(l->b.one_core);
	vn_lane_tx_push(&l->b.link.tx, &d);
	vn_link_flush(&l->b.link);
}

static void
lane_receive(void *state, uint64_t n, carrier_tally *t)
{
	lane *l = state;
	vn_desc batch[CARRIER_BATCH];

	while (n > 0) {
		int taken = lane_take(l, batch);

		if (taken == 0) {
			lane_await(l);
		} else if (l->block_bytes) {
			get_small(l, batch, taken);
			report(l);
			t->copied += (uint64_t)taken * l->block_bytes;
		} else {
			get_inline(l, batch, taken);
		}
		n -= (uint64_t)taken;
	}
	bench_link_tally(&l->b, t);
}

/* A MiB: the sender writes it into blocks, once; the receiver looks at it where it lies */

static void
put_block(lane *l, const void *payload)
{
	block_chain(l, VN_N_CLASSES - 1);
	vn_area_write(&l->b.link.own, l->chain.last, 0, payload, VN_BLOCK_MAX);
	push_data(l, l->chain.last, 0, VN_BLOCK_MAX, l->pos);
	block_filled(l, VN_BLOCK_MAX);
}

static void
big_send(void *state, uint64_t n, carrier_tally *t)
{
	lane *l = state;

	for (; n > 0; n--) {
		while (l->pos - l->done > (BIG_AHEAD - 1) * CARRIER_BIG_BYTES)
			if (!lane_reports(l)) {
				vn_link_flush(&l->b.link);
				lane_await(l);
			}
		memcpy(l->payload, &l->number, sizeof l->number);
		l->number++;
		for (uint32_t i = 0; i < BIG_BLOCKS; i++)
			put_block(l, l->payload + i * VN_BLOCK_MAX);
		if (vn_lane_tx_staged(&l->b.link.tx) >= CARRIER_BATCH)
			vn_link_flush(&l->b.link);
		t->copied += CARRIER_BIG_BYTES;
	}
	vn_link_flush(&l->b.link);
	bench_link_tally(&l->b, t);
}

/* Each block is borrowed: the first and the last word are looked at in place. */
static void
big_look(lane *l, const vn_desc *d)
{
	const unsigned char *at = vn_area_at(&l->b.link.peer, d->block, d->offset);
	uint64_t first, last;

	memcpy(&first, at, sizeof first);
	memcpy(&last, at + d->len - sizeof last, sizeof last);
	if (l->pos % CARRIER_BIG_BYTES == 0 && first != l->number++)
		errx(1, "message %ju is missing", (uintmax_t)l->number);
	if (last != 0x0101010101010101u)
		errx(1, "the end of a block is missing");
	l->pos += d->len;
}

static void
big_receive(void *state, uint64_t n, carrier_tally *t)
{
	lane *l = state;
	uint64_t until = l->pos + n * CARRIER_BIG_BYTES;
	vn_desc batch[CARRIER_BATCH];

	while (l->pos < until) {
		int taken = lane_take(l, batch);

		for (int i = 0; i < taken; i++) {
			lane_check(l, &batch[i], false);
			big_look(l, &batch[i]);
		}
		if (taken == 0)
			lane_await(l);
		else
			report(l);
	}
	bench_link_tally(&l->b, t);
}

/* A descriptor there and one back */

static void
trip_push(lane *l)
{
	vn_desc d = {
		.kind = l->b.sends ? VN_KIND_SENT : VN_KIND_ACK, .conn = 1, .report = l->number};

	while (!vn_lane_tx_has(&l->b.link.tx, 1))
		carrier_relax(l->b.one_core);
	vn_lane_tx_push(&l->b.link.tx, &d);
	vn_link_flush(&l->b.link);
}

static void
trip_await(lane *l)
{
	vn_desc d;

	while (vn_lane_rx_take(&l->b.link.rx, &d, 1) != 1)
		if (l->sleeps && vn_lane_rx_arm(&l->b.link.rx))
			bench_link_nap(&l->b);
	vn_link_release(&l->b.link);
	lane_check(l, &d, l->b.sends);
	if (d.report != l->number)
		errx(1, "round trip %ju is missing", (uintmax_t)l->number);
}

static void
trip_send(void *state, uint64_t n, carrier_tally *t)
{
	lane *l = state;

	for (; n > 0; n--) {
		trip_push(l);
		trip_await(l);
		l->number++;
	}
	bench_link_tally(&l->b, t);
}

static void
trip_receive(void *state, uint64_t n, carrier_tally *t)
{
	lane *l = state;

	for (; n > 0; n--) {
		trip_await(l);
		trip_push(l);
		l->number++;
	}
	bench_link_tally(&l->b, t);
}

/* One carrier for each way */

static void *
polls_open(const carrier *c, const carrier_place *place)
{
	return lane_new(c, place, false);
}

/* With a core of its own it polls, or the wake-ups would be most of what is measured. */
static void *
big_open(const carrier *c, const carrier_place *place)
{
	return lane_new(c, place, place->one_core);
}

static void *
sleeps_open(const carrier *c, const carrier_place *place)
{
	return lane_new(c, place, true);
}

#define ONE_WAY .begin = lane_begin, .send = lane_send, .receive = lane_receive
#define TRIP    .begin = lane_begin, .send = trip_send, .receive = trip_receive

const carrier carrier_lane32 = {
	.name = "lane32",
	.settings = "1024 slots, the message in the descriptor, not checked; polls as raw does",
	.message = 32,
	.open = polls_open,
	ONE_WAY,
};
const carrier carrier_checked32 = {
	.name = "checked32",
	.settings = "the same, and vn_desc_check() on each",
	.message = 32,
	.open = polls_open,
	ONE_WAY,
};
const carrier carrier_lane64 = {
	.name = "lane64",
	.settings = "1024 slots, checked, blocks filled as vn_write() does, one report per batch; "
		    "polls as raw does",
	.message = 64,
	.open = polls_open,
	ONE_WAY,
};
const carrier carrier_hubs32 = {
	.name = "hubs32",
	.settings = "as checked32; bells and epoll_wait",
	.message = 32,
	.open = sleeps_open,
	ONE_WAY,
};
const carrier carrier_hubs64 = {
	.name = "hubs64",
	.settings = "as lane64; bells and epoll_wait",
	.message = 64,
	.open = sleeps_open,
	ONE_WAY,
};
const carrier carrier_big = {
	.name = "big",
	.settings = "1 MiB in 16 blocks, four under way, published 32 blocks at a time, read in "
		    "place; one core: bells "
		    "and epoll_wait, two: polls",
	.message = CARRIER_BIG_BYTES,
	.open = big_open,
	.begin = lane_begin,
	.send = big_send,
	.receive = big_receive,
};
const carrier carrier_trip_polls = {
	.name = "trip-polls",
	.settings = "one descriptor each way, polls",
	.open = polls_open,
	TRIP,
};
const carrier carrier_trip_sleeps = {
	.name = "trip-sleeps",
	.settings = "one descriptor each way; bells and epoll_wait",
	.open = sleeps_open,
	TRIP,
};
