/* SPDX-License-Identifier: MIT */
/*
 * Channel - pipe, queue, dealer, router and channel: one core, made by how many may wait and how much room
 *
 * A core has two queues of those who wait, and a ring. Who comes first waits, with the address of its item in its
 * clause; who comes second copies. The item is copied at the moment at which the wait is decided, so it is never in
 * nobody's hand. At rest, one of these holds:
 *
 *	no room (pipe, dealer, router)   senders wait, or receivers, or nobody
 *	room                             receivers wait and the ring is empty; or senders wait and it is full; or
 *	                                 nobody waits
 *
 * with one exception: a select that stands on both sides of one core does not meet itself. Whoever comes next meets
 * it. So nobody who waits can be overtaken: who finds the other side waiting is served at once, and who would have
 * to pass others of its own side never finds the other side waiting, nor room.
 *
 * Without room, a sender that finds a receiver waiting switches straight into it: it runs while the item is hot,
 * and the sender goes on in its turn. With room it stays, so that it can fill the ring; the receiver then empties
 * it, and a switch is shared by many items.
 *
 * Ends that enforce "one" look only for those who wait on their own behalf, since they may have been joined to
 * others in one queue.
 *
 * How ends come and go, and how they are joined, is in core.c.
 */
#include <stdlib.h>

#include "client/hub/schedule.h"
#include "client/message/core.h"

/* One item changes hands */

/* What a receiver gets from a sender that waits: its item, or the error that stands for it. */
static inline int
take_from(const vn_clause *sender, void *item, size_t size)
{
	if (__builtin_expect(sender->result, 0))
		return sender->result;
	vn_item_copy(item, sender->item, size);
	return 0;
}

static inline void
give_to(const vn_clause *receiver, const void *item, int error, size_t size)
{
	if (__builtin_expect(error == 0, 1))
		vn_item_copy(receiver->item, item, size);
}

static inline __attribute__((always_inline)) int
meet_receiver(vn_tx *tx, const void *item, int error)
{
	vn_core *c = vn_core_of_tx(tx);
	vn_clause *receiver = c->receivers.first;

	if (!receiver)
		return c->rx_gone ? c->rx_gone : -EAGAIN;
	give_to(receiver, item, error, tx->item_size);
	if (vn_hub_can_wait(tx->hub))
		wake_now(receiver, error);
	else
		vn_wake(receiver, error);
	return 0;
}

static inline __attribute__((always_inline)) int
meet_sender(vn_rx *rx, void *item)
{
	vn_core *c = vn_core_of_rx(rx);
	vn_clause *sender = c->senders.first;
	int rc;

	if (!sender)
		return c->tx_gone ? c->tx_gone : -EAGAIN;
	rc = take_from(sender, item, rx->item_size);
	vn_wake(sender, 0);
	return rc;
}

static inline __attribute__((always_inline)) int
ring_send(vn_tx *tx, const void *item, int error)
{
	vn_core *c = vn_core_of_tx(tx);
	vn_clause *receiver = c->receivers.first;

	if (receiver) {
		give_to(receiver, item, error, tx->item_size);
		vn_wake(receiver, error);
		return 0;
	}
	if (c->rx_gone)
		return c->rx_gone;
	if (vn_ring_is_full(&c->ring))
		return -EAGAIN;
	vn_ring_push(&c->ring, item, error);
	return 0;
}

static inline __attribute__((always_inline)) int
ring_recv(vn_rx *rx, void *item)
{
	vn_core *c = vn_core_of_rx(rx);
	vn_clause *sender = c->senders.first;
	int rc;

	if (c->ring.n == 0)
		return c->tx_gone ? c->tx_gone : -EAGAIN;
	rc = vn_ring_pop(&c->ring, item);
	if (sender) {
		vn_ring_push(&c->ring, sender->item, sender->result);
		vn_wake(sender, 0);
	}
	return rc;
}

static inline __attribute__((always_inline)) int
stand(vn_hub *h, vn_waitq *q, bool one, void *end, void *item)
{
	vn_clause clause;
	int rc;

	if (q->first && one && vn_end_stands(q, end))
		return -EBUSY;
	clause.end = end;
	clause.item = item;
	clause.result = 0;
	waitq_push(q, &clause);
	rc = wait_for(h, &clause, 1, VN_NEVER);
	return rc < 0 ? rc : clause.result;
}

static inline __attribute__((always_inline)) int
tx_stand(vn_tx *tx, void *item)
{
	const vn_seat *s = &vn_channel_of_tx(tx)->tx_seat;

	return stand(tx->hub, &s->core->senders, s->one, tx, item);
}

static inline __attribute__((always_inline)) int
rx_stand(vn_rx *rx, void *item)
{
	const vn_seat *s = &vn_channel_of_rx(rx)->rx_seat;

	return stand(rx->hub, &s->core->receivers, s->one, rx, item);
}

/* Ends of a core without room */

static int
pipe_try_send(void *tx, void *item)
{
	return meet_receiver(tx, item, 0);
}

static int
pipe_try_error(void *tx, int error)
{
	return meet_receiver(tx, tx, error);
}

static int
pipe_try_recv(void *rx, void *item)
{
	return meet_sender(rx, item);
}

static int
pipe_send(void *tx, void *item)
{
	int rc = meet_receiver(tx, item, 0);

	return rc == -EAGAIN ? tx_stand(tx, item) : rc;
}

static int
pipe_recv(void *rx, void *item)
{
	int rc = meet_sender(rx, item);

	return rc == -EAGAIN ? rx_stand(rx, item) : rc;
}

/* Ends of a core with room */

static int
queue_try_send(void *tx, void *item)
{
	return ring_send(tx, item, 0);
}

static int
queue_try_error(void *tx, int error)
{
	return ring_send(tx, tx, error);
}

static int
queue_try_recv(void *rx, void *item)
{
	return ring_recv(rx, item);
}

static int
queue_send(void *tx, void *item)
{
	int rc = ring_send(tx, item, 0);

	return rc == -EAGAIN ? tx_stand(tx, item) : rc;
}

static int
queue_recv(void *rx, void *item)
{
	int rc = ring_recv(rx, item);

	return rc == -EAGAIN ? rx_stand(rx, item) : rc;
}

/* A look for vn_select(). What it leads to is out of line: who only looks needs no frame. */

static __attribute__((noinline)) vn_waitq *
try_now(int (*try)(void *end, void *item), void *end, void *item, int *result)
{
	*result = try(end, item);
	return NULL;
}

static vn_waitq *
pipe_poll_send(void *tx, void *item, int *result)
{
	vn_core *c = vn_core_of_tx(tx);

	if (!c->receivers.first && !c->rx_gone)
		return &c->senders;
	return try_now(pipe_try_send, tx, item, result);
}

static vn_waitq *
pipe_poll_recv(void *rx, void *item, int *result)
{
	vn_core *c = vn_core_of_rx(rx);

	if (!c->senders.first && !c->tx_gone)
		return &c->receivers;
	return try_now(pipe_try_recv, rx, item, result);
}

static vn_waitq *
queue_poll_send(void *tx, void *item, int *result)
{
	vn_core *c = vn_core_of_tx(tx);

	if (vn_ring_is_full(&c->ring) && !c->rx_gone)
		return &c->senders;
	return try_now(queue_try_send, tx, item, result);
}

static vn_waitq *
queue_poll_recv(void *rx, void *item, int *result)
{
	vn_core *c = vn_core_of_rx(rx);

	if (c->ring.n == 0 && !c->tx_gone)
		return &c->receivers;
	return try_now(queue_try_recv, rx, item, result);
}

/* Both */

static vn_waitq *
senders_of(void *tx)
{
	return &vn_core_of_tx(tx)->senders;
}

static vn_waitq *
receivers_of(void *rx)
{
	return &vn_core_of_rx(rx)->receivers;
}

static vn_waitq *
watchers_of(void *tx, int *result)
{
	vn_core *c = vn_core_of_tx(tx);

	*result = c->rx_gone;
	return c->rx_gone ? NULL : &c->watchers;
}

static vn_rx *
receiver_of(void *tx, vn_rx *after)
{
	vn_channel *p = vn_channel_of_tx(tx);

	return !after && p->rx_open ? &p->rx : NULL;
}

static vn_tx *
sender_of(void *rx)
{
	vn_channel *p = vn_channel_of_rx(rx);

	return p->tx_open ? &p->tx : NULL;
}

/* Which operations an end has: by whether many may wait there, and whether its core has room. */

#define TX_OPS(kind, one_)                                                                         \
	{                                                                                          \
		.try = kind##_try_send, .queue = senders_of, .close = vn_core_tx_close,            \
		.one = one_, .pass = kind##_send, .poll = kind##_poll_send,                        \
		.drop = vn_core_tx_drop, .on_drop = vn_core_tx_on_drop,                            \
		.try_error = kind##_try_error, .gone = watchers_of, .receiver = receiver_of,       \
	}
#define RX_OPS(kind, one_)                                                                         \
	{                                                                                          \
		.try = kind##_try_recv, .queue = receivers_of, .close = vn_core_rx_close,          \
		.one = one_, .pass = kind##_recv, .poll = kind##_poll_recv,                        \
		.drop = vn_core_rx_drop, .on_drop = vn_core_rx_on_drop, .sender = sender_of,       \
	}

static const vn_end_ops tx_ops[2][2] = {
	{TX_OPS(pipe, false), TX_OPS(queue, false)},
	{TX_OPS(pipe, true), TX_OPS(queue, true)},
};
static const vn_end_ops rx_ops[2][2] = {
	{RX_OPS(pipe, false), RX_OPS(queue, false)},
	{RX_OPS(pipe, true), RX_OPS(queue, true)},
};

/**
 * vn_channel_sit_tx() - a sending end sits down at a core, and does as one does there
 * @p: whose sending end sits at none
 * @c: core
 */
void
vn_channel_sit_tx(vn_channel *p, vn_core *c)
{
	vn_seat_take(&p->tx_seat, c, &c->tx_seats);
	p->tx.ops = &tx_ops[p->tx_seat.one][c->ring.cap > 0];
}

/**
 * vn_channel_sit_rx() - a receiving end sits down at a core, and does as one does there
 * @p: whose receiving end sits at none
 * @c: core
 */
void
vn_channel_sit_rx(vn_channel *p, vn_core *c)
{
	vn_seat_take(&p->rx_seat, c, &c->rx_seats);
	p->rx.ops = &rx_ops[p->rx_seat.one][c->ring.cap > 0];
}

/* Making */

typedef struct shape {
	bool one_tx, one_rx;
} shape;

static vn_pair
channel_make(vn_hub *h, size_t item_size, size_t n, shape s)
{
	vn_channel *p = calloc(1, sizeof *p);
	int rc;

	if (!p)
		return (vn_pair){NULL, NULL};
	rc = vn_ring_init(&p->core.ring, item_size, n);
	if (rc < 0) {
		free(p);
		errno = -rc;
		return (vn_pair){NULL, NULL};
	}
	p->tx = (vn_tx){.hub = h, .item_size = item_size};
	p->rx = (vn_rx){.hub = h, .item_size = item_size};
	p->tx_seat.one = s.one_tx;
	p->rx_seat.one = s.one_rx;
	vn_channel_sit_tx(p, &p->core);
	vn_channel_sit_rx(p, &p->core);
	p->tx_open = p->rx_open = true;
	vn_hub_own(h, &p->owned, vn_core_owned_free);
	return (vn_pair){&p->tx, &p->rx};
}

/**
 * vn_pipe_new() - one sender, one receiver, no room
 * @h:         hub
 * @item_size: bytes of one item
 *
 * Ownership: each end is freed by closing it; what is open when the hub is freed goes with it. So for all others.
 *
 * Return: both ends, or {NULL, NULL} with errno ENOMEM, EINVAL.
 */
vn_pair
vn_pipe_new(vn_hub *h, size_t item_size)
{
	return channel_make(h, item_size, 0, (shape){true, true});
}

/**
 * vn_queue_new() - one sender, one receiver, room
 * @h:         hub
 * @item_size: bytes of one item
 * @n:         items that may wait, at least 1
 *
 * Return: both ends, or {NULL, NULL} with errno ENOMEM, EINVAL.
 */
vn_pair
vn_queue_new(vn_hub *h, size_t item_size, size_t n)
{
	if (n == 0) {
		errno = EINVAL;
		return (vn_pair){NULL, NULL};
	}
	return channel_make(h, item_size, n, (shape){true, true});
}

/**
 * vn_dealer_new() - one sender, many receivers, no room
 * @h:         hub
 * @item_size: bytes of one item
 *
 * Return: both ends, or {NULL, NULL} with errno ENOMEM, EINVAL.
 */
vn_pair
vn_dealer_new(vn_hub *h, size_t item_size)
{
	return channel_make(h, item_size, 0, (shape){true, false});
}

/**
 * vn_router_new() - many senders, one receiver, no room
 * @h:         hub
 * @item_size: bytes of one item
 *
 * Return: both ends, or {NULL, NULL} with errno ENOMEM, EINVAL.
 */
vn_pair
vn_router_new(vn_hub *h, size_t item_size)
{
	return channel_make(h, item_size, 0, (shape){false, true});
}

/**
 * vn_channel_new() - many senders, many receivers
 * @h:         hub
 * @item_size: bytes of one item
 * @n:         items that may wait; 0: none
 *
 * Return: both ends, or {NULL, NULL} with errno ENOMEM, EINVAL.
 */
vn_pair
vn_channel_new(vn_hub *h, size_t item_size, size_t n)
{
	return channel_make(h, item_size, n, (shape){false, false});
}
