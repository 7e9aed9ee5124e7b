/* SPDX-License-Identifier: MIT */
/*
 * Direct - the backend of a program that runs alone: it has sockets of its own
 *
 * Input is received into blocks as soon as it is there, within the window, so that a handler finds it where
 * the broker would have put it; output leaves at the end of the turn, one sendmsg per connection. Blocks lie
 * in one private area.
 *
 * A connection is registered once, edge-triggered. READABLE and WRITABLE are what the last edges said and
 * EAGAIN has not taken back; on TCP a short receive says that the socket is empty, unless the peer has
 * finished or something urgent happened, because then there may be no further edge.
 *
 * The files of this backend: this one, direct_listen.c (who comes in), direct_patience.c (who takes too long).
 *
 * Closing lingers: after our FIN, input is thrown away until the peer has finished or LINGER has passed, since
 * closing with unread input would send a reset, which can destroy the tail of what we sent.
 */
#include "client/net/direct.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/net/direct.h"
#include "client/net/udp.h"

#define AREA_BYTES  (256u << 20) /* reserved, touched as it is used */
#define TABLE_BYTES (AREA_BYTES / VN_GRANULE * sizeof(vn_chain_link))
#define LINGER      (10 * VN_SEC)
#define SEND_BLOCKS 32
#define CONN_EVENTS (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET)
#define LAST_EVENTS (EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI)

/**
 * vn_direct_mark() - there is something to do for it at the end of the turn
 */
void
vn_direct_mark(vn_conn *c)
{
	vn_direct *d = vn_direct_of(c->net);

	if (c->flags & VN_CONN_DIRTY)
		return;
	c->flags |= VN_CONN_DIRTY;
	c->next_dirty = d->dirty;
	d->dirty = c;
}

/* Slots: index and generation to connection. */

static int
slot_get(vn_direct *d, vn_conn *c)
{
	if (d->free_slot == UINT32_MAX) {
		uint32_t n = d->n_slots ? d->n_slots * 2 : 64;
		vn_direct_slot *slots = realloc(d->slots, n * sizeof *slots);

		if (!slots)
			return -ENOMEM;
		for (uint32_t i = d->n_slots; i < n; i++)
			slots[i] = (vn_direct_slot){NULL, 0, i + 1 < n ? i + 1 : UINT32_MAX};
		d->free_slot = d->n_slots;
		d->slots = slots;
		d->n_slots = n;
	}
	c->index = d->free_slot;
	d->free_slot = d->slots[c->index].next_free;
	c->gen = ++d->slots[c->index].gen & 0xffffff;
	d->slots[c->index].conn = c;
	return 0;
}

static void
slot_put(vn_direct *d, vn_conn *c)
{
	d->slots[c->index].conn = NULL;
	d->slots[c->index].next_free = d->free_slot;
	d->free_slot = c->index;
}

/* The end of a connection. */

static void
linger_unlink(vn_direct *d, vn_conn *c)
{
	if (!c->linger_link)
		return;
	*c->linger_link = c->linger_next;
	if (c->linger_next)
		c->linger_next->linger_link = c->linger_link;
	else
		d->lingering_last = c->linger_link;
	c->linger_link = NULL;
}

static void
conn_shut(vn_conn *c)
{
	vn_direct *d = vn_direct_of(c->net);

	linger_unlink(d, c);
	c->flags &= ~(uint32_t)(VN_CONN_READABLE | VN_CONN_WRITABLE | VN_CONN_LINGER);
	if (c->fd < 0)
		return;
	vn_poller_remove(c->net->hub->poller, c->fd);
	close(c->fd);
	c->fd = -1;
	slot_put(d, c);
	vn_direct_leave(c);
}

/* Gives everything back. A dirty one stays in that list until the end of the turn, which frees it. */
void
vn_direct_finish(vn_conn *c)
{
	conn_shut(c);
	vn_chain_free(&c->in, c->net->in_table, c->net->out_blocks, UINT64_MAX);
	vn_chain_free(&c->out, c->net->out_table, c->net->out_blocks, UINT64_MAX);
	c->in_at = VN_NO_BLOCK;
	vn_net_on_room(c->net);
	if (!(c->flags & VN_CONN_DIRTY))
		vn_conn_free(c);
}

/* Resets it; a handler keeps what it has been shown until it closes its handle. */
void
vn_direct_abort(vn_conn *c)
{
	struct linger linger = {.l_onoff = 1};

	if (c->fd >= 0)
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
	conn_shut(c);
}

/* The peer reset it, or the socket failed: the handler learns it; without one it is gone. */
void
vn_direct_broken(vn_conn *c)
{
	if (!(c->flags & VN_CONN_OPEN)) {
		vn_direct_finish(c);
		return;
	}
	conn_shut(c);
	vn_conn_on_over(c, VN_CONN_RESET);
}

static void
linger_fire(vn_timer *t)
{
	vn_direct *d = (vn_direct *)(void *)((char *)t - offsetof(vn_direct, linger_timer));

	while (d->lingering && d->lingering->linger_until <= d->net->hub->now)
		vn_direct_finish(d->lingering);
	if (d->lingering)
		vn_wheel_arm(d->net->hub->wheel, t, d->lingering->linger_until);
}

/* Everything is sent: say so, then wait for the peer to finish. */
static void
linger_begin(vn_conn *c)
{
	vn_direct *d = vn_direct_of(c->net);

	if (c->flags & VN_CONN_ENDED) {
		vn_direct_finish(c);
		return;
	}
	c->flags |= VN_CONN_LINGER;
	c->linger_until = vn_hub_after(c->net->hub, LINGER);
	c->linger_next = NULL;
	c->linger_link = d->lingering_last;
	*d->lingering_last = c;
	d->lingering_last = &c->linger_next;
	if (!vn_timer_armed(&d->linger_timer))
		vn_wheel_arm(c->net->hub->wheel, &d->linger_timer, c->linger_until);
	shutdown(c->fd, SHUT_WR);
	vn_direct_mark(c);
}

/* Input. */

/* Where the next bytes go: the rest of the last block, or a new one; 0 if none may be had. */
static uint32_t
input_room(vn_conn *c, uint32_t *block, uint32_t *offset)
{
	vn_net *net = c->net;
	uint32_t size = vn_block_class_bytes(c->in_class), last = c->in.last;

	if (last != VN_NO_BLOCK) {
		*block = last;
		*offset = net->in_table[last].fill;
		if (vn_block_size(net->out_blocks, last) - *offset >= 64)
			return vn_block_size(net->out_blocks, last) - *offset;
		if (c->in.charge + size > net->window || !vn_net_shares(net, c->in.charge + size))
			return 0;
	}
	*block = vn_block_alloc(net->out_blocks, c->in_class);
	*offset = 0;
	return *block == VN_NO_BLOCK ? 0 : size;
}

/* The next block is as large as what came suggests. */
static void
input_hint(vn_conn *c, uint32_t room, uint32_t got)
{
	if (got == room && c->in_class < VN_N_CLASSES - 1)
		c->in_class++;
	else if (c->in_class && got <= vn_block_class_bytes(c->in_class - 1) / 2)
		c->in_class--;
}

void
vn_direct_ended(vn_conn *c)
{
	c->flags &= ~(uint32_t)VN_CONN_READABLE;
	if (c->flags & VN_CONN_LINGER) {
		vn_direct_finish(c);
		return;
	}
	if (!(c->flags & VN_CONN_OPEN) && c->queued == c->sent) {
		vn_direct_finish(c);
		return;
	}
	vn_conn_on_end(c);
}

void
vn_direct_arrived(vn_conn *c, uint32_t block, uint32_t offset, uint32_t n)
{
	vn_net *net = c->net;

	if (offset == 0)
		c->in.charge += vn_block_size(net->out_blocks, block);
	vn_conn_on_input(c, block, offset, n);
	if (c->received == n && (c->flags & VN_CONN_RESUMABLE))
		vn_listener_give(c->listener, c);
}

/* What a closed connection still gets is thrown away. */
static void
input_discard(vn_conn *c)
{
	unsigned char waste[4096];
	ssize_t n = c->net->hub->sys->recv(c->net->hub->sys, c->fd, waste, sizeof waste);

	if (n == -EAGAIN)
		c->flags &= ~(uint32_t)VN_CONN_READABLE;
	else if (n <= 0)
		vn_direct_ended(c);
}

/* One receive. */
void
vn_direct_input(vn_conn *c, bool last_edge)
{
	vn_net *net = c->net;
	uint32_t block, offset, room;
	ssize_t n;

	if (c->flags & (VN_CONN_CLOSED | VN_CONN_HEADER)) {
		if (c->flags & VN_CONN_CLOSED)
			input_discard(c);
		else
			vn_direct_header(c, last_edge);
		return;
	}
	if (c->flags & VN_CONN_PACKETS) {
		vn_direct_packet_input(c);
		return;
	}
	room = input_room(c, &block, &offset);
	if (room == 0) {
		if (c->acked < c->received)
			vn_conn_on_full(c);
		return;
	}
	n = net->hub->sys->recv(
		net->hub->sys, c->fd, vn_area_at(net->in_area, block, offset), room);
	if (n > 0) {
		if ((uint32_t)n < room && !last_edge && c->peer.family != AF_UNIX)
			c->flags &= ~(uint32_t)VN_CONN_READABLE;
		input_hint(c, room, (uint32_t)n);
		vn_direct_arrived(c, block, offset, (uint32_t)n);
		return;
	}
	if (offset == 0)
		vn_block_free(net->out_blocks, block);
	if (n == -EAGAIN)
		c->flags &= ~(uint32_t)VN_CONN_READABLE;
	else if (n == 0)
		vn_direct_ended(c);
	else
		vn_direct_broken(c);
}

/* Output. */

static ssize_t
output_send(vn_conn *c, size_t *wanted)
{
	vn_net *net = c->net;
	struct iovec parts[SEND_BLOCKS];
	struct msghdr msg = {.msg_iov = parts};
	uint64_t at = c->sent;

	for (uint32_t b = c->out.first; b != VN_NO_BLOCK && msg.msg_iovlen < SEND_BLOCKS;
		b = net->out_table[b].next) {
		vn_chain_link *link = &net->out_table[b];

		parts[msg.msg_iovlen++] = (struct iovec){
			vn_area_at(net->out_area, b, vn_chain_offset(link, at)), link->end - at};
		at = link->end;
	}
	*wanted = at - c->sent;
	return net->hub->sys->sendmsg(net->hub->sys, c->fd, &msg);
}

/* Sends what is there; false when the connection is gone. */
static bool
direct_output(vn_conn *c)
{
	while (c->sent < c->queued && (c->flags & VN_CONN_WRITABLE)) {
		size_t wanted;
		ssize_t n = c->flags & VN_CONN_PACKETS ? vn_direct_packet_send(c, &wanted)
						       : output_send(c, &wanted);

		if (n < 0 && n != -EAGAIN) {
			vn_direct_broken(c);
			return false;
		}
		if (n < (ssize_t)wanted)
			c->flags &= ~(uint32_t)VN_CONN_WRITABLE;
		if (n > 0)
			vn_conn_on_sent(c, c->sent + (uint64_t)n);
	}
	if (c->sent < c->queued)
		return true;
	if ((c->flags & VN_CONN_SHUT) && !(c->flags & VN_CONN_GONE_OUT)) {
		c->flags |= VN_CONN_GONE_OUT;
		shutdown(c->fd, SHUT_WR);
	}
	return true;
}

/* Is this one closed by its handler, with nothing left to send? */
static bool
direct_is_done(const vn_conn *c)
{
	return (c->flags & VN_CONN_CLOSED) && c->sent == c->queued && !(c->flags & VN_CONN_LINGER);
}

/* A connection with something to do at the end of the turn. */
static void
direct_serve(vn_conn *c)
{
	c->flags &= ~(uint32_t)VN_CONN_DIRTY;
	if (c->fd < 0) {
		if (!(c->flags & VN_CONN_OPEN))
			vn_direct_finish(c);
		return;
	}
	if (!direct_output(c))
		return;
	if (direct_is_done(c)) {
		linger_begin(c);
		return;
	}
	if ((c->flags & VN_CONN_READABLE) && !(c->flags & VN_CONN_ENDED)) {
		bool full = c->flags & VN_CONN_FULL;

		if (!full)
			vn_direct_mark(c);
		vn_direct_input(c, true);
	}
}

static bool
direct_turn(vn_hook *k)
{
	vn_direct *d = (vn_direct *)(void *)((char *)k - offsetof(vn_direct, hook));
	vn_conn *c = d->dirty;

	if (d->net->graves && !d->net->hub->ready_first)
		vn_net_bury(d->net);
	d->dirty = NULL;
	while (c) {
		vn_conn *next = c->next_dirty;

		direct_serve(c);
		c = next;
	}
	return d->dirty != NULL;
}

static bool
direct_arm(vn_hook *k)
{
	return !((vn_direct *)(void *)((char *)k - offsetof(vn_direct, hook)))->dirty;
}

static void
direct_event(void *arg, uint32_t index, uint32_t gen, uint32_t events)
{
	vn_direct *d = arg;
	vn_conn *c = index < d->n_slots && (d->slots[index].gen & 0xffffff) == gen
			     ? d->slots[index].conn
			     : NULL;

	if (!c)
		return;
	if (events & EPOLLOUT) {
		c->flags |= VN_CONN_WRITABLE;
		if (c->sent < c->queued)
			vn_direct_mark(c);
	}
	if (c->flags & VN_CONN_ENDED) {
		if (events & EPOLLERR)
			vn_direct_broken(c);
		return;
	}
	if (!(events & (EPOLLIN | LAST_EVENTS)))
		return;
	c->flags |= VN_CONN_READABLE;
	vn_direct_input(c, events & LAST_EVENTS);
	c = d->slots[index].conn;
	if (c && (c->flags & VN_CONN_READABLE))
		vn_direct_mark(c);
}

/**
 * vn_direct_watch() - a slot for a connection, and the poller's eye on its socket
 */
int
vn_direct_watch(vn_direct *d, vn_conn *c)
{
	int rc = slot_get(d, c);

	if (rc < 0)
		return rc;
	rc = vn_poller_add(d->net->hub->poller, c->fd, d->class, c->index, c->gen, CONN_EVENTS);
	if (rc < 0)
		slot_put(d, c);
	return rc;
}

void
vn_direct_close(vn_conn *c)
{
	c->flags |= VN_CONN_CLOSED;
	c->listener = NULL;
	vn_chain_free(&c->in, c->net->in_table, c->net->out_blocks, UINT64_MAX);
	c->in_at = VN_NO_BLOCK;
	if (c->fd < 0)
		vn_direct_finish(c);
	else
		vn_direct_mark(c);
}

/* Connections that were never given to anybody go with their listener. */
static void
close_unborn(vn_direct *d, const vn_listener *l)
{
	for (uint32_t i = 0; i < d->n_slots; i++) {
		vn_conn *c = d->slots[i].conn;

		if (c && (!l || c->listener == l) && !(c->flags & (VN_CONN_OPEN | VN_CONN_CLOSED)))
			vn_direct_close(c);
	}
}

static void
direct_unlisten(vn_net *net, vn_listener *l)
{
	vn_direct *d = vn_direct_of(net);

	vn_direct_listener_shut(net, l);
	close_unborn(d, l);
	for (uint32_t i = 0; i < d->n_slots; i++)
		if (d->slots[i].conn && d->slots[i].conn->listener == l)
			d->slots[i].conn->listener = NULL;
}

/* The rest of what the common half asks for. */

static void
direct_ack(vn_conn *c, bool commit)
{
	(void)commit;
	vn_chain_free(&c->in, c->net->in_table, c->net->out_blocks, c->acked);
	vn_net_on_room(c->net);
	if (c->flags & VN_CONN_READABLE)
		vn_direct_mark(c);
}

/* Nobody comes after this process. */
static void
direct_nothing(vn_conn *c)
{
	(void)c;
}

static int
direct_ready(vn_conn *c)
{
	(void)c;
	return 0;
}

static void
direct_send(vn_conn *c, uint32_t block, uint32_t offset, uint32_t len)
{
	(void)block;
	(void)offset;
	(void)len;
	vn_direct_mark(c);
}

static void
direct_need(vn_conn *c)
{
	vn_direct_mark(c);
}

static void
direct_drain(vn_net *net)
{
	vn_direct *d = vn_direct_of(net);

	net->nobody_else = true;
	for (vn_listener *l = net->listeners; l; l = l->next)
		vn_direct_listener_shut(net, l);
	close_unborn(d, NULL);
	for (uint32_t i = 0; i < d->n_slots; i++) {
		vn_conn *c = d->slots[i].conn;

		if (c && (c->flags & VN_CONN_RESUMABLE) && (c->flags & VN_CONN_OPEN) &&
			c->readers.first && vn_conn_at_commit_point(c))
			vn_conn_on_over(c, VN_CONN_STALE);
	}
}

static void
direct_signal(vn_signal_tap *tap, int signal)
{
	vn_direct *d = (vn_direct *)(void *)((char *)tap - offsetof(vn_direct, term));

	(void)signal;
	vn_net_on_term(d->net, d->net->term_news + 1);
}

/* A signal that comes while this ends was for us: it is told before the tap is closed. */
static int
direct_term(vn_net *net, bool begins)
{
	vn_direct *d = vn_direct_of(net);

	if (!begins) {
		vn_signals_untap(&d->term);
		return 0;
	}
	if (d->term.signals)
		return -EBUSY;
	return vn_signals_tap(
		net->hub, &d->term, VN_SIGNAL_BIT(SIGINT) | VN_SIGNAL_BIT(SIGTERM), direct_signal);
}

/* Handles that the program did not give back are closed as it ends. */
static void
close_all(vn_direct *d)
{
	for (uint32_t i = 0; i < d->n_slots; i++) {
		vn_conn *c = d->slots[i].conn;

		if (c && (c->flags & VN_CONN_OPEN))
			vn_conn_close(c);
	}
}

static bool
any_left(const vn_direct *d)
{
	for (uint32_t i = 0; i < d->n_slots; i++)
		if (d->slots[i].conn)
			return true;
	return d->dirty != NULL;
}

/* What was written is sent, for up to a second; then everything is closed. */
static void
flush_all(vn_direct *d)
{
	vn_hub *h = d->net->hub;
	vn_time until = h->sys->now(h->sys) + VN_SEC;

	direct_turn(&d->hook);
	while (any_left(d) && h->sys->now(h->sys) < until) {
		vn_poller_poll(h->poller, d->dirty ? 0 : 20 * VN_MS);
		direct_turn(&d->hook);
	}
}

static void
direct_unmap(vn_net *net)
{
	vn_direct *d = vn_direct_of(net);

	if (d->reserve >= 0)
		close(d->reserve);
	if (d->area.base)
		munmap(d->area.base, d->area.size);
	if (net->in_table)
		munmap(net->in_table, TABLE_BYTES);
	if (net->out_table)
		munmap(net->out_table, TABLE_BYTES);
	vn_blocks_free(net->out_blocks);
	free(d->slots);
	free(d);
}

static void
direct_deinit(vn_net *net)
{
	vn_direct *d = vn_direct_of(net);

	close_all(d);
	vn_udp_direct_deinit(net);
	flush_all(d);
	for (uint32_t i = 0; i < d->n_slots; i++)
		if (d->slots[i].conn) {
			d->slots[i].conn->flags &= ~(uint32_t)VN_CONN_DIRTY;
			vn_direct_finish(d->slots[i].conn);
		}
	vn_wheel_disarm(net->hub->wheel, &d->linger_timer);
	vn_direct_look_deinit(d);
	vn_hub_unhook(net->hub, &d->hook);
	direct_unmap(net);
}

static const vn_net_ops direct_ops = {
	.listen = vn_direct_listen,
	.unlisten = direct_unlisten,
	.may_connect = vn_direct_may_connect,
	.connect = vn_direct_connect,
	.give_up = vn_direct_give_up,
	.ack = direct_ack,
	.absolve = direct_nothing,
	.state = direct_nothing,
	.release = direct_nothing,
	.ready = direct_ready,
	.send = direct_send,
	.shut = direct_need,
	.abort = vn_direct_abort,
	.close = vn_direct_close,
	.need = direct_need,
	.need_input = direct_need,
	.bind = vn_udp_direct_bind,
	.connect_udp = vn_udp_direct_connect,
	.unbind = vn_udp_direct_unbind,
	.acked = vn_udp_direct_acked,
	.sends = vn_udp_direct_sends,
	.needs = vn_udp_direct_sends,
	.join = vn_udp_direct_join,
	.count = vn_udp_direct_count,
	.drain = direct_drain,
	.term = direct_term,
	.deinit = direct_deinit,
};

static void *
reserve(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/**
 * vn_direct_init() - give a hub sockets of its own
 *
 * Return: 0 or -ENOMEM.
 */
int
vn_direct_init(vn_net *net)
{
	vn_direct *d = calloc(1, sizeof *d);

	if (!d)
		return -ENOMEM;
	d->net = net;
	d->free_slot = UINT32_MAX;
	d->lingering_last = &d->lingering;
	d->reserve = -1;
	d->linger_timer.fire = linger_fire;
	d->area = (vn_segment){.fd = -1, .writable = true, .geometry = {.area_bytes = AREA_BYTES}};
	d->area.size = vn_geometry_size(&d->area.geometry);
	d->area.base = reserve(d->area.size);
	net->in_table = reserve(TABLE_BYTES);
	net->out_table = reserve(TABLE_BYTES);
	net->out_blocks = vn_blocks_new(AREA_BYTES);
	d->class = vn_poller_class(net->hub->poller, direct_event, d);
	net->backend = d;
	net->in_area = net->out_area = &d->area;
	if (!d->area.base || !net->in_table || !net->out_table || !net->out_blocks ||
		d->class < 0) {
		direct_unmap(net);
		return -ENOMEM;
	}
	d->hook.turn = direct_turn;
	d->hook.arm = direct_arm;
	vn_hub_hook(net->hub, &d->hook);
	net->ops = &direct_ops;
	return 0;
}
