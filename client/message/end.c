/* SPDX-License-Identifier: MIT */
/*
 * End - sending, receiving and closing, whatever the end is
 */
#include "client/message/end.h"

#include <errno.h>

static int
end_wait(vn_hub *h, vn_waitq *q, bool one, void *item, size_t size)
{
	vn_clause clause;
	int rc;

	if (one && q->first)
		return -EBUSY;
	clause.item = item;
	clause.size = size;
	vn_waitq_push(q, &clause);
	rc = vn_wait(h, &clause, 1, VN_NEVER);
	return rc < 0 ? rc : clause.result;
}

/* Ends without a short cut. Out of line, so that those with one need no frame here. */
static __attribute__((noinline)) int
tx_pass(vn_tx *tx, void *item)
{
	int rc = tx->ops->try(tx, item);

	if (rc != -EAGAIN)
		return rc;
	return end_wait(tx->hub, tx->ops->queue(tx), tx->ops->one, item, tx->item_size);
}

static __attribute__((noinline)) int
rx_pass(vn_rx *rx, void *item)
{
	int rc = rx->ops->try(rx, item);

	if (rc != -EAGAIN)
		return rc;
	return end_wait(rx->hub, rx->ops->queue(rx), rx->ops->one, item, rx->item_size);
}

/**
 * vn_send_item() - hand one item on
 * @tx:   sending end, or NULL
 * @item: copied from here
 * @size: what the end was made for
 *
 * Return: 0 when the receiver has it; -EPIPE, -ETIMEDOUT, -ECANCELED, -EDEADLK or -EBUSY when it never will;
 * -EBADF for NULL, -EINVAL for another size.
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
 * Return: 0 with the item; -EPIPE when there will be none any more, -ETIMEDOUT, -ECANCELED, -EDEADLK or -EBUSY;
 * -EBADF for NULL, -EINVAL for another size.
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
 * vn_tx_close() - there is no more to come; frees the end
 * @tx: sending end, or NULL
 *
 * Whoever waits at either end gets -EPIPE.
 *
 * Return: 0.
 */
int
vn_tx_close(vn_tx *tx)
{
	return tx ? tx->ops->close(tx) : 0;
}

/**
 * vn_rx_close() - nothing more is wanted; frees the end
 * @rx: receiving end, or NULL
 *
 * Whoever waits at either end gets -EPIPE.
 *
 * Return: 0.
 */
int
vn_rx_close(vn_rx *rx)
{
	return rx ? rx->ops->close(rx) : 0;
}
