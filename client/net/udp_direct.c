/* SPDX-License-Identifier: MIT */
/*
 * Udp direct - datagrams of a program that has sockets of its own
 *
 * What has arrived is received into blocks as soon as the hub turns, a batch at a time and within the window; what
 * no block holds waits in the kernel, which drops the rest and counts it. What was sent leaves at the end of the
 * turn, a batch in one call.
 *
 * A socket is watched level-triggered and for what is wanted alone: an endpoint whose window is full is not
 * looked at, and room for output is asked about only when there was none. (An edge for output would come with
 * each datagram that leaves.)
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/hub/log.h"
#include "client/net/udp.h"

#define AGAIN  VN_MS  /* after the kernel had no memory for output, of which it does not tell */
#define LINGER VN_SEC /* a closed endpoint's output is waited for */

typedef struct vn_udp_direct {
	vn_net *net;
	vn_hook hook;
	vn_datagram_batch *batch;
	vn_udp *dirty;       /* something to send at the end of this turn */
	vn_listener *closed; /* with output that has not left */
} vn_udp_direct;

static vn_udp_direct *
direct_of(const vn_udp *u)
{
	return u->listener.net->udp;
}

static vn_udp *
udp_of(vn_listener *l)
{
	return (vn_udp *)(void *)l;
}

static bool
is_full(const vn_udp *u)
{
	return u->in.chain.charge >= u->listener.net->window;
}

static void direct_event(vn_watch *w, uint32_t events);

/* Watches for what is wanted now. */
static void
udp_watch(vn_udp *u)
{
	vn_hub *h = u->listener.net->hub;
	uint32_t wanted = u->is_parked ? EPOLLOUT : 0;

	if (!u->listener.ended && !is_full(u))
		wanted |= EPOLLIN;
	if (wanted == u->watched)
		return;
	vn_watch_remove(h->poller, &u->watch);
	u->watched = 0;
	if (wanted == 0)
		return;
	if (vn_watch_add(h->poller, &u->watch, u->socket.fd, wanted, direct_event) == 0)
		u->watched = wanted;
	else
		vn_wheel_arm(h->wheel, &u->again, h->now + AGAIN);
}

/* What the network says of the peer. */
static void
tell_error(vn_udp *u)
{
	int error = u->socket.error;

	if (!error)
		return;
	u->socket.error = 0;
	if (!u->is_closed)
		vn_udp_on_refused(u, error);
}

/* Input. */

/* One message, in a block as large as what comes with it. */
static void
direct_arrived(void *arg, const vn_datagram_head *h, const void *data, size_t rest)
{
	vn_udp *u = arg;

	if (vn_datagram_is_denied(&u->listener.endpoint.options, h) ||
		!vn_frames_add(&u->in, &u->in_frames, h, data, vn_block_class(h->len + rest)))
		u->n_lost += vn_frame_datagrams(h);
}

/* As many as the window has room for, if they are like those before. */
static unsigned int
batch_size(const vn_udp *u)
{
	uint32_t left = u->listener.net->window - u->in.chain.charge,
		 n = left / (u->socket.mean + VN_FRAME_HEAD) + 1;

	return n < VN_DATAGRAM_BATCH ? n : VN_DATAGRAM_BATCH;
}

static void
direct_receive(vn_udp *u)
{
	vn_hub *h = u->listener.net->hub;
	uint64_t before = u->in.end;

	vn_datagram_receive(
		&u->socket, h->sys, direct_of(u)->batch, batch_size(u), direct_arrived, u);
	vn_frames_seal(&u->in);
	if (u->in.end != before)
		vn_udp_on_input(u);
	tell_error(u);
}

/* Output. */

static void
direct_mark(vn_udp *u)
{
	vn_udp_direct *d = direct_of(u);

	if (u->is_dirty)
		return;
	u->is_dirty = true;
	u->next_dirty = d->dirty;
	d->dirty = u;
}

static void
direct_again(vn_timer *t)
{
	vn_udp *u = (vn_udp *)(void *)((char *)t - offsetof(vn_udp, again));

	direct_mark(u);
	udp_watch(u);
}

/* It was closed, and nothing of it is left to be done. */
static void
direct_finish(vn_udp *u)
{
	vn_net *net = u->listener.net;
	vn_udp **link = &net->udp->dirty;

	while (u->is_dirty && *link != u)
		link = &(*link)->next_dirty;
	if (u->is_dirty)
		*link = u->next_dirty;
	vn_listener_unlink(&u->listener);
	vn_wheel_disarm(net->hub->wheel, &u->again);
	vn_watch_remove(net->hub->poller, &u->watch);
	close(u->socket.fd);
	vn_chain_free(&u->in.chain, u->in_frames.table, u->in_frames.blocks, UINT64_MAX);
	vn_chain_free(&u->out.chain, u->out_frames.table, u->out_frames.blocks, UINT64_MAX);
	vn_net_on_room(net);
	vn_udp_free(u);
}

static bool
is_over(const vn_udp *u)
{
	return u->is_closed &&
	       (u->sent == u->out.end || u->listener.net->hub->now >= u->linger_until);
}

/* Sends what is there. */
static void
direct_send(vn_udp *u)
{
	vn_hub *h = u->listener.net->hub;
	int rc;

	vn_frames_seal(&u->out);
	if (u->sent == u->out.end || u->is_parked)
		return;
	rc = vn_datagram_send(&u->socket, h->sys, direct_of(u)->batch, &u->out_frames,
		u->out.chain.first, u->out.end, &u->sending);
	if (u->sending.at > u->sent)
		vn_udp_on_sent(u, u->sending.at);
	tell_error(u);
	u->is_parked = rc == -EAGAIN;
	if (rc < 0)
		vn_wheel_arm(h->wheel, &u->again, h->now + (u->is_parked ? LINGER : AGAIN));
	udp_watch(u);
}

static void
direct_event(vn_watch *w, uint32_t events)
{
	vn_udp *u = (vn_udp *)(void *)((char *)w - offsetof(vn_udp, watch));

	if (events & EPOLLOUT) {
		u->is_parked = false;
		direct_mark(u);
	}
	if (events & EPOLLERR)
		vn_datagram_look(&u->socket);
	tell_error(u);
	if (!u->listener.ended && !is_full(u))
		direct_receive(u);
	udp_watch(u);
}

static bool
direct_turn(vn_hook *k)
{
	vn_udp_direct *d = (vn_udp_direct *)(void *)((char *)k - offsetof(vn_udp_direct, hook));

	while (d->dirty) {
		vn_udp *u = d->dirty;

		d->dirty = u->next_dirty;
		u->is_dirty = false;
		direct_send(u);
		if (is_over(u))
			direct_finish(u);
	}
	return false;
}

static bool
direct_arm(vn_hook *k)
{
	return !((vn_udp_direct *)(void *)((char *)k - offsetof(vn_udp_direct, hook)))->dirty;
}

/* What the calls ask for. */

/**
 * vn_udp_direct_acked() - the program is done with input
 */
void
vn_udp_direct_acked(vn_udp *u)
{
	vn_chain_free(&u->in.chain, u->in_frames.table, u->in_frames.blocks, u->acked);
	vn_net_on_room(u->listener.net);
	if (!(u->watched & EPOLLIN) && !u->is_closed)
		udp_watch(u);
}

void
vn_udp_direct_sends(vn_udp *u)
{
	direct_mark(u);
}

int
vn_udp_direct_join(vn_udp *u, const vn_desc_peer *group, bool leave)
{
	int rc = vn_datagram_join(&u->socket, group, leave);

	return rc == -EADDRINUSE ? 0 : rc;
}

void
vn_udp_direct_count(const vn_udp *u, vn_udp_counts *c)
{
	c->dropped = vn_datagram_dropped(&u->socket) + u->n_lost;
	c->refused = u->socket.n_refused;
}

static int
direct_init(vn_net *net)
{
	vn_udp_direct *d = calloc(1, sizeof *d);

	if (!d)
		return -ENOMEM;
	d->net = net;
	d->batch = vn_datagram_batch_new();
	if (!d->batch) {
		free(d);
		return -ENOMEM;
	}
	d->hook.turn = direct_turn;
	d->hook.arm = direct_arm;
	vn_hub_hook(net->hub, &d->hook);
	net->udp = d;
	return 0;
}

/* The socket is there. */
static int
direct_begin(vn_udp *u)
{
	vn_listener *l = &u->listener;
	int rc;

	u->family = u->socket.family;
	u->again.fire = direct_again;
	u->watch.fd = -1;
	rc = vn_watch_add(l->net->hub->poller, &u->watch, u->socket.fd, EPOLLIN, direct_event);
	if (rc < 0) {
		close(u->socket.fd);
		return rc;
	}
	u->watched = EPOLLIN;
	u->port = u->socket.port;
	vn_endpoint_name(u->socket.fd, l->url);
	return 0;
}

/**
 * vn_udp_direct_bind() - a socket of its own for an endpoint
 *
 * Return: 0, or why not, having said it.
 */
int
vn_udp_direct_bind(vn_udp *u, const char *url)
{
	vn_listener *l = &u->listener;
	vn_hub *h = l->net->hub;
	char why[256] = "out of memory";
	int rc = l->net->udp ? 0 : direct_init(l->net);

	if (rc == 0)
		rc = vn_endpoint_parse(&l->endpoint, url, why);
	if (rc == 0)
		rc = vn_datagram_open(&u->socket, &l->endpoint, why);
	if (rc < 0) {
		vn_log(h, LOG_ERR, "%s: cannot bind: %s", url ? url : "(null)", why);
		return rc;
	}
	return direct_begin(u);
}

/**
 * vn_udp_direct_connect() - a socket of its own that is connected to a peer
 *
 * Return: 0, or as vn_datagram_connect().
 */
int
vn_udp_direct_connect(vn_udp *u, const vn_endpoint *to)
{
	vn_net *net = u->listener.net;
	char why[256];
	int rc = net->udp ? 0 : direct_init(net);

	if (rc == 0)
		rc = vn_datagram_connect(&u->socket, to, why);
	return rc < 0 ? rc : direct_begin(u);
}

/**
 * vn_udp_direct_unbind() - it was closed: what was sent leaves, if the kernel takes it soon
 */
void
vn_udp_direct_unbind(vn_udp *u)
{
	vn_udp_direct *d = direct_of(u);
	vn_listener *l = &u->listener;

	u->linger_until = l->net->hub->now + LINGER;
	l->next = d->closed;
	l->link = &d->closed;
	if (l->next)
		l->next->link = &l->next;
	d->closed = l;
	direct_send(u);
	udp_watch(u);
	if (is_over(u))
		direct_finish(u);
}

/**
 * vn_udp_direct_deinit() - the program ends, and has closed everything
 */
void
vn_udp_direct_deinit(vn_net *net)
{
	vn_udp_direct *d = net->udp;

	if (!d)
		return;
	while (d->closed)
		direct_finish(udp_of(d->closed));
	vn_hub_unhook(net->hub, &d->hook);
	vn_datagram_batch_free(d->batch);
	free(d);
	net->udp = NULL;
}
