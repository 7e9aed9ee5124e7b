/* SPDX-License-Identifier: MIT */
/*
 * Ring - what a lane is held against: the bare cache line, one memcpy pass, a raw ring, and ck_ring
 *
 * The raw ring is the least that can be done: 64-byte slots, cursors that run freely, each on a line of its own,
 * a private copy of the other side's that is looked up only when it says full or empty, one release store per
 * batch of 32 on each side. No bell, no check of what the other side says. Its `beside` variant carries what does
 * not fit into a slot as a lane does: the slot says where the message lies, and the bytes are beside it.
 */
#include <stdlib.h>
#include <string.h>

#include <ck_ring.h>

#include "tests/bench/lane/carrier.h"

/* One line that goes to and fro: what the placement of the two cores costs, and nothing else */

static void *
line_open(const carrier *c, const carrier_place *place)
{
	(void)c;
	(void)place;
	return carrier_shared(CARRIER_LINE);
}

static void
nothing_to_begin(void *state, bool sends)
{
	(void)state;
	(void)sends;
}

static void
line_send(void *state, uint64_t n, carrier_tally *t)
{
	uint32_t *word = state, now = __atomic_load_n(word, __ATOMIC_RELAXED);

	(void)t;
	for (uint64_t i = 0; i < n; i++, now += 2) {
		__atomic_store_n(word, now + 1, __ATOMIC_RELEASE);
		while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != now + 2)
			;
	}
}

static void
line_receive(void *state, uint64_t n, carrier_tally *t)
{
	uint32_t *word = state, now;

	(void)t;
	for (uint64_t i = 0; i < n; i++) {
		do
			now = __atomic_load_n(word, __ATOMIC_ACQUIRE);
		while (!(now & 1));
		__atomic_store_n(word, now + 1, __ATOMIC_RELEASE);
	}
}

const carrier carrier_line = {
	.name = "line",
	.settings = "one word, stored and awaited by turns",
	.open = line_open,
	.begin = nothing_to_begin,
	.send = line_send,
	.receive = line_receive,
};

/* One memcpy pass of a MiB into as much memory as the messages under way take */

#define MEMCPY_AHEAD 4

typedef struct pass {
	unsigned char *from, *to;
} pass;

static void *
memcpy_open(const carrier *c, const carrier_place *place)
{
	pass *p = calloc(1, sizeof *p);

	(void)c;
	(void)place;
	if (!p)
		err(1, "memcpy");
	p->from = carrier_shared(CARRIER_BIG_BYTES);
	p->to = carrier_shared(MEMCPY_AHEAD * CARRIER_BIG_BYTES);
	return p;
}

static void
memcpy_send(void *state, uint64_t n, carrier_tally *t)
{
	pass *p = state;

	for (uint64_t i = 0; i < n; i++) {
		memcpy(p->from, &i, sizeof i);
		memcpy(p->to + i % MEMCPY_AHEAD * CARRIER_BIG_BYTES, p->from, CARRIER_BIG_BYTES);
		__asm__ __volatile__("" : : "r"(p->to) : "memory");
	}
	t->copied += n * CARRIER_BIG_BYTES;
}

static void
memcpy_receive(void *state, uint64_t n, carrier_tally *t)
{
	(void)state;
	(void)n;
	(void)t;
}

const carrier carrier_memcpy = {
	.name = "memcpy",
	.settings = "1 MiB into four buffers of shared memory by turns, the other side idle",
	.message = CARRIER_BIG_BYTES,
	.open = memcpy_open,
	.begin = nothing_to_begin,
	.send = memcpy_send,
	.receive = memcpy_receive,
};

/* The raw ring */

typedef struct slot {
	uint64_t words[8];
} slot;

typedef struct raw_shared {
	uint32_t tail __attribute__((aligned(2 * CARRIER_LINE)));
	uint32_t head __attribute__((aligned(2 * CARRIER_LINE)));
	slot slots[CARRIER_SLOTS] __attribute__((aligned(2 * CARRIER_LINE)));
	slot beside[CARRIER_SLOTS];
} raw_shared;

typedef struct raw {
	raw_shared *shared;
	bool one_core, is_beside;
	uint32_t next, published, seen; /* of this side */
	uint64_t number;
} raw;

static void *
raw_open(const carrier *c, const carrier_place *place)
{
	raw *r = calloc(1, sizeof *r);

	if (!r)
		err(1, "raw");
	r->shared = carrier_shared(sizeof *r->shared);
	r->one_core = place->one_core;
	r->is_beside = c == &carrier_raw_beside;
	return r;
}

static void
raw_publish(raw *r, uint32_t *cursor)
{
	r->published = r->next;
	__atomic_store_n(cursor, r->next, __ATOMIC_RELEASE);
}

static void
raw_room(raw *r)
{
	while (r->next - r->seen > CARRIER_SLOTS - CARRIER_BATCH) {
		r->seen = __atomic_load_n(&r->shared->head, __ATOMIC_ACQUIRE);
		if (r->next - r->seen > CARRIER_SLOTS - CARRIER_BATCH)
			carrier_relax(r->one_core);
	}
}

static void
raw_put(raw *r)
{
	uint32_t at = r->next % CARRIER_SLOTS;
	slot message;

	carrier_fill(message.words, sizeof message, r->number++);
	if (r->is_beside) {
		r->shared->beside[at] = message; /* cppcheck-suppress uninitvar */
		message.words[1] = at;
	}
	r->shared->slots[at] = message;
	r->next++;
}

static void
raw_send(void *state, uint64_t n, carrier_tally *t)
{
	raw *r = state;

	(void)t;
	while (n > 0) {
		uint32_t batch = n < CARRIER_BATCH ? (uint32_t)n : CARRIER_BATCH;

		raw_room(r);
		for (uint32_t i = 0; i < batch; i++)
			raw_put(r);
		raw_publish(r, &r->shared->tail);
		n -= batch;
	}
}

static void
raw_get(raw *r)
{
	slot message = r->shared->slots[r->next++ % CARRIER_SLOTS];

	if (r->is_beside)
		message = r->shared->beside[message.words[1] % CARRIER_SLOTS];
	carrier_verify(message.words, sizeof message, r->number++);
}

static void
raw_receive(void *state, uint64_t n, carrier_tally *t)
{
	raw *r = state;

	(void)t;
	while (n > 0) {
		uint32_t batch = r->seen - r->next;

		if (batch == 0) {
			r->seen = __atomic_load_n(&r->shared->tail, __ATOMIC_ACQUIRE);
			if (r->seen == r->next)
				carrier_relax(r->one_core);
			continue;
		}
		if (batch > CARRIER_BATCH)
			batch = CARRIER_BATCH;
		for (uint32_t i = 0; i < batch; i++)
			raw_get(r);
		raw_publish(r, &r->shared->head);
		n -= batch;
	}
}

#define RAW .open = raw_open, .begin = nothing_to_begin, .send = raw_send, .receive = raw_receive

const carrier carrier_raw = {
	.name = "raw",
	.settings = "1024 slots of 64 bytes, cached cursors, batches of 32; polls (one core: "
		    "sched_yield)",
	.message = 64,
	RAW,
};
const carrier carrier_raw_beside = {
	.name = "raw-beside",
	.settings = "the same, and 64 bytes of message in a second array",
	.message = 64,
	RAW,
};

/* ck_ring, as it comes: the calls are what CK_RING_PROTOTYPE makes of a type of 64 bytes */

typedef struct ck_shared {
	struct ck_ring ring;
	slot slots[CARRIER_SLOTS] __attribute__((aligned(2 * CARRIER_LINE)));
} ck_shared;

typedef struct ck {
	ck_shared *shared;
	bool one_core;
	uint64_t number;
} ck;

static void *
ck_open(const carrier *c, const carrier_place *place)
{
	ck *r = calloc(1, sizeof *r);

	(void)c;
	if (!r)
		err(1, "ck_ring");
	r->shared = carrier_shared(sizeof *r->shared);
	r->one_core = place->one_core;
	ck_ring_init(&r->shared->ring, CARRIER_SLOTS);
	return r;
}

static void
ck_send(void *state, uint64_t n, carrier_tally *t)
{
	ck *r = state;

	(void)t;
	for (uint64_t i = 0; i < n; i++) {
		slot message;

		carrier_fill(message.words, sizeof message, r->number++);
		while (!_ck_ring_enqueue_sp(
			&r->shared->ring, r->shared->slots, &message, sizeof message, NULL))
			carrier_relax(r->one_core);
	}
}

static void
ck_receive(void *state, uint64_t n, carrier_tally *t)
{
	ck *r = state;

	(void)t;
	for (uint64_t i = 0; i < n; i++) {
		slot message;

		while (!_ck_ring_dequeue_sc(
			&r->shared->ring, r->shared->slots, &message, sizeof message))
			carrier_relax(r->one_core);
		carrier_verify(message.words, sizeof message, r->number++);
	}
}

const carrier carrier_ck = {
	.name = "ck_ring",
	.settings = "spsc, 1024 slots of 64 bytes, one by one as its interface has it; polls as "
		    "raw does",
	.message = 64,
	.open = ck_open,
	.begin = nothing_to_begin,
	.send = ck_send,
	.receive = ck_receive,
};
