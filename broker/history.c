/* SPDX-License-Identifier: MIT */
/*
 * History - a ring of samples
 *
 * Samples are numbered from 1 and never renumbered, so that a reader asks for what came after the last one it has.
 * The lanes of workers are kept by number, and made when a number is first used.
 */
#include "broker/history.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "broker/recent.h"

#define EVERY VN_SEC

typedef struct sample {
	int64_t at_ns; /* CLOCK_REALTIME */
	uint32_t conns;
	uint64_t requests, bytes_in, bytes_out; /* of this second */
	uint64_t run_p50, run_p99, wait_p99;    /* nanoseconds; 0: nothing ended */
} sample;

typedef struct stay {
	uint32_t incarnation;
	uint32_t requests;
	char state; /* ready, starting or standing by, draining, none; 0: no such worker then */
} stay;

typedef struct lane {
	uint64_t requests; /* at the last sample */
	stay stays[VN_HISTORY];
} lane;

struct vn_history {
	vn_broker *broker;
	vn_timer timer;
	uint64_t n; /* samples ever taken */
	uint64_t requests, bytes_in, bytes_out;
	vn_histogram run, wait;
	lane *lanes[VN_MAX_WORKERS + 1]; /* by number */
	sample samples[VN_HISTORY];
};

static sample *
sample_of(struct vn_history *h, uint64_t id)
{
	return &h->samples[(id - 1) % VN_HISTORY];
}

static uint64_t
step(uint64_t *before, uint64_t now)
{
	uint64_t n = now - *before;

	*before = now;
	return n;
}

static void
histogram_sum(vn_histogram *all, const vn_histogram *one)
{
	for (uint32_t i = 0; i < VN_HISTOGRAM_BUCKETS; i++)
		all->counts[i] += one->counts[i];
}

/* What was added since `before`, which becomes what is there now. */
static void
histogram_step(vn_histogram *before, vn_histogram *now)
{
	for (uint32_t i = 0; i < VN_HISTOGRAM_BUCKETS; i++)
		now->counts[i] = step(&before->counts[i], now->counts[i]);
}

static void
quantiles_take(struct vn_history *h, sample *s)
{
	const vn_counters *c = h->broker->counters;
	vn_histogram run = {0}, wait = {0};

	for (uint32_t i = 0; i < VN_COUNTERS_LISTENS; i++)
		if (c->listeners[i].row.state != VN_ROW_FREE) {
			histogram_sum(&run, &c->listeners[i].run);
			histogram_sum(&wait, &c->listeners[i].wait);
		}
	histogram_step(&h->run, &run);
	histogram_step(&h->wait, &wait);
	s->run_p50 = vn_histogram_quantile(&run, 0.5);
	s->run_p99 = vn_histogram_quantile(&run, 0.99);
	s->wait_p99 = vn_histogram_quantile(&wait, 0.99);
}

static char
letter_of(const vn_worker *w)
{
	return w->state == VN_WORKER_READY         ? 'r'
	       : vn_worker_state_name(w)[0] == 'g' ? 'n'
	       : w->state == VN_WORKER_DRAINING    ? 'd'
						   : 's';
}

static lane *
lane_of(struct vn_history *h, uint16_t number)
{
	if (!h->lanes[number])
		h->lanes[number] = calloc(1, sizeof *h->lanes[number]);
	return h->lanes[number];
}

/* Two may have one number while one takes over: then the one that serves is shown. */
static void
stay_take(lane *l, stay *s, const vn_worker *w)
{
	s->requests += (uint32_t)step(&l->requests, w->count->n_requests);
	if (s->state && w->state != VN_WORKER_READY)
		return;
	s->incarnation = w->incarnation;
	s->state = letter_of(w);
}

static void
lanes_take(struct vn_history *h)
{
	vn_broker *b = h->broker;
	size_t place = (h->n - 1) % VN_HISTORY;

	for (uint32_t i = 1; i <= VN_MAX_WORKERS; i++)
		if (h->lanes[i])
			h->lanes[i]->stays[place] = (stay){0};
	for (uint32_t i = 1; i <= b->n_slots; i++) {
		const vn_worker *w = b->workers[i];
		lane *l = w && !w->coming ? lane_of(h, w->number) : NULL;

		if (l)
			stay_take(l, &l->stays[place], w);
	}
}

/**
 * vn_history_take() - add what happened since the last sample
 */
void
vn_history_take(struct vn_history *h)
{
	const vn_broker_counters *count = h->broker->count;
	sample *s = sample_of(h, ++h->n);

	*s = (sample){.at_ns = vn_counters_wall(h->broker->counters, (uint64_t)h->broker->hub->now),
		.conns = h->broker->n_open};
	s->requests = step(&h->requests, count->n_requests);
	s->bytes_in = step(&h->bytes_in, count->bytes_in);
	s->bytes_out = step(&h->bytes_out, count->bytes_out);
	quantiles_take(h, s);
	lanes_take(h);
}

static void
on_timer(vn_timer *t)
{
	struct vn_history *h =
		(struct vn_history *)(void *)((char *)t - offsetof(struct vn_history, timer));

	vn_history_take(h);
	if (h->n % VN_RECENT == 0)
		vn_recent_turn(h->broker);
	vn_wheel_arm(h->broker->hub->wheel, t, h->broker->hub->now + EVERY);
}

/**
 * vn_history_new() - begin; a sample is taken each second from now on
 *
 * Return: the history, or NULL when there is no memory.
 */
struct vn_history *
vn_history_new(vn_broker *b)
{
	struct vn_history *h = calloc(1, sizeof *h);

	if (!h)
		return NULL;
	h->broker = b;
	h->timer.fire = on_timer;
	vn_wheel_arm(b->hub->wheel, &h->timer, b->hub->now + EVERY);
	return h;
}

/**
 * vn_history_free() - end; NULL is fine
 *
 * Return: NULL.
 */
struct vn_history *
vn_history_free(struct vn_history *h)
{
	if (!h)
		return NULL;
	vn_wheel_disarm(h->broker->hub->wheel, &h->timer);
	for (uint32_t i = 0; i <= VN_MAX_WORKERS; i++)
		free(h->lanes[i]);
	free(h);
	return NULL;
}

static json_t *
seconds_json(uint64_t ns)
{
	return ns ? json_real((double)ns / 1e9) : json_null();
}

static json_t *
workers_json(const struct vn_history *h, uint64_t id)
{
	json_t *all = json_object();

	for (uint32_t i = 1; i <= VN_MAX_WORKERS; i++) {
		const stay *s = h->lanes[i] ? &h->lanes[i]->stays[(id - 1) % VN_HISTORY] : NULL;
		char number[8];

		if (!s || !s->state)
			continue;
		snprintf(number, sizeof number, "%u", (unsigned)i);
		json_object_set_new(all, number,
			json_pack("[s#, I, I]", &s->state, 1, (json_int_t)s->incarnation,
				(json_int_t)s->requests));
	}
	return all;
}

static json_t *
sample_json(const struct vn_history *h, uint64_t id)
{
	const sample *s = &h->samples[(id - 1) % VN_HISTORY];

	return json_pack("{s:I, s:f, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "id", (json_int_t)id,
		"at", (double)s->at_ns / 1e9, "conns", (json_int_t)s->conns, "requests",
		(json_int_t)s->requests, "bytes_in", (json_int_t)s->bytes_in, "bytes_out",
		(json_int_t)s->bytes_out, "run_p50_seconds", seconds_json(s->run_p50),
		"run_p99_seconds", seconds_json(s->run_p99), "wait_p99_seconds",
		seconds_json(s->wait_p99), "workers", workers_json(h, id));
}

uint64_t
vn_history_last(const vn_broker *b)
{
	return b->history ? b->history->n : 0;
}

/**
 * vn_history_sample() - one sample as JSON
 * @id: its number, from 1
 *
 * Requests and bytes of that second, quantiles in seconds (null: nothing ended), and of each worker by number its
 * state (r ready, s coming, d going, n none), incarnation and requests.
 *
 * Return: an object, to be freed by the caller; NULL when it is not remembered any more, or there is no memory.
 */
char *
vn_history_sample(const vn_broker *b, uint64_t id)
{
	uint64_t last = vn_history_last(b);
	json_t *object;
	char *text;

	if (id == 0 || id > last || last - id >= VN_HISTORY)
		return NULL;
	object = sample_json(b->history, id);
	text = object ? json_dumps(object, JSON_COMPACT) : NULL;
	json_decref(object);
	return text;
}
