/* SPDX-License-Identifier: MIT */
/*
 * State - the latest value, for whoever asks; and value, which is set once
 *
 * Sending never waits: it replaces what is there and gives it to all who wait. Receiving does not take it away, so
 * receivers wait only while there is none. An error is kept as an item is. What is there when the sending end closes
 * stays.
 *
 * A change has a number. Who wants each change once (vn_pipe_to) remembers the number of the last one it saw, and
 * stands in a queue of its own.
 */
#include "client/message/state.h"

#include <stdlib.h>

#include "client/message/life.h"

typedef struct state {
	vn_tx tx;
	vn_rx rx;
	vn_waitq receivers;
	vn_waitq followers; /* are woken by each change, and by closing the sending end */
	vn_waitq watchers;  /* by closing the receiving end */
	int tx_gone, rx_gone;
	int error; /* stands there in place of an item */
	bool set, once;
	uint64_t change;
	vn_owned owned;
	unsigned char item[];
} state;

static state *
state_of_tx(void *tx)
{
	return (state *)((char *)tx - offsetof(state, tx));
}

static state *
state_of_rx(void *rx)
{
	return (state *)((char *)rx - offsetof(state, rx));
}

static int
state_read(const state *s, void *item)
{
	if (s->error == 0)
		vn_item_copy(item, s->item, s->rx.item_size);
	return s->error;
}

static int
state_set(state *s, const void *item, int error)
{
	if (s->rx_gone)
		return s->rx_gone;
	if (s->once && s->set)
		return -EALREADY;
	if (error == 0)
		vn_item_copy(s->item, item, s->tx.item_size);
	s->error = error;
	s->set = true;
	s->change++;
	for (vn_clause *c; (c = s->receivers.first);)
		vn_wake(c, state_read(s, c->item));
	vn_end_wake(&s->followers, NULL, 0);
	return 0;
}

static int
try_send(void *tx, void *item)
{
	return state_set(state_of_tx(tx), item, 0);
}

static int
try_error(void *tx, int error)
{
	return state_set(state_of_tx(tx), tx, error);
}

static int
try_recv(void *rx, void *item)
{
	const state *s = state_of_rx(rx);

	if (s->set)
		return state_read(s, item);
	return s->tx_gone ? s->tx_gone : -EAGAIN;
}

/* Nobody ever waits to send. */
static vn_waitq *
senders_of(void *tx)
{
	return &state_of_tx(tx)->watchers;
}

static vn_waitq *
watchers_of(void *tx, int *result)
{
	state *s = state_of_tx(tx);

	*result = s->rx_gone;
	return s->rx_gone ? NULL : &s->watchers;
}

static vn_waitq *
receivers_of(void *rx)
{
	return &state_of_rx(rx)->receivers;
}

static vn_rx *
receiver_of(void *tx, vn_rx *after)
{
	state *s = state_of_tx(tx);

	return after || s->rx_gone ? NULL : &s->rx;
}

static void
state_free(state *s)
{
	vn_life_deinit(&s->tx.life);
	vn_life_deinit(&s->rx.life);
	free(s);
}

static void
owned_free(vn_owned *o)
{
	state_free((state *)(void *)((char *)o - offsetof(state, owned)));
}

static void
state_release(state *s)
{
	if (!s->tx_gone || !s->rx_gone)
		return;
	vn_hub_disown(&s->owned);
	state_free(s);
}

static int
close_tx(void *tx)
{
	state *s = state_of_tx(tx);

	s->tx_gone = vn_life_result(&s->tx.life);
	vn_end_wake(&s->receivers, NULL, s->tx_gone);
	vn_end_wake(&s->followers, NULL, 0);
	state_release(s);
	return 0;
}

static int
close_rx(void *rx)
{
	state *s = state_of_rx(rx);

	s->rx_gone = vn_life_result(&s->rx.life);
	vn_end_wake(&s->receivers, NULL, -EPIPE);
	vn_end_wake(&s->watchers, NULL, s->rx_gone);
	state_release(s);
	return 0;
}

static const vn_end_ops tx_ops = {
	.try = try_send,
	.queue = senders_of,
	.close = close_tx,
	.try_error = try_error,
	.gone = watchers_of,
	.receiver = receiver_of,
};

static const vn_end_ops rx_ops = {
	.try = try_recv,
	.queue = receivers_of,
	.close = close_rx,
};

/**
 * vn_state_receives() - is it the receiving end of a state or a value?
 * @rx: receiving end
 */
bool
vn_state_receives(const vn_rx *rx)
{
	return rx->ops == &rx_ops;
}

/**
 * vn_state_next() - a value that is newer
 * @rx:    receiving end of a state or a value
 * @seen:  the change that was seen last, 0 at first
 * @item:  the value goes here
 * @error: 0, or the error that stands in place of a value
 *
 * Return: 0; -EAGAIN if there was no change, -ENODATA if the state was cleared; or what a receiver gets when
 * nothing more will come.
 */
int
vn_state_next(vn_rx *rx, uint64_t *seen, void *item, int *error)
{
	const state *s = state_of_rx(rx);

	if (s->change == *seen)
		return s->tx_gone ? s->tx_gone : -EAGAIN;
	*seen = s->change;
	if (!s->set)
		return -ENODATA;
	*error = state_read(s, item);
	return 0;
}

/**
 * vn_state_changes() - where to stand until there is a change, or none will come any more
 * @rx: receiving end of a state or a value
 */
vn_waitq *
vn_state_changes(vn_rx *rx)
{
	return &state_of_rx(rx)->followers;
}

static vn_pair
state_make(vn_hub *h, size_t item_size, bool once)
{
	state *s;

	if (item_size > UINT32_MAX) {
		errno = EINVAL;
		return (vn_pair){NULL, NULL};
	}
	s = calloc(1, sizeof *s + item_size);
	if (!s)
		return (vn_pair){NULL, NULL};
	s->tx = (vn_tx){.ops = &tx_ops, .hub = h, .item_size = item_size};
	s->rx = (vn_rx){.ops = &rx_ops, .hub = h, .item_size = item_size};
	s->once = once;
	vn_hub_own(h, &s->owned, owned_free);
	return (vn_pair){&s->tx, &s->rx};
}

/**
 * vn_state_new() - the latest value, for many
 * @h:         hub
 * @item_size: bytes of one item
 *
 * Return: both ends, or {NULL, NULL} with errno ENOMEM, EINVAL.
 */
vn_pair
vn_state_new(vn_hub *h, size_t item_size)
{
	return state_make(h, item_size, false);
}

/**
 * vn_value_new() - a value that is set once, for many
 * @h:         hub
 * @item_size: bytes of one item
 *
 * Return: both ends, or {NULL, NULL} with errno ENOMEM, EINVAL.
 */
vn_pair
vn_value_new(vn_hub *h, size_t item_size)
{
	return state_make(h, item_size, true);
}

/**
 * vn_clear() - leave a state without a value
 * @tx: sending end of a state, or NULL
 *
 * Return: 0; -EINVAL for another kind of end, -EBADF for NULL.
 */
int
vn_clear(vn_tx *tx)
{
	state *s;

	if (!tx)
		return -EBADF;
	if (tx->ops != &tx_ops || state_of_tx(tx)->once)
		return -EINVAL;
	s = state_of_tx(tx);
	if (s->set) {
		s->set = false;
		s->change++;
		vn_end_wake(&s->followers, NULL, 0);
	}
	return 0;
}
