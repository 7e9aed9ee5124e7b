/* SPDX-License-Identifier: MIT */
/*
 * Slow - who is kept, and for how long
 */
#include "broker/slow.h"

#include "broker/dispatch.h"
#include "broker/stages.h"

/* What follows from who is there. */
static void
slow_settle(vn_slow *all)
{
	uint32_t least = UINT32_MAX;

	all->n_unwritten = 0;
	for (uint32_t i = 0; i < all->n; i++) {
		uint32_t ticks = vn_slow_ticks(&all->top[i]);

		least = ticks < least ? ticks : least;
		all->n_unwritten += !all->top[i].is_written;
	}
	all->least = all->n < VN_SLOW_MAX ? 0 : least + 1;
}

/* A new place, or that of the least. */
static vn_slow_request *
slow_place(vn_slow *all)
{
	vn_slow_request *place = all->top;

	if (all->n < VN_SLOW_MAX)
		return &all->top[all->n++];
	for (uint32_t i = 1; i < all->n; i++)
		if (vn_slow_ticks(&all->top[i]) < vn_slow_ticks(place))
			place = &all->top[i];
	return place;
}

/*
 * How long it stood in line, of which wait_since is the end. Milliseconds will do: who was not in line has an end
 * from long before its arrival.
 */
static uint32_t
queued_for(const vn_broker *b, const vn_record *r, uint32_t wait)
{
	uint64_t since = (uint64_t)(vn_broker_ms(b) - r->wait_since) * VN_MS / VN_TICK_NS;
	uint32_t age = vn_ticks_since(b->taking_at, r->arrived);

	if (r->flags & VN_R_SHUT || since >= age)
		return 0;
	return age - (uint32_t)since < wait ? age - (uint32_t)since : wait;
}

static vn_slow_request
slow_request(const vn_broker *b, const vn_worker *w, const vn_record *r)
{
	return (vn_slow_request){.conn = r->id,
		.peer = r->peer,
		.endpoint = r->endpoint,
		.worker = w->number,
		.incarnation = r->incarnation,
		.at = b->hub->now};
}

/**
 * vn_slow_finished() - a request is slow enough to be kept
 * @r: its times are still those of that request
 */
void
vn_slow_finished(vn_broker *b, const vn_worker *w, const vn_record *r, uint32_t wait, uint32_t run)
{
	vn_slow_request s = slow_request(b, w, r);

	s.is_known = true;
	s.is_written = r->queued == r->sent;
	s.queue = queued_for(b, r, wait);
	s.wait = wait;
	s.run = run;
	*slow_place(&b->slow) = s;
	slow_settle(&b->slow);
}

static bool
slow_update(vn_slow *all, uint64_t conn, uint32_t write)
{
	bool found = false;

	for (uint32_t i = 0; i < all->n; i++) {
		vn_slow_request *s = &all->top[i];

		if (s->conn != conn || s->is_written)
			continue;
		s->is_written = found = true;
		s->write = write;
	}
	return found;
}

/**
 * vn_slow_written() - output of a connection has left, for whose requests that was missing or is slow itself
 */
void
vn_slow_written(vn_broker *b, const vn_record *r, uint32_t write)
{
	const vn_worker *w = b->workers[r->worker];

	if (!slow_update(&b->slow, r->id, write) && w && write >= VN_SLOW_WRITE &&
		write >= b->slow.least) {
		vn_slow_request s = slow_request(b, w, r);

		s.is_written = true;
		s.write = write;
		*slow_place(&b->slow) = s;
	}
	slow_settle(&b->slow);
}

/**
 * vn_slow_sweep() - a minute is over for some
 */
void
vn_slow_sweep(vn_broker *b)
{
	vn_slow *all = &b->slow;
	uint32_t n = all->n;

	for (uint32_t i = all->n; i-- > 0;)
		if (b->hub->now - all->top[i].at >= VN_SLOW_KEPT)
			all->top[i] = all->top[--all->n];
	if (all->n < n)
		slow_settle(all);
}
