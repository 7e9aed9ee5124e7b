/* SPDX-License-Identifier: MIT */
/*
 * Datagram output - from the workers to the socket
 *
 * SENDTO chains frames of a worker's lane, which are sent straight out of it at the end of the turn, a batch in one
 * call (client/net/datagram.c, which also checks what they say). The worker's blocks are its own again when it hears
 * how far that went: with the next datagrams that it gets, at once if somebody waits for it or a quarter of the window
 * is unreported, and after two sweeps at the latest.
 *
 * Where the kernel has no room, output stays where it is, in the worker's lane: no more than that can hold, and the
 * worker's coroutines wait.
 */
#include <errno.h>

#include "broker/datagram.h"
#include "broker/worker.h"

#define AGAIN VN_MS /* after the kernel had no memory, of which it does not tell */

bool
vn_datagrams_is_kind(uint8_t kind)
{
	return kind >= VN_KIND_SENDTO && kind <= VN_KIND_JOIN;
}

/* Frames that lie in a block go on from those before. */
static const char *
take_sendto(vn_binding *i, const vn_desc *d)
{
	vn_chain_link *table = i->out_area.table, *link = &table[d->block];

	if (d->pos != i->queued)
		return "pos";
	if (i->queued + d->len - i->reported > i->worker->link.geometry.area_bytes)
		return "len";
	if (link->fill && (i->out.last != d->block || link->fill != d->offset))
		return "block";
	i->queued += d->len;
	if (link->fill)
		vn_chain_extend(&i->out, table, d->len);
	else
		vn_chain_push(&i->out, table, d->block, d->offset + d->len, i->queued);
	vn_count(&i->worker->count->bytes_out, d->len);
	return d->flags & VN_ACK ? vn_binding_received(i, d->report) : NULL;
}

static const char *
take_join(vn_binding *i, const vn_desc *d, bool alive)
{
	if (i->owes_joined)
		return "kind";
	if (d->peer.family != i->endpoint->datagrams->socket.family || d->peer.port)
		return "peer";
	if (!alive)
		return NULL;
	i->joined = -vn_datagrams_join(i, &d->peer, d->flags & VN_ABORT);
	i->owes_joined = i->worker->owes_datagrams = true;
	vn_worker_heat(i->worker);
	return NULL;
}

static void
owe_departed(vn_binding *i)
{
	i->needs_room = false;
	i->owes_departed = i->worker->owes_datagrams = true;
	vn_worker_heat(i->worker);
}

/**
 * vn_datagrams_take() - what a worker says of datagrams
 * @d:     was checked as such
 * @alive: the worker lives; else what it published is kept, and its requests are not heard
 *
 * Return: NULL, or the name of the field that cannot be.
 */
const char *
vn_datagrams_take(vn_worker *w, const vn_desc *d, bool alive)
{
	vn_binding *i = w->listeners[vn_desc_listener(d)].binding;
	const char *bad;

	if (!i)
		return "arg";
	switch (d->kind) {
	case VN_KIND_SENDTO:
		bad = take_sendto(i, d);
		if (!bad && alive)
			vn_datagrams_want_output(i);
		return bad;
	case VN_KIND_RECEIVED:
		return vn_binding_received(i, d->report);
	case VN_KIND_JOIN:
		return take_join(i, d, alive);
	default: /* NEED_ROOM */
		i->needs_room = true;
		if (alive && i->sending.at > i->reported)
			owe_departed(i);
		return NULL;
	}
}

/**
 * vn_datagrams_tell_error() - what the network says of the peer of a connected socket is for its worker, if it does
 */
void
vn_datagrams_tell_error(vn_broker_endpoint *e)
{
	vn_datagrams *d = e->datagrams;
	vn_binding *i = d->bindings;

	if (d->socket.error && i) {
		i->refused = -d->socket.error;
		i->owes_refused = i->worker->owes_datagrams = true;
		vn_worker_heat(i->worker);
	}
	d->socket.error = 0;
}

/* Send at the end of this turn. */
void
vn_datagrams_want_output(vn_binding *i)
{
	vn_broker *b = i->worker->broker;

	if (i->is_output)
		return;
	i->is_output = true;
	i->next_output = b->datagram_outputs;
	b->datagram_outputs = i;
}

/* What has left: its blocks are nobody's, as far as we are concerned. */
static void
chain_departed(vn_binding *i)
{
	uint32_t block;

	while ((block = vn_chain_pop(&i->out, i->out_area.table, i->sending.at)) != VN_NO_BLOCK)
		i->out_area.table[block].fill = 0;
}

/**
 * vn_datagrams_output() - send what a worker has published, as far as the kernel takes it
 */
void
vn_datagrams_output(vn_binding *i)
{
	vn_broker_endpoint *e = i->endpoint;
	vn_datagrams *d = e->datagrams;
	vn_broker *b = e->broker;
	uint64_t before = d->socket.bytes_sent;
	int rc;

	if (d->is_parked || i->out.first == VN_NO_BLOCK)
		return;
	rc = vn_datagram_send(&d->socket, b->hub->sys, b->datagram_batch, &i->out_area,
		i->out.first, i->queued, &i->sending);
	vn_count(&b->count->bytes_out, d->socket.bytes_sent - before);
	chain_departed(i);
	vn_datagrams_tell_error(e);
	if (rc == -EPROTO) {
		vn_worker_violation(i->worker, "frame", NULL);
		return;
	}
	d->is_parked = rc == -EAGAIN;
	if (d->is_parked)
		vn_datagrams_watch(e);
	else if (rc < 0)
		vn_wheel_arm(b->hub->wheel, &d->again, b->hub->now + AGAIN);
	if (i->needs_room || i->sending.at - i->reported >= b->config->window / 4)
		owe_departed(i);
}

/**
 * vn_datagrams_outputs() - one batch of messages for each worker that has published some
 */
void
vn_datagrams_outputs(vn_broker *b)
{
	while (b->datagram_outputs) {
		vn_binding *i = b->datagram_outputs;

		b->datagram_outputs = i->next_output;
		i->is_output = false;
		vn_datagrams_output(i);
	}
}

static void
pay_binding(vn_worker *w, vn_binding *i)
{
	if (i->owes_departed && vn_lane_tx_has(&w->link.tx, VN_OWN_SLOTS + 1)) {
		i->owes_departed = false;
		i->reported = i->sending.at;
		vn_lane_tx_push(&w->link.tx,
			&(vn_desc){
				.kind = VN_KIND_DEPARTED, .arg = i->number, .report = i->reported});
	}
	if (i->owes_joined && vn_lane_tx_has(&w->link.tx, VN_OWN_SLOTS + 1)) {
		i->owes_joined = false;
		vn_lane_tx_push(&w->link.tx, &(vn_desc){.kind = VN_KIND_JOINED,
						     .arg = i->number,
						     .report = (uint64_t)i->joined});
	}
	if (i->owes_refused && vn_lane_tx_has(&w->link.tx, VN_OWN_SLOTS + 1)) {
		i->owes_refused = false;
		vn_lane_tx_push(&w->link.tx, &(vn_desc){.kind = VN_KIND_REFUSED,
						     .arg = i->number,
						     .report = (uint64_t)i->refused});
	}
	w->owes_datagrams |= i->owes_departed || i->owes_joined || i->owes_refused;
}

/**
 * vn_datagrams_pay() - what a worker has to be told of its output, and of groups
 */
void
vn_datagrams_pay(vn_worker *w)
{
	w->owes_datagrams = false;
	for (uint32_t k = 0; k <= VN_MAX_LISTENER; k++)
		if (w->listeners[k].binding)
			pay_binding(w, w->listeners[k].binding);
}

/**
 * vn_datagrams_sweep() - report what was unreported at the last sweep already
 */
void
vn_datagrams_sweep(vn_broker *b)
{
	for (uint32_t k = 0; k < b->n_endpoints; k++) {
		vn_datagrams *d = b->endpoints[k]->datagrams;

		for (vn_binding *i = d ? d->bindings : NULL; i; i = i->next) {
			bool unreported = i->sending.at > i->reported;

			if (unreported && i->is_overdue)
				owe_departed(i);
			i->is_overdue = unreported && !i->is_overdue;
		}
	}
}

/* Datagrams of the frame at sending.at that have left one by one. The head is the worker's: not more than it has. */
static uint32_t
count_left_alone(const vn_binding *i, const vn_datagram_head *h)
{
	uint32_t n = vn_frame_datagrams(h), left = h->segment ? i->sending.skip / h->segment : 0;

	return left < n ? left : n;
}

/* Datagrams that will not be sent any more. */
uint64_t
vn_binding_unsent(vn_binding *i)
{
	uint32_t block = i->out.first;
	uint64_t at = i->sending.at, n = 0;
	vn_frame f;

	while (at < i->queued) {
		while (i->out_area.table[block].end <= at)
			block = i->out_area.table[block].next;
		if (vn_frame_at(&i->out_area, block, at, &f) <= 0 || f.end > i->queued)
			break;
		n += vn_frame_datagrams(&f.head);
		if (at == i->sending.at)
			n -= count_left_alone(i, &f.head);
		at = f.end;
	}
	return n;
}
