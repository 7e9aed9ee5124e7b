/* SPDX-License-Identifier: MIT */
/*
 * Input - receive into the lane of the worker that was chosen
 *
 * A socket is read only with a slot and a block in hand and within its window, so nothing is ever copied or
 * queued: what no worker can take stays in the kernel. The one exception is input that an earlier worker had and
 * did not commit: it is kept (keep.c), and copied into the lane of the next one before the socket is read again.
 */
#include "broker/input.h"

#include <errno.h>

#include "broker/accept.h"
#include "broker/debt.h"
#include "broker/dispatch.h"
#include "broker/keep.h"
#include "broker/packet.h"
#include "broker/socket.h"
#include "broker/stages.h"

#define LAST_EVENTS (EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI)
#define ROOM_MIN    64 /* a rest of a block smaller than this is not worth a receive */
#define FEW_SHARE   4  /* when less than that part of the pool is free, first blocks are small */
#define FIRST_SHARE 16 /* of what is free, the part that a connection's first block may be */

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
	if (vn_blocks_available(w->link.blocks) < w->link.geometry.area_bytes / FEW_SHARE)
		size_class = 0;
	return vn_socket_block(w, size_class);
}

/*
 * One more, within the window and half of what is free: of the class that is wanted, or a smaller one, or what is left
 * may all belong to larger ones. The smallest one is not measured against the window.
 */
static uint32_t
another_block(vn_broker *b, vn_worker *w, const vn_record *r)
{
	uint64_t half = vn_blocks_available(w->link.blocks) / 2;
	uint32_t block = VN_NO_BLOCK;

	if (window_is_full(b, r))
		return VN_NO_BLOCK;
	for (unsigned int i = 0; i < VN_N_CLASSES && block == VN_NO_BLOCK; i++) {
		unsigned int c = i <= r->in_class ? r->in_class - i : i;
		uint32_t held = r->in.charge + vn_block_class_bytes(c);

		if (held <= half && (c == 0 || held <= b->config->window))
			block = vn_block_alloc(w->link.blocks, c);
	}
	return block;
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
void
vn_input_refused(vn_broker *b, vn_worker *w, vn_record *r)
{
	if (r->in.last == VN_NO_BLOCK || !window_is_full(b, r)) {
		vn_dispatch_starve(b, r);
	} else if (r->flags & VN_R_NEED_INPUT) {
		vn_dispatch_fed(b, r);
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

/* n more bytes of the stream lie in a block of the worker's lane. */
static void
input_deliver(vn_broker *b, vn_worker *w, vn_record *r, uint32_t block, uint32_t offset, uint32_t n)
{
	vn_ledger *l = b->ledger;

	if (offset) {
		vn_chain_extend(&r->in, l->in_table, n);
	} else {
		vn_chain_push(&r->in, l->in_table, vn_ref(b, w->slot, block), n, r->delivered + n);
		r->in.charge += vn_block_size(w->link.blocks, block);
	}
	vn_dispatch_unwait(b, r); /* an edge of its socket may serve it before its turn in line */
	if (!(r->flags & VN_R_ATTACHED))
		vn_dispatch_attach(b, w, r);
	vn_debt_push_data(b, w, r, block, offset, n);
}

void
vn_input_arrived(
	vn_broker *b, vn_worker *w, vn_record *r, uint32_t block, uint32_t offset, uint32_t n)
{
	r->received += n;
	vn_count(&b->count->bytes_in, n);
	vn_count(&w->count->bytes_in, n);
	input_deliver(b, w, r, block, offset, n);
}

/* What comes after input that was kept: more of it, the end, or what waits in the socket. */
static void
kept_went(vn_broker *b, vn_worker *w, vn_record *r)
{
	if (vn_record_has_input(r))
		vn_debt_add(b, w, r, VN_D_DATA);
	else if (r->flags & VN_R_ENDED)
		vn_debt_add(b, w, r, VN_D_END);
}

/* As much as fits into one block of what an earlier worker had and did not commit. */
static void
input_again(vn_broker *b, vn_worker *w, vn_record *r)
{
	const void *data;
	uint32_t n = vn_keep_next(b, r, &data), block, offset, room;

	if (r->in_class < vn_block_class(n))
		r->in_class = (uint8_t)vn_block_class(n);
	room = input_room(b, w, r, &block, &offset);
	if (room == 0) {
		vn_input_refused(b, w, r);
		return;
	}
	n = n < room ? n : room;
	vn_area_write(&w->link.own, block, offset, data, n);
	input_deliver(b, w, r, block, offset, n);
	vn_keep_given(b, r);
	kept_went(b, w, r);
}

/* The peer has finished. A connection at rest that nobody has needs no worker to be told. */
void
vn_input_ended(vn_broker *b, vn_record *r)
{
	r->flags &= ~(uint32_t)VN_R_READABLE;
	r->flags |= VN_R_ENDED;
	if (r->flags & VN_R_CLOSED) {
		if (r->sent == r->queued && !(r->flags & VN_R_DOOMED))
			vn_socket_end(b, r);
		return;
	}
	r->received++;
	if (r->flags & VN_R_ATTACHED)
		vn_debt_add(b, vn_record_worker(b, r), r, VN_D_END);
	else
		vn_socket_close(b, r);
}

/**
 * vn_input_discard() - what a closed connection still gets is thrown away
 */
void
vn_input_discard(vn_broker *b, vn_record *r)
{
	unsigned char waste[4096];

	for (int i = 0; i < 16 && r->fd >= 0 && (r->flags & VN_R_READABLE); i++) {
		ssize_t n = b->hub->sys->recv(b->hub->sys, r->fd, waste, sizeof waste);

		if (n == -EAGAIN)
			r->flags &= ~(uint32_t)VN_R_READABLE;
		else if (n == 0)
			vn_input_ended(b, r);
		else if (n < 0)
			vn_socket_on_reset(b, r);
	}
}

/**
 * vn_socket_receive() - one receive into the lane of a worker; what was kept comes first
 *
 * The caller has made sure of a slot. More may be there afterwards: then the connection owes another round.
 */
void
vn_socket_receive(vn_broker *b, vn_worker *w, vn_record *r)
{
	uint32_t block, offset, room;
	ssize_t n;

	if (!vn_record_has_input(r) || r->flags & (VN_R_CLOSED | VN_R_RELEASED) || r->fd < 0)
		return;
	if (r->flags & VN_R_KEPT) {
		input_again(b, w, r);
		return;
	}
	if (vn_packet_is(b, r)) {
		vn_packet_receive(b, w, r);
		return;
	}
	room = input_room(b, w, r, &block, &offset);
	if (room == 0) {
		vn_input_refused(b, w, r);
		return;
	}
	n = b->hub->sys->recv(b->hub->sys, r->fd, vn_area_at(&w->link.own, block, offset), room);
	if (n > 0) {
		if ((uint32_t)n < room && !(r->flags & VN_R_LAST) && r->peer.family != AF_UNIX)
			r->flags &= ~(uint32_t)VN_R_READABLE;
		input_hint(r, room, (uint32_t)n);
		vn_input_arrived(b, w, r, block, offset, (uint32_t)n);
		if (r->flags & VN_R_READABLE)
			vn_debt_add(b, w, r, VN_D_DATA);
		return;
	}
	if (offset == 0)
		vn_block_free(w->link.blocks, block);
	if (n == -EAGAIN)
		r->flags &= ~(uint32_t)VN_R_READABLE;
	else if (n == 0)
		vn_input_ended(b, r);
	else
		vn_socket_on_reset(b, r);
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

	if (!vn_record_has_input(r) || r->flags & VN_R_RELEASED || r->fd < 0)
		return;
	chosen = vn_dispatch_choose(b, r);
	if (chosen == w)
		vn_socket_receive(b, w, r);
	else if (chosen)
		vn_socket_input(b, r);
}

/* A connection whose handler starts at the accept, or that never started. */
static void
open_attachment(vn_broker *b, vn_worker *w, vn_record *r)
{
	vn_dispatch_unwait(b, r);
	vn_dispatch_attach(b, w, r);
	vn_debt_add(b, w, r, VN_D_OPEN);
	if ((r->flags & (VN_R_ENDED | VN_R_KEPT)) == VN_R_ENDED)
		vn_debt_add(b, w, r, VN_D_END);
}

/* Does a handler have to start although there is no input? */
static bool
wants_worker(const vn_record *r)
{
	if (r->flags & (VN_R_RESUMABLE | VN_R_ATTACHED))
		return false;
	return !(r->flags & VN_R_ENDED) || r->delivered < r->received;
}

/**
 * vn_socket_input() - a connection may have input: find it a worker, and receive if everything is in hand
 */
void
vn_socket_input(vn_broker *b, vn_record *r)
{
	vn_worker *w;

	if (r->flags & (VN_R_CLOSED | VN_R_HEADER)) {
		if (r->flags & VN_R_CLOSED)
			vn_input_discard(b, r);
		else
			vn_accept_header(b, r);
		return;
	}
	if (r->flags & VN_R_RELEASED) /* FINAL comes first */
		return;
	if (!vn_record_has_input(r) && !wants_worker(r))
		return;
	w = vn_dispatch_choose(b, r);
	if (!w)
		return;
	if (!(r->flags & (VN_R_RESUMABLE | VN_R_ATTACHED)))
		open_attachment(b, w, r);
	if (!vn_record_has_input(r))
		return;
	if (vn_debt_may_push(w, r))
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
		vn_socket_on_reset(b, r);
		return;
	}
	if (VN_STAGES && !(r->flags & VN_R_READABLE) && vn_record_at_rest(r))
		r->arrived = vn_stages_polled(b);
	r->flags |= VN_R_READABLE;
	if (events & LAST_EVENTS)
		r->flags |= VN_R_LAST;
	if (!(r->flags & VN_R_ENDED))
		vn_socket_input(b, r);
}
