/* SPDX-License-Identifier: MIT */
/*
 * Datagram settle - a binding ends: its worker is dead, or has closed the endpoint
 *
 * What it has published is sent if the kernel takes it now, else counted as unsent. Of the input that it did not
 * acknowledge, what it had not taken off its lane goes to other workers, before anything that comes later; what it
 * had taken may have been the death of it, and may have been acted upon: it is lost, and counted. One that has
 * closed an endpoint has taken none of the rest. What came for one worker alone is nobody else's, and lost.
 */
#include "broker/datagram.h"

/**
 * vn_datagrams_taken() - a dead worker had taken everything off its lane, as long as nothing else is said
 */
void
vn_datagrams_taken(vn_worker *w)
{
	for (uint32_t k = 0; k <= VN_MAX_LISTENER; k++)
		if (w->listeners[k].binding)
			w->listeners[k].binding->untaken = UINT64_MAX;
}

/**
 * vn_datagrams_untaken() - a dead worker had not taken these off its lane
 */
void
vn_datagrams_untaken(vn_worker *w, const vn_desc *d)
{
	vn_binding *i = w->listeners[vn_desc_listener(d)].binding;

	if (d->kind == VN_KIND_DATAGRAMS && i && !i->endpoint->is_private && d->pos < i->untaken)
		i->untaken = d->pos;
}

/* Datagrams of a frame of which the first have been acknowledged. */
static uint32_t
count_left(const vn_frame *f, uint64_t acked)
{
	uint64_t start = f->end - f->head.len;

	if (acked <= start)
		return vn_frame_datagrams(&f->head);
	return vn_frame_datagrams(&f->head) - (uint32_t)((acked - start) / f->head.segment);
}

/* What is left of a frame from `start` on, as a frame: where it lies. */
static const void *
frame_rest(const vn_binding *i, const vn_frame *f, uint64_t start, vn_datagram_head *h)
{
	uint64_t first = f->end - f->head.len;
	uint32_t done = start > first ? (uint32_t)(start - first) : 0;

	*h = f->head;
	h->len -= done;
	if (h->len <= h->segment)
		h->segment = 0;
	return vn_area_at(i->in_area.segment, f->block, f->offset + done);
}

/* What the worker had not taken is given to others, out of its lane, which is ours. */
static void
settle_frame(vn_binding *i, const vn_frame *f, uint64_t start)
{
	vn_broker_endpoint *e = i->endpoint;
	vn_datagram_head h;
	const void *data;

	if (start < i->untaken) {
		vn_datagrams_lost(e, VN_LOST_WORKER_DIED, count_left(f, i->acked));
		return;
	}
	if (e->is_private) {
		vn_datagrams_lost(e, VN_LOST_NO_WORKER, count_left(f, i->acked));
		return;
	}
	data = frame_rest(i, f, start, &h);
	vn_count(&e->count->n_datagrams_again, vn_frame_datagrams(&h));
	vn_datagrams_give(e, &h, data, 0);
}

/**
 * vn_binding_in_hand() - datagrams that a worker was given and is not done with
 */
uint64_t
vn_binding_in_hand(const vn_binding *i)
{
	const vn_chain_link *table = i->in_area.table;
	uint64_t at = i->has_frame ? i->frame.end : i->acked,
		 n = i->has_frame ? count_left(&i->frame, i->acked) : 0;
	uint32_t block = i->in.chain.first;
	vn_frame f;

	while (at < i->in.end) {
		while (table[block].end <= at)
			block = table[block].next;
		if (vn_frame_at(&i->in_area, block, at, &f) <= 0)
			break;
		n += vn_frame_datagrams(&f.head);
		at = f.end;
	}
	return n;
}

static void
settle_input(vn_binding *i)
{
	const vn_chain_link *table = i->in_area.table;
	uint32_t block = i->in.chain.first;
	uint64_t at = i->acked;
	vn_frame f;

	if (i->has_frame) { /* in the middle of a run */
		settle_frame(i, &i->frame, at);
		at = i->frame.end;
	}
	while (at < i->in.end) {
		while (table[block].end <= at)
			block = table[block].next;
		if (vn_frame_at(&i->in_area, block, at, &f) <= 0)
			break;
		settle_frame(i, &f, at);
		at = f.end;
	}
	vn_chain_free(&i->in.chain, i->in_area.table, i->in_area.blocks, UINT64_MAX);
}

static void
settle_output(vn_binding *i)
{
	vn_broker *b = i->worker->broker;
	vn_binding **link = &b->datagram_outputs;
	uint32_t block;

	vn_datagrams_output(i);
	vn_count(&i->endpoint->count->n_datagrams_unsent[VN_UNSENT_WORKER_DIED],
		vn_binding_unsent(i));
	while ((block = vn_chain_pop(&i->out, i->out_area.table, UINT64_MAX)) != VN_NO_BLOCK)
		i->out_area.table[block].fill = 0;
	while (i->is_output && *link != i)
		link = &(*link)->next_output;
	if (i->is_output)
		*link = i->next_output;
}

/* Nobody gets anything of it any more, so others may. */
static void
binding_settle(vn_binding *i, bool is_dead)
{
	vn_broker_endpoint *e = i->endpoint;

	settle_output(i);
	vn_datagrams_groups_end(i, is_dead);
	i->is_over = e->datagrams->is_stale = true;
	vn_datagrams_begin(e);
	settle_input(i);
	vn_datagrams_deliver(e);
	vn_binding_free(i);
}

/**
 * vn_binding_end() - a worker has closed an endpoint
 */
void
vn_binding_end(vn_binding *i)
{
	i->untaken = i->acked;
	binding_settle(i, false);
}

/**
 * vn_datagrams_settle() - a worker is dead: vn_datagrams_untaken() has said what it had not taken
 */
void
vn_datagrams_settle(vn_worker *w)
{
	for (uint32_t k = 0; k <= VN_MAX_LISTENER; k++)
		if (w->listeners[k].binding)
			binding_settle(w->listeners[k].binding, true);
}
