/* SPDX-License-Identifier: MIT */
/*
 * Life - owners of an end, and what happens when the last one closes it
 *
 * An end has n_dups + 1 owners. What is to happen when it closes is its will, which few have: callbacks, the
 * coroutines that adopted it, and the hops that join it to another end.
 *
 * Each owner has at most one adopter. When a coroutine returns, what it has adopted is closed by it, as dead;
 * when it closes an end itself, it has one adoption less.
 *
 * Closing an end can end a hop, and thereby close other ends, and so on along a chain of any length. So hops
 * that end are put into a list, and who closed the first end works through it: a long chain needs no deep stack.
 * The last owner gives up the end first, then its callbacks run: whatever they do, they find nothing half closed.
 */
#include "client/message/life.h"

#include <stdlib.h>

typedef struct callback callback;
struct callback {
	callback *next;
	void (*fn)(void *arg, int how);
	void *arg;
};

/* Either kind of end. */
typedef struct any {
	void *end;
	const vn_end_ops *ops;
	vn_hub *hub;
	vn_life *life;
	bool sends;
} any;

typedef struct adoption adoption;
struct adoption {
	vn_parting parting;
	vn_co *co;
	any end;
	adoption *next; /* in the will, the oldest first */
};

typedef struct vn_will {
	callback *callbacks;
	adoption *adoptions;
	uint32_t n_adoptions;
	vn_hop *hops; /* into a sending end, or out of a receiving one */
	vn_owned witness;
} vn_will;

static any
any_tx(vn_tx *tx)
{
	return (any){tx, tx->ops, tx->hub, &tx->life, true};
}

static any
any_rx(vn_rx *rx)
{
	return (any){rx, rx->ops, rx->hub, &rx->life, false};
}

/* When the hub ends, one of them may close the end, and with it goes the will. */
static void
callbacks_run(vn_will *w, int how)
{
	callback *c = w->callbacks, *next;

	w->callbacks = NULL;
	for (; c; c = next) {
		next = c->next;
		c->fn(c->arg, how);
		free(c);
	}
}

static void
witness_tell(vn_owned *o)
{
	callbacks_run((vn_will *)(void *)((char *)o - offsetof(vn_will, witness)), -ECANCELED);
}

/* NULL without memory. */
static vn_will *
will_of(any e)
{
	vn_will *w = e.life->will;

	if (w)
		return w;
	w = e.life->will = calloc(1, sizeof *w);
	if (w)
		vn_hub_witness(e.hub, &w->witness, witness_tell);
	return w;
}

static void
adoption_end(vn_will *w, adoption *a)
{
	adoption **link = &w->adoptions;

	while (*link != a)
		link = &(*link)->next;
	*link = a->next;
	w->n_adoptions--;
	vn_parting_unlink(&a->parting);
	free(a);
}

/* The running coroutine has one adoption less, if it has any. */
static void
adoption_give(any e)
{
	vn_will *w = e.life->will;
	adoption *a = w ? w->adoptions : NULL;

	while (a && a->co != e.hub->current)
		a = a->next;
	if (a && !e.hub->advancing)
		adoption_end(w, a);
}

static void
adoptions_end(vn_will *w)
{
	while (w->adoptions)
		adoption_end(w, w->adoptions);
}

static vn_will *
will_free(vn_will *w)
{
	if (!w)
		return NULL;
	vn_hub_disown(&w->witness);
	adoptions_end(w);
	while (w->callbacks) {
		callback *next = w->callbacks->next;

		free(w->callbacks);
		w->callbacks = next;
	}
	free(w);
	return NULL;
}

static void
hop_unlink(vn_hop *p)
{
	*p->from_link = p->from_next;
	if (p->from_next)
		p->from_next->from_link = p->from_link;
	*p->to_link = p->to_next;
	if (p->to_next)
		p->to_next->to_link = p->to_link;
}

/**
 * vn_life_deinit() - the end is freed with the hub
 * @l: life of the end
 */
void
vn_life_deinit(vn_life *l)
{
	while (l->will && l->will->hops) {
		vn_hop *p = l->will->hops;

		hop_unlink(p);
		free(p);
	}
	l->will = will_free(l->will);
}

static void
hop_ends(vn_hop *p, int how, vn_hop **ending)
{
	hop_unlink(p);
	p->how = how;
	p->next = *ending;
	*ending = p;
}

/* The hops that go on where this end has been, from the other side of its pair. */
static void
hops_end(any e, int how, vn_hop **ending)
{
	vn_rx *rx = e.sends && e.ops->receiver ? e.ops->receiver(e.end, NULL) : NULL;
	vn_tx *tx = !e.sends && e.ops->sender ? e.ops->sender(e.end) : NULL;
	vn_will *w = rx ? rx->life.will : tx ? tx->life.will : NULL;
	vn_hop *p = w ? w->hops : NULL, *next;

	for (; p; p = next) {
		next = e.sends ? p->from_next : p->to_next;
		if (p->rewired)
			hop_ends(p, how, ending);
	}
}

static int
end_close(any e, int how, vn_hop **ending)
{
	vn_will *w = e.life->will;
	int rc;

	e.life->will = NULL;
	e.life->how = how;
	hops_end(e, how, ending);
	if (w)
		adoptions_end(w); /* a callback may switch, and an adopter return */
	rc = e.ops->close(e.end);
	if (w)
		callbacks_run(w, how);
	will_free(w);
	return rc;
}

/* One owner less. */
static int
end_release(any e, int how, vn_hop **ending)
{
	vn_will *w = e.life->will;

	if (e.life->n_dups == 0)
		return end_close(e, how, ending);
	e.life->n_dups--;
	if (w && w->n_adoptions > e.life->n_dups + 1)
		adoption_end(w, w->adoptions);
	return 0;
}

static void
hops_close(vn_hop *ending)
{
	while (ending) {
		vn_hop *p = ending;

		ending = p->next;
		end_release(any_rx(p->from), p->how, &ending);
		end_release(any_tx(p->to), p->how, &ending);
		free(p);
	}
}

static int
release(any e, int how)
{
	vn_hop *ending = NULL;
	int rc = end_release(e, how, &ending);

	hops_close(ending);
	return rc;
}

/**
 * vn_hop_new() - join a receiving end to a sending end
 * @from: an owner of it becomes the hop
 * @to:   the same
 *
 * Return: the hop, or NULL without memory; then the ends are still the caller's.
 */
vn_hop *
vn_hop_new(vn_rx *from, vn_tx *to)
{
	vn_will *f = will_of(any_rx(from)), *t = will_of(any_tx(to));
	vn_hop *p = calloc(1, sizeof *p);

	if (!f || !t || !p) {
		free(p);
		return NULL;
	}
	*p = (vn_hop){.from = from,
		.to = to,
		.from_next = f->hops,
		.from_link = &f->hops,
		.to_next = t->hops,
		.to_link = &t->hops};
	if (p->from_next)
		p->from_next->from_link = &p->from_next;
	if (p->to_next)
		p->to_next->to_link = &p->to_next;
	f->hops = t->hops = p;
	return p;
}

/**
 * vn_hop_end() - close both ends
 * @p:   hop, freed
 * @how: 0, or -EOWNERDEAD
 */
void
vn_hop_end(vn_hop *p, int how)
{
	vn_hop *ending = NULL;

	hop_ends(p, how, &ending);
	hops_close(ending);
}

/* Appends the hops out of what is sent there. */
static vn_hop **
hops_see(vn_tx *to, vn_hop **tail)
{
	vn_rx *rx = NULL;

	while (to->ops->receiver && (rx = to->ops->receiver(to, rx)))
		for (vn_hop *p = rx->life.will ? rx->life.will->hops : NULL; p; p = p->from_next) {
			if (p->seen)
				continue;
			p->seen = true;
			p->next = NULL;
			*tail = p;
			tail = &p->next;
		}
	return tail;
}

static bool
receives(vn_tx *to, const vn_rx *rx)
{
	vn_rx *r = NULL;

	while (to->ops->receiver && (r = to->ops->receiver(to, r)))
		if (r == rx)
			return true;
	return false;
}

/**
 * vn_hop_leads() - would a hop from there to here be part of a circle?
 * @to:   sending end
 * @back: receiving end
 *
 * Return: true if what is sent to @to arrives at @back.
 */
bool
vn_hop_leads(vn_tx *to, const vn_rx *back)
{
	vn_hop *seen = NULL, **tail = hops_see(to, &seen);
	bool leads = receives(to, back);

	for (vn_hop *p = seen; p; p = p->next) {
		leads |= receives(p->to, back);
		tail = hops_see(p->to, tail);
	}
	for (vn_hop *p = seen; p; p = p->next)
		p->seen = false;
	return leads;
}

/**
 * vn_tx_close() - there is no more to come from this owner; the last one frees the end
 * @tx: sending end, or NULL
 *
 * See vanilla.h for who gets what.
 *
 * Return: 0.
 */
int
vn_tx_close(vn_tx *tx)
{
	if (!tx)
		return 0;
	adoption_give(any_tx(tx));
	return release(any_tx(tx), 0);
}

/**
 * vn_rx_close() - nothing more is wanted by this owner; the last one frees the end
 * @rx: receiving end, or NULL
 *
 * See vanilla.h for who gets what.
 *
 * Return: 0.
 */
int
vn_rx_close(vn_rx *rx)
{
	if (!rx)
		return 0;
	adoption_give(any_rx(rx));
	return release(any_rx(rx), 0);
}

/**
 * vn_tx_dup() - one owner more
 * @tx: sending end, or NULL
 *
 * Return: @tx.
 */
vn_tx *
vn_tx_dup(vn_tx *tx)
{
	if (tx)
		tx->life.n_dups++;
	return tx;
}

/**
 * vn_rx_dup() - one owner more
 * @rx: receiving end, or NULL
 *
 * Return: @rx.
 */
vn_rx *
vn_rx_dup(vn_rx *rx)
{
	if (rx)
		rx->life.n_dups++;
	return rx;
}

/* The coroutine returned with the end open. */
static void
adopter_returned(vn_parting *parting)
{
	adoption *a = (adoption *)(void *)((char *)parting - offsetof(adoption, parting));
	any e = a->end;

	adoption_end(e.life->will, a);
	release(e, -EOWNERDEAD);
}

static int
adopt(any e)
{
	vn_will *w = will_of(e);
	adoption *a = w ? calloc(1, sizeof *a) : NULL, **last;

	if (!a)
		return -ENOMEM;
	if (w->n_adoptions > e.life->n_dups)
		adoption_end(w, w->adoptions);
	for (last = &w->adoptions; *last; last = &(*last)->next)
		;
	*a = (adoption){.parting.returned = adopter_returned, .co = e.hub->current, .end = e};
	*last = a;
	w->n_adoptions++;
	vn_co_part(a->co, &a->parting);
	return 0;
}

/**
 * vn_tx_adopt() - this owner is the calling coroutine from here on
 * @tx: sending end, or NULL
 *
 * If it returns with the end open, that closes it, and the other side gets -EOWNERDEAD. Where all owners have been
 * adopted, the one that was first is no more: so an end can be handed from one coroutine to the next.
 *
 * Return: 0; -ENOMEM; -EBADF for NULL.
 */
int
vn_tx_adopt(vn_tx *tx)
{
	return tx ? adopt(any_tx(tx)) : -EBADF;
}

/**
 * vn_rx_adopt() - this owner is the calling coroutine from here on
 * @rx: receiving end, or NULL
 *
 * As vn_tx_adopt().
 *
 * Return: 0; -ENOMEM; -EBADF for NULL.
 */
int
vn_rx_adopt(vn_rx *rx)
{
	return rx ? adopt(any_rx(rx)) : -EBADF;
}

/**
 * vn_tx_give() - the calling coroutine gives its share of an end away
 * @tx: sending end, or NULL
 */
void
vn_tx_give(vn_tx *tx)
{
	if (tx)
		adoption_give(any_tx(tx));
}

/**
 * vn_rx_give() - the calling coroutine gives its share of an end away
 * @rx: receiving end, or NULL
 */
void
vn_rx_give(vn_rx *rx)
{
	if (rx)
		adoption_give(any_rx(rx));
}

/**
 * vn_tx_died() - the owner of an end failed: close it, and say so
 * @tx: sending end, or NULL
 */
void
vn_tx_died(vn_tx *tx)
{
	if (tx)
		release(any_tx(tx), -EOWNERDEAD);
}

/**
 * vn_rx_died() - the owner of an end failed: close it, and say so
 * @rx: receiving end, or NULL
 */
void
vn_rx_died(vn_rx *rx)
{
	if (rx)
		release(any_rx(rx), -EOWNERDEAD);
}

static int
on_close(any e, void (*f)(void *arg, int how), void *arg)
{
	vn_will *w = will_of(e);
	callback *c = w ? malloc(sizeof *c) : NULL, **last;

	if (!c)
		return -ENOMEM;
	*c = (callback){NULL, f, arg};
	for (last = &w->callbacks; *last; last = &(*last)->next)
		;
	*last = c;
	return 0;
}

/**
 * vn_tx_on_close() - run a function when the end is closed
 * @tx:  sending end, or NULL
 * @f:   gets @arg and how: 0, -EOWNERDEAD, or -ECANCELED with the hub; must not wait
 * @arg: its argument
 *
 * Return: 0; -ENOMEM; -EBADF for NULL.
 */
int
vn_tx_on_close(vn_tx *tx, void (*f)(void *arg, int how), void *arg)
{
	return tx ? on_close(any_tx(tx), f, arg) : -EBADF;
}

/**
 * vn_rx_on_close() - run a function when the end is closed
 * @rx:  receiving end, or NULL
 * @f:   gets @arg and how: 0, -EOWNERDEAD, or -ECANCELED with the hub; must not wait
 * @arg: its argument
 *
 * Return: 0; -ENOMEM; -EBADF for NULL.
 */
int
vn_rx_on_close(vn_rx *rx, void (*f)(void *arg, int how), void *arg)
{
	return rx ? on_close(any_rx(rx), f, arg) : -EBADF;
}

/**
 * vn_tx_on_drop() - what becomes of items that nobody will get
 * @tx:  sending end, or NULL
 * @f:   gets @arg and the item; must not wait; NULL: nothing
 * @arg: its argument
 *
 * Return: 0; -EINVAL for a kind of end that never drops an item that was its own; -EBADF for NULL.
 */
int
vn_tx_on_drop(vn_tx *tx, void (*f)(void *arg, void *item), void *arg)
{
	if (!tx)
		return -EBADF;
	return tx->ops->on_drop ? tx->ops->on_drop(tx, f, arg) : -EINVAL;
}

/**
 * vn_rx_on_drop() - what becomes of items that nobody will get
 * @rx:  receiving end, or NULL
 * @f:   gets @arg and the item; must not wait; NULL: nothing
 * @arg: its argument
 *
 * Return: 0; -EINVAL for a kind of end that never drops an item that was its own; -EBADF for NULL.
 */
int
vn_rx_on_drop(vn_rx *rx, void (*f)(void *arg, void *item), void *arg)
{
	if (!rx)
		return -EBADF;
	return rx->ops->on_drop ? rx->ops->on_drop(rx, f, arg) : -EINVAL;
}
