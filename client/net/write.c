/* SPDX-License-Identifier: MIT */
/*
 * Write - the write calls
 *
 * Output is copied into blocks of the output area (or written there by the program: vn_borrow) and staged
 * with the backend; it leaves when the hub turns. A write waits while a window of output is unsent, or while
 * its share of the area is used up; one block a connection may always have.
 *
 * Blocks start small and grow while a connection writes faster than it is drained.
 */
#include <errno.h>
#include <string.h>

#include "client/net/net.h"

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

/* May this connection have another block of that class? */
static bool
write_may_hold(const vn_conn *c, unsigned int size_class)
{
	uint32_t bytes = vn_block_class_bytes(size_class);

	if (vn_chain_is_empty(&c->out))
		return true;
	return c->out.charge + bytes <= c->net->window &&
	       c->out.charge + bytes <= vn_blocks_available(c->net->out_blocks) / 2;
}

static int
write_park(vn_conn *c)
{
	vn_clause clause = {0};
	int rc;

	if (c->writers.first)
		return -EBUSY;
	c->net->ops->need(c);
	vn_waitq_push(&c->writers, &clause);
	rc = vn_wait(c->net->hub, &clause, 1, VN_NEVER);
	if (rc < 0 || clause.result < 0) /* closed meanwhile: c is gone */
		return rc < 0 ? rc : clause.result;
	return write_check(c);
}

/* A block for output; waits for window and room. */
static int
write_block(vn_conn *c, unsigned int size_class, uint32_t *block)
{
	int rc;

	for (;;) {
		if (write_may_hold(c, size_class)) {
			*block = vn_block_alloc(c->net->out_blocks, size_class);
			if (*block != VN_NO_BLOCK)
				return 0;
		}
		rc = write_park(c);
		if (rc < 0)
			return rc;
	}
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

static int
write_new(vn_conn *c, const void *data, size_t n, uint32_t *written)
{
	uint32_t block, len;
	int rc = write_block(c, write_class(c, n), &block);

	if (rc < 0)
		return rc;
	len = vn_block_size(c->net->out_blocks, block);
	if (len > n)
		len = (uint32_t)n;
	vn_area_write(c->net->out_area, block, 0, data, len);
	write_chain(c, block, len);
	*written = len;
	return 0;
}

/**
 * vn_write() - send n bytes
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

	while (rc == 0 && n) {
		uint32_t len;

		rc = c->net->ops->ready(c);
		if (rc < 0)
			break;
		len = write_room(c);
		if (len) {
			len = len < n ? len : (uint32_t)n;
			write_append(c, from, len);
		} else {
			rc = write_new(c, from, n, &len);
			if (rc < 0)
				break;
		}
		from += len;
		n -= len;
	}
	return rc;
}

/**
 * vn_borrow() - room to write into, in place
 * @n: 1 to 65536
 * @l: filled in; l->cap is at least n, l->len is the program's to set
 *
 * Ownership: the program's until vn_publish(), which it must call before it closes the connection.
 *
 * Return: 0, -EMSGSIZE, or an error as vn_write().
 */
int
vn_borrow(vn_conn *c, size_t n, vn_loan *l)
{
	uint32_t block;
	int rc = c ? write_check(c) : -EBADF;

	*l = (vn_loan){NULL, 0, 0, VN_NO_BLOCK};
	if (rc == 0 && n > VN_BLOCK_MAX)
		rc = -EMSGSIZE;
	if (rc == 0)
		rc = write_block(c, vn_block_class(n), &block);
	if (rc < 0)
		return rc;
	l->data = vn_area_at(c->net->out_area, block, 0);
	l->cap = vn_block_size(c->net->out_blocks, block);
	l->id = block;
	return 0;
}

/**
 * vn_publish() - send what was written into a loan
 *
 * The loan is gone either way; with len 0 it is given back unsent.
 *
 * Return: 0, -EINVAL for a loan that is not one, or an error as vn_write().
 */
int
vn_publish(vn_conn *c, vn_loan *l)
{
	vn_loan loan = *l;
	int rc;

	*l = (vn_loan){NULL, 0, 0, VN_NO_BLOCK};
	if (!c)
		return -EBADF;
	if (!loan.data || loan.len > loan.cap)
		return -EINVAL;
	rc = write_check(c);
	if (rc == 0 && loan.len)
		rc = c->net->ops->ready(c);
	if (rc == 0 && loan.len)
		write_chain(c, (uint32_t)loan.id, (uint32_t)loan.len);
	else
		vn_block_free(c->net->out_blocks, (uint32_t)loan.id);
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
