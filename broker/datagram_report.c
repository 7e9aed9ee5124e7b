/* SPDX-License-Identifier: MIT */
/*
 * Datagram report - `show datagrams`: each endpoint's sum of what came in, and of what went out
 *
 *     received = done + in_hand + waiting + lost[but kernel]          published = sent + unsent + queued
 *
 * Those that are connected for a worker have one row together.
 */
#include "broker/datagram.h"

const vn_columns vn_datagrams_columns = {
	17, {"name", "url", "workers", "received_total", "done_total", "in_hand", "waiting",
		    "given_again_total", "lost_total.kernel", "lost_total.full",
		    "lost_total.denied", "lost_total.no_worker", "lost_total.worker_died",
		    "sent_total", "queued", "unsent_total.refused", "unsent_total.worker_died"}};

_Static_assert(VN_N_LOST_REASONS == 5 && VN_N_UNSENT_REASONS == 2, "each reason has a column");

static uint64_t
count_waiting(const vn_datagrams *d)
{
	uint64_t n = 0;

	for (const vn_waiting_datagrams *k = d->waiting; k; k = k->next)
		n += vn_frame_datagrams(&k->head);
	return n;
}

/* What is under way. */
typedef struct tally {
	uint64_t n, in_hand, waiting, queued;
} tally;

static void
tally_add(tally *t, vn_broker_endpoint *e)
{
	vn_datagrams_sample(e);
	for (vn_binding *i = e->datagrams->bindings; i; i = i->next) {
		t->n++;
		t->in_hand += vn_binding_in_hand(i);
		t->queued += vn_binding_unsent(i);
	}
	t->waiting += count_waiting(e->datagrams);
}

static void
datagrams_row(const vn_broker_endpoint *e, const tally *t, vn_row *row)
{
	const vn_listener_counters *c = e->count;

	vn_row_text(row, "%s", vn_endpoint_label(e));
	vn_row_text(row, "%s", e->url);
	vn_row_number(row, t->n);
	vn_row_number(row, c->n_datagrams);
	vn_row_number(row, c->n_datagrams_done);
	vn_row_number(row, t->in_hand);
	vn_row_number(row, t->waiting);
	vn_row_number(row, c->n_datagrams_again);
	for (int k = 0; k < VN_N_LOST_REASONS; k++)
		vn_row_number(row, c->n_datagrams_lost[k]);
	vn_row_number(row, c->n_datagrams_sent);
	vn_row_number(row, t->queued);
	for (int k = 0; k < VN_N_UNSENT_REASONS; k++)
		vn_row_number(row, c->n_datagrams_unsent[k]);
}

static vn_query_step
dialled_row(vn_broker *b, vn_row *row)
{
	const vn_broker_endpoint *dialled = b->endpoints[VN_DIALLED];
	tally t = {0};

	for (uint32_t i = 0; i < b->n_endpoints; i++)
		if (b->endpoints[i]->used && b->endpoints[i]->is_private)
			tally_add(&t, b->endpoints[i]);
	if (t.n + dialled->count->n_datagrams + dialled->count->n_datagrams_sent == 0)
		return VN_QUERY_SKIP;
	datagrams_row(dialled, &t, row);
	return VN_QUERY_ROW;
}

vn_query_step
vn_datagrams_next(vn_query *q, vn_row *row)
{
	uint32_t i = (uint32_t)q->cursor++;
	vn_broker_endpoint *e;
	tally t = {0};

	if (i == q->broker->n_endpoints)
		return dialled_row(q->broker, row);
	if (i > q->broker->n_endpoints)
		return VN_QUERY_END;
	e = q->broker->endpoints[i];
	if (!vn_endpoint_is_public(e) || !e->datagrams)
		return VN_QUERY_SKIP;
	tally_add(&t, e);
	datagrams_row(e, &t, row);
	return VN_QUERY_ROW;
}
