/* SPDX-License-Identifier: MIT */
/*
 * End - sending and receiving, whatever the end is
 */
#include "client/message/end.h"

#define ERROR_MAX 4095 /* the kernel's, too */

/**
 * vn_end_wake() - end all waits in a queue, or those on behalf of one end
 * @q:      those who wait
 * @end:    put into clause->end by who waits; NULL: whatever the end
 * @result: what they get
 */
void
vn_end_wake(vn_waitq *q, const void *end, int result)
{
	vn_clause *c = q->first;

	while (c) {
		if (end && c->end != end) {
			c = c->next;
			continue;
		}
		vn_wake(c, result);
		c = q->first; /* more than one may have left */
	}
}

/**
 * vn_error_is_item() - may it be sent in place of an item?
 * @error: what vn_send_error() was given
 */
bool
vn_error_is_item(int error)
{
	return error < 0 && error >= -ERROR_MAX && error != -EAGAIN;
}

/**
 * vn_error_is_end() - does what a receiver got mean that nothing more will come?
 * @error: negative
 */
bool
vn_error_is_end(int error)
{
	return error == -EPIPE || error == -EOWNERDEAD || error == -ECANCELED || error == -ENOBUFS;
}

static int
end_wait(vn_hub *h, vn_waitq *q, bool one, vn_clause *clause)
{
	int rc;

	if (q->first && one && vn_end_stands(q, clause->end))
		return -EBUSY;
	vn_waitq_push(q, clause);
	rc = vn_wait(h, clause, 1, VN_NEVER);
	return rc < 0 ? rc : clause->result;
}

/* Ends without a short cut. Out of line, so that those with one need no frame here. */
static __attribute__((noinline)) int
tx_pass(vn_tx *tx, void *item)
{
	vn_clause clause = {.end = tx, .item = item};
	int rc = tx->ops->try(tx, item);

	return rc == -EAGAIN ? end_wait(tx->hub, tx->ops->queue(tx), tx->ops->one, &clause) : rc;
}

static __attribute__((noinline)) int
rx_pass(vn_rx *rx, void *item)
{
	vn_clause clause = {.end = rx, .item = item};
	int rc = rx->ops->try(rx, item);

	return rc == -EAGAIN ? end_wait(rx->hub, rx->ops->queue(rx), rx->ops->one, &clause) : rc;
}

/**
 * vn_send_item() - hand one item on
 * @tx:   sending end, or NULL
 * @item: copied from here
 * @size: what the end was made for
 *
 * Return: 0 when it was handed on (see the table in vanilla.h); -EPIPE, -EOWNERDEAD, -ETIMEDOUT, -ECANCELED,
 * -EDEADLK or -EBUSY when it never will be; -EALREADY for a value that is set; -EBADF for NULL, -EINVAL for
 * another size.
 */
int
vn_send_item(vn_tx *tx, const void *item, size_t size)
{
	void *from = (void *)(uintptr_t)item;

	if (!tx)
		return -EBADF;
	if (size != tx->item_size)
		return -EINVAL;
	return tx->ops->pass ? tx->ops->pass(tx, from) : tx_pass(tx, from);
}

/**
 * vn_recv_item() - get one item
 * @rx:   receiving end, or NULL
 * @item: copied to here
 * @size: what the end was made for
 *
 * Return: 0 with the item; an error that was sent in place of one; -EPIPE or -EOWNERDEAD when there will be none
 * any more, -ETIMEDOUT, -ECANCELED, -EDEADLK or -EBUSY; -EBADF for NULL, -EINVAL for another size.
 */
int
vn_recv_item(vn_rx *rx, void *item, size_t size)
{
	if (!rx)
		return -EBADF;
	if (size != rx->item_size)
		return -EINVAL;
	return rx->ops->pass ? rx->ops->pass(rx, item) : rx_pass(rx, item);
}

/**
 * vn_send_error() - hand an error on, in place of an item
 * @tx:    sending end, or NULL
 * @error: any negative errno but -EAGAIN
 *
 * Return: as vn_send_item(); -EINVAL for another number, or an end that takes none.
 */
int
vn_send_error(vn_tx *tx, int error)
{
	vn_clause clause = {.end = tx, .result = error};
	int rc;

	if (!tx)
		return -EBADF;
	if (!vn_error_is_item(error))
		return -EINVAL;
	rc = tx->ops->try_error ? tx->ops->try_error(tx, error) : -EINVAL;
	return rc == -EAGAIN ? end_wait(tx->hub, tx->ops->queue(tx), tx->ops->one, &clause) : rc;
}

/**
 * vn_rx_here() - what is made behind this end is made at this place
 * @rx:   receiving end, or NULL
 * @file: lives as long as the hub
 * @line: in it
 *
 * Return: @rx.
 */
vn_rx *
vn_rx_here(vn_rx *rx, const char *file, int line)
{
	if (rx)
		vn_here(rx->hub, file, line);
	return rx;
}
