/* SPDX-License-Identifier: MIT */
/*
 * Direct listen - who comes in, and who has to wait or to go
 *
 * When no descriptor or memory is left, or as many connections are there as may be, nothing is accepted: others wait in
 * the kernel. The listener is looked at again every PAUSE, or when a connection of its own has ended. Whoever has
 * waited so for VANILLA_QUEUE_TIMEOUT is refused, so that nobody waits for ever: for that a descriptor is kept in
 * reserve. Refused connections are reset, so that the client can tell, and counted by reason; the counts are logged,
 * at most once in TELL_EVERY.
 *
 * Where PROXY headers are asked for, a connection is nobody's until its header has been read; limits per client hold
 * for whom it names.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/hub/log.h"
#include "client/net/direct.h"
#include "client/net/proxy.h"

#define PAUSE         (100 * VN_MS)
#define TELL_EVERY    (10 * VN_SEC)
#define ACCEPT_BATCH  64
#define QUEUE_DEFAULT (30 * VN_SEC)

static void direct_accept(vn_watch *w, uint32_t events);

/* Doors. */

static bool
needs_door(const vn_endpoint_options *o)
{
	return vn_gate_looks(o) || vn_patience_ends(o) || o->max;
}

static vn_door *
door_free(vn_door *door)
{
	if (door)
		vn_gate_free(door->gate);
	free(door);
	return NULL;
}

/* NULL with errno 0 if there is nothing to ask. */
static vn_door *
door_new(vn_listener *l)
{
	const vn_endpoint_options *o = &l->endpoint.options;
	vn_door *door;

	errno = 0;
	if (!needs_door(o))
		return NULL;
	door = calloc(1, sizeof *door);
	if (!door)
		return NULL;
	door->options = *o;
	door->listener = l;
	door->is_timed = vn_patience_ends(o);
	door->told_at = -TELL_EVERY;
	if (o->per_address || o->rate)
		door->gate = vn_gate_new(o);
	return (o->per_address || o->rate) && !door->gate ? door_free(door) : door;
}

/* Refusals. */

static void
refusals_tell(const vn_listener *l, vn_door *door)
{
	char text[256] = "";
	size_t len = 0;

	for (int i = 0; i < VN_N_REFUSALS; i++)
		if (door->n_untold[i] && len < sizeof text)
			len += (size_t)snprintf(text + len, sizeof text - len, "%s%s %" PRIu64,
				len ? ", " : "", vn_refusal_name((vn_refusal)i), door->n_untold[i]);
	memset(door->n_untold, 0, sizeof door->n_untold);
	vn_log(l->net->hub, LOG_WARNING, "%s: connections refused: %s", l->url, text);
}

static void
refusal_count(vn_door *door, vn_refusal refusal)
{
	const vn_listener *l = door->listener;

	door->n_untold[refusal]++;
	if (!l || l->net->hub->now - door->told_at < TELL_EVERY)
		return;
	door->told_at = l->net->hub->now;
	refusals_tell(l, door);
}

static void
close_by_reset(int fd)
{
	struct linger linger = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
	close(fd);
}

/**
 * vn_direct_refuse() - end a connection that no handler has seen
 */
void
vn_direct_refuse(vn_conn *c, vn_refusal refusal)
{
	refusal_count(c->door, refusal);
	vn_direct_abort(c);
	vn_direct_finish(c);
}

/**
 * vn_direct_leave() - the socket of a connection is closed: its door has room for another one
 */
void
vn_direct_leave(vn_conn *c)
{
	vn_door *door = c->door;
	vn_listener *l;

	if (!door)
		return;
	l = door->listener;
	c->door = NULL;
	door->n_conns--;
	if (door->gate && !(c->flags & VN_CONN_HEADER))
		vn_gate_leave(door->gate, &c->peer);
	if (!l && door->n_conns == 0)
		door_free(door);
	else if (l && vn_timer_armed(&l->pause))
		vn_wheel_arm(l->net->hub->wheel, &l->pause, l->net->hub->now);
}

/* Accepting. */

/* A connection is there and may come in, or its header is to be read first. */
static int
conn_open(vn_listener *l, int fd, const vn_desc_peer *peer)
{
	vn_door *door = l->door;
	vn_conn *c = vn_conn_new(l->net, l, peer);
	int rc;

	if (!c) {
		close(fd);
		return -ENOMEM;
	}
	c->fd = fd;
	c->in_class = 1;
	c->flags |= VN_CONN_WRITABLE;
	rc = vn_direct_watch(vn_direct_of(l->net), c);
	if (rc < 0) {
		close(fd);
		vn_conn_free(c);
		return rc;
	}
	c->door = door;
	if (door)
		door->n_conns++;
	if (door && door->options.proxy)
		c->flags |= VN_CONN_HEADER;
	else if (!(l->flags & VN_RESUMABLE))
		vn_listener_give(l, c);
	return 0;
}

/* Asks the gate, if there is one. */
static int
admit(vn_listener *l, int fd, const vn_desc_peer *peer)
{
	vn_door *door = l->door;
	vn_refusal refusal = vn_gate_check(&door->options, peer);
	bool now = !door->options.proxy;
	int rc;

	if (refusal == VN_ADMITTED && now)
		refusal = vn_gate_enter(
			door->gate, &door->options, peer, vn_hub_after(l->net->hub, 0));
	if (refusal != VN_ADMITTED) {
		close_by_reset(fd);
		refusal_count(door, refusal);
		return 0;
	}
	rc = conn_open(l, fd, peer);
	if (rc < 0 && now)
		vn_gate_leave(door->gate, peer);
	return rc;
}

static int
accept_one(vn_listener *l)
{
	struct sockaddr_storage sa = {0};
	socklen_t len = sizeof sa;
	const vn_sys *sys = l->net->hub->sys;
	const vn_door *door = l->door;
	vn_desc_peer peer;
	int fd;

	if (door && door->options.max && door->n_conns >= door->options.max)
		return -EBUSY;
	fd = sys->accept(sys, l->fd, (struct sockaddr *)(void *)&sa, &len);
	if (fd < 0)
		return fd;
	vn_endpoint_peer(fd, &sa, &peer);
	return door ? admit(l, fd, &peer) : conn_open(l, fd, &peer);
}

static void
accept_resume(vn_timer *t)
{
	vn_listener *l = (vn_listener *)(void *)((char *)t - offsetof(vn_listener, pause));

	if (vn_watch_add(l->net->hub->poller, &l->watch, l->fd, EPOLLIN, direct_accept) < 0)
		vn_wheel_arm(l->net->hub->wheel, t, l->net->hub->now + PAUSE);
}

/* Those who have waited for so long are told; the one descriptor that is kept for this is used for each of them. */
static void
refuse_waiting(vn_listener *l, vn_refusal refusal)
{
	vn_direct *d = vn_direct_of(l->net);
	const vn_sys *sys = l->net->hub->sys;
	uint32_t n = 0;
	int fd = 0;

	for (; fd >= 0 && n < ACCEPT_BATCH; n += fd >= 0) {
		struct sockaddr_storage sa;
		socklen_t len = sizeof sa;

		if (d->reserve >= 0)
			close(d->reserve);
		fd = sys->accept(sys, l->fd, (struct sockaddr *)(void *)&sa, &len);
		if (fd >= 0)
			close_by_reset(fd);
		if (fd >= 0 && l->door)
			refusal_count(l->door, refusal);
		d->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	}
	if (fd == -EAGAIN)
		l->blocked_since = 0; /* nobody waits: whoever comes next has as long */
	if (n && !l->door)
		vn_log(l->net->hub, LOG_WARNING, "%s: connections refused: %s %" PRIu32, l->url,
			vn_refusal_name(refusal), n);
}

static const char *
pause_advice(vn_refusal refusal)
{
	return refusal == VN_REFUSED_MAX
		       ? "as many connections as max allows; others wait"
		       : "no descriptor or memory is free; others wait, raise the descriptor limit "
			 "(ulimit -n) if this stays";
}

/* Not a spin, a pause. */
static void
accept_pause(vn_listener *l, int rc)
{
	vn_hub *h = l->net->hub;
	vn_refusal refusal = vn_refusal_of(rc);
	vn_time now = vn_hub_after(h, 0); /* the hub may have slept for long */

	if (!l->blocked_since) {
		l->blocked_since = now;
		if (now - l->blocked_told >= TELL_EVERY) {
			l->blocked_told = now;
			vn_log(h, LOG_WARNING, "%s: %s", l->url, pause_advice(refusal));
		}
	} else if (now - l->blocked_since >= l->patience) {
		refuse_waiting(l, refusal);
	}
	vn_watch_remove(h->poller, &l->watch);
	vn_wheel_arm(h->wheel, &l->pause, now + PAUSE);
}

static void
direct_accept(vn_watch *w, uint32_t events)
{
	vn_listener *l = (vn_listener *)(void *)((char *)w - offsetof(vn_listener, watch));
	int rc = 0;

	(void)events;
	for (int i = 0; i < ACCEPT_BATCH && rc != -EAGAIN; i++) {
		rc = accept_one(l);
		if (rc == -EMFILE || rc == -ENFILE || rc == -ENOMEM || rc == -ENOBUFS ||
			rc == -ENOSPC || rc == -EBUSY) {
			accept_pause(l, rc);
			return;
		}
		if (rc == 0)
			l->blocked_since = 0;
		if (rc == 0 && l->door && l->door->n_conns == l->door->options.max)
			return; /* if others are there, we are called again */
	}
}

/**
 * vn_direct_header() - a connection may have its PROXY header
 * @is_last: the client has finished, or worse
 *
 * With it, it is a connection like others, of the client that the header names.
 */
void
vn_direct_header(vn_conn *c, bool is_last)
{
	vn_door *door = c->door;
	vn_desc_peer peer = c->peer;
	int rc = vn_proxy_receive(c->fd, door->options.proxy, &peer);
	vn_refusal refusal = VN_REFUSED_HEADER;

	if (rc == -EAGAIN && !is_last) {
		c->flags &= ~(uint32_t)VN_CONN_READABLE;
		return;
	}
	if (rc == 0)
		refusal = vn_gate_enter(
			door->gate, &door->options, &peer, vn_hub_after(c->net->hub, 0));
	if (refusal != VN_ADMITTED) {
		vn_direct_refuse(c, refusal);
		return;
	}
	c->flags &= ~(uint32_t)VN_CONN_HEADER;
	c->peer = peer;
	if (!(c->flags & VN_CONN_RESUMABLE))
		vn_listener_give(c->listener, c);
	vn_direct_input(c, is_last);
}

/* Listening. */

static int
listener_open(vn_net *net, vn_listener *l, const char *url, char why[static 256])
{
	int rc = vn_endpoint_parse(&l->endpoint, url, why);

	if (rc < 0)
		return rc;
	l->door = door_new(l);
	if (!l->door && errno) {
		strcpy(why, "out of memory");
		return -ENOMEM;
	}
	rc = l->fd = vn_endpoint_listen(&l->endpoint, why);
	if (rc < 0)
		return rc;
	rc = vn_watch_add(net->hub->poller, &l->watch, l->fd, EPOLLIN, direct_accept);
	if (rc == 0)
		return 0;
	snprintf(why, 256, "%s", vn_strerror(rc));
	close(l->fd);
	return rc;
}

/**
 * vn_direct_listen() - listen on a socket of our own
 */
int
vn_direct_listen(vn_net *net, vn_listener *l, const char *url)
{
	vn_direct *d = vn_direct_of(net);
	char why[256];
	int rc;

	l->pause.fire = accept_resume;
	l->patience = vn_net_duration(getenv("VANILLA_QUEUE_TIMEOUT"), QUEUE_DEFAULT);
	l->blocked_told = -TELL_EVERY;
	rc = listener_open(net, l, url, why);
	if (rc < 0) {
		vn_log(net->hub, LOG_ERR, "%s: cannot listen: %s", url ? url : "(null)", why);
		l->door = door_free(l->door);
		return rc;
	}
	vn_endpoint_name(l->fd, l->url);
	vn_hub_hold(net->hub);
	if (d->reserve < 0)
		d->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	vn_direct_look(d, &l->endpoint.options);
	return 0;
}

/**
 * vn_direct_listener_shut() - accept nothing more
 */
void
vn_direct_listener_shut(vn_net *net, vn_listener *l)
{
	vn_door *door = l->door;

	if (l->fd < 0)
		return;
	vn_wheel_disarm(net->hub->wheel, &l->pause);
	vn_watch_remove(net->hub->poller, &l->watch);
	vn_endpoint_unlink(
		&l->endpoint); /* before the close: afterwards the path may be another's */
	close(l->fd);
	l->fd = -1;
	vn_hub_unhold(net->hub);
	l->door = NULL;
	if (!door)
		return;
	door->listener = NULL;
	if (door->n_conns == 0)
		door_free(door);
}
