/* SPDX-License-Identifier: MIT */
/*
 * Lane - one way between two processes: descriptors in slots, published by one store
 *
 * The producer keeps a vn_lane_tx, the consumer a vn_lane_rx; both are private, and so is all geometry: what
 * lies in shared memory is cursors, slots and payload, and a foreign word is read once and checked by one
 * unsigned comparison. Slot = cursor & mask; all slots are usable.
 *
 *   word       in the segment of   written by   what it says
 *   tail       the producer        producer     descriptors below it are published
 *   space_ev   the producer        producer     ring me when your head passes this
 *   head       the consumer        consumer     descriptors below it are taken, their slots free
 *   ev         the consumer        consumer     ring me when your tail passes this
 *
 * Four points are sequentially consistent ("store mine, then look at yours"), in two pairs that look for each
 * other. Take one away and a wake-up is lost (tests/model/bell.py shows each):
 *
 *   flush:    P2 publish tail    P3 look at ev            arm:    S1 publish ev        S2 look at tail
 *   release:  C3 publish head    C4 look at space_ev      want:   F1 publish space_ev  F2 look at head
 *
 * No torn slot: slot writes precede P2, and the acquire load of tail orders the reads. One store publishes a
 * whole batch, so a kill at any instruction leaves the old or the new tail. No overwrite: slot reads precede
 * C3, and the producer's acquire load of head precedes its reuse of the slot.
 * No lost wake-up: if S1 comes before P3, P3 reads the consumer's event index and rings, unless an earlier
 * publish went beyond it, and that one S2 sees; if P3 comes before S1, then P2 precedes S2, which sees the tail.
 * The same holds for C3/C4 and F1/F2. Bells are idempotent: one too many costs a look.
 */
#ifndef VN_SHM_LANE_H
#define VN_SHM_LANE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "shm/crash.h"
#include "shm/protocol.h"
#include "shm/sync.h"

typedef struct vn_segment vn_segment;

typedef struct vn_lane_tx {
	vn_desc *slots;            /* ours */
	uint32_t *tail, *space_ev; /* ours */
	const uint32_t *head, *ev; /* the consumer's */
	uint32_t mask;
	uint32_t next;      /* the next slot to fill */
	uint32_t published; /* what tail says */
	uint32_t taken;     /* the last head that was seen */
	bool broken;        /* the consumer's head made no sense */
	uint64_t n_flushes, n_bells;
} vn_lane_tx;

typedef struct vn_lane_rx {
	const vn_desc *slots;            /* the producer's */
	const uint32_t *tail, *space_ev; /* the producer's */
	uint32_t *head, *ev;             /* ours */
	uint32_t mask;
	uint32_t next;     /* the next slot to take */
	uint32_t released; /* what head says */
	uint32_t tail_seen;
	uint64_t n_bells;
} vn_lane_rx;

void vn_lane_tx_init(vn_lane_tx *tx, const vn_segment *own, const vn_segment *peer);
void vn_lane_rx_init(vn_lane_rx *rx, const vn_segment *own, const vn_segment *peer);

uint32_t vn_lane_tx_refresh(vn_lane_tx *tx);
bool vn_lane_tx_flush(vn_lane_tx *tx);
bool vn_lane_tx_want(vn_lane_tx *tx, uint32_t n_slots);
int vn_lane_rx_take(vn_lane_rx *rx, vn_desc *out, uint32_t max);
int vn_lane_rx_pending(vn_lane_rx *rx);
bool vn_lane_rx_release(vn_lane_rx *rx);
bool vn_lane_rx_arm(vn_lane_rx *rx);
void vn_lane_rx_disarm(vn_lane_rx *rx);
bool vn_lane_tx_recall(const vn_lane_tx *tx, uint32_t back, vn_desc *out);
bool vn_lane_rx_recall(const vn_lane_rx *rx, uint32_t back, vn_desc *out);

/* Descriptors pushed and not yet published. */
static inline uint32_t
vn_lane_tx_staged(const vn_lane_tx *tx)
{
	return tx->next - tx->published;
}

/* Free slots, as far as is known without looking. */
static inline uint32_t
vn_lane_tx_room(const vn_lane_tx *tx)
{
	return tx->mask + 1 - (tx->next - tx->taken);
}

/* At least n free slots; looks at the consumer's head only when the cached one is not enough. */
static inline bool
vn_lane_tx_has(vn_lane_tx *tx, uint32_t n)
{
	return vn_lane_tx_room(tx) >= n || vn_lane_tx_refresh(tx) >= n;
}

/**
 * Copies *d into the next slot, which the caller knows to be free. It is published by the next flush.
 *
 * Field by field, so that a caller's literal never lies in memory: it would be stored in small pieces and be
 * loaded again at once in large ones, for which a processor waits until the pieces have left its store buffer.
 * That took longer than all the rest of a push. The peer goes by words for the same reason.
 *
 * Nothing asks for the lines of slot or tail ahead of the stores: with a prefetch for writing in each push, a
 * message with its payload in a block took the sender twice as long on one core, and no less between two.
 *
 * Return: its cursor, for vn_lane_tx_amend().
 */
static inline uint32_t
vn_lane_tx_push(vn_lane_tx *tx, const vn_desc *d)
{
	vn_desc *slot = &tx->slots[tx->next & tx->mask];

	VN_CRASH_CHECK(vn_lane_tx_room(tx) > 0);
	VN_CRASH_POINT("lane.slot.before");
	slot->kind = d->kind;
	slot->flags = d->flags;
	slot->arg = d->arg;
	slot->len = d->len;
	slot->conn = d->conn;
	slot->gen = d->gen;
	slot->pos = d->pos;
	slot->block = d->block;
	slot->offset = d->offset;
	slot->report = d->report;
	slot->times.taken = d->times.taken; /* or the first words of a peer */
	slot->times.done = d->times.done;
	memcpy(slot->peer.addr, d->peer.addr, 8);
	memcpy(slot->peer.addr + 8, d->peer.addr + 8, 8);
	VN_CRASH_POINT("lane.slot.after");
	return tx->next++;
}

/* True while the descriptor pushed at `cursor` is not published, so that it can still be changed. */
static inline bool
vn_lane_tx_open(const vn_lane_tx *tx, uint32_t cursor)
{
	return cursor - tx->published < tx->next - tx->published;
}

/* Adds flags, a report and its times to a descriptor that is still open. */
static inline void
vn_lane_tx_amend(
	vn_lane_tx *tx, uint32_t cursor, uint8_t flags, uint64_t report, vn_desc_times times)
{
	vn_desc *d = &tx->slots[cursor & tx->mask];

	VN_CRASH_POINT("worker.amend.before");
	d->flags |= flags;
	VN_CRASH_POINT("worker.amend.half");
	d->report = report;
	d->times = times;
	VN_CRASH_POINT("worker.amend.after");
}

/* Adds payload at the end of a descriptor that is still open. */
static inline void
vn_lane_tx_extend(vn_lane_tx *tx, uint32_t cursor, uint32_t len)
{
	VN_CRASH_POINT("worker.extend.before");
	tx->slots[cursor & tx->mask].len += len;
	VN_CRASH_POINT("worker.extend.after");
}

#endif
