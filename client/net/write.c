/* SPDX-License-Identifier: MIT */
/*
 * Write - the write calls
 *
 * Output is copied into blocks of the output area (or written there by the program: vn_borrow) and staged
 * with the backend; it leaves when the hub turns. A write waits while a window of output is unsent, or while
 * its share of the area is used up; one block a connection may always have.
 *
 * What a handler writes at once leaves at once, if a block can hold it: a write waits before it stages anything. Were
 * a part of it sent while it waits for room for the rest, and the worker died, the connection would have to be reset.
 *
 * Blocks start small and grow while a connection writes faster than it is drained.
 */
#include <errno.h>
#include <string.h>

#include "client/net/net.h"
#include "client/net/packet.h"

#define FIRST_SHARE 64 /* of what is free, for a connection that has no block */

static int
write_check(const vn_conn *c)
{
	int rc = vn_conn_check(c);

	if (rc < 0)
		return rc;
	if (c->flags & VN_CONN_SHUT)
		return -EPIPE;
	return (c->flags & VN_CONN_RESUMABLE) && c->taken == c->committed ? -EPERM : 0;
}

/* Would a block more fit into the window? One always does. */
static bool
write_fits(const vn_conn *c, uint32_t bytes)
{
	uint32_t held = c->out.charge + c->loaned;

	return held == 0 || held + bytes <= c->net->window;
}

/* Is it this connection's share of what is free? One that has none yet leaves room for many like it. */
static bool
write_shares(const vn_conn *c, uint32_t bytes)
{
	uint32_t held = c->out.charge + c->loaned;

	return held ? vn_net_shares(c->net, held + bytes)
		    : bytes <= vn_blocks_available(c->net->out_blocks) / FIRST_SHARE;
}

/* The largest block up to `wanted` that may be had; of the smallest that will do, one may always be had. */
static uint32_t
write_try_block(vn_conn *c, unsigned int wanted, unsigned int least)
{
	vn_blocks *blocks = c->net->out_blocks;
	bool is_first = c->out.charge + c->loaned == 0;
	uint32_t block = VN_NO_BLOCK;

	for (unsigned int i = wanted + 1; i-- > least && block == VN_NO_BLOCK;) {
		uint32_t bytes = vn_block_class_bytes(i);

		if (write_fits(c, bytes) && ((is_first && i == least) || write_shares(c, bytes)))
			block = vn_block_alloc(blocks, i);
	}
	/* Where all that is left belongs to other classes. */
	for (unsigned int i = least + 1; is_first && i < VN_N_CLASSES && block == VN_NO_BLOCK; i++)
		block = vn_block_alloc(blocks, i);
	return block;
}

/* Waits for window; if that is not what is missing, for blocks of whoever it may be. */
static int
write_park(vn_conn *c, bool fits)
{
	int rc;

	if (c->writers.first)
		return -EBUSY;
	c->net->ops->need(c);
	rc = vn_conn_wait(c, &c->writers, fits ? &c->net->starved : NULL);
	return rc < 0 ? rc : write_check(c);
}

/* A block for output; waits for window and room. */
static int
write_block(vn_conn *c, unsigned int wanted, unsigned int least, uint32_t *block)
{
	int rc = 0;

	while (rc == 0) {
		*block = write_try_block(c, wanted, least);
		if (*block != VN_NO_BLOCK) {
			vn_net_on_room(c->net); /* there may be enough for the next one too */
			return 0;
		}
		rc = write_park(c, write_fits(c, vn_block_class_bytes(least)));
	}
	return rc;
}

/* Room at the end of the last block, 0 if there is none. */
static uint32_t
write_room(const vn_conn *c)
{
	uint32_t last = c->out.last;

	return last == VN_NO_BLOCK
		       ? 0
		       : vn_block_size(c->net->out_blocks, last) - c->net->out_table[last].fill;
}

static void
write_staged(vn_conn *c, uint32_t block, uint32_t offset, uint32_t len)
{
	c->queued += len;
	c->net->ops->send(c, block, offset, len);
}

static void
write_append(vn_conn *c, const void *data, uint32_t len)
{
	vn_chain_link *link = &c->net->out_table[c->out.last];
	uint32_t offset = link->fill;

	vn_area_write(c->net->out_area, c->out.last, offset, data, len);
	vn_chain_extend(&c->out, c->net->out_table, len);
	write_staged(c, c->out.last, offset, len);
}

/* Adds a block that is filled up to len. */
static void
write_chain(vn_conn *c, uint32_t block, uint32_t len)
{
	vn_chain_push(&c->out, c->net->out_table, block, len, c->queued + len);
	c->out.charge += vn_block_size(c->net->out_blocks, block);
	write_staged(c, block, 0, len);
}

static unsigned int
write_class(vn_conn *c, size_t n)
{
	unsigned int wanted = vn_block_class(n);

	if (vn_chain_is_empty(&c->out))
		c->out_class = 0;
	else if (c->out_class < VN_N_CLASSES - 1)
		c->out_class++;
	return wanted > c->out_class ? wanted : c->out_class;
}

/* The class that holds all of it. Whoever has no block takes what there is, so that everybody gets on. */
static unsigned int
write_least(const vn_conn *c, size_t n)
{
	return n <= VN_BLOCK_MAX && c->out.charge + c->loaned ? vn_block_class(n) : 0;
}

/* A block for that; waits for window and room. */
static int
write_wait_block(vn_conn *c, size_t n, uint32_t *block)
{
	unsigned int wanted = write_class(c, n);
	int rc = 0;

	while (rc == 0) {
		unsigned int least = write_least(c, n);

		*block = write_try_block(c, wanted, least);
		if (*block != VN_NO_BLOCK) {
			vn_net_on_room(c->net); /* there may be enough for the next one too */
			return 0;
		}
		rc = write_park(c, write_fits(c, vn_block_class_bytes(least)));
	}
	return rc;
}

/* Fills the last block and one more. */
static int
write_new(vn_conn *c, const void *data, size_t n, uint32_t *written)
{
	uint32_t block, len, room;
	int rc = write_wait_block(c, n, &block);

	if (rc < 0)
		return rc;
	room = write_room(c) < n ? write_room(c) : 0;
	if (room)
		write_append(c, data, room);
	len = vn_block_size(c->net->out_blocks, block);
	if (len > n - room)
		len = (uint32_t)n - room;
	vn_area_write(c->net->out_area, block, 0, (const char *)data + room, len);
	write_chain(c, block, len);
	*written = room + len;
	return 0;
}

/* One message, in one block: all of it is queued, or nothing. */
static int
packet_write(vn_conn *c, const void *data, size_t n)
{
	uint32_t len = (uint32_t)n, block;
	unsigned int class = vn_block_class(n + VN_PACKET_HEAD);
	int rc = n == 0 ? -EINVAL : n > VN_PACKET_MAX ? -EMSGSIZE : c->net->ops->ready(c);

	if (rc == 0)
		rc = write_block(c, class, class, &block);
	if (rc < 0)
		return rc;
	vn_area_write(c->net->out_area, block, 0, &len, sizeof len);
	vn_area_write(c->net->out_area, block, VN_PACKET_HEAD, data, len);
	write_chain(c, block, VN_PACKET_HEAD + len);
	return 0;
}

/**
 * vn_write() - send n bytes; of seqpacket, one message of 1 to 65532 bytes
 *
 * Waits while a window of output is unsent. Calls of several coroutines must be serialised by the program.
 *
 * Return: 0; -EPERM on a resumable connection with no request in hand; -EPIPE after vn_shutdown(); or
 * -ESTALE, -ECONNRESET, -ETIMEDOUT, -ECANCELED, -EDEADLK, -EBUSY: then some of it may have been sent.
 */
int
vn_write(vn_conn *c, const void *data, size_t n)
{
	const unsigned char *from = data;
	int rc = c ? write_check(c) : -EBADF;

	if (rc == 0 && c->flags & VN_CONN_PACKETS)
		return packet_write(c, data, n);
	while (rc == 0 && n) {
		uint32_t len;

		rc = c->net->ops->ready(c);
		if (rc < 0)
			break;
		if (write_room(c) >= n) {
			write_append(c, from, (uint32_t)n);
			break;
		}
		rc = write_new(c, from, n, &len);
		if (rc < 0)
			break;
		from += len;
		n -= len;
	}
	return rc;
}

/* More than a block, or more on loan than the window would ever take. */
static bool
loan_is_too_large(const vn_conn *c, size_t n)
{
	return n > VN_BLOCK_MAX ||
	       (c->loaned && c->loaned + vn_block_class_bytes(vn_block_class(n)) > c->net->window);
}

/**
 * vn_borrow() - room to write into, in place
 * @n: 1 to 65536
 * @l: filled in; l->cap is at least n, l->len is the program's to set
 *
 * Ownership: the program's until vn_publish(), which it must call before it closes the connection. Loans that are
 * out at the same time are at most a window.
 *
 * Return: 0, -EMSGSIZE, or an error as vn_write().
 */
int
vn_borrow(vn_conn *c, size_t n, vn_loan *l)
{
	unsigned int class = vn_block_class(n);
	uint32_t block;
	int rc = c && l ? write_check(c) : -EBADF;

	if (l)
		*l = (vn_loan){NULL, 0, 0, VN_NO_BLOCK};
	if (rc == 0 && c->flags & VN_CONN_PACKETS)
		rc = -EOPNOTSUPP;
	if (rc == 0 && loan_is_too_large(c, n))
		rc = -EMSGSIZE;
	if (rc == 0)
		rc = write_block(c, class, class, &block);
	if (rc < 0)
		return rc;
	l->data = vn_area_at(c->net->out_area, block, 0);
	l->cap = vn_block_size(c->net->out_blocks, block);
	l->id = block;
	c->loaned += (uint32_t)l->cap;
	return 0;
}

static bool
loan_is_out(const vn_conn *c, const vn_loan *l)
{
	return l->data && l->id < VN_NO_BLOCK && c->loaned >= l->cap &&
	       vn_block_is_out(c->net->out_blocks, (uint32_t)l->id) &&
	       vn_area_at(c->net->out_area, (uint32_t)l->id, 0) == l->data;
}

/* Waits until what is published fits into the window, and its message into the lane. */
static int
loan_ready(vn_conn *c, const vn_loan *l)
{
	int rc = write_check(c);

	while (rc == 0 && !vn_chain_is_empty(&c->out) && c->out.charge + l->cap > c->net->window)
		rc = write_park(c, false);
	return rc < 0 ? rc : c->net->ops->ready(c);
}

/**
 * vn_publish() - send what was written into a loan
 *
 * The loan is gone either way; with len 0 it is given back unsent. Waits while a window of output is unsent.
 *
 * Return: 0, -EINVAL for a loan that is not one or a len beyond its cap, or an error as vn_write().
 */
int
vn_publish(vn_conn *c, vn_loan *l)
{
	vn_net *net = c ? c->net : NULL;
	vn_loan loan;
	int rc = 0;

	if (!c || !l)
		return -EBADF;
	loan = *l;
	*l = (vn_loan){NULL, 0, 0, VN_NO_BLOCK};
	if (!loan_is_out(c, &loan))
		return -EINVAL;
	if (loan.len)
		rc = loan.len > loan.cap ? -EINVAL : loan_ready(c, &loan);
	c->loaned -= (uint32_t)loan.cap;
	if (rc == 0 && loan.len) {
		write_chain(c, (uint32_t)loan.id, (uint32_t)loan.len);
		return 0;
	}
	vn_block_free(net->out_blocks, (uint32_t)loan.id);
	vn_net_on_room(net);
	return rc;
}

/**
 * vn_shutdown() - no more output: the peer reads the end of the stream after what was written
 *
 * Return: 0, or an error as vn_write().
 */
int
vn_shutdown(vn_conn *c)
{
	int rc = c ? write_check(c) : -EBADF;

	if (rc == 0)
		rc = c->net->ops->ready(c);
	if (rc < 0)
		return rc;
	c->flags |= VN_CONN_SHUT;
	c->net->ops->shut(c);
	return 0;
}

/**
 * vn_abort() - reset the connection
 *
 * The peer learns that the stream was cut. The handle is still to be closed.
 *
 * Return: 0, -ESTALE.
 */
int
vn_abort(vn_conn *c)
{
	if (!c)
		return -EBADF;
	if (c->flags & VN_CONN_STALE)
		return -ESTALE;
	if (c->flags & (VN_CONN_RESET | VN_CONN_ABORTED))
		return 0;
	c->flags |= VN_CONN_ABORTED;
	c->net->ops->abort(c);
	vn_conn_wake(&c->readers);
	vn_conn_wake(&c->writers);
	return 0;
}
