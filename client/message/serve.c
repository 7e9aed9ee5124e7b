/* SPDX-License-Identifier: MIT */
/*
 * Serve - what is done with one item after another
 */
#include <stdlib.h>

#include "client/hub/log.h"
#include "client/message/life.h"

/* How long a server takes nothing when there was no memory for a handler. */
#define PAUSE (100 * VN_MS)

typedef struct server {
	vn_rx *rx;
	vn_fn *fn;
} server;

/* Nothing more to come is no error to whoever takes all there is. */
static int
quietly(int rc)
{
	return rc == -EPIPE || rc == -EOWNERDEAD || rc == -ECANCELED ? 0 : rc;
}

/**
 * vn_consume() - run a function for one item after another
 * @rx: receiving end of pointers; stays the caller's
 * @f:  gets the hub and the item; what it returns is ignored
 *
 * Return: 0 when there is nothing more to come (-EPIPE, -EOWNERDEAD, -ECANCELED), -EBADF for NULL, -EINVAL if
 * items are no pointers, else the error that ended it: that of a wait, or an error item.
 */
int
vn_consume(vn_rx *rx, vn_fn *f)
{
	void *item;
	int rc;

	while ((rc = vn_recv(rx, &item)) == 0)
		f(rx->hub, item);
	return quietly(rc);
}

static void
item_drop(vn_hub *h, vn_rx *rx, void *item, int error)
{
	vn_log(h, LOG_ERR, "cannot serve what has arrived, it is dropped: %s", vn_strerror(error));
	if (rx->ops->drop)
		rx->ops->drop(rx, &item);
}

/* An error that was sent is for people to know; one that says that nothing will come any more ends the server. */
static int
error_take(vn_hub *h, int rc)
{
	if (vn_error_is_end(rc) || rc == -EDEADLK || rc == -EBUSY)
		return rc;
	vn_log(h, LOG_WARNING, "an error has arrived in place of what is to be served: %s",
		vn_strerror(rc));
	return vn_yield(h);
}

/* The handler runs before the next item is taken: an end that never waits does not starve it. */
static int
server_take(vn_hub *h, const server *s)
{
	void *item;
	int rc = vn_recv(s->rx, &item);

	if (rc < 0)
		return error_take(h, rc);
	rc = vn_spawn(h, s->fn, item);
	if (rc == 0)
		return vn_yield(h);
	item_drop(h, s->rx, item, rc);
	return vn_sleep(h, PAUSE);
}

static int
server_run(vn_hub *h, void *arg)
{
	server s = *(server *)arg;
	int rc;

	free(arg);
	while ((rc = server_take(h, &s)) == 0)
		;
	if (quietly(rc) < 0)
		vn_log(h, LOG_WARNING, "serving ends: %s", vn_strerror(rc));
	return vn_close(s.rx);
}

static int
server_start(vn_rx *rx, vn_fn *f)
{
	server *s = malloc(sizeof *s);
	int rc;

	if (!s)
		return -ENOMEM;
	*s = (server){rx, f};
	rc = vn_spawn(rx->hub, server_run, s);
	if (rc < 0)
		free(s);
	return rc;
}

/**
 * vn_serve() - run a function in a coroutine of its own for each item
 * @rx: receiving end of pointers; belongs to the server from here on, and is closed if that cannot begin
 * @f:  gets the hub and the item
 *
 * Returns at once. The end is closed when there is nothing more to come. Error items are logged.
 *
 * Return: 0, -EBADF for NULL, -EINVAL if items are no pointers, -ENOMEM, -ECANCELED when the hub is stopping.
 */
int
vn_serve(vn_rx *rx, vn_fn *f)
{
	int rc;

	if (!rx)
		return -EBADF;
	vn_rx_give(rx);
	rc = rx->item_size == sizeof(void *) ? server_start(rx, f) : -EINVAL;
	if (rc < 0)
		vn_close(rx);
	return rc;
}
