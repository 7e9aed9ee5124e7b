/* SPDX-License-Identifier: MIT */
/*
 * Datagram report - `show datagrams`: each endpoint's sum of what came in, and of what went out
 *
 *     received = done + in_hand + waiting + lost[but kernel]          published = sent + unsent + queued
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

static void
datagrams_row(vn_broker_endpoint *e, vn_row *row)
{
	const vn_listener_counters *c = e->count;
	uint64_t n = 0, in_hand = 0, queued = 0;

	vn_datagrams_sample(e);
	for (vn_binding *i = e->datagrams->bindings; i; i = i->next) {
		n++;
		in_hand += vn_binding_in_hand(i);
		queued += vn_binding_unsent(i);
	}
	vn_row_text(row, "%s", vn_endpoint_label(e));
	vn_row_text(row, "%s", e->url);
	vn_row_number(row, n);
	vn_row_number(row, c->n_datagrams);
	vn_row_number(row, c->n_datagrams_done);
	vn_row_number(row, in_hand);
	vn_row_number(row, count_waiting(e->datagrams));
	vn_row_number(row, c->n_datagrams_again);
	for (int k = 0; k < VN_N_LOST_REASONS; k++)
		vn_row_number(row, c->n_datagrams_lost[k]);
	vn_row_number(row, c->n_datagrams_sent);
	vn_row_number(row, queued);
	for (int k = 0; k < VN_N_UNSENT_REASONS; k++)
		vn_row_number(row, c->n_datagrams_unsent[k]);
}

vn_query_step
vn_datagrams_next(vn_query *q, vn_row *row)
{
	vn_broker_endpoint *e;

	if (q->cursor >= q->broker->n_endpoints)
		return VN_QUERY_END;
	e = q->broker->endpoints[q->cursor++];
	if (!e->used || !e->datagrams)
		return VN_QUERY_SKIP;
	datagrams_row(e, row);
	return VN_QUERY_ROW;
}
