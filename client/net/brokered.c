/* SPDX-License-Identifier: MIT */
/*
 * Brokered - the backend of a worker: everything arrives and leaves by a link to the broker
 *
 * Input lies in the broker's segment, where the broker received it; output is written into our own, from where
 * the broker sends it. At the end of every turn what was staged is published by one store, and what the broker
 * published is taken: descriptors are copied, the head is published, then they are acted upon. What that stages is
 * published before the hub sleeps.
 *
 *     brokered_stage.c    into the lane, and when it is full      brokered_conn.c      connections by index
 *     brokered_say.c      what handlers did, as descriptors       brokered_listen.c    listeners
 *     brokered_dial.c     what the program dials
 */
#include "client/net/brokered.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/hub/log.h"
#include "client/message/signals.h"
#include "shm/bell.h"
#include "shm/crash.h"

#define BATCH       64   /* descriptors taken at once */
#define PREFETCH    2    /* messages between one fetch and the next that depends on it */
#define DRAIN_BELLS 1000 /* wakes after which the bell's pipe is emptied */

/**
 * vn_brokered_lost() - there is no broker that could be worked for
 */
void
vn_brokered_lost(vn_brokered *b, const char *what)
{
	vn_log(b->net->hub, LOG_CRIT, "the broker %s; this worker ends", what);
	_exit(70);
}

static void
act(vn_brokered *b, const vn_desc *d)
{
	switch (d->kind) {
	case VN_KIND_LISTENING:
		vn_brokered_on_listening(b, d);
		break;
	case VN_KIND_CONNECTED:
		vn_brokered_on_connected(b, d);
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
	case VN_KIND_RESTORE:
		vn_brokered_on_restore(b, d);
		break;
	case VN_KIND_SIGNAL:
		vn_signals_told(b->net->hub, d->report);
		break;
	case VN_KIND_DATAGRAMS:
	case VN_KIND_DEPARTED:
	case VN_KIND_JOINED:
	case VN_KIND_REFUSED:
		vn_brokered_on_udp(b, d);
		break;
	default:
		vn_brokered_on_conn(b, d);
		break;
	}
}

/* The hub's turn. */

/*
 * With hundreds of connections, what a message touches has left the cache since the last one: the connection,
 * the clause of whoever waits for it (on that coroutine's stack), the coroutine's record, and the registers it
 * left behind. Each is found through the one before, so each is fetched a few messages after it.
 */
static const vn_clause *
waiter_of(const vn_brokered *b, const vn_desc *d)
{
	const vn_conn *c = d->conn < b->n_conns ? b->conns[d->conn] : NULL;

	return c ? c->readers.first : NULL;
}

static void
prefetch_conn(const vn_brokered *b, const vn_desc *d)
{
	const char *c = d->conn < b->n_conns ? (const char *)b->conns[d->conn] : NULL;

	for (size_t at = 0; c && at < offsetof(vn_conn, next); at += 64)
		__builtin_prefetch(c + at, 1);
}

static void
prefetch_ahead(const vn_brokered *b, const vn_desc *batch, int n)
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
brokered_take(vn_brokered *b)
{
	vn_desc batch[BATCH];
	int n = vn_lane_rx_take(&b->link.rx, batch, BATCH);

	if (n <= 0) {
		if (n < 0)
			vn_brokered_lost(b, "wrote a bad cursor");
		return 0;
	}
	vn_link_release(&b->link);
	for (int i = 0; i < n; i++) {
		const char *bad;

		prefetch_ahead(b, batch + i, n - i);
		bad = vn_desc_check(&batch[i], false, b->link.geometry.area_bytes);
		if (bad)
			vn_brokered_lost(b, "sent a malformed message");
		act(b, &batch[i]);
	}
	return n;
}

static bool
brokered_turn(vn_hook *k)
{
	vn_brokered *b = (vn_brokered *)(void *)((char *)k - offsetof(vn_brokered, hook));
	int n;

	if (b->net->graves && !b->net->hub->ready_first)
		vn_net_bury(b->net);
	if (b->udp_dirty)
		vn_brokered_udp_say(b);
	vn_stage_flush(b);
	n = brokered_take(b);
	if (vn_lane_tx_staged(&b->link.tx) || b->space.first)
		vn_stage_flush(b);
	return n == BATCH && vn_lane_rx_pending(&b->link.rx) != 0;
}

/* The hub runs and has what it asked for. */
static void
brokered_ready(vn_brokered *b)
{
	if (b->is_ready || b->n_unanswered || (b->n_listeners == 0 && !b->in_term))
		return;
	b->is_ready = true;
	VN_CRASH_POINT("worker.ready.before");
	vn_stage(b, &(vn_desc){.kind = VN_KIND_READY});
	VN_CRASH_POINT("worker.ready.staged");
	vn_link_flush(&b->link);
	VN_CRASH_POINT("worker.ready.after");
}

static bool
brokered_arm(vn_hook *k)
{
	vn_brokered *b = (vn_brokered *)(void *)((char *)k - offsetof(vn_brokered, hook));

	brokered_ready(b);
	vn_brokered_table_trim(b);
	if ((b->n_waiting || b->space.first || b->udp_dirty) &&
		vn_lane_tx_want(&b->link.tx, b->reserve))
		return false;
	if (b->armed == b->link.rx.next)
		return vn_lane_rx_pending(&b->link.rx) == 0;
	b->armed = b->link.rx.next;
	return vn_lane_rx_arm(&b->link.rx);
}

static void
brokered_rung(vn_watch *w, uint32_t events)
{
	vn_brokered *b = (vn_brokered *)(void *)((char *)w - offsetof(vn_brokered, bell));

	if (events & (EPOLLHUP | EPOLLERR))
		vn_brokered_lost(b, "is gone");
	if (++b->n_rung % DRAIN_BELLS == 0)
		vn_bell_drain(w->fd);
}

/* What the common half asks for, as far as it is not about a connection or a listener. */

/* The broker takes connections back by itself; listeners have ended. */
static void
brokered_drain(vn_net *net)
{
	(void)net;
}

/* Signals to the service are the broker's, who forwards those that we ask for. */
static void
brokered_signals(vn_hub *h, uint64_t mask)
{
	vn_stage(vn_brokered_of(h->net), &(vn_desc){.kind = VN_KIND_SUBSCRIBE, .report = mask});
}

static int
brokered_term(vn_net *net, bool begins)
{
	vn_brokered *b = vn_brokered_of(net);

	if (begins && b->in_term)
		return -EBUSY;
	if (begins)
		vn_hub_hold(net->hub);
	else
		vn_hub_unhold(net->hub);
	b->in_term = begins;
	return 0;
}

static void
brokered_unmap(vn_net *net)
{
	vn_brokered *b = vn_brokered_of(net);
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
	vn_brokered *b = vn_brokered_of(net);

	vn_brokered_close_all(b);
	net->hub->on_signals = NULL;
	vn_brokered_udp_say(b);
	vn_stage_flush_all(b);
	vn_brokered_udp_finish_all(b);
	vn_brokered_forget_all(b);
	vn_hub_unhook(net->hub, &b->hook);
	vn_watch_remove(net->hub->poller, &b->bell);
	free(b->waiting);
	brokered_unmap(net);
}

static const vn_net_ops brokered_ops = {
	.listen = vn_brokered_listen,
	.unlisten = vn_brokered_unlisten,
	.may_connect = vn_brokered_may_connect,
	.connect = vn_brokered_connect,
	.give_up = vn_brokered_give_up,
	.ack = vn_brokered_ack,
	.absolve = vn_brokered_absolve,
	.state = vn_brokered_state,
	.release = vn_brokered_release,
	.ready = vn_stage_ready,
	.send = vn_brokered_send,
	.shut = vn_brokered_shut,
	.abort = vn_brokered_abort,
	.close = vn_brokered_close,
	.need = vn_brokered_need,
	.need_input = vn_brokered_need_input,
	.bind = vn_brokered_bind,
	.connect_udp = vn_brokered_connect_udp,
	.unbind = vn_brokered_unbind,
	.acked = vn_brokered_udp_acked,
	.sends = vn_brokered_udp_sends,
	.needs = vn_brokered_udp_need,
	.join = vn_brokered_join,
	.count = vn_brokered_udp_count,
	.metric = vn_brokered_metric,
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
	vn_brokered *b = calloc(1, sizeof *b);
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
	b->reserve = VN_STAGE_RESERVE;
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
	net->hub->on_signals = brokered_signals;
	net->ops = &brokered_ops;
	return 0;
}
