/* SPDX-License-Identifier: MIT */
/*
 * Socket - what was accepted: send out of the lanes it was written to, and end it
 *
 * A socket is registered once, edge-triggered; READABLE and WRITABLE are what edges said and EAGAIN (or on TCP
 * a short receive) took back. input.c receives. Payload is never looked at.
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

#include "broker/accept.h"
#include "broker/debt.h"
#include "broker/dispatch.h"
#include "broker/event.h"
#include "broker/input.h"
#include "broker/keep.h"
#include "broker/packet.h"
#include "broker/settle.h"
#include "broker/stages.h"

#define EVENTS     (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET)
#define SEND_PARTS 64

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

/* Its endpoint has room for another one. */
static void
socket_leave(vn_broker_endpoint *e, const vn_record *r)
{
	e->n_conns--;
	if (e->gate && !(r->flags & VN_R_HEADER))
		vn_gate_leave(e->gate, &r->peer);
	if (vn_timer_armed(&e->pause))
		vn_accept_room(e);
}

/**
 * vn_socket_end() - close the descriptor; the record goes with it unless a worker still has blocks of it
 */
void
vn_socket_end(vn_broker *b, vn_record *r)
{
	if (r->fd < 0)
		return;
	closing_unlink(b, r);
	vn_dispatch_unwait(b, r);
	if (r->flags & (VN_R_KEPT | VN_R_STATEFUL | VN_R_STAGED))
		vn_keep_drop(b, r);
	vn_poller_remove(b->hub->poller, r->fd);
	close(r->fd);
	r->fd = -1;
	r->flags &= ~(uint32_t)(VN_R_READABLE | VN_R_WRITABLE);
	vn_count(&b->count->n_closed, 1);
	b->n_open--;
	socket_leave(b->endpoints[r->endpoint], r);
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
	vn_socket_end(b, r);
}

/* Parked output is given up; its references are free again. */
void
vn_socket_drop_output(vn_broker *b, vn_record *r)
{
	vn_ledger *l = b->ledger;
	uint32_t ref;

	while ((ref = vn_chain_pop(&r->out, l->out_table, UINT64_MAX)) != VN_NO_BLOCK) {
		l->out_table[ref].fill = 0;
		if (ref < l->n_spill)
			vn_block_free(l->spill_blocks, ref);
	}
	r->sent = r->queued;
	r->out.charge = 0;
}

static void
reset_count(vn_broker *b, const vn_record *r, vn_reset_reason reason)
{
	vn_count(&b->count->n_resets[reason], 1);
	vn_times_note(b->reset_times[reason], b->hub->now);
	vn_event(b, VN_EVENT_CONN_RESET, (vn_about){.conn = r}, "connection %llu is reset: %s",
		(unsigned long long)r->id, vn_reset_reason_name(reason));
}

/**
 * vn_socket_reset() - end it at once, so that the client can tell
 */
void
vn_socket_reset(vn_broker *b, vn_record *r, vn_reset_reason reason)
{
	if (r->fd < 0)
		return;
	reset_count(b, r, reason);
	vn_socket_drop_output(b, r);
	if (r->flags & VN_R_ATTACHED)
		vn_debt_add(b, vn_record_worker(b, r), r,
			r->flags & (VN_R_CLOSED | VN_R_RELEASED) ? VN_D_FINAL : VN_D_RESET);
	r->flags |= VN_R_RESET;
	socket_end_by_reset(b, r);
}

/**
 * vn_socket_refuse() - end one that no worker has heard of; the caller has counted it
 */
void
vn_socket_refuse(vn_broker *b, vn_record *r)
{
	r->flags |= VN_R_RESET;
	socket_end_by_reset(b, r);
}

/**
 * vn_socket_on_reset() - the client reset it, or the socket failed
 */
void
vn_socket_on_reset(vn_broker *b, vn_record *r)
{
	vn_socket_drop_output(b, r);
	if ((r->flags & VN_R_ATTACHED) && !(r->flags & (VN_R_CLOSED | VN_R_RELEASED | VN_R_RESET)))
		vn_debt_add(b, vn_record_worker(b, r), r, VN_D_RESET);
	else if (r->flags & VN_R_ATTACHED)
		vn_debt_add(b, vn_record_worker(b, r), r, VN_D_FINAL);
	r->flags |= VN_R_RESET;
	vn_socket_end(b, r);
}

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
			vn_socket_end(b, r);
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
	bool given_back = r->flags & VN_R_RELEASED;

	vn_dispatch_detach(b, r);
	if (r->fd < 0) {
		vn_socket_gone(b, r);
		return;
	}
	if (given_back) {
		vn_settle_given_back(b, r);
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
 * vn_socket_expire() - close one that nobody has, because it has rested for too long
 */
void
vn_socket_expire(vn_broker *b, vn_record *r, vn_reset_reason reason)
{
	reset_count(b, r, reason);
	vn_socket_close(b, r);
}

/**
 * vn_socket_doom() - reset it, but not before what it was told has left the kernel
 *
 * The caller has detached it and withdrawn what was not committed.
 */
void
vn_socket_doom(vn_broker *b, vn_record *r, vn_reset_reason reason)
{
	reset_count(b, r, reason);
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
		vn_socket_end(b, r);
	} else {
		if (r->flags & VN_R_READABLE)
			vn_input_discard(b, r);
		/* While the service ends, whoever has got everything is not waited for. */
		if (r->fd >= 0 && b->phase >= VN_PHASE_DRAINING && all_sent && kernel_is_empty(r))
			vn_socket_end(b, r);
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
void *
vn_socket_output_at(const vn_broker *b, uint32_t ref, uint32_t offset)
{
	const vn_ledger *l = b->ledger;

	if (ref < l->n_spill)
		return vn_area_at(&l->spill, ref, offset);
	ref -= l->n_spill;
	return vn_area_at(
		&b->workers[ref / l->n_granules + 1]->link.peer, ref % l->n_granules, offset);
}

/* Copies some of them. */
void
vn_socket_output_read(const vn_broker *b, uint32_t ref, uint32_t offset, void *to, uint32_t len)
{
	const vn_ledger *l = b->ledger;

	if (ref < l->n_spill) {
		vn_area_read(&l->spill, ref, offset, to, len);
		return;
	}
	ref -= l->n_spill;
	vn_area_read(&b->workers[ref / l->n_granules + 1]->link.peer, ref % l->n_granules, offset,
		to, len);
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
			vn_socket_output_at(b, ref, vn_chain_offset(link, at)), link->end - at};
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
	vn_count(&b->count->bytes_out, n);
	while ((ref = vn_chain_pop(&r->out, l->out_table, r->sent)) != VN_NO_BLOCK) {
		l->out_table[ref].fill = 0;
		if (ref < l->n_spill)
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
		ssize_t n = vn_packet_is(b, r) ? vn_packet_send(b, r, &wanted)
					       : output_send(b, r, &wanted);

		if (n < 0 && n != -EAGAIN) {
			vn_socket_on_reset(b, r);
			return;
		}
		if (n > 0)
			output_sent(b, r, (uint64_t)n);
		if (n < (ssize_t)wanted)
			r->flags &= ~(uint32_t)VN_R_WRITABLE;
	}
	if (r->out.charge && r->sent >= r->queued_c)
		vn_stages_written(b, r);
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

/* A record for a socket; the caller's still if this fails. */
static int
record_open(vn_broker *b, vn_broker_endpoint *e, int fd, const struct sockaddr_storage *sa,
	vn_record **opened)
{
	uint32_t index = vn_ledger_take(b->ledger);
	vn_record *r;
	int rc;

	if (index == VN_NO_RECORD)
		return -ENOSPC;
	r = vn_record_at(b->ledger, index);
	r->fd = fd;
	r->endpoint = e->index;
	r->in_class = 1;
	r->flags |= VN_R_WRITABLE | (e->resumable ? VN_R_RESUMABLE : 0);
	r->opened = (uint32_t)(b->hub->now / VN_SEC);
	vn_endpoint_peer(fd, sa, &r->peer);
	rc = vn_poller_add(b->hub->poller, fd, b->conn_class, index, r->id & 0xffffff, EVENTS);
	if (rc < 0) {
		vn_ledger_give(b->ledger, index);
		return rc;
	}
	b->n_open++;
	e->n_conns++;
	*opened = r;
	return 0;
}

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
	vn_record *r;
	int rc = record_open(b, e, fd, sa, &r);

	if (rc < 0) {
		close(fd);
		return rc;
	}
	vn_count(&b->count->n_accepted, 1);
	vn_count(&e->count->n_accepted, 1);
	if (e->asks & VN_ASKS_PROXY)
		r->flags |= VN_R_HEADER;
	else if (!e->resumable)
		vn_socket_input(b, r);
	return 0;
}

/**
 * vn_socket_open_dialled() - a connection was made for a worker, which has it from here on
 *
 * Ownership: fd is the record's, or the caller's still if this fails.
 *
 * Return: 0, -ENOSPC when all records are in use, or what epoll says.
 */
int
vn_socket_open_dialled(
	vn_broker *b, vn_worker *w, int fd, const struct sockaddr_storage *sa, vn_record **opened)
{
	int rc = record_open(b, b->endpoints[VN_DIALLED], fd, sa, opened);

	if (rc < 0)
		return rc;
	(*opened)->flags |= VN_R_DIALLED;
	vn_dispatch_attach(b, w, *opened);
	(*opened)->debts = 0; /* CONNECTED opens it */
	vn_count(&b->count->n_dialled, 1);
	vn_count(&b->endpoints[VN_DIALLED]->count->n_accepted, 1);
	return 0;
}
