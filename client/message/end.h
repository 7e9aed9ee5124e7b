/* SPDX-License-Identifier: MIT */
/*
 * End - what every sending and receiving end has in common
 *
 * vn_send(), vn_recv(), vn_select() and vn_close() know only this. `try` does it now or says -EAGAIN; `queue`
 * is where somebody who must wait stands; the thing decides the clause when it has done it: for a receiver it
 * has written the item to clause->item, for a sender it has read it from there.
 */
#ifndef VN_MESSAGE_END_H
#define VN_MESSAGE_END_H

#include "client/hub/hub.h"

typedef struct vn_end_ops {
	int (*try)(
		void *end, void *item); /* 0, -EAGAIN, or the error that the end will always give */
	vn_waitq *(*queue)(void *end);
	int (*close)(void *end); /* frees it */
	bool one;                /* only one coroutine may wait: others get -EBUSY */
	int (*pass)(void *end,
		void *item); /* the whole of it, waiting included: a short cut; may be NULL */
	void (*drop)(
		void *item); /* an item that vn_serve() took and could not serve; may be NULL */
} vn_end_ops;

struct vn_tx {
	const vn_end_ops *ops;
	vn_hub *hub;
	size_t item_size;
};

struct vn_rx {
	const vn_end_ops *ops;
	vn_hub *hub;
	size_t item_size;
};

/*
 * What client/net gives to vn_select() for VN_READ: commits as every read call does, then says whether a read
 * would go on at once (0) or must wait (-EAGAIN) in the queue.
 */
int vn_conn_try_read(vn_conn *c);
vn_waitq *vn_conn_read_queue(vn_conn *c);

#endif
