/* SPDX-License-Identifier: MIT */
/*
 * Top model - what the view shows, from two answers of the broker
 *
 * Whatever an answer lacks is unknown, never a reason to fail: a view may be older or newer than its broker.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "broker/top.h"

#define UNKNOWN (-1.0)

static double
number(const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);

	return json_is_number(value) ? json_number_value(value) : UNKNOWN;
}

/* What others have named must not reach the terminal as it is. */
static void
text(const json_t *object, const char *name, char *out, size_t size)
{
	const json_t *value = json_object_get(object, name);

	snprintf(out, size, "%s", json_is_string(value) ? json_string_value(value) : "-");
	for (char *c = out; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
}

static double
sum(const json_t *object)
{
	const char *name;
	json_t *value;
	double all = 0;

	json_object_foreach((json_t *)(uintptr_t)object, name, value) all +=
		json_is_number(value) ? json_number_value(value) : 0;
	return all;
}

static double
larger(double a, double b)
{
	return a > b ? a : b;
}

/* Of a counter that may have begun anew. */
static double
rate_of(double now, double before, double seconds)
{
	if (now < 0 || before < 0 || seconds <= 0)
		return UNKNOWN;
	return now > before ? (now - before) / seconds : 0;
}

/* From /proc: what the process has used and what it has in memory. */
static void
process_fill(vn_top_worker *w)
{
	char path[64], line[1024];
	unsigned long user = 0, system = 0, pages = 0;
	const char *rest;
	FILE *f;

	w->cpu_time = w->memory = UNKNOWN;
	if (w->pid <= 0)
		return;
	snprintf(path, sizeof path, "/proc/%" PRId64 "/stat", w->pid);
	f = fopen(path, "re");
	rest = f && fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
	if (rest && sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
			    &system) == 2)
		w->cpu_time = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
	if (f)
		fclose(f);
	snprintf(path, sizeof path, "/proc/%" PRId64 "/statm", w->pid);
	f = fopen(path, "re");
	if (f && fscanf(f, "%*u %lu", &pages) == 1)
		w->memory = (double)pages * (double)sysconf(_SC_PAGESIZE);
	if (f)
		fclose(f);
}

static void
worker_fill(vn_top_worker *w, const json_t *row)
{
	text(row, "id", w->id, sizeof w->id);
	text(row, "state", w->state, sizeof w->state);
	text(row, "last_death", w->last_death, sizeof w->last_death);
	w->pid = (int64_t)number(row, "pid");
	w->uptime = number(row, "uptime_seconds");
	w->requests = number(row, "requests_total");
	w->bytes = number(row, "bytes_in_total") + number(row, "bytes_out_total");
	w->restarts = number(row, "restarts");
	w->busy = number(row, "busy");
	w->conns = number(row, "conns");
	w->p50 = number(row, "run_p50_seconds");
	w->p99 = number(row, "run_p99_seconds");
	w->rate = w->cpu = UNKNOWN;
	process_fill(w);
}

static void
workers_fill(vn_top_model *m, const vn_top_model *before, const json_t *rows)
{
	const json_t *row;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)rows, i, row)
	{
		vn_top_worker *w = &m->workers[m->n_workers];

		if (m->n_workers == VN_TOP_WORKERS)
			return;
		m->n_workers++;
		worker_fill(w, row);
		for (uint32_t k = 0; k < before->n_workers; k++) {
			const vn_top_worker *old = &before->workers[k];

			if (strcmp(old->id, w->id) != 0 || old->pid != w->pid)
				continue;
			w->rate = rate_of(w->requests, old->requests, m->at - before->at);
			w->cpu = rate_of(w->cpu_time, old->cpu_time, m->at - before->at);
		}
	}
}

static void
listeners_fill(vn_top_model *m, const vn_top_model *before, const json_t *rows)
{
	const json_t *row;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)rows, i, row)
	{
		vn_top_listener *l = &m->listeners[m->n_listeners];

		if (m->n_listeners == VN_TOP_LISTENERS)
			return;
		m->n_listeners++;
		text(row, "name", l->name, sizeof l->name);
		text(row, "url", l->url, sizeof l->url);
		text(row, "state", l->state, sizeof l->state);
		l->conns = number(row, "conns");
		l->accepted = number(row, "accepted_total");
		l->refused = number(row, "refused_total");
		l->workers = number(row, "workers");
		l->rate = UNKNOWN;
		m->p50 = larger(m->p50, number(row, "run_p50_seconds"));
		m->p99 = larger(m->p99, number(row, "run_p99_seconds"));
		for (uint32_t k = 0; k < before->n_listeners; k++)
			if (strcmp(before->listeners[k].url, l->url) == 0)
				l->rate = rate_of(l->accepted, before->listeners[k].accepted,
					m->at - before->at);
	}
}

static void
conn_fill(vn_top_conn *c, const json_t *row)
{
	char id[24];

	text(row, "id", id, sizeof id);
	c->id = strtoull(id, NULL, 10);
	text(row, "listener", c->listener, sizeof c->listener);
	text(row, "worker", c->worker, sizeof c->worker);
	text(row, "state", c->state, sizeof c->state);
	text(row, "peer", c->peer, sizeof c->peer);
	c->unacked = number(row, "unacked_bytes");
	c->unsent = number(row, "unsent_bytes");
	c->age = number(row, "age_seconds");
	c->bytes = number(row, "bytes_in_total") + number(row, "bytes_out_total");
	c->slow = number(row, "input_seconds");
	c->rate = UNKNOWN;
}

static int
compare_id(const void *a, const void *b)
{
	const vn_top_conn *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

/* Both lists are in the order of their numbers, so that one walk finds who was there before. */
static void
conns_fill(vn_top_model *m, const vn_top_model *before, const json_t *rows)
{
	vn_top_conn *old = calloc(VN_TOP_CONNS, sizeof *old);
	const json_t *row;
	uint32_t k = 0;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)rows, i, row) if (m->n_conns < VN_TOP_CONNS)
		conn_fill(&m->conns_of[m->n_conns++], row);
	qsort(m->conns_of, m->n_conns, sizeof *m->conns_of, compare_id);
	if (!old)
		return;
	memcpy(old, before->conns_of, before->n_conns * sizeof *old);
	qsort(old, before->n_conns, sizeof *old, compare_id);
	for (uint32_t n = 0; n < m->n_conns; n++) {
		vn_top_conn *c = &m->conns_of[n];

		while (k < before->n_conns && old[k].id < c->id)
			k++;
		if (k < before->n_conns && old[k].id == c->id)
			c->rate = rate_of(c->bytes, old[k].bytes, m->at - before->at);
	}
	free(old);
}

/* "2026-11-23T04:54:42.010Z" as the clock on the wall shows it. */
static void
clock_fill(char out[16], const char *time)
{
	struct tm broken = {0};
	time_t seconds;

	out[0] = '\0';
	if (!strptime(time, "%Y-%m-%dT%H:%M:%S", &broken))
		return;
	seconds = timegm(&broken);
	if (localtime_r(&seconds, &broken))
		strftime(out, 16, "%H:%M:%S", &broken);
}

static void
event_fill(char out[VN_TOP_TEXT], const json_t *event)
{
	char time[32], wall[16], kind[32], sentence[VN_TOP_TEXT - 44];

	text(event, "time", time, sizeof time);
	text(event, "kind", kind, sizeof kind);
	text(event, "text", sentence, sizeof sentence);
	clock_fill(wall, time);
	snprintf(out, VN_TOP_TEXT, "%8.8s %-17s %s", wall, kind, sentence);
}

/* An object a line. */
static void
events_fill(vn_top_model *m, const char *lines)
{
	while (*lines) {
		size_t n = strcspn(lines, "\n");
		json_t *event = json_loadb(lines, n, 0, NULL);

		if (event && m->n_events == VN_TOP_EVENTS) {
			memmove(m->events[0], m->events[1],
				(VN_TOP_EVENTS - 1) * sizeof *m->events);
			m->n_events--;
		}
		if (event)
			event_fill(m->events[m->n_events++], event);
		json_decref(event);
		lines += n + (lines[n] == '\n');
	}
}

static void
info_fill(vn_top_model *m, const vn_top_model *before, const json_t *info)
{
	double seconds = m->at - before->at;

	text(info, "name", m->name, sizeof m->name);
	text(info, "version", m->version, sizeof m->version);
	text(info, "phase", m->phase, sizeof m->phase);
	m->pid = (int64_t)number(info, "pid");
	m->uptime = number(info, "uptime_seconds");
	m->conns = number(info, "conns");
	m->accepted = number(info, "accepted_total");
	m->requests = number(info, "requests_total");
	m->bytes_in = number(info, "received_bytes_total");
	m->bytes_out = number(info, "sent_bytes_total");
	m->deaths = number(info, "deaths_total");
	m->resets = sum(json_object_get(info, "resets_total"));
	m->p50 = m->p99 = UNKNOWN;
	m->rate = m->rate_in = m->rate_out = UNKNOWN;
	if (!before->known || before->pid != m->pid)
		return;
	m->rate = rate_of(m->requests, before->requests, seconds);
	m->rate_in = rate_of(m->bytes_in, before->bytes_in, seconds);
	m->rate_out = rate_of(m->bytes_out, before->bytes_out, seconds);
}

/**
 * vn_top_model_fill() - make it from what the broker has answered
 * @m:       is filled; not @before
 * @before:  what it was at the last answer, or all zero
 * @answers: to VN_TOP_QUERY
 * @at:      when, in seconds of CLOCK_MONOTONIC
 */
void
vn_top_model_fill(
	vn_top_model *m, const vn_top_model *before, char *const answers[VN_TOP_ANSWERS], double at)
{
	json_t *documents[VN_TOP_ANSWERS - 1];

	for (size_t i = 0; i < VN_TOP_ANSWERS - 1; i++)
		documents[i] = json_loads(answers[i], 0, NULL);
	memset(m, 0, sizeof *m);
	m->known = true;
	m->at = at;
	info_fill(m, before, documents[0]);
	workers_fill(m, before, json_object_get(documents[1], "workers"));
	listeners_fill(m, before, json_object_get(documents[2], "listeners"));
	conns_fill(m, before, json_object_get(documents[3], "conns"));
	events_fill(m, answers[VN_TOP_ANSWERS - 1]);
	for (size_t i = 0; i < VN_TOP_ANSWERS - 1; i++)
		json_decref(documents[i]);
}

/* Which number the look sorts by; more comes first. */
static double
weight_of(const vn_top_worker *w, vn_top_order order)
{
	switch (order) {
	case VN_TOP_BY_BUSY:
		return w->busy;
	case VN_TOP_BY_RATE:
		return w->rate;
	case VN_TOP_BY_P99:
		return w->p99;
	case VN_TOP_BY_CPU:
		return w->cpu;
	case VN_TOP_BY_MEMORY:
		return w->memory;
	case VN_TOP_BY_RESTARTS:
		return w->restarts;
	default:
		return 0;
	}
}

static int
compare_workers(const void *a, const void *b, void *order)
{
	const vn_top_worker *x = a, *y = b;
	double left = weight_of(x, *(const vn_top_order *)order),
	       right = weight_of(y, *(const vn_top_order *)order);

	if (left != right)
		return left > right ? -1 : 1;
	return strverscmp(x->id, y->id);
}

static int
compare_conns(const void *a, const void *b, void *slowest)
{
	const vn_top_conn *x = a, *y = b;
	double left = *(const bool *)slowest ? x->slow : x->rate,
	       right = *(const bool *)slowest ? y->slow : y->rate;

	if (left != right)
		return left > right ? -1 : 1;
	return compare_id(a, b);
}

/**
 * vn_top_model_sort() - put workers and connections into the order that is looked at
 */
void
vn_top_model_sort(vn_top_model *m, const vn_top_look *look)
{
	vn_top_order order = look->order;
	bool slowest = look->slowest;

	qsort_r(m->workers, m->n_workers, sizeof *m->workers, compare_workers, &order);
	qsort_r(m->conns_of, m->n_conns, sizeof *m->conns_of, compare_conns, &slowest);
}
