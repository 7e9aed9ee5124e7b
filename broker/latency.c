/* SPDX-License-Identifier: MIT */
/*
 * Latency - quantiles of histograms, and the slowest requests, as rows
 */
#include "broker/latency.h"

#include "broker/stages.h"

static void
row_quantiles(vn_row *row, const vn_histogram *h)
{
	static const double quantiles[] = {0.5, 0.99};

	for (int i = 0; i < 2; i++) {
		if (vn_histogram_count(h))
			vn_row_seconds(row, vn_histogram_quantile(h, quantiles[i]));
		else
			vn_row_none(row);
	}
}

/**
 * vn_row_stages() - the next values are the median and the 99th percentile of each stage; "none" if there is none
 */
void
vn_row_stages(vn_row *row, const vn_stage_set *stages)
{
	row_quantiles(row, &stages->wait);
	row_quantiles(row, &stages->run);
	row_quantiles(row, &stages->write);
}

/* The slowest requests: queue is a part of wait. */
const vn_columns vn_slow_columns = {
	10, {"conn", "listener", "worker", "peer", "age_seconds", "total_seconds", "queue_seconds",
		    "wait_seconds", "run_seconds", "write_seconds"}};

static void
row_ticks(vn_row *row, uint32_t ticks, bool is_known)
{
	if (is_known)
		vn_row_seconds(row, vn_ticks_ns(ticks));
	else
		vn_row_none(row);
}

static void
slow_row(const vn_broker *b, const vn_slow_request *s, vn_row *row)
{
	const vn_broker_endpoint *e =
		s->endpoint < b->n_endpoints ? b->endpoints[s->endpoint] : NULL;

	vn_row_number(row, s->conn);
	vn_row_text(row, "%s", e && e->used ? vn_endpoint_label(e) : "");
	vn_row_text(row, "%u.%u", (unsigned)s->worker, (unsigned)s->incarnation);
	vn_row_peer(row, &s->peer);
	vn_row_number(row, (uint64_t)((b->hub->now - s->at) / VN_SEC));
	row_ticks(row, vn_slow_ticks(s), true);
	row_ticks(row, s->queue, s->is_known);
	row_ticks(row, s->wait, s->is_known);
	row_ticks(row, s->run, s->is_known);
	row_ticks(row, s->write, s->is_written);
}

/* Rows are sorted by it: ticks, then place. */
static uint64_t
slow_key(const vn_slow *all, uint32_t i)
{
	return ((uint64_t)vn_slow_ticks(&all->top[i]) << 8) + i + 1;
}

/**
 * vn_slow_next() - one of the slowest requests, slowest first
 */
vn_query_step
vn_slow_next(vn_query *q, vn_row *row)
{
	const vn_slow *all = &q->broker->slow;
	uint64_t best = 0;

	for (uint32_t i = 0; i < all->n; i++) {
		uint64_t key = slow_key(all, i);

		if (key > best && (q->after == 0 || key < q->after))
			best = key;
	}
	if (best == 0)
		return VN_QUERY_END;
	q->after = best;
	slow_row(q->broker, &all->top[(best & 0xff) - 1], row);
	return VN_QUERY_ROW;
}
