/* SPDX-License-Identifier: MIT */
/*
 * Datagram - from the socket to the workers
 *
 * A batch is received into a buffer of the broker's, because whose it is is known only then, and each message is
 * copied to the worker to which its source belongs: sources are dealt into buckets, and each bucket goes to the
 * worker that scores best for it (rendezvous hashing), so that a change of workers moves no more than it must. So
 * one client's datagrams keep their order. A worker's share of the batch is one descriptor.
 *
 * A socket is not read while no worker can take anything: the kernel keeps what comes, drops what is too much, and
 * counts that. If only some can, what belongs to the others is lost, and counted: one that is slow must not keep
 * those from theirs who are not. A window may be overdrawn by one batch.
 *
 * A socket that is connected for one worker (is_private) has one binding, which is served whatever phase that worker
 * and the service are in, and is not work that the worker was given.
 */
#include "broker/datagram.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/worker.h"

#define AGAIN VN_MS /* after the kernel had no memory, of which it does not tell */

static void datagrams_event(vn_watch *w, uint32_t events);

/* Counts datagrams that nobody will get. */
void
vn_datagrams_lost(vn_broker_endpoint *e, vn_lost_reason reason, uint64_t n)
{
	vn_count(&e->count->n_datagrams_lost[reason], n);
}

/* Who gets what. */

static uint64_t
mix(uint64_t x)
{
	x ^= x >> 33;
	x *= UINT64_C(0xff51afd7ed558ccd);
	x ^= x >> 33;
	x *= UINT64_C(0xc4ceb9fe1a85ec53);
	return x ^ x >> 33;
}

/* (The finalizer of MurmurHash3, by Austin Appleby, who put it into the public domain.) */
static uint32_t
bucket_of(const vn_datagram_head *h)
{
	uint64_t low, high;

	memcpy(&low, h->peer, sizeof low);
	memcpy(&high, h->peer + 8, sizeof high);
	return mix(mix(low ^ (uint64_t)h->port << 32) ^ high) % VN_DATAGRAM_BUCKETS;
}

static bool
serves(const vn_binding *i)
{
	return (i->worker->state == VN_WORKER_READY || i->endpoint->is_private) &&
	       i->worker->linked && !i->worker->broken && !i->is_over;
}

static vn_binding *
best_for(const vn_datagrams *d, uint32_t bucket)
{
	vn_binding *best = NULL;
	uint64_t best_score = 0;

	for (vn_binding *i = d->bindings; i; i = i->next) {
		uint64_t score = mix((uint64_t)i->worker->number << 32 | (bucket + 1));

		if (serves(i) && (!best || score > best_score)) {
			best = i;
			best_score = score;
		}
	}
	return best;
}

static void
choose_targets(vn_datagrams *d)
{
	d->is_stale = false;
	for (uint32_t bucket = 0; bucket < VN_DATAGRAM_BUCKETS; bucket++)
		d->targets[bucket] = best_for(d, bucket);
}

/* Room in a worker's lane. */

static bool
has_slots(vn_binding *i)
{
	return vn_lane_tx_has(&i->worker->link.tx, VN_OWN_SLOTS + i->n_blocks + 3);
}

/* May it be given a batch? */
static bool
may_take(vn_binding *i)
{
	return serves(i) && i->in.chain.charge < i->worker->broker->config->window &&
	       has_slots(i) && vn_blocks_available(i->worker->link.blocks);
}

/* Its share of what is free: not all of it, for others have connections there. One block it may always have. */
static bool
may_have(const vn_binding *i, uint32_t bytes)
{
	uint64_t kept = i->worker->link.geometry.area_bytes / 8;

	return i->in.chain.charge == 0 ||
	       vn_blocks_available(i->worker->link.blocks) >= kept + bytes;
}

static bool
binding_add(vn_binding *i, const vn_datagram_head *h, const void *data, size_t rest)
{
	unsigned int size_class = vn_block_class(VN_FRAME_HEAD + h->len + rest);
	uint32_t need, last = i->in.chain.last;

	if (vn_frames_grow(&i->in, &i->in_area, h, data))
		return true;
	need = vn_frames_need(&i->in, &i->in_area, h->len, size_class);
	if (need && (!may_have(i, need) || !has_slots(i)))
		return false;
	if (!vn_frames_add(&i->in, &i->in_area, h, data, size_class))
		return false;
	i->n_blocks += i->in.chain.last != last;
	i->n_blocks += VN_FRAME_HEAD + h->len > VN_BLOCK_MAX; /* that one lies in two */
	return true;
}

/* Kept until somebody serves; not without end. */
static void
keep_waiting(vn_broker_endpoint *e, const vn_datagram_head *h, const void *data)
{
	vn_datagrams *d = e->datagrams;
	vn_waiting_datagrams *k = NULL;

	if (d->waiting_bytes + h->len <= e->broker->config->window)
		k = malloc(sizeof *k + h->len);
	if (!k) {
		vn_datagrams_lost(e, VN_LOST_NO_WORKER, vn_frame_datagrams(h));
		return;
	}
	k->next = NULL;
	k->head = *h;
	memcpy(k->data, data, h->len);
	*d->waiting_last = k;
	d->waiting_last = &k->next;
	d->waiting_bytes += h->len + sizeof *k;
}

/**
 * vn_datagrams_give() - to the worker to which they belong, or counted as lost; with no worker they wait
 * @h:    of one datagram, or of a run; what the kernel has given
 * @rest: bytes that come after it, for how large a block is worth having
 *
 * vn_datagrams_deliver() must follow.
 */
void
vn_datagrams_give(vn_broker_endpoint *e, const vn_datagram_head *h, const void *data, size_t rest)
{
	vn_datagrams *d = e->datagrams;
	vn_binding *i;

	if (d->is_stale)
		choose_targets(d);
	i = d->targets[bucket_of(h)];
	if (!i)
		keep_waiting(e, h, data);
	else if (i->may_take && binding_add(i, h, data, rest))
		i->is_hot = true;
	else
		vn_datagrams_lost(e, VN_LOST_FULL, vn_frame_datagrams(h));
}

/* The block in which what is not delivered begins. */
static uint32_t
undelivered_block(const vn_binding *i)
{
	const vn_chain_link *table = i->in_area.table;
	uint32_t block = i->delivered_at == VN_NO_BLOCK ? i->in.chain.first : i->delivered_at;

	while (table[block].end <= i->delivered)
		block = table[block].next;
	return block;
}

static void
binding_deliver(vn_binding *i)
{
	const vn_chain_link *table = i->in_area.table;
	vn_worker *w = i->worker;

	for (uint32_t block = undelivered_block(i); block != VN_NO_BLOCK;
		block = table[block].next) {
		vn_desc d = {.kind = VN_KIND_DATAGRAMS,
			.arg = i->number,
			.pos = i->delivered,
			.block = block,
			.offset = vn_chain_offset(&table[block], i->delivered),
			.len = (uint32_t)(table[block].end - i->delivered),
			.report = i->sending.at};

		vn_lane_tx_push(&w->link.tx, &d);
		vn_count(&w->count->bytes_in, d.len);
		i->delivered = table[block].end;
		i->delivered_at = block;
	}
	i->reported = i->sending.at;
	i->is_hot = i->owes_departed = false;
	i->n_blocks = 0;
	vn_frames_seal(&i->in);
	vn_worker_heat(w);
}

/**
 * vn_datagrams_deliver() - what was given is said to the workers
 */
void
vn_datagrams_deliver(vn_broker_endpoint *e)
{
	for (vn_binding *i = e->datagrams->bindings; i; i = i->next)
		if (i->is_hot)
			binding_deliver(i);
}

/* Receiving. */

static void
datagrams_arrived(void *arg, const vn_datagram_head *h, const void *data, size_t rest)
{
	vn_broker_endpoint *e = arg;
	const vn_endpoint_options *o = &e->endpoint.options;

	if (vn_datagram_is_denied(o, h))
		vn_datagrams_lost(e, VN_LOST_DENIED, vn_frame_datagrams(h));
	else
		vn_datagrams_give(e, h, data, rest);
}

/* What waited comes first. */
static void
give_waiting(vn_broker_endpoint *e)
{
	vn_datagrams *d = e->datagrams;
	vn_waiting_datagrams *k = d->waiting, *next;

	d->waiting = NULL;
	d->waiting_last = &d->waiting;
	d->waiting_bytes = 0;
	for (; k; k = next) {
		next = k->next;
		vn_datagrams_give(e, &k->head, k->data, 0);
		free(k);
	}
}

/**
 * vn_datagrams_begin() - who can take some of what is given next?
 *
 * Return: how many messages, if they are like those before; 0 when nobody can take any.
 */
unsigned int
vn_datagrams_begin(vn_broker_endpoint *e)
{
	vn_datagrams *d = e->datagrams;
	uint32_t left = 0, window = e->broker->config->window, n;

	if (d->is_stale)
		choose_targets(d);
	for (vn_binding *i = d->bindings; i; i = i->next) {
		i->may_take = may_take(i);
		if (i->may_take && window - i->in.chain.charge > left)
			left = window - i->in.chain.charge;
	}
	if (!left)
		return 0;
	n = left / (d->socket.mean + VN_FRAME_HEAD) + 1;
	return n < VN_DATAGRAM_BATCH ? n : VN_DATAGRAM_BATCH;
}

/* Nobody can take anything: whoever will is looked after at the end of its worker's turns. */
static void
stall(vn_broker_endpoint *e)
{
	e->datagrams->is_stalled = true;
	for (vn_binding *i = e->datagrams->bindings; i; i = i->next)
		i->worker->datagrams_stalled = true;
	vn_datagrams_watch(e);
}

static void
datagrams_receive(vn_broker_endpoint *e)
{
	vn_datagrams *d = e->datagrams;
	uint64_t before = d->socket.n_received, bytes = d->socket.bytes_received;
	unsigned int max = vn_datagrams_begin(e);

	if (max == 0) {
		stall(e);
		return;
	}
	if (d->waiting)
		give_waiting(e);
	vn_datagram_receive(&d->socket, e->broker->hub->sys, e->broker->datagram_batch, max,
		datagrams_arrived, e);
	vn_count(&e->count->n_datagrams, d->socket.n_received - before);
	vn_count(&e->broker->count->bytes_in, d->socket.bytes_received - bytes);
	vn_datagrams_deliver(e);
	vn_datagrams_tell_error(e);
}

/* Watches for what is wanted now. */
void
vn_datagrams_watch(vn_broker_endpoint *e)
{
	vn_datagrams *d = e->datagrams;
	vn_hub *h = e->broker->hub;
	uint32_t wanted = d->is_parked ? EPOLLOUT : 0;

	if (!d->is_stalled && !e->disabled &&
		e->broker->phase < (e->is_private ? VN_PHASE_STOPPING : VN_PHASE_DRAINING))
		wanted |= EPOLLIN;
	if (wanted == d->watched)
		return;
	vn_watch_remove(h->poller, &e->watch);
	d->watched = 0;
	if (wanted == 0)
		return;
	if (vn_watch_add(h->poller, &e->watch, e->fd, wanted, datagrams_event) == 0)
		d->watched = wanted;
	else
		vn_wheel_arm(h->wheel, &d->again, h->now + AGAIN);
}

/* Output that could not leave may now. */
static void
unpark(vn_broker_endpoint *e)
{
	e->datagrams->is_parked = false;
	for (vn_binding *i = e->datagrams->bindings; i; i = i->next)
		if (i->sending.at < i->queued)
			vn_datagrams_want_output(i);
}

static void
datagrams_event(vn_watch *w, uint32_t events)
{
	vn_broker_endpoint *e =
		(vn_broker_endpoint *)(void *)((char *)w - offsetof(vn_broker_endpoint, watch));

	if (events & EPOLLERR)
		vn_datagram_look(&e->datagrams->socket);
	vn_datagrams_tell_error(e);
	if (events & EPOLLOUT)
		unpark(e);
	if (events & ~(uint32_t)EPOLLOUT)
		datagrams_receive(e);
	vn_datagrams_watch(e);
}

static void
datagrams_again(vn_timer *t)
{
	vn_datagrams *d = (vn_datagrams *)(void *)((char *)t - offsetof(vn_datagrams, again));

	unpark(d->endpoint);
	vn_datagrams_watch(d->endpoint);
}

/* Workers. */

/* Somebody serves who did not, or has room: what the kernel keeps is read again. */
static void
resume(vn_broker_endpoint *e)
{
	vn_datagrams *d = e->datagrams;

	if (!d->is_stalled && !d->waiting)
		return;
	d->is_stalled = vn_datagrams_begin(e) == 0;
	if (d->is_stalled)
		return;
	if (d->waiting) {
		give_waiting(e);
		vn_datagrams_deliver(e);
	}
	vn_datagrams_watch(e);
}

/**
 * vn_datagrams_resume() - a worker for which datagrams wait may have room again
 */
void
vn_datagrams_resume(vn_worker *w)
{
	vn_broker *b = w->broker;
	bool waits = false;

	for (uint32_t k = 0; k < b->n_endpoints; k++) {
		vn_broker_endpoint *e = b->endpoints[k];

		if (!e->datagrams || e->fd < 0)
			continue;
		resume(e);
		waits |= e->datagrams->is_stalled;
	}
	w->datagrams_stalled = waits;
}

/**
 * vn_datagrams_workers_changed() - a worker begins to serve, or no longer does: who gets what is found anew
 */
void
vn_datagrams_workers_changed(vn_broker *b)
{
	for (uint32_t k = 0; k < b->n_endpoints; k++)
		if (b->endpoints[k]->datagrams)
			b->endpoints[k]->datagrams->is_stale = true;
}

/**
 * vn_binding_new() - a worker has bound an endpoint
 *
 * Return: 0 or -ENOMEM.
 */
int
vn_binding_new(vn_worker *w, uint16_t number, vn_broker_endpoint *e)
{
	vn_broker *b = w->broker;
	vn_binding *i = calloc(1, sizeof *i);
	uint32_t ref = vn_ref(b, w->slot, 0);

	if (!i)
		return -ENOMEM;
	i->worker = w;
	i->endpoint = e;
	i->number = number;
	i->in_area = (vn_frame_area){&w->link.own, b->ledger->in_table + ref, w->link.blocks};
	i->out_area = (vn_frame_area){&w->link.peer, b->ledger->out_table + ref, NULL};
	i->in = VN_FRAMES_EMPTY;
	i->out = VN_CHAIN_EMPTY;
	i->delivered_at = VN_NO_BLOCK;
	i->next = e->datagrams->bindings;
	e->datagrams->bindings = i;
	w->listeners[number].binding = i;
	e->datagrams->is_stale = true;
	w->datagrams_stalled = true; /* the kernel may have something for it */
	return 0;
}

/**
 * vn_binding_free() - it is over, and has nothing left
 */
void
vn_binding_free(vn_binding *i)
{
	vn_binding **link = &i->endpoint->datagrams->bindings;

	while (*link != i)
		link = &(*link)->next;
	*link = i->next;
	i->endpoint->datagrams->is_stale = true;
	i->worker->listeners[i->number].binding = NULL;
	free(i);
}

/* The frame in which `acked` lies. */
static bool
load_frame(vn_binding *i)
{
	uint32_t block = i->in.chain.first;

	if (i->has_frame)
		return true;
	while (i->in_area.table[block].end <= i->acked)
		block = i->in_area.table[block].next;
	i->has_frame = vn_frame_at(&i->in_area, block, i->acked, &i->frame) > 0;
	return i->has_frame;
}

/* Datagrams of the frame that lie between two positions of its payload. */
static uint64_t
count_between(const vn_datagram_head *h, uint64_t from, uint64_t to)
{
	uint32_t size = h->segment ? h->segment : h->len;

	if (size == 0)
		return 1;
	return (to + size - 1) / size - (from + size - 1) / size;
}

/**
 * vn_binding_received() - a worker is done with input up to `to`
 *
 * Return: NULL, or the name of what is wrong: that is no end of a datagram, or beyond what was delivered.
 */
const char *
vn_binding_received(vn_binding *i, uint64_t to)
{
	uint64_t n = 0;

	if (to < i->acked || to > i->delivered)
		return "report";
	while (i->acked < to && load_frame(i)) {
		const vn_datagram_head *h = &i->frame.head;
		uint64_t start = i->frame.end - h->len, from = i->acked > start ? i->acked : start,
			 end = to < i->frame.end ? to : i->frame.end;

		if (end < i->frame.end &&
			(end <= start || !h->segment || (end - start) % h->segment))
			return "report";
		n += count_between(h, from - start, end - start);
		i->acked = end;
		i->has_frame = end < i->frame.end;
	}
	if (i->delivered_at != VN_NO_BLOCK && i->in_area.table[i->delivered_at].end <= i->acked)
		i->delivered_at = VN_NO_BLOCK;
	vn_chain_free(&i->in.chain, i->in_area.table, i->in_area.blocks, i->acked);
	vn_count(&i->endpoint->count->n_datagrams_done, n);
	if (i->endpoint->is_private)
		return NULL;
	vn_count(&i->worker->count->n_requests, n);
	vn_count(&i->worker->broker->count->n_requests, n);
	i->worker->served |= n > 0;
	return NULL;
}

/* The endpoint. */

/**
 * vn_datagrams_open() - the socket of an endpoint, not watched yet
 *
 * Return: the descriptor, or what vn_datagram_open() says.
 */
int
vn_datagrams_open(vn_broker_endpoint *e, char why[static 256])
{
	vn_broker *b = e->broker;
	vn_datagrams *d = calloc(1, sizeof *d);
	int rc;

	strcpy(why, "out of memory");
	if (!b->datagram_batch)
		b->datagram_batch = vn_datagram_batch_new();
	rc = d && b->datagram_batch ? 0 : -ENOMEM;
	if (rc == 0)
		rc = (e->is_private ? vn_datagram_connect : vn_datagram_open)(
			&d->socket, &e->endpoint, why);
	if (rc < 0) {
		free(d);
		return rc;
	}
	d->endpoint = e;
	d->is_stale = d->is_stalled = true;
	d->waiting_last = &d->waiting;
	d->again.fire = datagrams_again;
	e->datagrams = d;
	return d->socket.fd;
}

/**
 * vn_datagrams_drain() - nothing more is received; what workers have they may answer
 */
void
vn_datagrams_drain(vn_broker_endpoint *e)
{
	vn_datagrams_sample(e);
	vn_datagrams_watch(e);
}

/**
 * vn_datagrams_shut() - nobody has bound it any more: the socket is about to be closed
 */
void
vn_datagrams_shut(vn_broker_endpoint *e)
{
	vn_datagrams *d = e->datagrams;

	vn_datagrams_sample(e);
	while (d->bindings)
		vn_binding_end(d->bindings);
	while (d->waiting) {
		vn_waiting_datagrams *k = d->waiting;

		d->waiting = k->next;
		vn_datagrams_lost(e, VN_LOST_NO_WORKER, vn_frame_datagrams(&k->head));
		free(k);
	}
	vn_wheel_disarm(e->broker->hub->wheel, &d->again);
	e->datagrams = NULL;
	free(d);
}

/**
 * vn_datagrams_sample() - the counters that the kernel and the socket have are taken over
 */
void
vn_datagrams_sample(vn_broker_endpoint *e)
{
	vn_datagrams *d = e->datagrams;
	uint32_t dropped = vn_datagram_dropped(&d->socket);

	vn_datagrams_lost(e, VN_LOST_KERNEL, dropped - d->dropped_seen);
	vn_count(&e->count->n_datagrams_sent, d->socket.n_sent - d->sent_seen);
	vn_count(&e->count->n_datagrams_unsent[VN_UNSENT_REFUSED],
		d->socket.n_refused - d->refused_seen);
	d->dropped_seen = dropped;
	d->sent_seen = d->socket.n_sent;
	d->refused_seen = d->socket.n_refused;
}
