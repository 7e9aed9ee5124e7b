/* SPDX-License-Identifier: MIT */
/*
 * Core - how ends sit down, leave, and are joined
 *
 * An end sits at a core, at first at the one that lies in the same piece of memory. vn_pipe_to() lets all
 * ends of one side of a core sit down at another core, and from then on they are ends of that one; a hop costs
 * nothing. A side of a core is closed when nobody is left in its seats. Memory goes when both ends that lie in it are
 * closed and nobody sits at its core.
 */
#include "client/message/core.h"

#include <stdlib.h>

#include "client/hub/schedule.h"
#include "client/message/channel.h"
#include "client/message/life.h"

static vn_channel *
channel_of_core(vn_core *c)
{
	return (vn_channel *)(void *)((char *)c - offsetof(vn_channel, core));
}

/* What becomes of items that nobody will get. The function that is told may close these ends, and be told inside. */

static void
core_drop(vn_core *c)
{
	bool outer = c->dropping;

	c->dropping = true;
	while (c->ring.n > 0) {
		void *item = vn_ring_skip(&c->ring);

		if (item && c->drop)
			c->drop(c->drop_arg, item);
	}
	c->dropping = outer;
}

static void
item_drop(const vn_core *c, void *item)
{
	if (c && c->drop)
		c->drop(c->drop_arg, item);
}

/**
 * vn_core_tx_drop() - an item that nobody will get
 * @tx:   sending end
 * @item: what vn_on_drop() asked for gets it
 */
void
vn_core_tx_drop(void *tx, void *item)
{
	item_drop(vn_core_of_tx(tx), item);
}

/**
 * vn_core_rx_drop() - an item that nobody will get
 * @rx:   receiving end
 * @item: what vn_on_drop() asked for gets it
 */
void
vn_core_rx_drop(void *rx, void *item)
{
	item_drop(vn_core_of_rx(rx), item);
}

static void
witness_tell(vn_owned *o)
{
	core_drop(&((vn_channel *)(void *)((char *)o - offsetof(vn_channel, witness)))->core);
}

static int
core_on_drop(vn_core *c, vn_drop_fn *f, void *arg)
{
	vn_channel *p = channel_of_core(c);

	c->drop = f;
	c->drop_arg = arg;
	if (!p->witness.link)
		vn_hub_witness(p->tx.hub, &p->witness, witness_tell);
	return 0;
}

/**
 * vn_core_tx_on_drop() - what becomes of items that nobody will get
 * @tx:  sending end
 * @f:   gets @arg and the item; or NULL
 * @arg: its argument
 *
 * Return: 0.
 */
int
vn_core_tx_on_drop(void *tx, vn_drop_fn *f, void *arg)
{
	return core_on_drop(vn_core_of_tx(tx), f, arg);
}

/**
 * vn_core_rx_on_drop() - what becomes of items that nobody will get
 * @rx:  receiving end
 * @f:   gets @arg and the item; or NULL
 * @arg: its argument
 *
 * Return: 0.
 */
int
vn_core_rx_on_drop(void *rx, vn_drop_fn *f, void *arg)
{
	return core_on_drop(vn_core_of_rx(rx), f, arg);
}

/* Closing */

static void
channel_free(vn_channel *p)
{
	vn_life_deinit(&p->tx.life);
	vn_life_deinit(&p->rx.life);
	vn_ring_deinit(&p->core.ring);
	free(p);
}

/**
 * vn_core_owned_free() - both ends go with the hub
 * @o: in a channel
 */
void
vn_core_owned_free(vn_owned *o)
{
	channel_free((vn_channel *)(void *)((char *)o - offsetof(vn_channel, owned)));
}

static void
channel_release(vn_channel *p)
{
	if (p->tx_open || p->rx_open || p->core.tx_seats || p->core.rx_seats || p->core.dropping)
		return;
	vn_hub_disown(&p->owned);
	vn_hub_disown(&p->witness);
	channel_free(p);
}

/**
 * vn_seat_take() - sit down at a core
 * @s:     at none
 * @c:     core
 * @seats: those of its side
 */
void
vn_seat_take(vn_seat *s, vn_core *c, vn_seat **seats)
{
	s->core = c;
	s->next = *seats;
	s->link = seats;
	if (s->next)
		s->next->link = &s->next;
	*seats = s;
}

static void
seat_leave(vn_seat *s)
{
	s->core = NULL;
	*s->link = s->next;
	if (s->next)
		s->next->link = s->link;
}

/**
 * vn_core_tx_close() - the last owner of a sending end has closed it
 * @tx: sending end, freed
 *
 * Return: 0; -EBADF if it was closed before.
 */
int
vn_core_tx_close(void *tx)
{
	vn_channel *p = vn_channel_of_tx(tx);
	vn_core *c = p->tx_seat.core;

	if (!p->tx_open)
		return -EBADF;
	p->tx_open = false;
	if (c) {
		vn_end_wake(&c->senders, tx, -EPIPE);
		seat_leave(&p->tx_seat);
		if (!c->tx_seats) {
			c->tx_gone = vn_life_result(&p->tx.life);
			vn_end_wake(&c->receivers, NULL, c->tx_gone);
		}
		if (channel_of_core(c) != p)
			channel_release(channel_of_core(c));
	}
	channel_release(p);
	return 0;
}

static void
core_abandon(vn_core *c, int result)
{
	c->rx_gone = result;
	vn_end_wake(&c->senders, NULL, result);
	vn_end_wake(&c->watchers, NULL, result);
	core_drop(c);
}

/**
 * vn_core_rx_close() - the last owner of a receiving end has closed it
 * @rx: receiving end, freed
 *
 * Return: 0; -EBADF if it was closed before.
 */
int
vn_core_rx_close(void *rx)
{
	vn_channel *p = vn_channel_of_rx(rx);
	vn_core *c = p->rx_seat.core;

	if (!p->rx_open)
		return -EBADF;
	if (c) {
		vn_end_wake(&c->receivers, rx, -EPIPE);
		seat_leave(&p->rx_seat);
		if (!c->rx_seats)
			core_abandon(c, vn_life_result(&p->rx.life));
		if (channel_of_core(c) != p)
			channel_release(channel_of_core(c));
	}
	p->rx_open = false;
	channel_release(p);
	return 0;
}

/* Joining */

static void
waitq_move(vn_waitq *from, vn_waitq *to)
{
	while (from->first) {
		vn_clause *c = from->first;

		clause_unlink(c);
		waitq_push(to, c);
	}
}

static bool
settle_room(vn_core *c)
{
	vn_clause *receiver = c->receivers.first, *sender = c->senders.first;

	if (receiver && c->ring.n > 0) {
		vn_wake(receiver, vn_ring_pop(&c->ring, receiver->item));
		return true;
	}
	if (!sender || vn_ring_is_full(&c->ring))
		return false;
	vn_ring_push(&c->ring, sender->item, sender->result);
	vn_wake(sender, 0);
	return true;
}

static bool
settle_pair(vn_core *c, size_t size)
{
	for (vn_clause *receiver = c->receivers.first; receiver; receiver = receiver->next)
		for (vn_clause *sender = c->senders.first; sender; sender = sender->next) {
			int rc;

			if (sender->co == receiver->co)
				continue;
			rc = sender->result;
			if (rc == 0)
				vn_item_copy(receiver->item, sender->item, size);
			vn_wake(sender, 0);
			vn_wake(receiver, rc);
			return true;
		}
	return false;
}

/* Those who wait have come together from two cores: lets them meet until all is at rest. */
static void
core_settle(vn_core *c, size_t size)
{
	if (c->rx_gone)
		vn_end_wake(&c->senders, NULL, c->rx_gone);
	while (c->ring.cap > 0 ? settle_room(c) : settle_pair(c, size))
		;
	if (c->tx_gone)
		vn_end_wake(&c->receivers, NULL, c->tx_gone);
}

static void
drop_inherit(vn_core *to, const vn_core *from)
{
	if (from->drop && !to->drop)
		core_on_drop(to, from->drop, from->drop_arg);
}

/* All who send to `a` send to `b`. The seat of its receiving end is given up. */
static void
senders_join(vn_channel *from, vn_core *a, vn_core *b)
{
	vn_end_wake(&a->receivers, NULL, -EPIPE);
	seat_leave(&from->rx_seat);
	while (a->tx_seats) {
		vn_channel *p =
			(vn_channel *)(void *)((char *)a->tx_seats - offsetof(vn_channel, tx_seat));

		seat_leave(&p->tx_seat);
		vn_channel_sit_tx(p, b);
	}
	waitq_move(&a->senders, &b->senders);
	waitq_move(&a->watchers, &b->watchers);
	if (b->rx_gone)
		vn_end_wake(&b->watchers, NULL, b->rx_gone);
	drop_inherit(b, a);
	core_settle(b, from->rx.item_size);
	channel_release(channel_of_core(a));
}

/* All who receive from `b` receive from `a`. The seat of its sending end is given up. */
static void
receivers_join(vn_channel *to, vn_core *b, vn_core *a)
{
	vn_end_wake(&b->senders, NULL, -EPIPE);
	seat_leave(&to->tx_seat);
	while (b->rx_seats) {
		vn_channel *p =
			(vn_channel *)(void *)((char *)b->rx_seats - offsetof(vn_channel, rx_seat));

		seat_leave(&p->rx_seat);
		vn_channel_sit_rx(p, a);
	}
	waitq_move(&b->receivers, &a->receivers);
	drop_inherit(a, b);
	core_settle(a, to->tx.item_size);
	channel_release(channel_of_core(b));
}

static bool
sits_alone(const vn_seat *s, const vn_seat *seats, const vn_life *l)
{
	return seats == s && !s->next && l->n_dups == 0;
}

/**
 * vn_channel_sends() - has channel.c made this end?
 * @tx: sending end
 */
bool
vn_channel_sends(const vn_tx *tx)
{
	return tx->ops->close == vn_core_tx_close;
}

/**
 * vn_channel_receives() - has channel.c made this end?
 * @rx: receiving end
 */
bool
vn_channel_receives(const vn_rx *rx)
{
	return rx->ops->close == vn_core_rx_close;
}

/**
 * vn_channel_join() - what @from would get, @to's receiver gets, and nobody runs for it
 * @from: of channel.c
 * @to:   of channel.c; of another core
 * @over: not 0 if one of the sides is closed already: what the other one gets
 *
 * Where @from's core has no room and nobody else receives from it, its senders sit down at @to's core; where @to's
 * has none and nobody else sends to it, its receivers sit down at @from's.
 *
 * Return: 0; -EAGAIN if neither can be.
 */
int
vn_channel_join(vn_rx *from, vn_tx *to, int *over)
{
	vn_channel *f = vn_channel_of_rx(from), *t = vn_channel_of_tx(to);
	vn_core *a = f->rx_seat.core, *b = t->tx_seat.core;

	*over = a->tx_gone ? a->tx_gone : b->rx_gone;
	if (a->ring.cap == 0 && sits_alone(&f->rx_seat, a->rx_seats, &from->life))
		senders_join(f, a, b);
	else if (b->ring.cap == 0 && sits_alone(&t->tx_seat, b->tx_seats, &to->life))
		receivers_join(t, b, a);
	else
		return -EAGAIN;
	return 0;
}
