/* SPDX-License-Identifier: MIT */
/*
 * Wire - the ends
 */
#include "client/os/wire.h"

#include "client/message/life.h"

static vn_wire *
wire_of_tx(void *tx)
{
	return (vn_wire *)((char *)tx - offsetof(vn_wire, tx));
}

static vn_wire *
wire_of_rx(void *rx)
{
	return (vn_wire *)((char *)rx - offsetof(vn_wire, rx));
}

/* The other side can still bring news. */
static void
wire_hold(vn_wire *w)
{
	bool holds = (!w->rx_end && !w->no_sender) || (!w->tx_end && !w->no_receiver);

	if (holds == w->is_held)
		return;
	w->is_held = holds;
	if (holds)
		vn_hub_hold(w->tx.hub);
	else
		vn_hub_unhold(w->tx.hub);
}

static int
wire_send(vn_wire *w, const void *item, int error)
{
	if (w->no_receiver)
		return w->no_receiver;
	return w->senders.first || !w->ops->put(w, item, error) ? -EAGAIN : 0;
}

static int
wire_get(vn_wire *w, void *item)
{
	int rc = w->ops->get(w, item);

	return rc == -EAGAIN && w->no_sender ? w->no_sender : rc;
}

static int
tx_try(void *end, void *item)
{
	return wire_send(wire_of_tx(end), item, 0);
}

static int
tx_try_error(void *end, int error)
{
	return wire_send(wire_of_tx(end), NULL, error);
}

static vn_waitq *
tx_queue(void *end)
{
	return &wire_of_tx(end)->senders;
}

static int
rx_try(void *end, void *item)
{
	vn_wire *w = wire_of_rx(end);

	return w->receivers.first ? -EAGAIN : wire_get(w, item);
}

static vn_waitq *
rx_queue(void *end)
{
	return &wire_of_rx(end)->receivers;
}

static void
wire_closed(vn_wire *w)
{
	w->ops->tell(w);
	wire_hold(w);
	if (w->tx_end && w->rx_end)
		w->ops->forget(w);
}

static int
tx_close(void *end)
{
	vn_wire *w = wire_of_tx(end);

	if (w->tx_end)
		return -EBADF;
	w->tx_end = vn_life_result(&w->tx.life);
	if (w->home)
		w->home->tx = NULL;
	vn_end_wake(&w->senders, NULL, -EPIPE);
	wire_closed(w);
	return 0;
}

static int
rx_close(void *end)
{
	vn_wire *w = wire_of_rx(end);

	if (w->rx_end)
		return -EBADF;
	w->rx_end = vn_life_result(&w->rx.life);
	if (w->home)
		w->home->rx = NULL;
	vn_end_wake(&w->receivers, NULL, -EPIPE);
	wire_closed(w);
	return 0;
}

static const vn_end_ops tx_ops = {
	.try = tx_try,
	.queue = tx_queue,
	.close = tx_close,
	.one = true,
	.try_error = tx_try_error,
};

static const vn_end_ops rx_ops = {
	.try = rx_try,
	.queue = rx_queue,
	.close = rx_close,
	.one = true,
};

/**
 * vn_wire_init() - our side of a wire
 * @w:         zero
 * @h:         hub
 * @item_size: bytes of one item
 * @ops:       how items get across
 *
 * Return: its ends.
 */
vn_pair
vn_wire_init(vn_wire *w, vn_hub *h, size_t item_size, const vn_wire_ops *ops)
{
	w->tx = (vn_tx){.ops = &tx_ops, .hub = h, .item_size = item_size};
	w->rx = (vn_rx){.ops = &rx_ops, .hub = h, .item_size = item_size};
	w->ops = ops;
	wire_hold(w);
	return (vn_pair){&w->tx, &w->rx};
}

/**
 * vn_wire_deinit() - what is open goes with the hub
 * @w: initialised; the other side is told by who calls this
 */
void
vn_wire_deinit(vn_wire *w)
{
	if (!w->tx_end)
		w->tx_end = -EOWNERDEAD;
	if (!w->rx_end)
		w->rx_end = -EOWNERDEAD;
	if (w->home)
		*w->home = (vn_pair){NULL, NULL};
	wire_hold(w);
	vn_life_deinit(&w->tx.life);
	vn_life_deinit(&w->rx.life);
}

/**
 * vn_wire_settle() - let everybody go on who can
 * @w: initialised
 *
 * Return: true if there was anybody.
 */
bool
vn_wire_settle(vn_wire *w)
{
	bool any = false;
	vn_clause *c;
	int rc;

	while ((c = w->receivers.first) && (rc = wire_get(w, c->item)) != -EAGAIN) {
		vn_wake(c, rc);
		any = true;
	}
	while ((c = w->senders.first) && (w->no_receiver || w->ops->put(w, c->item, c->result))) {
		vn_wake(c, w->no_receiver);
		any = true;
	}
	wire_hold(w);
	return any;
}

/**
 * vn_wire_lost() - the other side is dead; what has arrived can still be received
 * @w: initialised
 *
 * Caller: lets those go on who wait, by vn_wire_settle().
 */
void
vn_wire_lost(vn_wire *w)
{
	if (!w->no_sender)
		w->no_sender = -EOWNERDEAD;
	if (!w->no_receiver)
		w->no_receiver = -EOWNERDEAD;
}

/**
 * vn_wire_end() - whose ends these were is done with them
 * @ends: what is closed is NULL there
 * @died: it failed, and the other side gets -EOWNERDEAD
 *
 * The sending end is the last: who hears there that nothing more will come, cannot send either.
 */
void
vn_wire_end(vn_pair *ends, bool died)
{
	vn_rx_give(ends->rx);
	if (died)
		vn_rx_died(ends->rx);
	else
		vn_rx_close(ends->rx);
	vn_tx_give(ends->tx);
	if (died)
		vn_tx_died(ends->tx);
	else
		vn_tx_close(ends->tx);
}
