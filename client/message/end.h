/* SPDX-License-Identifier: MIT */
/*
 * End - what every sending and receiving end has in common
 *
 * vn_send(), vn_recv(), vn_select() and vn_close() know only this. `try` does it now or says -EAGAIN; `queue`
 * is where somebody who must wait stands; the thing decides the clause when it has done it: for a receiver it
 * has written the item to clause->item, for a sender it has read it from there. Who waits has put the end into
 * clause->end and 0 into clause->result; a sender that waits with an error in place of an item has put that there.
 *
 * An end begins with one owner and ends when the last one closes it; what else is to happen then, life.c knows.
 */
#ifndef VN_MESSAGE_END_H
#define VN_MESSAGE_END_H

#include <errno.h>
#include <string.h>

#include "client/hub/hub.h"

typedef void vn_drop_fn(void *arg, void *item);

/* All that comes after `one` may be NULL. */
typedef struct vn_end_ops {
	/* 0, -EAGAIN, or an error: for a receiver one that was sent, or that the end will always give */
	int (*try)(void *end, void *item);
	vn_waitq *(*queue)(void *end);
	int (*close)(void *end); /* frees it; whoever waits there gets -EPIPE */
	bool one;                /* only one coroutine may wait: others get -EBUSY */

	int (*pass)(void *end, void *item); /* the whole of it, waiting included: a short cut */
	/* `try`, and `queue` if that says -EAGAIN, else NULL and *result: a short cut for selects */
	vn_waitq *(*poll)(void *end, void *item, int *result);
	void (*drop)(void *end, void *item); /* nobody will get this item; NULL: it owns nothing */
	int (*on_drop)(void *end, vn_drop_fn *f, void *arg);

	/* of senders */
	int (*try_error)(void *end, int error);
	/* where to stand until the receiving end has closed; NULL: it has, *result is what a sender gets */
	vn_waitq *(*gone)(void *end, int *result);
	struct vn_rx *(*receiver)(void *end, struct vn_rx *after); /* each that gets what is sent */

	/* of receivers */
	struct vn_tx *(*sender)(void *end); /* the only end from which it gets anything */
} vn_end_ops;

typedef struct vn_life {
	uint32_t n_dups;      /* owners but one */
	int how;              /* for `close`: 0, or -EOWNERDEAD */
	struct vn_will *will; /* NULL: nothing more is to happen */
} vn_life;

struct vn_tx {
	const vn_end_ops *ops;
	vn_hub *hub;
	size_t item_size;
	vn_life life;
};

struct vn_rx {
	const vn_end_ops *ops;
	vn_hub *hub;
	size_t item_size;
	vn_life life;
};

/* What the other side gets. */
static inline int
vn_life_result(const vn_life *l)
{
	return l->how ? l->how : -EPIPE;
}

/* Most items are pointers. */
static inline void
vn_item_copy(void *to, const void *from, size_t size)
{
	if (__builtin_expect(size == sizeof(void *), 1))
		memcpy(to, from, sizeof(void *));
	else if (size > 0)
		memcpy(to, from, size);
}

/* Does somebody stand there on behalf of this end? Ends that were joined share a queue. */
static inline bool
vn_end_stands(const vn_waitq *q, const void *end)
{
	const vn_clause *c = q->first;

	while (c && c->end != end)
		c = c->next;
	return c != NULL;
}

/* Ends all waits in a queue, or with an end those on behalf of it. */
void vn_end_wake(vn_waitq *q, const void *end, int result);
bool vn_error_is_item(int error); /* may it be sent in place of one? */
bool vn_error_is_end(int error);  /* does it mean that nothing more will come? */

/*
 * What client/net gives to vn_select() for VN_READ: commits as every read call does, then says whether a read
 * would go on at once (0) or must wait (-EAGAIN) in the queue.
 */
int vn_conn_try_read(vn_conn *c);
vn_waitq *vn_conn_read_queue(vn_conn *c);

#endif
