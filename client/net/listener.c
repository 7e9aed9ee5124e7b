/* SPDX-License-Identifier: MIT */
/*
 * Listener - the receiving end that dispenses connections
 *
 * A backend gives it connections; each goes to the coroutine that has waited longest, or into the backlog.
 * When no more will come (closed, draining) the backlog is still dispensed, then the end gives its error.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/hub/log.h"
#include "client/hub/place.h"
#include "client/net/net.h"

static int
listener_try(void *end, void *item)
{
	vn_listener *l = end;
	vn_conn *c = l->backlog_first;

	if (!c)
		return l->ended ? -ECANCELED : -EAGAIN;
	l->backlog_first = c->next;
	memcpy(item, &c, sizeof c);
	return 0;
}

static vn_waitq *
listener_queue(void *end)
{
	return &((vn_listener *)end)->takers;
}

/* Into the list of those that end with the program. */
void
vn_listener_link(vn_listener *l)
{
	vn_net *net = l->net;

	l->next = net->listeners;
	l->link = &net->listeners;
	if (l->next)
		l->next->link = &l->next;
	net->listeners = l;
}

/* Linked or not. */
void
vn_listener_unlink(vn_listener *l)
{
	if (!l->link)
		return;
	*l->link = l->next;
	if (l->next)
		l->next->link = l->link;
	l->link = NULL;
}

static int
listener_close(void *end)
{
	vn_listener *l = end;
	vn_conn *c;

	while ((c = l->backlog_first)) {
		l->backlog_first = c->next;
		vn_abort(c);
		vn_conn_close(c);
	}
	l->ended = true;
	while (l->takers.first)
		vn_wake(l->takers.first, -EPIPE);
	l->net->ops->unlisten(l->net, l);
	vn_listener_unlink(l);
	free(l);
	return 0;
}

static void
listener_drop(void *end, void *item)
{
	vn_conn *c;

	(void)end;
	memcpy(&c, item, sizeof c);
	vn_abort(c);
	vn_conn_close(c);
}

static const vn_end_ops listener_ops = {
	.try = listener_try,
	.queue = listener_queue,
	.close = listener_close,
	.drop = listener_drop,
};

/**
 * vn_listen() - receive connections from an endpoint
 * @url:   see vanilla.h
 * @flags: VN_RESUMABLE or 0
 *
 * Ownership: the caller's, until vn_close(). Under a broker it waits for the broker's answer.
 *
 * Return: an end that dispenses vn_conn *, or NULL with errno; the log has a sentence.
 */
vn_rx *(vn_listen)(vn_hub *h, const char *url, unsigned flags)
{
	vn_net *net = h->net;
	vn_listener *l = calloc(1, sizeof *l);
	int rc;

	if (!l)
		return NULL;
	vn_place_note(h, l, 0);
	l->rx = (vn_rx){.ops = &listener_ops, .hub = h, .item_size = sizeof(vn_conn *)};
	l->net = net;
	l->flags = flags;
	l->fd = -1;
	l->watch.fd = -1;
	rc = net->draining ? -ECANCELED : net->ops->listen(net, l, url);
	if (rc < 0) {
		free(l);
		errno = -rc;
		return NULL;
	}
	vn_listener_link(l);
	return &l->rx;
}

/**
 * vn_url() - what a listener is bound to, the port filled in
 *
 * Return: the URL, which lives as long as the listener; NULL with errno EBADF for another kind of end.
 */
const char *
vn_url(vn_rx *listener)
{
	if (!listener || listener->ops != &listener_ops) {
		errno = EBADF;
		return NULL;
	}
	return ((vn_listener *)(void *)listener)->url;
}

/**
 * vn_listener_give() - a new connection, to whoever waits or into the backlog
 */
void
vn_listener_give(vn_listener *l, vn_conn *c)
{
	c->flags |= VN_CONN_OPEN;
	l->net->n_open++;
	if (l->takers.first) {
		vn_clause *taker = l->takers.first;

		memcpy(taker->item, &c, sizeof c);
		vn_wake(taker, 0);
		return;
	}
	c->next = NULL;
	if (l->backlog_first)
		l->backlog_last->next = c;
	else
		l->backlog_first = c;
	l->backlog_last = c;
}

/**
 * vn_listener_end() - nothing more will come: whoever waits gets -ECANCELED; not so where we asked to be connected
 */
void
vn_listener_end(vn_listener *l)
{
	if (l->is_dialled)
		return;
	l->ended = true;
	if (l->on_end)
		l->on_end(l);
	while (l->takers.first)
		vn_wake(l->takers.first, -ECANCELED);
}
