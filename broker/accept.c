/* SPDX-License-Identifier: MIT */
/*
 * Accept - an endpoint without limits takes everybody, one with limits looks first
 *
 * When no descriptor, memory or record is left, or as many connections are there as `max` allows, nothing is
 * accepted: others wait in the kernel. The endpoint is tried again every PAUSE, or when a connection of its own has
 * ended. Whoever has waited so for queue-timeout is refused, so that nobody waits for ever; a descriptor is kept in
 * reserve for that. Refused connections are reset, so that the client can tell, and counted by reason.
 *
 * Where PROXY headers are asked for, a connection is nobody's (HEADER) until its header has been read: no worker
 * hears of it. Networks are those of the socket's other end, limits per client hold for whom the header names.
 */
#include "broker/accept.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "broker/event.h"
#include "broker/input.h"
#include "broker/socket.h"
#include "client/net/patience.h"
#include "client/net/proxy.h"

#define ACCEPT_BATCH    64
#define PAUSE           (100 * VN_MS)
#define RECOVERED_AFTER (10 * VN_SEC)

static void
close_by_reset(int fd)
{
	struct linger linger = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
	close(fd);
}

static void
refusal_count(vn_broker_endpoint *e, vn_refusal refusal)
{
	vn_count(&e->count->n_refusals[refusal], 1);
	vn_times_note(e->broker->refusal_times[refusal], e->broker->hub->now);
	vn_event(e->broker, VN_EVENT_LIMIT, (vn_about){.endpoint = e, .level = LOG_DEBUG},
		"%s: a connection is refused: %s", e->url, vn_refusal_name(refusal));
}

/* Nothing can be accepted. */

static void
refuse_one(vn_broker_endpoint *e, int fd, vn_refusal refusal)
{
	close_by_reset(fd);
	refusal_count(e, refusal);
}

/* Those who have waited for so long are told; the one descriptor that is kept for this is used for each of them. */
static void
refuse_waiting(vn_broker_endpoint *e, vn_refusal refusal)
{
	vn_broker *b = e->broker;
	const vn_sys *sys = b->hub->sys;
	int fd = 0;

	for (int n = 0; fd >= 0 && n < ACCEPT_BATCH; n++) {
		struct sockaddr_storage sa;
		socklen_t len = sizeof sa;

		if (b->reserve >= 0)
			close(b->reserve);
		fd = sys->accept(sys, e->fd, (struct sockaddr *)(void *)&sa, &len);
		if (fd >= 0)
			refuse_one(e, fd, refusal);
		b->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	}
	if (fd == -EAGAIN)
		e->blocked_since = 0; /* nobody waits: whoever comes next has as long */
}

static void
pause_tell(vn_broker_endpoint *e, int rc)
{
	if (rc == -EBUSY)
		vn_event(e->broker, VN_EVENT_LISTENER_PAUSED, (vn_about){.endpoint = e},
			"%s: has as many connections as max allows, %u; others wait", e->url,
			e->n_conns);
	else
		vn_event(e->broker, VN_EVENT_LISTENER_PAUSED, (vn_about){.endpoint = e},
			"%s: cannot accept (%s) with %u connections open; tried again every 100 "
			"ms, raise the descriptor limit (ulimit -n) if this stays",
			e->url, vn_strerror(rc), e->broker->ledger->n_used);
}

/* Not a spin, a pause. */
static void
accept_pause(vn_broker_endpoint *e, int rc)
{
	vn_broker *b = e->broker;

	vn_count(&e->count->n_pauses, 1);
	e->short_at = b->hub->now;
	if (!e->is_short)
		pause_tell(e, rc);
	e->is_short = true;
	if (!e->blocked_since)
		e->blocked_since = b->hub->now;
	else if (b->hub->now - e->blocked_since >= b->config->queue_timeout)
		refuse_waiting(e, vn_refusal_of(rc));
	vn_watch_remove(b->hub->poller, &e->watch);
	vn_wheel_arm(b->hub->wheel, &e->pause, b->hub->now + PAUSE);
}

/* One connection that goes makes room for one: that is no end of the shortage yet. */
static void
accept_recover(vn_broker_endpoint *e)
{
	e->blocked_since = 0;
	if (e->broker->hub->now - e->short_at < RECOVERED_AFTER)
		return;
	e->is_short = false;
	vn_event(e->broker, VN_EVENT_LISTENER_RESUMED, (vn_about){.endpoint = e},
		"%s: accepts all again", e->url);
}

static void
accept_resume(vn_timer *t)
{
	vn_broker_endpoint *e =
		(vn_broker_endpoint *)(void *)((char *)t - offsetof(vn_broker_endpoint, pause));

	if (vn_accept_begin(e) < 0)
		vn_wheel_arm(e->broker->hub->wheel, t, e->broker->hub->now + PAUSE);
}

/**
 * vn_accept_room() - a connection of an endpoint has ended: another one may come
 */
void
vn_accept_room(vn_broker_endpoint *e)
{
	if (vn_timer_armed(&e->pause))
		vn_wheel_arm(e->broker->hub->wheel, &e->pause, e->broker->hub->now);
}

/* Something can. */

/* Looks at who it is. */
static int
admit(vn_broker_endpoint *e, int fd, const struct sockaddr_storage *sa)
{
	const vn_endpoint_options *o = &e->endpoint.options;
	bool now = !(e->asks & VN_ASKS_PROXY);
	vn_refusal refusal;
	vn_desc_peer peer;
	int rc;

	vn_endpoint_peer(fd, sa, &peer);
	refusal = vn_gate_check(o, &peer);
	if (refusal == VN_ADMITTED && now)
		refusal = vn_gate_enter(e->gate, o, &peer, e->broker->hub->now);
	if (refusal != VN_ADMITTED) {
		refuse_one(e, fd, refusal);
		return 0;
	}
	rc = vn_socket_open(e->broker, e, fd, sa);
	if (rc < 0 && now)
		vn_gate_leave(e->gate, &peer);
	return rc;
}

static int
accept_one(vn_broker_endpoint *e)
{
	struct sockaddr_storage sa = {0};
	socklen_t len = sizeof sa;
	const vn_sys *sys = e->broker->hub->sys;
	int fd, rc;

	if (e->n_conns >= e->max)
		return -EBUSY;
	if (e->broker->ledger->n_used == e->broker->ledger->max_records)
		return -ENOSPC;
	fd = sys->accept(sys, e->fd, (struct sockaddr *)(void *)&sa, &len);
	if (fd < 0)
		return fd;
	rc = e->asks & VN_ASKS_WHO ? admit(e, fd, &sa) : vn_socket_open(e->broker, e, fd, &sa);
	if (rc < 0)
		refusal_count(e, vn_refusal_of(rc));
	return rc;
}

static void
accept_some(vn_watch *w, uint32_t events)
{
	vn_broker_endpoint *e =
		(vn_broker_endpoint *)(void *)((char *)w - offsetof(vn_broker_endpoint, watch));
	int rc = 0;

	(void)events;
	for (int i = 0; i < ACCEPT_BATCH && rc != -EAGAIN; i++) {
		rc = accept_one(e);
		if (rc == -EMFILE || rc == -ENFILE || rc == -ENOMEM || rc == -ENOBUFS ||
			rc == -ENOSPC || rc == -EBUSY) {
			accept_pause(e, rc);
			return;
		}
		if (rc == 0 && e->is_short)
			accept_recover(e);
		if (e->n_conns >= e->max)
			return; /* if others are there, we are called again */
	}
}

/**
 * vn_accept_begin() - wait for connections, unless it is disabled
 *
 * Return: 0 or what epoll says.
 */
int
vn_accept_begin(vn_broker_endpoint *e)
{
	if (e->disabled)
		return 0;
	return vn_watch_add(e->broker->hub->poller, &e->watch, e->fd, EPOLLIN, accept_some);
}

/**
 * vn_accept_end() - do not, until vn_accept_begin()
 */
void
vn_accept_end(vn_broker_endpoint *e)
{
	vn_wheel_disarm(e->broker->hub->wheel, &e->pause);
	vn_watch_remove(e->broker->hub->poller, &e->watch);
}

/* Headers. */

/**
 * vn_accept_refuse() - end a connection that no worker has heard of
 */
void
vn_accept_refuse(vn_broker *b, vn_record *r, vn_refusal refusal)
{
	refusal_count(b->endpoints[r->endpoint], refusal);
	vn_socket_refuse(b, r);
}

/**
 * vn_accept_header() - a connection may have its PROXY header
 *
 * With it, it is a connection like others, of the client that the header names.
 */
void
vn_accept_header(vn_broker *b, vn_record *r)
{
	vn_broker_endpoint *e = b->endpoints[r->endpoint];
	const vn_endpoint_options *o = &e->endpoint.options;
	vn_desc_peer peer = r->peer;
	int rc = vn_proxy_receive(r->fd, o->proxy, &peer);
	vn_refusal refusal = VN_REFUSED_HEADER;

	if (rc == -EAGAIN && !(r->flags & VN_R_LAST)) {
		r->flags &= ~(uint32_t)VN_R_READABLE;
		return;
	}
	if (rc == 0)
		refusal = vn_gate_enter(e->gate, o, &peer, b->hub->now);
	if (refusal != VN_ADMITTED) {
		vn_accept_refuse(b, r, refusal);
		return;
	}
	r->flags &= ~VN_R_HEADER;
	r->peer = peer;
	vn_socket_input(b, r);
}

/* Options. */

void
vn_accept_init(vn_broker_endpoint *e)
{
	e->pause.fire = accept_resume;
	e->max = UINT32_MAX;
}

/**
 * vn_accept_options() - what the options of an endpoint ask of each connection
 *
 * Return: 0 or -ENOMEM.
 */
int
vn_accept_options(vn_broker_endpoint *e)
{
	vn_endpoint_options *o = &e->endpoint.options;

	if (!o->idle_ms)
		o->idle_ms = (uint32_t)(e->broker->config->idle_timeout / VN_MS);
	e->max = o->max ? o->max : UINT32_MAX;
	e->asks = (uint8_t)((vn_gate_looks(o) ? VN_ASKS_WHO : 0) | (o->proxy ? VN_ASKS_PROXY : 0) |
			    (vn_patience_ends(o) ? VN_ASKS_TIME : 0));
	if (!o->per_address && !o->rate)
		return 0;
	e->gate = vn_gate_new(o);
	return e->gate ? 0 : -ENOMEM;
}
