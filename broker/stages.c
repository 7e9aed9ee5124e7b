/* SPDX-License-Identifier: MIT */
/*
 * Stages - what is made of the times of a request
 */
#include "broker/stages.h"

#include "broker/dispatch.h"
#include "broker/slow.h"

#define AGE_MAX                                                                                    \
	((uint32_t)(1800 * (uint64_t)VN_SEC / VN_TICK_NS)) /* well below what a sign tells */

/* The endpoint through which it came may be another one by now if it is gone. */
static vn_listener_counters *
listener_of(const vn_broker *b, const vn_record *r)
{
	return r->fd >= 0 && r->endpoint < b->n_endpoints ? b->endpoints[r->endpoint]->count : NULL;
}

/* What a worker says, as far as it can be. */
static uint32_t
within(uint32_t said, uint32_t arrived, uint32_t limit)
{
	uint32_t ticks = vn_ticks_since(said, arrived);

	return said && ticks < limit ? ticks : said ? limit : 0;
}

static void
count_taken(vn_broker *b, vn_worker *w, const vn_record *r, uint32_t wait, uint32_t run)
{
	vn_listener_counters *l = listener_of(b, r);

	vn_histogram_add(&w->count->wait, vn_ticks_ns(wait));
	vn_histogram_add(&w->count->run, vn_ticks_ns(run));
	if (!l)
		return;
	vn_histogram_add(&l->wait, vn_ticks_ns(wait));
	vn_histogram_add(&l->run, vn_ticks_ns(run));
}

static void
histogram_add_many(vn_histogram *h, uint64_t ns, uint32_t n)
{
	vn_count(&h->counts[vn_histogram_bucket(ns)], n);
	vn_count(&h->sum_ns, ns * n);
}

static void
count_written(vn_broker *b, vn_worker *w, const vn_record *r, uint32_t write, uint32_t n)
{
	vn_listener_counters *l = listener_of(b, r);

	if (w)
		histogram_add_many(&w->count->write, vn_ticks_ns(write), n);
	if (l)
		histogram_add_many(&l->write, vn_ticks_ns(write), n);
}

/**
 * vn_stages_finished() - a request was committed
 * @r:     its output is queued
 * @times: what the worker says of it
 */
void
vn_stages_finished(vn_broker *b, vn_worker *w, vn_record *r, vn_desc_times times)
{
	uint32_t age = vn_ticks_since(b->taking_at, r->arrived);
	uint32_t done = times.done ? within(times.done, r->arrived, age) : age;
	uint32_t wait = times.taken ? within(times.taken, r->arrived, done) : done;

	if (age >= AGE_MAX) { /* its times have wrapped, or will soon: most likely it ran */
		done = age;
		wait = 0;
	}
	count_taken(b, w, r, wait, done - wait);
	if (done >= b->slow.least)
		vn_slow_finished(b, w, r, wait, done - wait);
	r->arrived += done;
	if (r->queued == r->sent)
		count_written(b, w, r, 0, 1);
	else if (r->out.charge++ == 0)
		r->finished = r->arrived;
}

/**
 * vn_stages_written() - what was committed has left
 * @r: has commits of which that was not said before
 */
void
vn_stages_written(vn_broker *b, vn_record *r)
{
	uint32_t write = vn_ticks_since(vn_stages_now(b), r->finished);

	count_written(b, b->workers[r->worker], r, write, r->out.charge);
	r->out.charge = 0;
	if (b->slow.n_unwritten || write >= VN_SLOW_WRITE)
		vn_slow_written(b, r, write);
}

/**
 * vn_stages_age() - keep times from wrapping
 * @r: is looked at more often than every some minutes
 */
void
vn_stages_age(const vn_broker *b, vn_record *r)
{
	uint32_t now = vn_ticks(b->hub->now);

	if (r->arrived && vn_ticks_since(now, r->arrived) > AGE_MAX)
		r->arrived = now - AGE_MAX;
	if (r->out.charge && vn_ticks_since(now, r->finished) > AGE_MAX)
		r->finished = now - AGE_MAX;
}

/**
 * vn_stages_input_ns() - how old the request is that a connection has now
 *
 * Return: nanoseconds since it arrived, whoever has it; 0 if there is none.
 */
uint64_t
vn_stages_input_ns(const vn_broker *b, const vn_record *r)
{
	bool has =
		r->flags & VN_R_WAITING || r->received - !!(r->flags & VN_R_ENDED) > r->committed;

	if (!VN_STAGES || !has || r->flags & (VN_R_CLOSED | VN_R_RESET))
		return 0;
	return vn_ticks_ns(vn_ticks_since(vn_ticks(b->hub->now), r->arrived));
}
