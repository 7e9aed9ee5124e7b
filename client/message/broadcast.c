/* SPDX-License-Identifier: MIT */
/*
 * Broadcast - one sender, and a receiving end for each subscriber
 *
 * An item goes to all subscribers at one moment, or to none yet: the sender waits until each of those with VN_BLOCK
 * can take it, because there is room in its ring or because it waits for an item. So a sender whose wait ends early
 * has given the item to nobody, and a select that has another case decided has not either. The others never make it
 * wait: a policy says what they lose.
 *
 * Who may make a waiting sender go on looks whether it can: a subscriber that comes to receive, that has taken an item
 * out of a full ring, or that leaves. `blocker` is the subscriber that could not take the item when somebody looked
 * last; as long as that has not changed, one look is enough.
 *
 * A subscriber that comes to receive looks before it waits, as if it waited already (`coming`); then it need not wait.
 *
 * One coroutine cannot take an item twice at one moment: where it stands, in a select, at two subscriptions without
 * room, or at one and at the sending end, the item waits until it does not.
 *
 * What on_drop and on_empty call may close any of these ends while items are given or dropped. So that goes round
 * with a cursor that steps over who leaves, and what is in use is freed when it is no more. It may even switch: a
 * sender that waited is decided first, and becomes ready when its item has been given to all.
 */
#include <stdlib.h>

#include "client/hub/place.h"
#include "client/hub/schedule.h"
#include "client/message/life.h"
#include "client/message/ring.h"

typedef struct broadcast broadcast;

typedef struct subscriber subscriber;
struct subscriber {
	vn_rx rx;
	broadcast *from; /* NULL: it was disconnected, or the sending end is closed */
	subscriber *next, **link;
	int policy;
	vn_ring ring; /* VN_BLOCK may have none */
	vn_waitq receivers;
	int over;       /* what it gets when the ring is empty: 0, more may come */
	uint64_t since; /* items that were sent before it came */
	uint64_t n_dropped;
	vn_drop_fn *drop;
	void *drop_arg;
	bool closed;
	uint32_t n_users; /* calls that go on using it although a callback may close it */
	vn_owned owned, witness;
};

/* Who goes round. */
typedef struct cursor cursor;
struct cursor {
	subscriber *next;
	cursor *other;
};

struct broadcast {
	vn_tx tx;
	subscriber *first, **last; /* in the order in which they came */
	size_t n;
	vn_waitq senders;
	subscriber *blocker;
	subscriber *coming;
	cursor *cursors;
	bool closed;
	uint32_t n_users; /* as above */
	uint64_t n_sent, n_dropped;
	vn_drop_fn *drop;
	void *drop_arg;
	void (*on_empty)(void *arg);
	void *on_empty_arg;
	vn_owned owned;
};

static broadcast *
broadcast_of(void *tx)
{
	return (broadcast *)((char *)tx - offsetof(broadcast, tx));
}

static subscriber *
subscriber_of(void *rx)
{
	return (subscriber *)((char *)rx - offsetof(subscriber, rx));
}

/* Dropping */

static void
item_drop(const broadcast *b, const subscriber *s, void *item)
{
	if (s && s->drop)
		s->drop(s->drop_arg, item);
	else if (b && b->drop)
		b->drop(b->drop_arg, item);
}

static void
item_lose(broadcast *b, subscriber *s, void *item)
{
	s->n_dropped++;
	b->n_dropped++;
	if (item)
		item_drop(b, s, item);
}

static void
subscriber_free(subscriber *s)
{
	vn_life_deinit(&s->rx.life);
	vn_ring_deinit(&s->ring);
	free(s);
}

/* A callback may have closed it. */
static void
subscriber_used(subscriber *s)
{
	if (--s->n_users == 0 && s->closed)
		subscriber_free(s);
}

static void
ring_drop(subscriber *s)
{
	s->n_users++;
	while (s->ring.n > 0) {
		void *item = vn_ring_skip(&s->ring);

		if (item)
			item_drop(s->from, s, item);
	}
	subscriber_used(s);
}

static void
witness_tell(vn_owned *o)
{
	ring_drop((subscriber *)(void *)((char *)o - offsetof(subscriber, witness)));
}

/* Leaving */

static void
subscriber_unlink(subscriber *s)
{
	broadcast *b = s->from;

	for (cursor *c = b->cursors; c; c = c->other)
		if (c->next == s)
			c->next = s->next;
	*s->link = s->next;
	if (s->next)
		s->next->link = s->link;
	else
		b->last = s->link;
	s->from = NULL;
	b->n--;
	if (b->blocker == s)
		b->blocker = NULL;
}

/* Its drop function outlives the broadcast that it may be from. */
static void
subscriber_leave(subscriber *s)
{
	if (!s->drop) {
		s->drop = s->from->drop;
		s->drop_arg = s->from->drop_arg;
	}
	subscriber_unlink(s);
}

static void
broadcast_emptied(broadcast *b)
{
	if (b->n == 0 && b->on_empty && !b->closed)
		b->on_empty(b->on_empty_arg);
}

static void
broadcast_free(broadcast *b)
{
	vn_life_deinit(&b->tx.life);
	free(b);
}

/* Sending */

static bool
subscriber_takes(const broadcast *b, const subscriber *s)
{
	return s->policy != VN_BLOCK || s->receivers.first || s == b->coming ||
	       !vn_ring_is_full(&s->ring);
}

/*
 * Does each wait for itself? Only a select can wait twice. What a wait is decided with (co->decided) means nothing
 * before it is, and serves as the mark.
 */
static bool
all_differ(broadcast *b)
{
	for (subscriber *s = b->first; s; s = s->next)
		if (s->receivers.first)
			s->receivers.first->co->decided = 0;
	if (b->senders.first)
		b->senders.first->co->decided = 1;
	for (subscriber *s = b->first; s; s = s->next) {
		vn_co *co = s->receivers.first ? s->receivers.first->co : NULL;

		if (co && s->policy == VN_BLOCK && vn_ring_is_full(&s->ring) && co->decided++) {
			b->blocker = s;
			return false;
		}
	}
	return true;
}

/* Can all take it? Begins with the one that could not the last time, and goes round once. */
static bool
all_take(broadcast *b)
{
	subscriber *from = b->blocker ? b->blocker : b->first;

	for (subscriber *s = from; s;) {
		if (!subscriber_takes(b, s)) {
			b->blocker = s;
			return false;
		}
		s = s->next ? s->next : b->first;
		if (s == from)
			break;
	}
	b->blocker = NULL;
	return all_differ(b);
}

static void
oldest_overrun(broadcast *b, subscriber *s, const void *item, int error)
{
	s->n_users++;
	while (s->from && vn_ring_is_full(&s->ring))
		item_lose(b, s, vn_ring_skip(&s->ring));
	if (s->from)
		vn_ring_push(&s->ring, item, error);
	subscriber_used(s);
}

static void
subscriber_overrun(broadcast *b, subscriber *s, void *item, int error)
{
	if (s->policy == VN_DROP_OLDEST) {
		oldest_overrun(b, s, item, error);
		return;
	}
	if (s->policy == VN_DISCONNECT) {
		s->over = -ENOBUFS;
		subscriber_leave(s);
	}
	item_lose(b, s, error ? NULL : item);
}

static void
subscriber_give(broadcast *b, subscriber *s, void *item, int error)
{
	vn_clause *receiver = s->receivers.first;

	if (receiver) {
		if (error == 0)
			vn_item_copy(receiver->item, item, s->rx.item_size);
		vn_wake(receiver, error);
	} else if (!vn_ring_is_full(&s->ring)) {
		vn_ring_push(&s->ring, item, error);
	} else if (s != b->coming) {
		subscriber_overrun(b, s, item, error);
	}
}

/* A callback may have closed it. */
static void
broadcast_used(broadcast *b)
{
	if (--b->n_users > 0 || !b->closed)
		return;
	vn_hub_disown(&b->owned);
	broadcast_free(b);
}

static void
cursor_begin(cursor *c, broadcast *b)
{
	*c = (cursor){b->first, b->cursors};
	b->cursors = c;
}

static void
cursor_end(const cursor *c, broadcast *b)
{
	cursor **link = &b->cursors;

	while (*link != c)
		link = &(*link)->other;
	*link = c->other;
}

static void
subscribers_give(broadcast *b, void *item, int error)
{
	uint64_t number = ++b->n_sent;
	cursor c;

	cursor_begin(&c, b);
	for (subscriber *s; (s = c.next);) {
		c.next = s->next;
		if (s->since < number)
			subscriber_give(b, s, item, error);
	}
	cursor_end(&c, b);
}

/* All can take it. */
static void
all_give(broadcast *b, void *item, int error)
{
	bool any = b->n > 0;

	subscribers_give(b, item, error);
	if (!any && error == 0)
		item_drop(b, NULL, item);
	if (any)
		broadcast_emptied(b);
}

/* All can take what the sender that waits has. */
static int
sender_give(broadcast *b, vn_clause *sender)
{
	vn_co *co = sender->co;
	int error = sender->result;

	sender->result = 0;
	vn_co_decide(co, (int)(sender - co->clauses));
	all_give(b, sender->item, error);
	vn_ready_push(co->hub, co);
	return error;
}

/* Something may have changed for the sender that waits. */
static void
senders_go_on(broadcast *b)
{
	while (b->senders.first && all_take(b))
		sender_give(b, b->senders.first);
}

static int
broadcast_send(broadcast *b, void *item, int error)
{
	if (b->senders.first || !all_take(b))
		return -EAGAIN;
	b->n_users++;
	all_give(b, item, error);
	broadcast_used(b);
	return 0;
}

static int
try_send(void *tx, void *item)
{
	return broadcast_send(broadcast_of(tx), item, 0);
}

static int
try_error(void *tx, int error)
{
	return broadcast_send(broadcast_of(tx), tx, error);
}

static vn_waitq *
senders_of(void *tx)
{
	return &broadcast_of(tx)->senders;
}

static vn_rx *
receiver_of(void *tx, vn_rx *after)
{
	subscriber *s = after ? subscriber_of(after)->next : broadcast_of(tx)->first;

	return s ? &s->rx : NULL;
}

static void
tx_drop(void *tx, void *item)
{
	item_drop(broadcast_of(tx), NULL, item);
}

static int
tx_on_drop(void *tx, vn_drop_fn *f, void *arg)
{
	broadcast_of(tx)->drop = f;
	broadcast_of(tx)->drop_arg = arg;
	return 0;
}

static void
broadcast_owned_free(vn_owned *o)
{
	broadcast_free((broadcast *)(void *)((char *)o - offsetof(broadcast, owned)));
}

static int
close_tx(void *tx)
{
	broadcast *b = broadcast_of(tx);

	b->n_users++;
	b->closed = true;
	vn_end_wake(&b->senders, NULL, -EPIPE);
	while (b->first) {
		subscriber *s = b->first;

		s->over = vn_life_result(&b->tx.life);
		subscriber_leave(s);
		vn_end_wake(&s->receivers, NULL, s->over);
	}
	broadcast_used(b);
	return 0;
}

static const vn_end_ops tx_ops = {
	.try = try_send,
	.queue = senders_of,
	.close = close_tx,
	.one = true,
	.drop = tx_drop,
	.on_drop = tx_on_drop,
	.try_error = try_error,
	.receiver = receiver_of,
};

/* Receiving */

static int
recv_waiting(subscriber *s, void *item)
{
	broadcast *b = s->from;
	vn_clause *sender = b ? b->senders.first : NULL;
	int error;

	if (!sender || s->ring.cap > 0 || s->receivers.first)
		return s->over ? s->over : -EAGAIN;
	b->coming = s;
	if (!all_take(b)) {
		b->coming = NULL;
		return -EAGAIN;
	}
	b->n_users++;
	if (sender->result == 0)
		vn_item_copy(item, sender->item, s->rx.item_size);
	error = sender_give(b, sender);
	b->coming = NULL;
	senders_go_on(b);
	broadcast_used(b);
	return error;
}

static int
try_recv(void *rx, void *item)
{
	subscriber *s = subscriber_of(rx);
	int rc;

	if (s->ring.n == 0)
		return recv_waiting(s, item);
	rc = vn_ring_pop(&s->ring, item);
	if (s->from && s->from->senders.first) {
		broadcast *b = s->from;

		b->n_users++;
		senders_go_on(b);
		broadcast_used(b);
	}
	return rc;
}

static vn_waitq *
receivers_of(void *rx)
{
	return &subscriber_of(rx)->receivers;
}

static void
rx_drop(void *rx, void *item)
{
	const subscriber *s = subscriber_of(rx);

	item_drop(s->from, s, item);
}

static int
rx_on_drop(void *rx, vn_drop_fn *f, void *arg)
{
	subscriber_of(rx)->drop = f;
	subscriber_of(rx)->drop_arg = arg;
	return 0;
}

static void
subscriber_owned_free(vn_owned *o)
{
	subscriber_free((subscriber *)(void *)((char *)o - offsetof(subscriber, owned)));
}

static int
close_rx(void *rx)
{
	subscriber *s = subscriber_of(rx);
	broadcast *b = s->from;

	if (b) {
		b->n_users++;
		subscriber_leave(s);
	}
	s->n_users++;
	s->closed = true;
	s->over = -EPIPE;
	vn_end_wake(&s->receivers, NULL, -EPIPE);
	ring_drop(s);
	vn_hub_disown(&s->owned);
	vn_hub_disown(&s->witness);
	subscriber_used(s);
	if (!b)
		return 0;
	senders_go_on(b);
	broadcast_emptied(b);
	broadcast_used(b);
	return 0;
}

static const vn_end_ops rx_ops = {
	.try = try_recv,
	.queue = receivers_of,
	.close = close_rx,
	.one = true,
	.drop = rx_drop,
	.on_drop = rx_on_drop,
};

/* Making */

/**
 * vn_broadcast_new() - a sending end to which many can subscribe
 * @h:         hub
 * @item_size: bytes of one item
 *
 * Ownership: freed by closing it; goes with the hub.
 *
 * Return: the end, or NULL with errno ENOMEM, EINVAL.
 */
vn_tx *
vn_broadcast_new(vn_hub *h, size_t item_size)
{
	broadcast *b;

	if (item_size > UINT32_MAX) {
		errno = EINVAL;
		return NULL;
	}
	b = calloc(1, sizeof *b);
	if (!b)
		return NULL;
	b->tx = (vn_tx){.ops = &tx_ops, .hub = h, .item_size = item_size};
	b->last = &b->first;
	vn_hub_own(h, &b->owned, broadcast_owned_free);
	return &b->tx;
}

static int
subscriber_init(subscriber *s, vn_tx *tx, int policy, size_t n)
{
	if (!tx)
		return -EBADF;
	if (tx->ops != &tx_ops || policy < VN_BLOCK || policy > VN_DISCONNECT ||
		(policy != VN_BLOCK && n == 0))
		return -EINVAL;
	s->policy = policy;
	s->rx = (vn_rx){.ops = &rx_ops, .hub = tx->hub, .item_size = tx->item_size};
	return vn_ring_init(&s->ring, tx->item_size, n);
}

/**
 * vn_subscribe_with() - a receiving end for what is sent from now on
 * @tx:     sending end of a broadcast, or NULL
 * @policy: VN_BLOCK, VN_DROP_OLDEST, VN_DROP_NEWEST or VN_DISCONNECT
 * @n:      items that may wait; 0 for VN_BLOCK alone
 *
 * Ownership: the caller leaves by closing it; goes with the hub.
 *
 * Return: the end, or NULL with errno ENOMEM, EINVAL, EBADF.
 */
vn_rx *
vn_subscribe_with(vn_tx *tx, int policy, size_t n)
{
	subscriber *s = calloc(1, sizeof *s);
	int rc = s ? subscriber_init(s, tx, policy, n) : -ENOMEM;
	broadcast *b;

	if (rc < 0) {
		free(s);
		errno = -rc;
		return NULL;
	}
	b = broadcast_of(tx);
	s->from = b;
	s->since = b->n_sent;
	s->link = b->last;
	*b->last = s;
	b->last = &s->next;
	b->n++;
	vn_place_recall(tx->hub, &b->owned, 0);
	vn_hub_own(tx->hub, &s->owned, subscriber_owned_free);
	vn_hub_witness(tx->hub, &s->witness, witness_tell);
	return &s->rx;
}

/**
 * vn_subscribe() - a receiving end for what is sent from now on; the sender waits for it
 * @tx: sending end of a broadcast, or NULL
 *
 * Return: as vn_subscribe_with().
 */
vn_rx *
vn_subscribe(vn_tx *tx)
{
	return vn_subscribe_with(tx, VN_BLOCK, 0);
}

/**
 * vn_subscribers() - how many there are
 * @tx: sending end of a broadcast
 *
 * Return: a number; 0 for another kind of end, or NULL.
 */
size_t
vn_subscribers(vn_tx *tx)
{
	return tx && tx->ops == &tx_ops ? broadcast_of(tx)->n : 0;
}

/**
 * vn_dropped() - items that this subscriber has lost
 * @rx: what vn_subscribe_with() returned
 *
 * Return: a number; 0 for another kind of end, or NULL.
 */
uint64_t
vn_dropped(vn_rx *rx)
{
	return rx && rx->ops == &rx_ops ? subscriber_of(rx)->n_dropped : 0;
}

/**
 * vn_dropped_by_all() - items that subscribers have lost, those who have left as well
 * @tx: sending end of a broadcast
 *
 * Return: a number; 0 for another kind of end, or NULL.
 */
uint64_t
vn_dropped_by_all(vn_tx *tx)
{
	return tx && tx->ops == &tx_ops ? broadcast_of(tx)->n_dropped : 0;
}

/**
 * vn_on_empty() - run a function each time the last subscriber has left
 * @tx:  sending end of a broadcast, or NULL
 * @f:   gets @arg; runs in whoever closes, or sends where VN_DISCONNECT ended the last one; must not wait; NULL: none
 * @arg: its argument
 *
 * Return: 0; -EINVAL for another kind of end, -EBADF for NULL.
 */
int
vn_on_empty(vn_tx *tx, void (*f)(void *arg), void *arg)
{
	if (!tx)
		return -EBADF;
	if (tx->ops != &tx_ops)
		return -EINVAL;
	broadcast_of(tx)->on_empty = f;
	broadcast_of(tx)->on_empty_arg = arg;
	return 0;
}
