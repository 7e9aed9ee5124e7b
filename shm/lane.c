/* SPDX-License-Identifier: MIT */
/*
 * Lane - see lane.h for the protocol and the argument
 */
#include "shm/lane.h"

#include <errno.h>

#include "shm/layout.h"
#include "shm/segment.h"

/* A cursor that went from `was` to `now` has passed `index`: the event-index test of virtio and Xen. */
static inline bool
crossed(uint32_t index, uint32_t now, uint32_t was)
{
	return now - index - 1 < now - was;
}

static vn_segment_layout *
segment_layout(const vn_segment *s)
{
	return (void *)s->base;
}

/**
 * vn_lane_tx_init() - the producer's side of a lane
 * @own:  the producer's segment, mapped writable
 * @peer: the consumer's segment, mapped
 */
void
vn_lane_tx_init(vn_lane_tx *tx, const vn_segment *own, const vn_segment *peer)
{
	vn_segment_layout *mine = segment_layout(own);
	const vn_segment_layout *other = segment_layout(peer);

	*tx = (vn_lane_tx){
		.slots = mine->slots,
		.tail = &mine->tail,
		.space_ev = &mine->space_ev,
		.head = &other->head,
		.ev = &other->ev,
		.mask = own->geometry.n_slots - 1,
		.next = VN_CURSOR_START,
		.published = VN_CURSOR_START,
		.taken = VN_CURSOR_START,
	};
	VN_CRASH_LANE(tx->tail, tx->head);
}

/**
 * vn_lane_rx_init() - the consumer's side of a lane
 * @own:  the consumer's segment, mapped writable
 * @peer: the producer's segment, mapped
 */
void
vn_lane_rx_init(vn_lane_rx *rx, const vn_segment *own, const vn_segment *peer)
{
	vn_segment_layout *mine = segment_layout(own);
	const vn_segment_layout *other = segment_layout(peer);

	*rx = (vn_lane_rx){
		.slots = other->slots,
		.tail = &other->tail,
		.space_ev = &other->space_ev,
		.head = &mine->head,
		.ev = &mine->ev,
		.mask = peer->geometry.n_slots - 1,
		.next = VN_CURSOR_START,
		.released = VN_CURSOR_START,
		.tail_seen = VN_CURSOR_START,
	};
	VN_CRASH_LANE(rx->tail, rx->head);
}

/**
 * vn_lane_tx_refresh() - look how far the consumer has come
 *
 * A head that lies beyond what was published, or further back than the lane is long, is a violation: the lane
 * is marked broken and has no room from then on.
 *
 * Return: the number of free slots.
 */
uint32_t
vn_lane_tx_refresh(vn_lane_tx *tx)
{
	uint32_t head = vn_sync_load(tx->head);

	if (head - tx->taken > tx->published - tx->taken)
		tx->broken = true;
	else
		tx->taken = head;
	return tx->broken ? 0 : vn_lane_tx_room(tx);
}

/**
 * vn_lane_tx_flush() - publish everything pushed since the last flush
 *
 * Ownership: the pushed blocks are the consumer's from here on.
 * Caller:    the owning process, hub thread only. Never blocks.
 * Ordering:  P2/P3, pairs with S1/S2 in vn_lane_rx_arm().
 *
 * Return: true if the consumer's bell must be rung.
 */
bool
vn_lane_tx_flush(vn_lane_tx *tx)
{
	uint32_t was = tx->published, now = tx->next;

	if (now == was)
		return false;
	tx->published = now;
	tx->n_flushes++;
	VN_CRASH_POINT("lane.tail.before");
	vn_sync_publish(tx->tail, now); /* P2 */
	VN_CRASH_POINT("lane.tail.after");
	if (!crossed(vn_sync_look(tx->ev), now, was)) /* P3 */
		return false;
	tx->n_bells++;
	return true;
}

/**
 * vn_lane_tx_want() - ask for a bell when n slots are free
 *
 * Caller:    the producer, with everything flushed, when it has fewer than n slots.
 * Ordering:  F1/F2, pairs with C3/C4 in vn_lane_rx_release().
 *
 * Return: true if there is room after all, false if the bell will ring.
 */
bool
vn_lane_tx_want(vn_lane_tx *tx, uint32_t n)
{
	uint32_t want = tx->next + n - 1 - (tx->mask + 1), head;

	VN_CRASH_POINT("lane.want.before");
	vn_sync_publish(tx->space_ev, want); /* F1 */
	VN_CRASH_POINT("lane.want.after");
	head = vn_sync_look(tx->head); /* F2 */
	if (head - want - 1 > tx->mask)
		return false;
	return vn_lane_tx_refresh(tx) >= n;
}

/*
 * Looks how far the producer has come. Whoever polls has the next slot on its way together with the tail, for both
 * lines come from the producer: a message that comes alone is then there a transfer earlier.
 */
static bool
rx_look(vn_lane_rx *rx)
{
	vn_sync_fetch(&rx->slots[rx->next & rx->mask]);
	rx->tail_seen = vn_sync_load(rx->tail);
	if (rx->tail_seen - rx->next <= rx->mask + 1)
		return true;
	rx->tail_seen = rx->next;
	return false;
}

/**
 * vn_lane_rx_take() - copy descriptors out of the lane
 * @out: room for max of them, private memory
 *
 * Each slot is read once. The slots stay taken until vn_lane_rx_release().
 *
 * Return: how many were copied, or -EPROTO if the producer's tail makes no sense.
 */
int
vn_lane_rx_take(vn_lane_rx *rx, vn_desc *out, uint32_t max)
{
	uint32_t n;

	if (rx->tail_seen == rx->next && !rx_look(rx))
		return -EPROTO;
	n = rx->tail_seen - rx->next;
	if (n > max)
		n = max;
	VN_CRASH_POINT("lane.take.before");
	for (uint32_t i = 0; i < n; i++)
		out[i] = rx->slots[(rx->next + i) & rx->mask];
	VN_CRASH_POINT("lane.take.after");
	rx->next += n;
	return (int)n;
}

/**
 * vn_lane_rx_pending() - is there something to take?
 *
 * Return: 1, 0, or -EPROTO if the producer's tail makes no sense.
 */
int
vn_lane_rx_pending(vn_lane_rx *rx)
{
	if (rx->tail_seen == rx->next && !rx_look(rx))
		return -EPROTO;
	return rx->tail_seen != rx->next;
}

/**
 * vn_lane_rx_release() - give the slots that were taken back to the producer
 *
 * Once per batch, before any handler runs: a dead worker's head tells which input it had taken.
 * Ordering:  C3/C4, pairs with F1/F2 in vn_lane_tx_want().
 *
 * Return: true if the producer's bell must be rung.
 */
bool
vn_lane_rx_release(vn_lane_rx *rx)
{
	uint32_t was = rx->released, now = rx->next;

	if (now == was)
		return false;
	rx->released = now;
	VN_CRASH_POINT("lane.head.before");
	vn_sync_publish(rx->head, now); /* C3 */
	VN_CRASH_POINT("lane.head.after");
	if (!crossed(vn_sync_look(rx->space_ev), now, was)) /* C4 */
		return false;
	rx->n_bells++;
	return true;
}

/**
 * vn_lane_rx_arm() - ask for a bell before sleeping
 *
 * Ordering: S1/S2, pairs with P2/P3 in vn_lane_tx_flush().
 *
 * Return: true if the consumer may sleep; false if something arrived, or the tail makes no sense.
 */
bool
vn_lane_rx_arm(vn_lane_rx *rx)
{
	VN_CRASH_POINT("lane.arm.before");
	vn_sync_publish(rx->ev, rx->next); /* S1 */
	VN_CRASH_POINT("lane.arm.after");
	return vn_sync_look(rx->tail) == rx->next; /* S2 */
}

/**
 * vn_lane_rx_disarm() - no bell is needed: the consumer is awake and will look
 *
 * Whoever is woken by something else than this lane's bell saves its producer the next one. A hint, which needs
 * no order: arming comes before sleeping again, and a bell too many costs a look.
 */
void
vn_lane_rx_disarm(vn_lane_rx *rx)
{
	VN_CRASH_POINT("broker.disarm.before");
	vn_sync_hint(rx->ev, rx->next - 1);
	VN_CRASH_POINT("broker.disarm.after");
}

/* What lies in the slot of a cursor that many before the end; false if it was never used or is used again. */
static bool
recall(const vn_desc *slots, uint32_t mask, uint32_t end, uint32_t back, vn_desc *out)
{
	if (back > mask || end - VN_CURSOR_START <= back)
		return false;
	*out = slots[(end - 1 - back) & mask];
	return true;
}

/**
 * vn_lane_tx_recall() - look back at what was published
 * @back: 0 is the last one
 *
 * Return: false if there was none.
 */
bool
vn_lane_tx_recall(const vn_lane_tx *tx, uint32_t back, vn_desc *out)
{
	return back + vn_lane_tx_staged(tx) <= tx->mask &&
	       recall(tx->slots, tx->mask, tx->published, back, out);
}

/**
 * vn_lane_rx_recall() - look back at what was taken
 * @back: 0 is the last one
 *
 * A producer that lives may be writing into that slot again: what comes is for people to look at.
 *
 * Return: false if there was none.
 */
bool
vn_lane_rx_recall(const vn_lane_rx *rx, uint32_t back, vn_desc *out)
{
	return recall(rx->slots, rx->mask, rx->next, back, out);
}
