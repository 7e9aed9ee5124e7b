/* SPDX-License-Identifier: MIT */
/*
 * Own - what the workers of a service count themselves
 *
 * A worker says once what a hint of its segment means, and stores there. The broker looks at the hints at each sweep,
 * before it is read, and when the worker is dead: what a counter has grown by is added to that of the service, which
 * so survives its workers; a gauge has a value for each worker, and goes with it. A counter that was set back grows
 * from there; nothing is ever taken away. Values are a worker's to choose, and spoil nothing but themselves.
 */
#include "broker/own.h"

#include <stdio.h>
#include <string.h>

#include "broker/log.h"
#include "shm/hint.h"

_Static_assert(VN_METRICS <= VN_HINTS, "each metric has a hint");

static void
refuse(vn_worker *w, const char *name, const char *why)
{
	vn_log(w->broker->hub, LOG_WARNING, "worker %u.%u: cannot count %s: %s", w->number,
		w->incarnation, name, why);
}

/* What is told of it was checked as far as it could do harm. */
static void
own_open(vn_worker *w, const vn_desc *d, const char *name, char *help)
{
	vn_counters *counters = w->broker->counters;
	uint32_t kind = d->flags & VN_GAUGE ? VN_FIELD_REAL : VN_FIELD_COUNTER;
	const char *why = NULL;

	vn_log_clean(help, strlen(help));
	w->own[d->arg].is_used = true;
	w->own[d->arg].is_gauge = kind == VN_FIELD_REAL;
	w->own[d->arg].row = vn_counters_own(counters, kind, name, help, &why);
	if (!w->own[d->arg].row)
		refuse(w, name, why);
}

/**
 * vn_own_ask() - a worker says what one of its hints means
 *
 * Return: NULL, or the name of the field that no honest worker sends.
 */
const char *
vn_own_ask(vn_broker *b, vn_worker *w, const vn_desc *d)
{
	char text[VN_METRIC_NAME + VN_METRIC_HELP + 2];
	size_t name;

	(void)b;
	if (d->arg >= VN_METRICS || w->own[d->arg].is_used)
		return "arg";
	if (d->len >= sizeof text)
		return "len";
	vn_area_read(&w->link.peer, d->block, d->offset, text, d->len);
	text[d->len] = '\0';
	name = strlen(text);
	if (name >= d->len || !vn_metric_name_is_good(text, name))
		return "name";
	own_open(w, d, text, text + name + 1);
	return NULL;
}

/**
 * vn_own_collect() - look at what a worker has counted
 */
void
vn_own_collect(vn_worker *w)
{
	if (!w->linked)
		return;
	for (uint32_t i = 0; i < VN_METRICS; i++) {
		vn_worker_own *own = &w->own[i];
		uint64_t value;

		if (!own->row)
			continue;
		value = vn_hint_get(&w->link.peer, i);
		if (own->is_gauge)
			vn_gauge_put(&own->row->values[w->number], value);
		else if (value > own->seen)
			vn_count(&own->row->values[0], value - own->seen);
		own->seen = value;
	}
}

/**
 * vn_own_forget() - a worker is dead, and its link is about to go
 */
void
vn_own_forget(vn_worker *w)
{
	vn_own_collect(w);
	for (uint32_t i = 0; i < VN_METRICS; i++)
		if (w->own[i].row && w->own[i].is_gauge)
			vn_gauge_put(&w->own[i].row->values[w->number], VN_NO_REAL);
	memset(w->own, 0, sizeof w->own);
}
