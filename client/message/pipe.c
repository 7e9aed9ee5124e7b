/* SPDX-License-Identifier: MIT */
/*
 * Pipe - one sender, one receiver, no buffer
 *
 * Who comes first waits, with the address of its item in its clause; who comes second copies. A sender that
 * finds the receiver waiting switches straight into it: it runs while the item is hot, and the sender goes on
 * in its turn. A receiver that finds the sender waiting has what it wants and goes on; the sender becomes
 * ready. The item is copied at the moment at which the wait is decided, so it is never in nobody's hand.
 *
 * Both ends lie in one piece of memory that goes when both are closed, or with the hub.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/hub/schedule.h"
#include "client/message/end.h"

typedef struct vn_pipe {
	vn_tx tx;
	vn_rx rx;
	vn_waitq senders, receivers; /* one at most in each; a select may stand there twice */
	bool tx_open, rx_open;
	vn_owned owned;
} vn_pipe;

static vn_pipe *
pipe_of_tx(void *tx)
{
	return (vn_pipe *)((char *)tx - offsetof(vn_pipe, tx));
}

static vn_pipe *
pipe_of_rx(void *rx)
{
	return (vn_pipe *)((char *)rx - offsetof(vn_pipe, rx));
}

/* Most items are pointers. */
static inline void
item_copy(void *to, const void *from, size_t size)
{
	if (size == sizeof(void *))
		memcpy(to, from, sizeof(void *));
	else
		memcpy(to, from, size);
}

static inline __attribute__((always_inline)) int
send_now(void *tx, void *item)
{
	vn_pipe *p = pipe_of_tx(tx);
	vn_clause *receiver = p->receivers.first;

	if (!receiver)
		return p->rx_open ? -EAGAIN : -EPIPE;
	item_copy(receiver->item, item, p->tx.item_size);
	if (vn_hub_can_wait(p->tx.hub))
		wake_now(receiver, 0);
	else
		vn_wake(receiver, 0);
	return 0;
}

static inline __attribute__((always_inline)) int
recv_now(void *rx, void *item)
{
	vn_pipe *p = pipe_of_rx(rx);
	vn_clause *sender = p->senders.first;

	if (!sender)
		return p->tx_open ? -EAGAIN : -EPIPE;
	item_copy(item, sender->item, p->rx.item_size);
	vn_wake(sender, 0);
	return 0;
}

static int
pipe_try_send(void *tx, void *item)
{
	return send_now(tx, item);
}

static int
pipe_try_recv(void *rx, void *item)
{
	return recv_now(rx, item);
}

static inline __attribute__((always_inline)) int
pipe_wait(vn_hub *h, vn_waitq *q, void *item)
{
	vn_clause clause;
	int rc;

	if (q->first)
		return -EBUSY;
	clause.item = item;
	waitq_push(q, &clause);
	rc = wait_for(h, &clause, 1, VN_NEVER);
	return rc < 0 ? rc : clause.result;
}

static int
pipe_send(void *tx, void *item)
{
	int rc = send_now(tx, item);

	return rc == -EAGAIN ? pipe_wait(pipe_of_tx(tx)->tx.hub, &pipe_of_tx(tx)->senders, item)
			     : rc;
}

static int
pipe_recv(void *rx, void *item)
{
	int rc = recv_now(rx, item);

	return rc == -EAGAIN ? pipe_wait(pipe_of_rx(rx)->rx.hub, &pipe_of_rx(rx)->receivers, item)
			     : rc;
}

static vn_waitq *
pipe_senders(void *tx)
{
	return &pipe_of_tx(tx)->senders;
}

static vn_waitq *
pipe_receivers(void *rx)
{
	return &pipe_of_rx(rx)->receivers;
}

static void
pipe_free(vn_owned *o)
{
	free((char *)o - offsetof(vn_pipe, owned));
}

static int
pipe_closed(vn_pipe *p)
{
	while (p->senders.first)
		vn_wake(p->senders.first, -EPIPE);
	while (p->receivers.first)
		vn_wake(p->receivers.first, -EPIPE);
	if (p->tx_open || p->rx_open)
		return 0;
	vn_hub_disown(&p->owned);
	free(p);
	return 0;
}

static int
pipe_close_tx(void *tx)
{
	vn_pipe *p = pipe_of_tx(tx);

	if (!p->tx_open)
		return -EBADF;
	p->tx_open = false;
	return pipe_closed(p);
}

static int
pipe_close_rx(void *rx)
{
	vn_pipe *p = pipe_of_rx(rx);

	if (!p->rx_open)
		return -EBADF;
	p->rx_open = false;
	return pipe_closed(p);
}

static const vn_end_ops tx_ops = {
	.try = pipe_try_send,
	.pass = pipe_send,
	.queue = pipe_senders,
	.close = pipe_close_tx,
	.one = true,
};

static const vn_end_ops rx_ops = {
	.try = pipe_try_recv,
	.pass = pipe_recv,
	.queue = pipe_receivers,
	.close = pipe_close_rx,
	.one = true,
};

/**
 * vn_pipe_new() - a sending end and the receiving end that belongs to it
 * @h:         hub
 * @item_size: bytes of one item
 *
 * Ownership: each end is freed by closing it; what is open when the hub is freed goes with it.
 *
 * Return: both ends, or {NULL, NULL} with errno ENOMEM.
 */
vn_pair
vn_pipe_new(vn_hub *h, size_t item_size)
{
	vn_pipe *p = calloc(1, sizeof *p);

	if (!p)
		return (vn_pair){NULL, NULL};
	p->tx = (vn_tx){.ops = &tx_ops, .hub = h, .item_size = item_size};
	p->rx = (vn_rx){.ops = &rx_ops, .hub = h, .item_size = item_size};
	p->tx_open = p->rx_open = true;
	vn_hub_own(h, &p->owned, pipe_free);
	return (vn_pair){&p->tx, &p->rx};
}
