/* SPDX-License-Identifier: MIT */
/*
 * Join - vn_pipe_to(): what one end would get, another end's receiver gets
 *
 * Where both ends are channel.c's and one of them has neither room nor anybody else beside it, they are rewired:
 * those on the far side of it sit down at the other core, and from then on an item takes no more steps than if there
 * had never been two. Otherwise a coroutine carries items over, one at a time, and what it has in hand counts as
 * waiting in the end that it came from or goes to: nobody who must know that a receiver has the item is ever carried
 * for, but where several owners compete on both sides.
 *
 * A state is carried over by its changes: the coroutine stands in the queue of the other end with the latest value,
 * and when that changes before somebody has taken it, it stands there with the new one.
 *
 * In any case there is a hop (life.h), an owner of both ends, which closes them when one of them is over.
 */
#include <stdlib.h>

#include "client/hub/schedule.h"
#include "client/message/channel.h"
#include "client/message/life.h"
#include "client/message/state.h"

typedef struct carrier {
	vn_hop *hop;
	bool latest;  /* from a state */
	bool holding; /* an item, or an error in place of one, is in hand */
	int error;    /* 0: an item */
	int ended;    /* nothing more will come, and why */
	int over;     /* there is no use in going on, and why */
	uint64_t seen;
	void *item, *next; /* in hand; where the next one arrives */
	_Alignas(max_align_t) unsigned char room[];
} carrier;

/* It is in `next`, unless it is an error. */
static void
carrier_hold(carrier *c, int error)
{
	void *item = c->next;

	c->next = c->item;
	c->item = item;
	c->error = error;
	c->holding = true;
}

/* What the receiving end gave: an item, an error that was sent, or that it has ended. */
static void
carrier_got(carrier *c, int rc)
{
	if (rc < 0 && vn_error_is_end(rc))
		c->ended = rc;
	if (!c->ended || rc == -ENOBUFS)
		carrier_hold(c, rc);
}

static int
carrier_take_latest(carrier *c)
{
	int error = 0;
	int rc = vn_state_next(c->hop->from, &c->seen, c->next, &error);

	if (rc == 0)
		carrier_hold(c, error);
	else if (rc == -ENODATA)
		c->holding = false;
	else if (rc != -EAGAIN)
		c->ended = rc;
	return rc;
}

static bool
carrier_wants(const carrier *c)
{
	return !c->ended && (!c->holding || c->latest);
}

/* These two are false if they would have to wait. */
static bool
carrier_take(carrier *c)
{
	vn_rx *from = c->hop->from;
	int rc;

	if (!carrier_wants(c))
		return false;
	if (c->latest)
		return carrier_take_latest(c) != -EAGAIN;
	rc = from->ops->try(from, c->next);
	if (rc != -EAGAIN)
		carrier_got(c, rc);
	return rc != -EAGAIN;
}

static bool
carrier_give(carrier *c)
{
	vn_tx *to = c->hop->to;
	int rc;

	if (!c->holding)
		return false;
	rc = c->error ? to->ops->try_error(to, c->error) : to->ops->try(to, c->item);
	if (rc == 0)
		c->holding = false;
	else if (rc != -EAGAIN)
		c->over = rc;
	return rc != -EAGAIN;
}

/* Where it stands at the sending end: with what it holds, or until the other side of that has closed. */
static vn_waitq *
to_queue(carrier *c)
{
	vn_tx *to = c->hop->to;

	if (c->holding)
		return to->ops->queue(to);
	return to->ops->gone ? to->ops->gone(to, &c->over) : NULL;
}

static vn_waitq *
from_queue(const carrier *c)
{
	vn_rx *from = c->hop->from;

	if (!carrier_wants(c))
		return NULL;
	return c->latest ? vn_state_changes(from) : from->ops->queue(from);
}

static void
carrier_wait(vn_hub *h, carrier *c)
{
	vn_clause clauses[] = {
		{.end = c->hop->to, .item = c->item, .result = c->holding ? c->error : 0},
		{.end = c->hop->from, .item = c->next},
	};
	vn_waitq *to = to_queue(c), *from = from_queue(c);
	int rc;

	if (c->over)
		return;
	if (to)
		waitq_push(to, &clauses[0]);
	if (from)
		waitq_push(from, &clauses[1]);
	rc = vn_wait(h, clauses, 2, VN_NEVER);
	if (rc == 0 && clauses[0].result == 0)
		c->holding = false;
	else if (rc == 0)
		c->over = clauses[0].result;
	else if (rc == 1 && !c->latest)
		carrier_got(c, clauses[1].result);
	else if (rc < 0 && rc != -EDEADLK)
		c->over = rc; /* whoever is in a deadlock, it is not the carrier */
}

/* What is in hand and can go nowhere is nobody's. */
static void
carrier_drop(const carrier *c)
{
	vn_rx *from = c->hop->from;
	vn_tx *to = c->hop->to;

	if (!c->holding || c->error || c->latest)
		return;
	if (from->ops->drop)
		from->ops->drop(from, c->item);
	else if (to->ops->drop)
		to->ops->drop(to, c->item);
}

/* What the closing of one end says to the other side of the other end. */
static int
how_of(int over)
{
	return over == -EOWNERDEAD ? -EOWNERDEAD : 0;
}

static int
carrier_run(vn_hub *h, void *arg)
{
	carrier *c = arg;

	while (!c->over && (!c->ended || c->holding))
		if (!carrier_take(c) && !carrier_give(c))
			carrier_wait(h, c);
	carrier_drop(c);
	vn_hop_end(c->hop, how_of(c->over ? c->over : c->ended));
	free(c);
	return 0;
}

static int
carry(vn_hop *p)
{
	size_t room = (p->from->item_size + 15) & ~(size_t)15;
	carrier *c = calloc(1, sizeof *c + 2 * room);
	int rc;

	if (!c)
		return -ENOMEM;
	*c = (carrier){
		.hop = p,
		.latest = vn_state_receives(p->from),
		.item = c->room,
		.next = c->room + room,
	};
	rc = vn_spawn(p->from->hub, carrier_run, c);
	if (rc < 0)
		free(c);
	return rc;
}

static bool
rewire(vn_hop *p)
{
	int over;

	if (!vn_channel_receives(p->from) || !vn_channel_sends(p->to) ||
		vn_channel_join(p->from, p->to, &over) < 0)
		return false;
	p->rewired = true;
	if (over)
		vn_hop_end(p, how_of(over));
	return true;
}

static int
refuse(vn_rx *from, vn_tx *to, int error)
{
	vn_close(from);
	vn_close(to);
	return error;
}

/**
 * vn_pipe_to() - what one end would get, another end's receiver gets
 * @from: receiving end; belongs to the chain from here on
 * @to:   sending end; belongs to the chain from here on
 *
 * If it fails both are closed.
 *
 * Return: 0; -EINVAL if item sizes differ, or for a circle; -EBADF for NULL, -ENOMEM, -ECANCELED.
 */
int
vn_pipe_to(vn_rx *from, vn_tx *to)
{
	vn_hop *p;
	int rc;

	vn_rx_give(from);
	vn_tx_give(to);
	if (!from || !to)
		return refuse(from, to, -EBADF);
	if (from->item_size != to->item_size || vn_hop_leads(to, from))
		return refuse(from, to, -EINVAL);
	p = vn_hop_new(from, to);
	if (!p)
		return refuse(from, to, -ENOMEM);
	if (rewire(p))
		return 0;
	rc = carry(p);
	if (rc < 0)
		vn_hop_end(p, 0);
	return rc;
}
