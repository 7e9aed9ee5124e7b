/* SPDX-License-Identifier: MIT */
/*
 * Metric - what a program counts
 *
 * Behind a broker the value lies in our own segment, where the broker looks at it when it wants to know: to count is
 * one store, and nothing is sent but the name, once. Without one it lies here, and nobody looks.
 */
#include "client/net/metric.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/hint.h"

struct vn_counter {
	vn_metric metric;
};

struct vn_gauge {
	vn_metric metric;
};

static vn_metric *
find(const vn_net *net, const char *name)
{
	vn_metric *m = net->metrics;

	while (m && strcmp(m->name, name) != 0)
		m = m->next;
	return m;
}

static vn_metric *
metric_add(vn_net *net, const char *name, const char *help, bool is_gauge)
{
	vn_metric *m = calloc(1, sizeof *m);
	int rc;

	if (!m)
		return NULL;
	m->value = &m->own;
	m->is_gauge = is_gauge;
	strcpy(m->name, name);
	rc = net->ops->metric ? net->ops->metric(net, m, net->n_metrics, help) : 0;
	if (rc < 0) {
		free(m);
		errno = -rc;
		return NULL;
	}
	net->n_metrics++;
	m->next = net->metrics;
	net->metrics = m;
	return m;
}

/* The one of that name, if it is of that kind, or a new one. */
static vn_metric *
metric_new(vn_hub *h, const char *name, const char *help, bool is_gauge)
{
	vn_metric *m = NULL;

	errno = EINVAL;
	if (!name || !help || !vn_metric_name_is_good(name, strlen(name)) ||
		strlen(help) > VN_METRIC_HELP)
		return NULL;
	m = find(h->net, name);
	if (m)
		return m->is_gauge == is_gauge ? m : NULL;
	errno = ENOSPC;
	return h->net->n_metrics < VN_METRICS ? metric_add(h->net, name, help, is_gauge) : NULL;
}

/**
 * vn_counter_new() - count something
 * @name: letters a to z, digits, _; see vanilla.h
 * @help: one sentence, for people
 *
 * Return: the counter, the hub's; NULL with errno EINVAL, ENOSPC, ENOMEM.
 */
vn_counter *
vn_counter_new(vn_hub *h, const char *name, const char *help)
{
	return (vn_counter *)metric_new(h, name, help, false);
}

/**
 * vn_counter_add() - so many more
 * @c: NULL counts nothing
 */
void
vn_counter_add(vn_counter *c, uint64_t n)
{
	if (c)
		vn_hint_put(c->metric.value, vn_hint_value(c->metric.value) + n);
}

/**
 * vn_gauge_new() - show a value that comes and goes
 *
 * Return: as vn_counter_new().
 */
vn_gauge *
vn_gauge_new(vn_hub *h, const char *name, const char *help)
{
	return (vn_gauge *)metric_new(h, name, help, true);
}

/**
 * vn_gauge_set() - it is this now
 * @g: NULL shows nothing
 */
void
vn_gauge_set(vn_gauge *g, double value)
{
	uint64_t bits;

	if (!g)
		return;
	memcpy(&bits, &value, sizeof bits);
	vn_hint_put(g->metric.value, bits);
}

/**
 * vn_gauge_add() - it has changed by so much
 */
void
vn_gauge_add(vn_gauge *g, double change)
{
	uint64_t bits;
	double value;

	if (!g)
		return;
	bits = vn_hint_value(g->metric.value);
	memcpy(&value, &bits, sizeof value);
	vn_gauge_set(g, value + change);
}

/**
 * vn_metrics_free() - the hub ends
 */
void
vn_metrics_free(vn_net *net)
{
	while (net->metrics) {
		vn_metric *m = net->metrics;

		net->metrics = m->next;
		free(m);
	}
}
