/* SPDX-License-Identifier: MIT */
/*
 * Brokered - the backend of a worker: everything arrives and leaves by a link to the broker
 *
 * Input lies in the broker's segment, where the broker received it; output is written into our own, from where
 * the broker sends it. At the end of every turn what was staged is published by one store, and what the broker
 * published is taken: descriptors are copied, the head is published, then they are acted upon.
 *
 * Commit and output leave together: a SEND that no later descriptor of the same batch follows carries the
 * acknowledgement too. So output is never appended across an acknowledgement (c->stage_appends), and a batch
 * is flushed between runs of coroutines, never inside one, unless the lane is full.
 *
 * When the lane is full, descriptors without payload wait in a private list (at most a few per connection),
 * and those who would write wait until there is room: RESERVE slots, so that a SEND, its state and its commit
 * can leave together.
 *
 * A connection is known by the broker's index and generation. Its record stays until the broker says FINAL
 * (every block is home) and the handler has closed its handle; a newer attachment of the same connection may
 * stand before it. The table of them is a mapping of its own, given back when none is left: whoever sleeps after
 * a burst keeps nothing of it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/hub/log.h"
#include "client/net/net.h"
#include "shm/bell.h"
#include "shm/link.h"

#define BATCH       64   /* descriptors taken at once */
#define FLUSH_AT    32   /* staged descriptors that are published before the next coroutine runs */
#define PREFETCH    2    /* messages between one fetch and the next that depends on it */
#define RESERVE     4    /* SEND, STATE, ACK, and one for whoever closes */
#define DRAIN_BELLS 1000 /* wakes after which the bell's pipe is emptied */
#define TABLE_MIN   512  /* entries, a page: a table that is kept although it is empty */

typedef struct brokered {
	vn_net *net;
	vn_link link;
	vn_hook hook;
	vn_watch bell;
	vn_conn **conns; /* by the broker's index */
	uint32_t n_conns, n_known;
	vn_listener *listeners[VN_MAX_LISTENER + 1];
	uint32_t n_listeners, n_unanswered;
	bool is_ready, in_term;
	uint32_t armed; /* what ev says */
	uint32_t n_rung;
	vn_desc *waiting; /* a private list for a full lane */
	uint32_t n_waiting, n_waiting_max;
	vn_waitq space;
} brokered;

static brokered *
brokered_of(const vn_net *net)
{
	return net->backend;
}

/* Staging. */

static void
stage_later(brokered *b, const vn_desc *d)
{
	if (b->n_waiting == b->n_waiting_max) {
		uint32_t n = b->n_waiting_max ? b->n_waiting_max * 2 : 64;
		vn_desc *waiting = realloc(b->waiting, n * sizeof *waiting);

		if (!waiting) {
			vn_log(b->net->hub, LOG_CRIT,
				"out of memory for messages to the broker; ending, "
				"so that the connections go on in another worker");
			_exit(71);
		}
		b->waiting = waiting;
		b->n_waiting_max = n;
	}
	b->waiting[b->n_waiting++] = *d;
}

/* A cursor, meaningful while the lane had room. */
static uint32_t
stage(brokered *b, const vn_desc *d)
{
	vn_lane_tx *tx = &b->link.tx;

	if (b->n_waiting || !vn_lane_tx_has(tx, 1)) {
		stage_later(b, d);
		return tx->published - 1;
	}
	if (vn_lane_tx_staged(tx) == FLUSH_AT)
		vn_hub_pause(b->net->hub);
	return vn_lane_tx_push(tx, d);
}

/* Moves what waited into the lane, as far as there is room. */
static void
stage_waiting(brokered *b)
{
	uint32_t n = 0;

	while (n < b->n_waiting && vn_lane_tx_has(&b->link.tx, 1))
		vn_lane_tx_push(&b->link.tx, &b->waiting[n++]);
	if (n == 0)
		return;
	b->n_waiting -= n;
	memmove(b->waiting, b->waiting + n, b->n_waiting * sizeof *b->waiting);
}

static bool
space_is_there(brokered *b)
{
	return b->n_waiting == 0 && vn_lane_tx_has(&b->link.tx, RESERVE);
}

static void
stage_short(vn_conn *c, uint8_t kind, uint8_t flags, uint64_t report)
{
	stage(brokered_of(c->net), &(vn_desc){.kind = kind,
					   .flags = flags,
					   .conn = c->index,
					   .gen = c->gen,
					   .report = report});
}

/* Connections. */

static vn_conn *
conn_find(brokered *b, uint32_t index, uint32_t gen)
{
	vn_conn *c = index < b->n_conns ? b->conns[index] : NULL;

	while (c && c->gen != gen)
		c = c->older;
	return c;
}

static int
conn_table_grow(brokered *b, uint32_t index)
{
	size_t n = b->n_conns ? b->n_conns : TABLE_MIN, size = b->n_conns * sizeof(vn_conn *);
	void *conns;

	while (n <= index)
		n *= 2;
	conns = size ? mremap(b->conns, size, n * sizeof(vn_conn *), MREMAP_MAYMOVE)
		     : mmap(NULL, n * sizeof(vn_conn *), PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (conns == MAP_FAILED)
		return -ENOMEM;
	b->conns = conns;
	b->n_conns = (uint32_t)n;
	return 0;
}

static void
conn_table_free(brokered *b)
{
	if (b->conns)
		munmap(b->conns, b->n_conns * sizeof(vn_conn *));
	b->conns = NULL;
	b->n_conns = 0;
}

static void
conn_forget(brokered *b, vn_conn *c)
{
	vn_conn **link = &b->conns[c->index];

	while (*link != c)
		link = &(*link)->older;
	*link = c->older;
	b->n_known--;
	while (vn_chain_pop(&c->in, b->net->in_table, UINT64_MAX) != VN_NO_BLOCK)
		;
	vn_chain_free(&c->out, b->net->out_table, b->net->out_blocks, UINT64_MAX);
	vn_net_on_room(b->net);
	vn_conn_free(c);
}

/* An attachment begins. A connection that nobody can serve is given back by closing it. */
static vn_conn *
conn_open(brokered *b, const vn_desc *d)
{
	vn_listener *l = b->listeners[d->arg];
	vn_conn *c;

	if (d->conn >= b->n_conns && conn_table_grow(b, d->conn) < 0)
		return NULL;
	c = vn_conn_new(b->net, l, &d->peer);
	if (!c)
		return NULL;
	c->index = d->conn;
	c->gen = d->gen;
	c->received = c->taken = c->acked = c->committed = d->pos;
	c->queued = c->sent = d->report;
	c->stage = b->link.tx.published - 1;
	if (d->flags & VN_RESUME)
		c->flags |= VN_CONN_RESUMABLE;
	c->older = b->conns[c->index];
	b->conns[c->index] = c;
	b->n_known++;
	if (l && !l->ended) {
		vn_listener_give(l, c);
		return c;
	}
	c->flags |= VN_CONN_CLOSED;
	stage(b, &(vn_desc){.kind = VN_KIND_CLOSE,
			 .flags = VN_ABORT,
			 .conn = c->index,
			 .gen = c->gen,
			 .pos = c->queued});
	return c;
}

static void
conn_final(brokered *b, vn_conn *c)
{
	c->flags |= VN_CONN_FINAL;
	if (!(c->flags & VN_CONN_OPEN))
		conn_forget(b, c);
}

/* What the broker says of one connection. */
static void
on_conn(brokered *b, const vn_desc *d)
{
	vn_conn *c = conn_find(b, d->conn, d->gen);

	if (!c) {
		if (!(d->flags & VN_OPEN) && d->kind != VN_KIND_OPEN)
			return;
		c = conn_open(b, d);
		if (!c) {
			vn_log(b->net->hub, LOG_CRIT, "out of memory for a connection; ending");
			_exit(71);
		}
	} else if (d->report > c->sent) {
		vn_conn_on_sent(c, d->report);
	}
	switch (d->kind) {
	case VN_KIND_DATA:
		if (!(c->flags & VN_CONN_CLOSED))
			vn_conn_on_input(c, d->block, d->offset, d->len);
		break;
	case VN_KIND_END:
		vn_conn_on_end(c);
		break;
	case VN_KIND_RESET:
		vn_conn_on_over(c, VN_CONN_RESET);
		break;
	case VN_KIND_REVOKED:
		vn_conn_on_over(c, VN_CONN_STALE);
		break;
	case VN_KIND_FULL:
		vn_conn_on_full(c);
		break;
	case VN_KIND_FINAL:
		conn_final(b, c);
		return;
	default:
		break;
	}
	if (d->flags & VN_FINAL)
		conn_final(b, c);
}

static void
on_listening(brokered *b, const vn_desc *d)
{
	vn_listener *l = b->listeners[d->arg];
	uint32_t len = d->len < sizeof l->url ? d->len : (uint32_t)sizeof l->url - 1;

	if (b->n_unanswered)
		b->n_unanswered--;
	if (!l)
		return;
	l->error = -(int)d->report;
	if (len)
		vn_area_read(b->net->in_area, d->block, d->offset, l->url, len);
	vn_conn_wake(&l->answer);
}

static void
act(brokered *b, const vn_desc *d)
{
	switch (d->kind) {
	case VN_KIND_LISTENING:
		on_listening(b, d);
		break;
	case VN_KIND_DRAIN:
		b->net->draining = true;
		vn_net_on_term(b->net, 1);
		for (vn_listener *l = b->net->listeners; l; l = l->next)
			vn_listener_end(l);
		break;
	case VN_KIND_STOP:
		vn_net_on_term(b->net, 2);
		vn_stop(b->net->hub);
		break;
	case VN_KIND_PING:
		break;
	case VN_KIND_RELEASE:
		break;
	default:
		on_conn(b, d);
		break;
	}
}

/* The hub's turn. */

static void
brokered_lost(brokered *b, const char *what)
{
	vn_log(b->net->hub, LOG_CRIT, "the broker %s; this worker ends", what);
	_exit(70);
}

/*
 * With hundreds of connections, what a message touches has left the cache since the last one: the connection,
 * the clause of whoever waits for it (on that coroutine's stack), the coroutine's record, and the registers it
 * left behind. Each is found through the one before, so each is fetched a few messages after it.
 */
static const vn_clause *
waiter_of(const brokered *b, const vn_desc *d)
{
	const vn_conn *c = d->conn < b->n_conns ? b->conns[d->conn] : NULL;

	return c ? c->readers.first : NULL;
}

static void
prefetch_conn(const brokered *b, const vn_desc *d)
{
	const char *c = d->conn < b->n_conns ? (const char *)b->conns[d->conn] : NULL;

	for (size_t at = 0; c && at < offsetof(vn_conn, next); at += 64)
		__builtin_prefetch(c + at, 1);
}

static void
prefetch_ahead(const brokered *b, const vn_desc *batch, int n)
{
	const vn_clause *waiter;

	if (n > 4 * PREFETCH)
		prefetch_conn(b, &batch[4 * PREFETCH]);
	if (n > 3 * PREFETCH && (waiter = waiter_of(b, &batch[3 * PREFETCH])))
		__builtin_prefetch(waiter, 1);
	if (n > 2 * PREFETCH && (waiter = waiter_of(b, &batch[2 * PREFETCH]))) {
		__builtin_prefetch(waiter->co, 1);
		__builtin_prefetch((const char *)waiter->co + 64, 1);
	}
	if (n > PREFETCH && (waiter = waiter_of(b, &batch[PREFETCH]))) {
		__builtin_prefetch(waiter->co->context, 1);
		__builtin_prefetch((const char *)waiter->co->context + 64, 1);
	}
}

static int
brokered_take(brokered *b)
{
	vn_desc batch[BATCH];
	int n = vn_lane_rx_take(&b->link.rx, batch, BATCH);

	if (n <= 0) {
		if (n < 0)
			brokered_lost(b, "wrote a bad cursor");
		return 0;
	}
	vn_link_release(&b->link);
	for (int i = 0; i < n; i++) {
		const char *bad;

		prefetch_ahead(b, batch + i, n - i);
		bad = vn_desc_check(&batch[i], false, b->link.geometry.area_bytes);
		if (bad)
			brokered_lost(b, "sent a malformed message");
		act(b, &batch[i]);
	}
	return n;
}

static void
brokered_flush(brokered *b)
{
	if (b->n_waiting)
		stage_waiting(b);
	vn_link_flush(&b->link);
	if (b->link.tx.broken)
		brokered_lost(b, "wrote a bad cursor");
	if (b->space.first && space_is_there(b))
		vn_wake(b->space.first, 0);
}

static bool
brokered_turn(vn_hook *k)
{
	brokered *b = (brokered *)(void *)((char *)k - offsetof(brokered, hook));
	int n;

	if (b->net->graves && !b->net->hub->ready_first)
		vn_net_bury(b->net);
	brokered_flush(b);
	n = brokered_take(b);
	if (vn_lane_tx_staged(&b->link.tx) || b->space.first)
		brokered_flush(b);
	return n == BATCH && vn_lane_rx_pending(&b->link.rx) != 0;
}

/* The hub runs and has what it asked for. */
static void
brokered_ready(brokered *b)
{
	if (b->is_ready || b->n_unanswered || (b->n_listeners == 0 && !b->in_term))
		return;
	b->is_ready = true;
	stage(b, &(vn_desc){.kind = VN_KIND_READY});
	vn_link_flush(&b->link);
}

static bool
brokered_arm(vn_hook *k)
{
	brokered *b = (brokered *)(void *)((char *)k - offsetof(brokered, hook));

	brokered_ready(b);
	if (b->n_known == 0 && b->n_conns > TABLE_MIN)
		conn_table_free(b);
	if ((b->n_waiting || b->space.first) && vn_lane_tx_want(&b->link.tx, RESERVE))
		return false;
	if (b->armed == b->link.rx.next)
		return vn_lane_rx_pending(&b->link.rx) == 0;
	b->armed = b->link.rx.next;
	return vn_lane_rx_arm(&b->link.rx);
}

static void
brokered_rung(vn_watch *w, uint32_t events)
{
	brokered *b = (brokered *)(void *)((char *)w - offsetof(brokered, bell));

	if (events & (EPOLLHUP | EPOLLERR))
		brokered_lost(b, "is gone");
	if (++b->n_rung % DRAIN_BELLS == 0)
		vn_bell_drain(w->fd);
}

/* What the common half asks for. */

static void
brokered_ack(vn_conn *c, bool commit)
{
	brokered *b = brokered_of(c->net);
	uint8_t flags = commit ? VN_COMMIT : 0;

	while (vn_chain_pop(&c->in, c->net->in_table, c->acked) != VN_NO_BLOCK)
		;
	if (c->stage_appends && vn_lane_tx_open(&b->link.tx, c->stage)) {
		c->stage_appends = false;
		vn_lane_tx_amend(&b->link.tx, c->stage, VN_ACK | flags, c->acked);
		return;
	}
	c->stage_appends = false;
	stage_short(c, VN_KIND_ACK, flags, c->acked);
}

static int
brokered_wait_space(vn_conn *c)
{
	brokered *b = brokered_of(c->net);
	int rc = 0;

	while (rc == 0 && !space_is_there(b))
		rc = vn_conn_wait(c, &c->writers, &b->space);
	if (space_is_there(b))
		vn_conn_wake(&b->space);
	return rc;
}

static int
brokered_can_send(vn_conn *c)
{
	brokered *b = brokered_of(c->net);

	return vn_lane_tx_room(&b->link.tx) >= RESERVE && b->n_waiting == 0
		       ? 0
		       : brokered_wait_space(c);
}

static void
brokered_send(vn_conn *c, uint32_t block, uint32_t offset, uint32_t len)
{
	brokered *b = brokered_of(c->net);

	if (c->stage_appends && offset && vn_lane_tx_open(&b->link.tx, c->stage)) {
		vn_lane_tx_extend(&b->link.tx, c->stage, len);
		return;
	}
	c->stage = stage(b, &(vn_desc){.kind = VN_KIND_SEND,
				    .conn = c->index,
				    .gen = c->gen,
				    .len = len,
				    .pos = c->queued - len,
				    .block = block,
				    .offset = offset});
	c->stage_appends = true;
}

static void
brokered_shut(vn_conn *c)
{
	c->stage_appends = false;
	stage(brokered_of(c->net), &(vn_desc){.kind = VN_KIND_SHUTDOWN,
					   .conn = c->index,
					   .gen = c->gen,
					   .pos = c->queued});
}

static void
stage_close(vn_conn *c, uint8_t flags)
{
	c->flags |= VN_CONN_CLOSED;
	c->stage_appends = false;
	stage(brokered_of(c->net), &(vn_desc){.kind = VN_KIND_CLOSE,
					   .flags = flags,
					   .conn = c->index,
					   .gen = c->gen,
					   .pos = c->queued});
}

/* A CLOSE gives all input back, so it waits until the views are released. */
static void
brokered_abort(vn_conn *c)
{
	if (!c->n_pins && !(c->flags & VN_CONN_CLOSED))
		stage_close(c, VN_ABORT);
}

static void
brokered_close(vn_conn *c)
{
	if (c->flags & VN_CONN_FINAL)
		conn_forget(brokered_of(c->net), c);
	else if (!(c->flags & (VN_CONN_STALE | VN_CONN_CLOSED)))
		stage_close(c, c->flags & VN_CONN_ABORTED ? VN_ABORT : 0);
}

static void
brokered_need(vn_conn *c)
{
	c->stage_appends = false;
	stage_short(c, VN_KIND_NEED, 0, 0);
}

static void
brokered_need_input(vn_conn *c)
{
	c->stage_appends = false;
	stage_short(c, VN_KIND_NEED_INPUT, 0, 0);
}

/* The broker has one socket for an address, whoever asks; asking twice is an error as it is without it. */
static bool
listens_already(const vn_net *net, const vn_listener *l)
{
	for (const vn_listener *i = net->listeners; i; i = i->next)
		if (!i->ended && i->endpoint.sa_len && i->endpoint.sa_len == l->endpoint.sa_len &&
			memcmp(&i->endpoint.sa, &l->endpoint.sa, l->endpoint.sa_len) == 0)
			return true;
	return false;
}

static int
listener_slot(brokered *b, vn_listener *l)
{
	for (uint32_t i = 0; i <= VN_MAX_LISTENER; i++)
		if (!b->listeners[i]) {
			b->listeners[i] = l;
			l->id = i;
			return 0;
		}
	return -EMFILE;
}

/* The broker keeps the number, also of one that it refused, until it is told. */
static void
listener_slot_free(brokered *b, vn_listener *l)
{
	stage(b, &(vn_desc){.kind = VN_KIND_UNLISTEN, .arg = (uint16_t)l->id});
	b->listeners[l->id] = NULL;
}

/* Asks, and waits for the answer: the broker does not keep anybody waiting. */
static int
listen_wait(brokered *b, vn_listener *l)
{
	vn_hub *h = b->net->hub;
	vn_time until = vn_deadline(h, VN_NEVER);
	vn_clause clause = {0};
	int rc;

	b->n_unanswered++;
	vn_hub_hold(h);
	vn_waitq_push(&l->answer, &clause);
	rc = vn_wait(h, &clause, 1, VN_NEVER);
	vn_deadline(h, until);
	vn_hub_unhold(h);
	return rc < 0 ? rc : l->error;
}

static int
listen_ask(brokered *b, vn_listener *l, const char *url)
{
	uint32_t len = (uint32_t)strlen(url),
		 block = vn_block_alloc(b->link.blocks, vn_block_class(len));
	int rc = block == VN_NO_BLOCK ? -ENOMEM : listener_slot(b, l);

	if (block == VN_NO_BLOCK)
		return rc;
	if (rc == 0) {
		vn_area_write(b->net->out_area, block, 0, url, len);
		stage(b, &(vn_desc){.kind = VN_KIND_LISTEN,
				 .flags = l->flags & VN_RESUMABLE ? VN_RESUME : 0,
				 .arg = (uint16_t)l->id,
				 .len = len,
				 .block = block});
		rc = listen_wait(b, l);
		if (rc < 0)
			listener_slot_free(b, l);
	}
	if (rc != -ECANCELED) /* else it stays out: the broker may still read it */
		vn_block_free(b->link.blocks, block);
	return rc;
}

/* What to ask for: the URL with its host resolved, or the name of an endpoint of the broker's. */
static int
listen_url(vn_net *net, vn_listener *l, const char *url, char asked[static VN_URL_MAX])
{
	char why[256];
	int rc;

	if (url && *url && !strchr(url, ':') && strlen(url) < VN_URL_MAX) {
		strcpy(asked, url);
		return 0;
	}
	rc = vn_endpoint_parse(&l->endpoint, url, why);
	if (rc == 0 && listens_already(net, l)) {
		rc = -EADDRINUSE;
		strcpy(why, "this program listens there already; close that listener first");
	}
	if (rc < 0)
		vn_log(net->hub, LOG_ERR, "%s: cannot listen: %s", url ? url : "(null)", why);
	else
		vn_endpoint_format(&l->endpoint, asked);
	return rc;
}

static int
brokered_listen(vn_net *net, vn_listener *l, const char *url)
{
	brokered *b = brokered_of(net);
	char asked[VN_URL_MAX];
	int rc = net->hub->stopping ? -ECANCELED : listen_url(net, l, url, asked);

	if (rc == 0)
		rc = listen_ask(b, l, asked);
	if (rc < 0)
		return rc;
	b->n_listeners++;
	vn_hub_hold(net->hub);
	return 0;
}

static void
brokered_unlisten(vn_net *net, vn_listener *l)
{
	brokered *b = brokered_of(net);

	listener_slot_free(b, l);
	b->n_listeners--;
	vn_hub_unhold(net->hub);
	for (uint32_t i = 0; i < b->n_conns; i++)
		for (vn_conn *c = b->conns[i]; c; c = c->older)
			if (c->listener == l)
				c->listener = NULL;
}

/* The broker takes connections back by itself; listeners have ended. */
static void
brokered_drain(vn_net *net)
{
	(void)net;
}

static int
brokered_term(vn_net *net, bool begins)
{
	brokered *b = brokered_of(net);

	if (begins && b->in_term)
		return -EBUSY;
	if (begins)
		vn_hub_hold(net->hub);
	else
		vn_hub_unhold(net->hub);
	b->in_term = begins;
	return 0;
}

/* Everything that was asked of the library reaches the lane, for up to a second if that is full. */
static void
flush_all(brokered *b)
{
	const vn_sys *sys = b->net->hub->sys;
	vn_time until = sys->now(sys) + VN_SEC;

	brokered_flush(b);
	while (b->n_waiting && sys->now(sys) < until) {
		if (!vn_lane_tx_want(&b->link.tx, RESERVE))
			vn_poller_poll(b->net->hub->poller, 20 * VN_MS);
		brokered_flush(b);
	}
}

/* Handles that the program did not give back are closed as it ends. */
static void
close_all(brokered *b)
{
	for (uint32_t i = 0; i < b->n_conns; i++)
		for (vn_conn *c = b->conns[i], *older; c; c = older) {
			older = c->older;
			if (c->flags & VN_CONN_OPEN)
				vn_conn_close(c);
		}
}

static void
brokered_unmap(vn_net *net)
{
	brokered *b = brokered_of(net);
	size_t links = b->link.geometry.area_bytes / VN_GRANULE * sizeof(vn_chain_link);

	vn_link_deinit(&b->link);
	if (net->in_table)
		munmap(net->in_table, links);
	if (net->out_table)
		munmap(net->out_table, links);
	free(b);
}

static void
brokered_deinit(vn_net *net)
{
	brokered *b = brokered_of(net);

	close_all(b);
	flush_all(b);
	for (uint32_t i = 0; i < b->n_conns; i++)
		while (b->conns[i])
			conn_forget(b, b->conns[i]);
	vn_hub_unhook(net->hub, &b->hook);
	vn_watch_remove(net->hub->poller, &b->bell);
	conn_table_free(b);
	free(b->waiting);
	brokered_unmap(net);
}

static const vn_net_ops brokered_ops = {
	.listen = brokered_listen,
	.unlisten = brokered_unlisten,
	.ack = brokered_ack,
	.ready = brokered_can_send,
	.send = brokered_send,
	.shut = brokered_shut,
	.abort = brokered_abort,
	.close = brokered_close,
	.need = brokered_need,
	.need_input = brokered_need_input,
	.drain = brokered_drain,
	.term = brokered_term,
	.deinit = brokered_deinit,
};

static vn_chain_link *
table_new(uint32_t area_bytes)
{
	void *p = mmap(NULL, area_bytes / VN_GRANULE * sizeof(vn_chain_link),
		PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void
window_from_environment(vn_net *net)
{
	const char *value = getenv("VANILLA_WINDOW");
	unsigned long n = value ? strtoul(value, NULL, 10) : 0;

	if (n > 0 && n <= UINT32_MAX)
		net->window = (uint32_t)n;
}

/**
 * vn_brokered_init() - link a hub to the broker that started this process
 * @socket: the worker's end of the handshake socket; closed here
 *
 * Return: 0, or why the handshake failed.
 */
int
vn_brokered_init(vn_net *net, int socket)
{
	brokered *b = calloc(1, sizeof *b);
	const char *why = "out of memory";
	int rc = b ? vn_link_join(&b->link, socket, &why) : -ENOMEM;

	if (!b)
		close(socket);
	if (rc < 0) {
		vn_log(net->hub, LOG_ERR, "cannot join the broker: %s", why);
		free(b);
		return rc;
	}
	b->net = net;
	b->armed = b->link.rx.next; /* born armed */
	b->hook.turn = brokered_turn;
	b->hook.arm = brokered_arm;
	net->backend = b;
	net->in_area = &b->link.peer;
	net->out_area = &b->link.own;
	net->out_blocks = b->link.blocks;
	net->in_table = table_new(b->link.geometry.area_bytes);
	net->out_table = table_new(b->link.geometry.area_bytes);
	window_from_environment(net);
	rc = !net->in_table || !net->out_table
		     ? -ENOMEM
		     : vn_watch_add(net->hub->poller, &b->bell, b->link.bell_in, EPOLLIN | EPOLLET,
			       brokered_rung);
	if (rc < 0) {
		brokered_unmap(net);
		return rc;
	}
	vn_hub_hook(net->hub, &b->hook);
	net->ops = &brokered_ops;
	return 0;
}
