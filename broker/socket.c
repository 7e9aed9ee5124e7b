/* SPDX-License-Identifier: MIT */
/*
 * Socket - receive into the lane of the worker that was chosen, send out of the lanes it was written to
 *
 * A socket is registered once, edge-triggered; READABLE and WRITABLE are what edges said and EAGAIN (or on TCP
 * a short receive) took back. It is read only with a slot and a block in hand and within its window, so
 * nothing is ever copied or queued: what no worker can take stays in the kernel. Payload is never looked at.
 *
 * A connection ends in one of three ways.
 *   close  what is queued is sent, then our FIN; input is thrown away until the peer has finished, because
 *          closing with unread input would send a reset, which can destroy the tail of what was sent
 *   doom   what is queued is sent, and when the kernel has none of it any more (SIOCOUTQ) it is reset
 *   reset  at once
 * and each has an end of its own: linger_timeout. The record goes when the socket is closed and the worker has
 * given every block back (FINAL).
 */
#include "broker/socket.h"

#include <errno.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "broker/debt.h"
#include "broker/dispatch.h"

#define EVENTS      (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET)
#define LAST_EVENTS (EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI)
#define SEND_PARTS  64
#define ROOM_MIN    64 /* a rest of a block smaller than this is not worth a receive */
#define FIRST_SHARE 16 /* of what is free, the part that a connection's first block may be */

/* The end of a record. */

static void
record_free(vn_broker *b, vn_record *r)
{
	if (r->flags & (VN_R_UNREPORTED | VN_R_OUTPUT)) {
		r->flags |= VN_R_ZOMBIE;
		return;
	}
	vn_ledger_give(b->ledger, vn_record_index(b->ledger, r));
}

/* It has left a list that kept it: free it if that was the last one. */
void
vn_socket_unzombie(vn_broker *b, vn_record *r)
{
	if (r->flags & (VN_R_UNREPORTED | VN_R_OUTPUT))
		return;
	vn_ledger_give(b->ledger, vn_record_index(b->ledger, r));
}

static void
closing_unlink(vn_broker *b, vn_record *r)
{
	if (!(r->flags & VN_R_CLOSING))
		return;
	r->flags &= ~(uint32_t)VN_R_CLOSING;
	vn_ledger_list_unlink(b->ledger, &b->closing, r);
}

/* The socket was closed before, and no worker has blocks of it any more. */
void
vn_socket_gone(vn_broker *b, vn_record *r)
{
	record_free(b, r);
}

/* Closes the descriptor; the record goes with it unless a worker still has blocks of it. */
static void
socket_end(vn_broker *b, vn_record *r)
{
	if (r->fd < 0)
		return;
	closing_unlink(b, r);
	vn_dispatch_unwait(b, r);
	vn_poller_remove(b->hub->poller, r->fd);
	close(r->fd);
	r->fd = -1;
	r->flags &= ~(uint32_t)(VN_R_READABLE | VN_R_WRITABLE);
	b->n_closed++;
	b->endpoints[r->endpoint]->n_conns--;
	if (!(r->flags & VN_R_ATTACHED))
		record_free(b, r);
	if (b->phase >= VN_PHASE_DRAINING)
		vn_broker_stop_check(b);
}

static void
socket_end_by_reset(vn_broker *b, vn_record *r)
{
	struct linger linger = {.l_onoff = 1};

	setsockopt(r->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
	socket_end(b, r);
}

/* Parked output is given up; its references are free again. */
void
vn_socket_drop_output(vn_broker *b, vn_record *r)
{
	vn_ledger *l = b->ledger;
	uint32_t ref;

	while ((ref = vn_chain_pop(&r->out, l->out_table, UINT64_MAX)) != VN_NO_BLOCK) {
		l->out_table[ref].fill = 0;
		if (ref < l->n_granules)
			vn_block_free(l->spill_blocks, ref);
	}
	r->sent = r->queued;
}

/**
 * vn_socket_reset() - end it at once, so that the client can tell
 */
void
vn_socket_reset(vn_broker *b, vn_record *r, vn_reset_reason reason)
{
	if (r->fd < 0)
		return;
	b->n_resets[reason]++;
	vn_socket_drop_output(b, r);
	if (r->flags & VN_R_ATTACHED)
		vn_debt_add(b, vn_record_worker(b, r), r,
			r->flags & VN_R_CLOSED ? VN_D_FINAL : VN_D_RESET);
	r->flags |= VN_R_RESET;
	socket_end_by_reset(b, r);
}

/* The client reset it, or the socket failed. */
static void
socket_on_reset(vn_broker *b, vn_record *r)
{
	vn_socket_drop_output(b, r);
	if ((r->flags & VN_R_ATTACHED) && !(r->flags & (VN_R_CLOSED | VN_R_RESET)))
		vn_debt_add(b, vn_record_worker(b, r), r, VN_D_RESET);
	else if (r->flags & VN_R_ATTACHED)
		vn_debt_add(b, vn_record_worker(b, r), r, VN_D_FINAL);
	r->flags |= VN_R_RESET;
	socket_end(b, r);
}

static void input_discard(vn_broker *b, vn_record *r);

/* Everything that was queued is sent, and the worker is done with it: FIN, then linger. */
static void
socket_finish(vn_broker *b, vn_record *r)
{
	if (r->flags & VN_R_ATTACHED)
		vn_debt_add(b, vn_record_worker(b, r), r, VN_D_FINAL);
	if (r->fd < 0)
		return;
	if (!(r->flags & VN_R_DOOMED)) {
		if (r->flags & VN_R_ENDED) {
			socket_end(b, r);
			return;
		}
		if (!(r->flags & VN_R_FIN))
			shutdown(r->fd, SHUT_WR);
		r->flags |= VN_R_FIN;
	}
	r->wait_since = vn_broker_ms(b);
	if (r->flags & VN_R_READABLE)
		vn_socket_input(b, r);
}

/* FINAL was said: no worker has blocks of it. */
void
vn_socket_final(vn_broker *b, vn_record *r)
{
	vn_dispatch_detach(b, r);
	if (r->fd < 0) {
		vn_socket_gone(b, r);
		return;
	}
	if (!(r->flags & VN_R_CLOSING)) {
		r->flags |= VN_R_CLOSING;
		vn_ledger_list_push(b->ledger, &b->closing, r);
	}
}

/**
 * vn_socket_close() - send what is queued, then end it in order
 *
 * The connection is closed by its handler, or nobody will go on with it.
 */
void
vn_socket_close(vn_broker *b, vn_record *r)
{
	r->flags |= VN_R_CLOSED;
	vn_dispatch_unwait(b, r);
	r->wait_since = vn_broker_ms(b);
	if (!(r->flags & VN_R_ATTACHED) && !(r->flags & VN_R_CLOSING) && r->fd >= 0) {
		r->flags |= VN_R_CLOSING;
		vn_ledger_list_push(b->ledger, &b->closing, r);
	}
	if (r->sent == r->queued)
		socket_finish(b, r);
	else
		vn_socket_want_output(b, r);
}

/**
 * vn_socket_doom() - reset it, but not before what it was told has left the kernel
 *
 * The caller has detached it and withdrawn what was not committed.
 */
void
vn_socket_doom(vn_broker *b, vn_record *r, vn_reset_reason reason)
{
	b->n_resets[reason]++;
	r->flags |= VN_R_DOOMED;
	vn_socket_close(b, r);
}

/* Has the kernel anything left that the peer has not acknowledged? A Unix peer has it when it has read it. */
static bool
kernel_is_empty(const vn_record *r)
{
	int n = 0;

	return ioctl(r->fd, SIOCOUTQ, &n) < 0 || n == 0;
}

/**
 * vn_socket_linger() - it is closed: is it over?
 *
 * What its client has not taken by then is lost, and the client must be able to tell.
 */
void
vn_socket_linger(vn_broker *b, vn_record *r)
{
	uint32_t limit = (uint32_t)(b->config->linger_timeout / VN_MS);
	bool late = vn_broker_ms(b) - r->wait_since >= limit, all_sent = r->sent == r->queued;

	if (r->fd < 0)
		return;
	if (r->flags & VN_R_DOOMED) {
		if (late || (all_sent && kernel_is_empty(r))) {
			vn_socket_drop_output(b, r);
			socket_end_by_reset(b, r);
		}
	} else if (late && !all_sent) {
		vn_socket_reset(b, r, VN_RESET_LINGER);
	} else if (late) {
		socket_end(b, r);
	} else {
		if (r->flags & VN_R_READABLE)
			input_discard(b, r);
		/* While the service ends, whoever has got everything is not waited for. */
		if (r->fd >= 0 && b->phase >= VN_PHASE_DRAINING && all_sent && kernel_is_empty(r))
			socket_end(b, r);
	}
}

/**
 * vn_socket_linger_sweep() - those that are being closed and that no worker has any more
 */
void
vn_socket_linger_sweep(vn_broker *b)
{
	for (uint32_t index = b->closing.first; index != VN_NO_RECORD;) {
		vn_record *r = vn_record_at(b->ledger, index);

		index = r->next;
		vn_socket_linger(b, r);
	}
}

/**
 * vn_socket_abandon() - the broker ends: a stream that is not complete must not look so
 * @r: in use or not
 */
void
vn_socket_abandon(const vn_record *r)
{
	struct linger linger = {.l_onoff = 1};

	if (r->id == 0 || r->fd < 0)
		return;
	if (r->flags & VN_R_DOOMED || r->sent < r->queued ||
		!(r->flags & VN_R_CLOSED || vn_record_at_rest(r)))
		setsockopt(r->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
	close(r->fd);
}

/* Input. */

/**
 * vn_socket_block() - a block for a worker, of a class if it can be
 *
 * Return: VN_NO_BLOCK only when all of the pool is out.
 */
uint32_t
vn_socket_block(vn_worker *w, unsigned int size_class)
{
	uint32_t block = vn_block_alloc(w->link.blocks, size_class);

	for (unsigned int c = size_class; block == VN_NO_BLOCK && c-- > 0;)
		block = vn_block_alloc(w->link.blocks, c);
	for (unsigned int c = size_class + 1; block == VN_NO_BLOCK && c < VN_N_CLASSES; c++)
		block = vn_block_alloc(w->link.blocks, c);
	return block;
}

/*
 * The window is charged with blocks, but as many bytes as one read call may ask for must fit, whatever blocks
 * they lie in: or a short line that lies across two of them could not be read.
 */
static bool
window_is_full(const vn_broker *b, const vn_record *r)
{
	uint32_t window = b->config->window, enough = window < VN_BLOCK_MAX ? window : VN_BLOCK_MAX;

	return r->in.charge + VN_GRANULE > window && r->received - r->acked >= enough;
}

/* The first block a connection may always have, but a large one only while there are many. */
static uint32_t
first_block(vn_worker *w, const vn_record *r)
{
	unsigned int size_class = r->in_class;

	while (size_class > 1 && vn_block_class_bytes(size_class) >
					 vn_blocks_available(w->link.blocks) / FIRST_SHARE)
		size_class--;
	return vn_socket_block(w, size_class);
}

/* One more, within the window and half of what is free. */
static uint32_t
another_block(vn_broker *b, vn_worker *w, const vn_record *r)
{
	unsigned int size_class = r->in_class;
	uint64_t half = vn_blocks_available(w->link.blocks) / 2;

	if (window_is_full(b, r))
		return VN_NO_BLOCK;
	while (size_class && r->in.charge + vn_block_class_bytes(size_class) > b->config->window)
		size_class--;
	while (size_class && r->in.charge + vn_block_class_bytes(size_class) > half)
		size_class--;
	if (r->in.charge + vn_block_class_bytes(size_class) > half)
		return VN_NO_BLOCK;
	return vn_block_alloc(w->link.blocks, size_class);
}

/* Where the next bytes go: the rest of the last block, or a new one; 0 if none may be had. */
static uint32_t
input_room(vn_broker *b, vn_worker *w, vn_record *r, uint32_t *block, uint32_t *offset)
{
	uint32_t last = r->in.last, room;

	if (last != VN_NO_BLOCK) {
		*block = last - vn_ref(b, w->slot, 0);
		*offset = b->ledger->in_table[last].fill;
		room = vn_block_size(w->link.blocks, *block) - *offset;
		if (room >= ROOM_MIN)
			return room;
	}
	*block = last == VN_NO_BLOCK ? first_block(w, r) : another_block(b, w, r);
	*offset = 0;
	return *block == VN_NO_BLOCK ? 0 : vn_block_size(w->link.blocks, *block);
}

/* None may be had: a reader that waits for more than its window must know; anybody else waits for a block. */
static void
input_refused(vn_broker *b, vn_worker *w, vn_record *r)
{
	if (r->in.last == VN_NO_BLOCK || !window_is_full(b, r)) {
		vn_dispatch_starve(b, r);
	} else if (r->flags & VN_R_NEED_INPUT) {
		r->flags &= ~(uint32_t)VN_R_NEED_INPUT;
		vn_debt_add(b, w, r, VN_D_FULL);
	}
}

/* The next block is as large as what came suggests. */
static void
input_hint(vn_record *r, uint32_t room, uint32_t got)
{
	if (got == room && r->in_class < VN_N_CLASSES - 1)
		r->in_class++;
	else if (r->in_class && got <= vn_block_class_bytes(r->in_class - 1u) / 2)
		r->in_class--;
}

static void
input_arrived(vn_broker *b, vn_worker *w, vn_record *r, uint32_t block, uint32_t offset, uint32_t n)
{
	vn_ledger *l = b->ledger;

	r->received += n;
	b->bytes_in += n;
	w->bytes_in += n;
	if (offset) {
		vn_chain_extend(&r->in, l->in_table, n);
	} else {
		vn_chain_push(&r->in, l->in_table, vn_ref(b, w->slot, block), n, r->received);
		r->in.charge += vn_block_size(w->link.blocks, block);
	}
	if (!(r->flags & VN_R_ATTACHED))
		vn_dispatch_attach(b, w, r);
	vn_debt_push_data(b, w, r, block, offset, n);
}

/* The peer has finished. A connection at rest that nobody has needs no worker to be told. */
static void
input_ended(vn_broker *b, vn_record *r)
{
	r->flags &= ~(uint32_t)VN_R_READABLE;
	r->flags |= VN_R_ENDED;
	if (r->flags & VN_R_CLOSED) {
		if (r->sent == r->queued && !(r->flags & VN_R_DOOMED))
			socket_end(b, r);
		return;
	}
	r->received++;
	if (r->flags & VN_R_ATTACHED)
		vn_debt_add(b, vn_record_worker(b, r), r, VN_D_END);
	else
		vn_socket_close(b, r);
}

/* What a closed connection still gets is thrown away. */
static void
input_discard(vn_broker *b, vn_record *r)
{
	unsigned char waste[4096];

	for (int i = 0; i < 16 && r->fd >= 0 && (r->flags & VN_R_READABLE); i++) {
		ssize_t n = b->hub->sys->recv(b->hub->sys, r->fd, waste, sizeof waste);

		if (n == -EAGAIN)
			r->flags &= ~(uint32_t)VN_R_READABLE;
		else if (n == 0)
			input_ended(b, r);
		else if (n < 0)
			socket_on_reset(b, r);
	}
}

/**
 * vn_socket_receive() - one receive into the lane of a worker
 *
 * The caller has made sure of a slot. More may be there afterwards: then the connection owes another round.
 */
void
vn_socket_receive(vn_broker *b, vn_worker *w, vn_record *r)
{
	uint32_t block, offset, room;
	ssize_t n;

	if (!(r->flags & VN_R_READABLE) || r->flags & (VN_R_ENDED | VN_R_CLOSED) || r->fd < 0)
		return;
	room = input_room(b, w, r, &block, &offset);
	if (room == 0) {
		input_refused(b, w, r);
		return;
	}
	n = b->hub->sys->recv(b->hub->sys, r->fd, vn_area_at(&w->link.own, block, offset), room);
	if (n > 0) {
		if ((uint32_t)n < room && !(r->flags & VN_R_LAST) && r->peer.family != AF_UNIX)
			r->flags &= ~(uint32_t)VN_R_READABLE;
		input_hint(r, room, (uint32_t)n);
		input_arrived(b, w, r, block, offset, (uint32_t)n);
		if (r->flags & VN_R_READABLE)
			vn_debt_add(b, w, r, VN_D_DATA);
		return;
	}
	if (offset == 0)
		vn_block_free(w->link.blocks, block);
	if (n == -EAGAIN)
		r->flags &= ~(uint32_t)VN_R_READABLE;
	else if (n == 0)
		input_ended(b, r);
	else
		socket_on_reset(b, r);
}

/**
 * vn_socket_owed_input() - it is this connection's turn to give its worker more
 *
 * At rest it may meanwhile be better off elsewhere, or have to wait in line.
 */
void
vn_socket_owed_input(vn_broker *b, vn_worker *w, vn_record *r)
{
	vn_worker *chosen;

	if (!(r->flags & VN_R_READABLE) || r->flags & VN_R_ENDED || r->fd < 0)
		return;
	chosen = vn_dispatch_choose(b, r);
	if (chosen == w)
		vn_socket_receive(b, w, r);
	else if (chosen)
		vn_socket_input(b, r);
}

/* A new connection whose handler starts at the accept. */
static void
open_attachment(vn_broker *b, vn_worker *w, vn_record *r)
{
	vn_dispatch_attach(b, w, r);
	vn_debt_add(b, w, r, VN_D_OPEN);
}

/**
 * vn_socket_input() - a connection may have input: find it a worker, and receive if everything is in hand
 */
void
vn_socket_input(vn_broker *b, vn_record *r)
{
	vn_worker *w;

	if (r->flags & VN_R_CLOSED) {
		input_discard(b, r);
		return;
	}
	if (r->flags & VN_R_ENDED)
		return;
	w = vn_dispatch_choose(b, r);
	if (!w)
		return;
	if (!(r->flags & (VN_R_RESUMABLE | VN_R_ATTACHED)))
		open_attachment(b, w, r);
	if (!(r->flags & VN_R_READABLE))
		return;
	if (vn_debt_may_push(w))
		vn_socket_receive(b, w, r);
	else if (r->flags & VN_R_ATTACHED)
		vn_debt_add(b, w, r, VN_D_DATA);
	else
		vn_dispatch_wait(b, r);
}

/**
 * vn_socket_on_event() - the poller's callback for all connections
 */
void
vn_socket_on_event(void *arg, uint32_t index, uint32_t gen, uint32_t events)
{
	vn_broker *b = arg;
	vn_record *r = vn_record_at(b->ledger, index);

	if ((r->id & 0xffffff) != gen || r->fd < 0)
		return;
	if ((events & EPOLLOUT) && !(r->flags & VN_R_WRITABLE)) {
		r->flags |= VN_R_WRITABLE;
		if (r->sent < r->queued)
			vn_socket_want_output(b, r);
	}
	if (!(events & (EPOLLIN | LAST_EVENTS)))
		return;
	if (events & EPOLLERR) { /* what it had sent before is of no use to anybody */
		socket_on_reset(b, r);
		return;
	}
	r->flags |= VN_R_READABLE;
	if (events & LAST_EVENTS)
		r->flags |= VN_R_LAST;
	if (!(r->flags & VN_R_ENDED))
		vn_socket_input(b, r);
}

/* Output. */

/**
 * vn_socket_want_output() - send at the end of this turn
 */
void
vn_socket_want_output(vn_broker *b, vn_record *r)
{
	if (r->flags & VN_R_OUTPUT)
		return;
	r->flags |= VN_R_OUTPUT;
	r->output_next = b->output_first;
	b->output_first = vn_record_index(b->ledger, r);
}

/* Where the bytes of a reference lie. */
static void *
output_at(const vn_broker *b, uint32_t ref, uint32_t offset)
{
	uint32_t n = b->ledger->n_granules;
	const vn_segment *s = ref < n ? &b->ledger->spill : &b->workers[ref / n]->link.peer;

	return vn_area_at(s, ref % n, offset);
}

static ssize_t
output_send(vn_broker *b, vn_record *r, size_t *wanted)
{
	const vn_chain_link *table = b->ledger->out_table;
	struct iovec parts[SEND_PARTS];
	struct msghdr msg = {.msg_iov = parts};
	uint64_t at = r->sent;

	for (uint32_t ref = r->out.first; ref != VN_NO_BLOCK && msg.msg_iovlen < SEND_PARTS;
		ref = table[ref].next) {
		const vn_chain_link *link = &table[ref];

		parts[msg.msg_iovlen++] = (struct iovec){
			output_at(b, ref, vn_chain_offset(link, at)), link->end - at};
		at = link->end;
	}
	*wanted = at - r->sent;
	return b->hub->sys->sendmsg(b->hub->sys, r->fd, &msg);
}

static void
output_sent(vn_broker *b, vn_record *r, uint64_t n)
{
	vn_ledger *l = b->ledger;
	uint32_t ref;

	r->sent += n;
	b->bytes_out += n;
	while ((ref = vn_chain_pop(&r->out, l->out_table, r->sent)) != VN_NO_BLOCK) {
		l->out_table[ref].fill = 0;
		if (ref < l->n_granules)
			vn_block_free(l->spill_blocks, ref);
	}
}

/**
 * vn_socket_flush() - send what is queued, as far as the socket takes it
 */
void
vn_socket_flush(vn_broker *b, vn_record *r)
{
	while (r->sent < r->queued && (r->flags & VN_R_WRITABLE)) {
		size_t wanted;
		ssize_t n = output_send(b, r, &wanted);

		if (n < 0 && n != -EAGAIN) {
			socket_on_reset(b, r);
			return;
		}
		if (n > 0)
			output_sent(b, r, (uint64_t)n);
		if (n < (ssize_t)wanted)
			r->flags &= ~(uint32_t)VN_R_WRITABLE;
	}
}

/**
 * vn_socket_output() - send what is queued, report it, and go on to the end if there was one
 */
void
vn_socket_output(vn_broker *b, vn_record *r)
{
	if (r->fd < 0)
		return;
	vn_socket_flush(b, r);
	if (r->fd < 0)
		return;
	if ((r->flags & VN_R_ATTACHED) && r->sent > r->reported)
		vn_debt_unreported(b, vn_record_worker(b, r), r);
	if (r->flags & (VN_R_SHUT | VN_R_CLOSED)) {
		if (r->sent < r->queued)
			r->wait_since = vn_broker_ms(b); /* the client takes it: no end yet */
		vn_socket_shut(b, r);
	}
}

/* The output has ended: when all of it is sent, say so. */
void
vn_socket_shut(vn_broker *b, vn_record *r)
{
	if (r->sent < r->queued || r->fd < 0)
		return;
	if ((r->flags & VN_R_SHUT) && !(r->flags & (VN_R_FIN | VN_R_DOOMED))) {
		r->flags |= VN_R_FIN;
		shutdown(r->fd, SHUT_WR);
	}
	if (r->flags & VN_R_CLOSED)
		socket_finish(b, r);
}

/**
 * vn_socket_outputs() - one sendmsg for each connection that got output this turn
 */
void
vn_socket_outputs(vn_broker *b)
{
	uint32_t index = b->output_first;

	b->output_first = VN_NO_RECORD;
	while (index != VN_NO_RECORD) {
		vn_record *r = vn_record_at(b->ledger, index);

		index = r->output_next;
		if (index != VN_NO_RECORD)
			vn_record_prefetch(b->ledger, index);
		r->flags &= ~(uint32_t)VN_R_OUTPUT;
		if (r->flags & VN_R_ZOMBIE)
			vn_socket_unzombie(b, r);
		else
			vn_socket_output(b, r);
	}
}

/* Birth. */

/**
 * vn_socket_open() - a connection was accepted
 *
 * Ownership: fd is the record's, or closed if this fails.
 *
 * Return: 0, -ENOSPC when all records are in use, or what epoll says.
 */
int
vn_socket_open(vn_broker *b, vn_broker_endpoint *e, int fd, const struct sockaddr_storage *sa)
{
	uint32_t index = vn_ledger_take(b->ledger);
	vn_record *r;
	int rc;

	if (index == VN_NO_RECORD) {
		close(fd);
		return -ENOSPC;
	}
	r = vn_record_at(b->ledger, index);
	r->fd = fd;
	r->endpoint = e->index;
	r->in_class = 1;
	r->flags |= VN_R_WRITABLE | (e->resumable ? VN_R_RESUMABLE : 0);
	r->opened = (uint32_t)(b->hub->now / VN_SEC);
	vn_endpoint_peer(fd, sa, &r->peer);
	rc = vn_poller_add(b->hub->poller, fd, b->conn_class, index, r->id & 0xffffff, EVENTS);
	if (rc < 0) {
		close(fd);
		vn_ledger_give(b->ledger, index);
		return rc;
	}
	b->n_accepted++;
	e->n_accepted++;
	e->n_conns++;
	if (!e->resumable)
		vn_socket_input(b, r);
	return 0;
}
