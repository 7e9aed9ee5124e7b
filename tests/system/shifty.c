/* SPDX-License-Identifier: MIT */
/*
 * shifty - a worker that changes what it has published
 *
 * shifty URL SEED
 *
 * It is honest as far as each descriptor goes: whatever the broker reads is something that it could have published.
 * But a second thread never stops changing what lies in the segment:
 *
 *   slots that the broker has not taken   become something else that is right too: another block, another offset,
 *                                         another kind, more or less acknowledged, committed or not
 *   slots that it has taken               become anything, until they are used again
 *   payload                               becomes anything, all the time
 *
 * A broker that reads a slot or payload twice, or looks at a slot again, sees two different things. One that does
 * not has no reason to complain: it lives until it is stopped.
 *
 * Between the two threads all slots are under `filling`: so what this worker means to say is known. The broker knows
 * nothing of it.
 */
#include <pthread.h>
#include <stddef.h>

#include "shm/layout.h"
#include "tests/system/hostile.h"

#define BLOCKS    32 /* of one connection, each as good as the other */
#define REGION    8  /* granules of each of these */
#define PER_CONN  (BLOCKS * REGION)
#define MAX_CONNS 12   /* whose output is being changed: they fit into 1 MiB */
#define FIRST     1024 /* granule: the URL is before it */
#define SEND_MAX  1500u

/* What the second thread may do to a slot that is published and not taken. */
struct shift {
	vn_desc d;         /* as it was filled */
	uint64_t at_least; /* of the report */
};

static struct shift shifts[4096];
static pthread_mutex_t filling = PTHREAD_MUTEX_INITIALIZER;
static uint64_t thread_random;

static uint64_t
pick(uint64_t n)
{
	thread_random ^= thread_random << 13;
	thread_random ^= thread_random >> 7;
	thread_random ^= thread_random << 17;
	return thread_random % n;
}

static uint32_t
block_of(uint32_t base, uint64_t number)
{
	return base + (uint32_t)number * REGION;
}

/* One field of it, by one store, to something else that is right. */
static void
shift_slot(vn_desc *slot, const struct shift *s)
{
	switch (s->d.kind) {
	case VN_KIND_SEND:
		if (pick(2))
			__atomic_store_n(
				&slot->block, block_of(s->d.block, pick(BLOCKS)), __ATOMIC_RELAXED);
		else
			__atomic_store_n(&slot->offset, (uint32_t)pick(256), __ATOMIC_RELAXED);
		break;
	case VN_KIND_ACK:
		if (pick(2))
			__atomic_store_n(&slot->report,
				s->at_least + pick(s->d.report - s->at_least + 1),
				__ATOMIC_RELAXED);
		else
			__atomic_store_n(&slot->flags, pick(2) ? VN_COMMIT : 0, __ATOMIC_RELAXED);
		break;
	case VN_KIND_NEED:
		__atomic_store_n(
			&slot->kind, pick(2) ? VN_KIND_NEED : VN_KIND_NEED_INPUT, __ATOMIC_RELAXED);
		break;
	case VN_KIND_CLOSE:
		__atomic_store_n(&slot->flags, pick(2) ? VN_ABORT : 0, __ATOMIC_RELAXED);
		break;
	default:
		break;
	}
}

static void
shift_published(void)
{
	vn_lane_tx *tx = &worker.link.tx;

	pthread_mutex_lock(&filling);
	for (uint32_t at = __atomic_load_n(tx->head, __ATOMIC_ACQUIRE); at != tx->published; at++)
		shift_slot(&tx->slots[at & tx->mask], &shifts[at & tx->mask]);
	pthread_mutex_unlock(&filling);
}

/* Anything, where the broker has no business any more. */
static void
scribble_on_free(void)
{
	vn_lane_tx *tx = &worker.link.tx;
	uint64_t *words;

	pthread_mutex_lock(&filling);
	for (uint32_t at = tx->next;
		at != __atomic_load_n(tx->head, __ATOMIC_ACQUIRE) + tx->mask + 1; at++) {
		words = (uint64_t *)(void *)&tx->slots[at & tx->mask];
		for (size_t i = 0; i < sizeof(vn_desc) / sizeof *words; i++)
			__atomic_store_n(&words[i], pick(UINT64_MAX), __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&filling);
}

static void
scribble_on_payload(void)
{
	unsigned char *area = vn_area_at(&worker.link.own, FIRST, 0);
	uint64_t n = worker.link.geometry.area_bytes - FIRST * VN_GRANULE;

	for (int i = 0; i < 4096; i++)
		__atomic_store_n(&area[pick(n)], (unsigned char)pick(256), __ATOMIC_RELAXED);
}

static void *
shift_for_ever(void *arg)
{
	(void)arg;
	for (;;) {
		for (int i = 0; i < 64; i++)
			shift_published();
		scribble_on_free();
		scribble_on_payload();
	}
	return NULL;
}

static void
fill(vn_desc d, uint64_t at_least)
{
	vn_lane_tx *tx = &worker.link.tx;

	shifts[tx->next & tx->mask] = (struct shift){d, at_least};
	vn_lane_tx_push(tx, &d);
}

/* The first block of a connection's own; none for those that find all taken. */
static uint32_t
region_of(const struct known *k)
{
	return FIRST + (k->index % MAX_CONNS) * PER_CONN;
}

static bool
region_is_free(const struct known *k)
{
	for (uint32_t i = 0; i < worker.n_known; i++) {
		const struct known *o = &worker.known[i];

		if (o->index % MAX_CONNS == k->index % MAX_CONNS && o->sent != o->queued)
			return false;
	}
	return true;
}

static void
serve(struct known *k)
{
	vn_desc d = {.conn = k->index, .gen = k->gen};

	if (k->shut)
		return;
	if (k->over || k->ended) {
		d.kind = VN_KIND_CLOSE;
		d.pos = k->queued;
		k->shut = true;
		fill(d, 0);
		return;
	}
	if (k->delivered > k->acked) {
		d.kind = VN_KIND_ACK;
		d.report = k->delivered;
		fill(d, k->acked);
		k->acked = k->delivered;
	}
	if (region_is_free(k)) {
		fill((vn_desc){.kind = VN_KIND_SEND,
			     .conn = k->index,
			     .gen = k->gen,
			     .pos = k->queued,
			     .len = 1 + (uint32_t)draw(SEND_MAX),
			     .block = region_of(k)},
			0);
		k->queued += shifts[(worker.link.tx.next - 1) & worker.link.tx.mask].d.len;
		d.kind = VN_KIND_NEED;
		d.report = 0;
		fill(d, 0);
	}
}

static void
turn(void)
{
	listen_to_broker();
	pthread_mutex_lock(&filling);
	for (uint32_t i = 0; i < worker.n_known && vn_lane_tx_has(&worker.link.tx, 8); i++)
		serve(&worker.known[i]);
	vn_link_flush(&worker.link);
	pthread_mutex_unlock(&filling);
}

int
main(int argc, char **argv)
{
	pthread_t thread;

	if (argc != 3)
		errx(2, "usage: shifty URL SEED, as a worker");
	join(argv[2]);
	begin(argv[1], 0);
	thread_random = worker.random + 2;
	if (pthread_create(&thread, NULL, shift_for_ever, NULL) != 0)
		errx(1, "no thread");
	for (;;) {
		turn();
		rest();
	}
}
