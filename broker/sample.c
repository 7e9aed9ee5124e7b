/* SPDX-License-Identifier: MIT */
/*
 * Sample - gauges for those who read the counters file
 *
 * What is decided with lives in the broker's own memory; here it is copied out, at each sweep and before each
 * answer that shows it. The time of the last sample is the broker's heartbeat.
 */
#include "broker/sample.h"

#include "broker/change.h"
#include "broker/datagram.h"
#include "broker/own.h"

static void
sample_workers(vn_broker *b)
{
	for (uint32_t i = 1; i <= b->n_slots; i++) {
		const vn_worker *w = b->workers[i];

		if (!w || w->coming)
			continue;
		vn_own_collect(b->workers[i]);
		vn_gauge_put(&w->count->conns, w->n_attached);
		vn_gauge_put(&w->count->conns_busy, w->n_busy);
	}
}

static void
sample_endpoint(vn_broker_endpoint *e)
{
	if (!e)
		return;
	vn_gauge_put(&e->count->conns, e->n_conns);
	if (e->datagrams)
		vn_datagrams_sample(e);
}

/**
 * vn_broker_sample() - bring the gauges of the counters file up to date
 */
void
vn_broker_sample(vn_broker *b)
{
	sample_workers(b);
	for (uint32_t i = 0; i < b->n_endpoints; i++)
		sample_endpoint(b->endpoints[i]);
	sample_endpoint(b->endpoints[VN_DIALLED]);
	vn_gauge_put(&b->count->conns, b->n_open);
	vn_gauge_put(&b->count->conns_waiting, b->n_waiting);
	vn_gauge_put(&b->count->workers, b->change ? vn_change_count(b->change) : 0);
	vn_gauge_put(&b->count->workers_ready, b->n_ready);
	vn_gauge_put(&b->counters->header->sampled_ns, (uint64_t)b->hub->now);
}
