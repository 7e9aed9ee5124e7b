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
	return r->fd >= 0 && r->endpoint < b->n_endpoints ? b->endpoints[r->endpoint]->count
							  : &b->counters->no_listener;
}

/* n of the same: for the worker, and for the endpoint. */
static inline void
count(vn_histogram *one, vn_histogram *other, uint32_t ticks, uint32_t n)
{
	uint64_t ns = vn_ticks_ns(ticks);
	uint32_t bucket = vn_histogram_bucket(ns);

	vn_count(&one->counts[bucket], n);
	vn_count(&other->counts[bucket], n);
	vn_count(&one->sum_ns, ns * n);
	vn_count(&other->sum_ns, ns * n);
}

/* What a worker says, as far as it can be. */
static uint32_t
within(uint32_t said, uint32_t arrived, uint32_t limit)
{
	uint32_t ticks = vn_ticks_since(said, arrived);

	return said && ticks < limit ? ticks : said ? limit : 0;
}

/**
 * vn_stages_finished() - a request was committed
 * @r:     its output is queued
 * @times: what the worker says of it
 */
void
vn_stages_finished(vn_broker *b, vn_worker *w, vn_record *r, vn_desc_times times)
{
	vn_listener_counters *l = listener_of(b, r);
	uint32_t age = vn_ticks_since(b->taking_at, r->arrived);
	uint32_t done = times.done ? within(times.done, r->arrived, age) : age;
	uint32_t wait = times.taken ? within(times.taken, r->arrived, done) : done;

	if (age >= AGE_MAX) { /* its times have wrapped, or will soon: most likely it ran */
		done = age;
		wait = 0;
	}
	count(&w->count->wait, &l->wait, wait, 1);
	count(&w->count->run, &l->run, done - wait, 1);
	if (done >= b->slow.least)
		vn_slow_finished(b, w, r, wait, done - wait);
	r->arrived += done;
	if (r->queued == r->sent)
		count(&w->count->write, &l->write, 0, 1);
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
	vn_worker *w = b->workers[r->worker];
	vn_worker_counters *count_of = w ? w->count : &b->counters->no_worker;

	count(&count_of->write, &listener_of(b, r)->write, write, r->out.charge);
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
