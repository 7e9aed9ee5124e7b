/* SPDX-License-Identifier: MIT */
/*
 * Recent - histograms as they were, to be taken from what they are
 *
 * Two memories for each row of the counters file that was ever used. Without memory for them the row shows all that
 * it has counted, as it does in the first half minute.
 */
#include "broker/recent.h"

#include <stdlib.h>

typedef struct memory {
	vn_stage_set last, before;
} memory;

struct vn_recent {
	memory *workers[VN_COUNTERS_WORKERS];
	memory *listeners[VN_COUNTERS_LISTENS];
};

/**
 * vn_recent_new() - nothing is remembered yet
 *
 * Return: NULL when there is no memory.
 */
struct vn_recent *
vn_recent_new(void)
{
	return calloc(1, sizeof(struct vn_recent));
}

/**
 * vn_recent_free() - forget; NULL is fine
 *
 * Return: NULL.
 */
struct vn_recent *
vn_recent_free(struct vn_recent *recent)
{
	if (!recent)
		return NULL;
	for (size_t i = 0; i < VN_COUNTERS_WORKERS; i++)
		free(recent->workers[i]);
	for (size_t i = 0; i < VN_COUNTERS_LISTENS; i++)
		free(recent->listeners[i]);
	free(recent);
	return NULL;
}

static void
remember(memory **place, const vn_histogram *wait, const vn_histogram *run,
	const vn_histogram *write)
{
	memory *m = *place ? *place : calloc(1, sizeof *m);

	*place = m;
	if (!m)
		return;
	m->before = m->last;
	m->last.wait = *wait;
	m->last.run = *run;
	m->last.write = *write;
}

/**
 * vn_recent_turn() - what was counted up to now begins to be the past
 */
void
vn_recent_turn(vn_broker *b)
{
	const vn_counters *c = b->counters;

	for (size_t i = 0; i < VN_COUNTERS_WORKERS; i++)
		if (c->workers[i].row.state != VN_ROW_FREE)
			remember(&b->recent->workers[i], &c->workers[i].wait, &c->workers[i].run,
				&c->workers[i].write);
	for (size_t i = 0; i < VN_COUNTERS_LISTENS; i++)
		if (c->listeners[i].row.state != VN_ROW_FREE)
			remember(&b->recent->listeners[i], &c->listeners[i].wait,
				&c->listeners[i].run, &c->listeners[i].write);
}

/* A row can have been given to another listener since: then what was before is none of its. */
static void
difference(vn_histogram *out, const vn_histogram *now, const vn_histogram *before)
{
	*out = *now;
	for (uint32_t i = 0; before && i < VN_HISTOGRAM_BUCKETS; i++)
		out->counts[i] -= before->counts[i] <= now->counts[i] ? before->counts[i] : 0;
}

static void
differences(vn_stage_set *out, const memory *m, const vn_histogram *wait, const vn_histogram *run,
	const vn_histogram *write)
{
	difference(&out->wait, wait, m ? &m->before.wait : NULL);
	difference(&out->run, run, m ? &m->before.run : NULL);
	difference(&out->write, write, m ? &m->before.write : NULL);
}

/* Its memory; NULL for one that is not of the file, for which there was no room. */
static const memory *
memory_of(memory *const *all, size_t n, size_t i)
{
	return i < n ? all[i] : NULL;
}

/**
 * vn_recent_worker() - what a worker's requests met in the last half to whole minute
 */
void
vn_recent_worker(const vn_broker *b, const vn_worker_counters *w, vn_stage_set *out)
{
	size_t i = ((uintptr_t)w - (uintptr_t)b->counters->workers) / sizeof *w;

	differences(out, b->recent ? memory_of(b->recent->workers, VN_COUNTERS_WORKERS, i) : NULL,
		&w->wait, &w->run, &w->write);
}

/**
 * vn_recent_listener() - and a listener's
 */
void
vn_recent_listener(const vn_broker *b, const vn_listener_counters *l, vn_stage_set *out)
{
	size_t i = ((uintptr_t)l - (uintptr_t)b->counters->listeners) / sizeof *l;

	differences(out, b->recent ? memory_of(b->recent->listeners, VN_COUNTERS_LISTENS, i) : NULL,
		&l->wait, &l->run, &l->write);
}
