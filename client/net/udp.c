/* SPDX-License-Identifier: MIT */
/*
 * Udp - the calls
 *
 * A coroutine that finds datagram after datagram never waits: after RUN of them it stands back, so that what it did
 * is published and others run.
 */
#include "client/net/udp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "client/hub/log.h"
#include "client/hub/place.h"

#define RUN       64
#define OUT_CLASS 2 /* of a block for output, where there are enough */

/* Addresses. */

static void
addr_set(vn_addr *a, uint8_t family, const uint8_t *bytes, uint16_t port, uint32_t scope)
{
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)&a->sa;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)&a->sa;

	if (family == AF_INET) {
		*in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = port};
		memcpy(&in->sin_addr, bytes, sizeof in->sin_addr);
		a->len = sizeof *in;
	} else {
		*in6 = (struct sockaddr_in6){
			.sin6_family = AF_INET6, .sin6_port = port, .sin6_scope_id = scope};
		memcpy(&in6->sin6_addr, bytes, sizeof in6->sin6_addr);
		a->len = sizeof *in6;
	}
	a->pid = 0;
	a->uid = 0;
	a->gid = 0;
}

/* The bytes of an address, and its port; 0, -EAFNOSUPPORT. */
static int
addr_get(const vn_addr *a, uint8_t family, uint8_t *bytes, uint16_t *port, uint32_t *scope)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)&a->sa;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)&a->sa;

	if (a->sa.ss_family != family)
		return -EAFNOSUPPORT;
	if (family == AF_INET) {
		memcpy(bytes, &in->sin_addr, sizeof in->sin_addr);
		*port = in->sin_port;
		*scope = 0;
	} else {
		memcpy(bytes, &in6->sin6_addr, sizeof in6->sin6_addr);
		*port = in6->sin6_port;
		*scope = in6->sin6_scope_id;
	}
	return 0;
}

static void
datagram_set(const vn_udp *u, vn_datagram *d, uint32_t len, bool truncated)
{
	const vn_datagram_head *h = &u->frame.head;

	addr_set(&d->peer, h->family, h->peer, h->port, h->scope);
	addr_set(&d->local, h->family, h->local, u->port, h->interface);
	d->interface = h->interface;
	d->len = len;
	d->truncated = truncated || h->flags & VN_DATAGRAM_TRUNCATED;
	d->group = h->flags & VN_DATAGRAM_GROUP;
}

static bool
is_peer(const vn_udp *u, const vn_addr *a)
{
	vn_desc_peer p = {.family = u->family};

	return addr_get(a, u->family, p.addr, &p.port, &p.scope) == 0 &&
	       memcmp(&p, &u->peer, sizeof p) == 0;
}

static int
head_set(const vn_udp *u, vn_datagram_head *h, size_t n, const vn_datagram *d)
{
	uint32_t scope;
	uint16_t port;
	int rc;

	*h = (vn_datagram_head){.len = (uint32_t)n, .family = u->family};
	if (n > vn_datagram_max(u->family))
		return -EMSGSIZE;
	if (u->listener.is_dialled) {
		h->family = 0;
		return d && d->peer.len && !is_peer(u, &d->peer) ? -EISCONN : 0;
	}
	if (!d || d->peer.len == 0)
		return -EDESTADDRREQ;
	rc = addr_get(&d->peer, u->family, h->peer, &h->port, &h->scope);
	if (rc == 0 && h->port == 0)
		rc = -EINVAL;
	if (rc == 0 && d->local.len && !d->group)
		return addr_get(&d->local, u->family, h->local, &port, &scope);
	h->interface = d->interface;
	return rc;
}

/* Receiving. */

static void
udp_free(vn_udp *u)
{
	if (u->n_waits)
		u->is_done = true;
	else
		free(u);
}

/**
 * vn_udp_free() - the backend is done with an endpoint that was closed
 */
void
vn_udp_free(vn_udp *u)
{
	vn_hub_unhold(u->listener.net->hub);
	udp_free(u);
}

/**
 * vn_udp_back() - a call that waited (u->n_waits) goes on
 *
 * Return: rc, or -EPIPE if the endpoint was closed meanwhile and may be gone.
 */
int
vn_udp_back(vn_udp *u, int rc)
{
	u->n_waits--;
	if (!u->is_closed)
		return rc;
	if (u->is_done && u->n_waits == 0)
		free(u);
	return rc < 0 ? rc : -EPIPE;
}

static void
udp_unhold(vn_udp *u)
{
	if (!u->holds)
		return;
	u->holds = false;
	vn_net_on_handle_closed(u->listener.net);
}

/* What was taken is done with. */
static void
udp_ack(vn_udp *u)
{
	if (u->acked == u->taken)
		return;
	u->acked = u->taken;
	u->listener.net->ops->acked(u);
	if (u->acked == u->in.end)
		udp_unhold(u);
}

/* Is there a datagram? 0, -EAGAIN, -ECANCELED when there will be none, or what the network says of the peer. */
static int
udp_look(vn_udp *u)
{
	int rc;

	if (u->refused)
		return u->refused;
	if (u->has_frame)
		return 0;
	if (u->taken == u->in.end)
		return u->listener.ended ? -ECANCELED : -EAGAIN;
	rc = vn_frame_at(&u->in_frames, u->in_at, u->taken, &u->frame);
	if (rc <= 0)
		return rc == 0 ? -EAGAIN : rc;
	u->has_frame = true;
	u->given = 0;
	return 0;
}

static int
udp_wait(vn_udp *u)
{
	vn_clause clause;
	int rc;

	if (u->listener.takers.first)
		return -EBUSY;
	u->n_run = 0;
	clause.end = &u->listener.rx;
	clause.result = 0;
	vn_waitq_push(&u->listener.takers, &clause);
	u->n_waits++;
	rc = vn_wait(u->listener.rx.hub, &clause, 1, VN_NEVER);
	return vn_udp_back(u, rc < 0 ? rc : clause.result);
}

/* Others have their turn. */
static int
udp_stand_back(vn_udp *u)
{
	vn_hub *h = u->listener.rx.hub;

	u->n_run = 0;
	u->n_waits++;
	vn_hub_pause(h);
	vn_yield(h);
	return vn_udp_back(u, 0);
}

/* Waits for a datagram. */
static int
udp_next(vn_udp *u)
{
	int rc = 0;

	if (!u)
		return -EBADF;
	udp_ack(u);
	if (u->n_run >= RUN)
		rc = udp_stand_back(u);
	while (rc == 0) {
		rc = udp_look(u);
		if (rc == u->refused) /* which is said once */
			u->refused = 0;
		if (rc != -EAGAIN)
			return rc;
		rc = udp_wait(u);
	}
	return rc;
}

/* So much of the frame is the program's. */
static void
udp_take(vn_udp *u, uint32_t len)
{
	const vn_chain_link *table = u->in_frames.table;

	u->given += len;
	u->taken = u->frame.end - (u->frame.head.len - u->given);
	u->n_received++;
	u->n_run++;
	if (u->given < u->frame.head.len)
		return;
	u->has_frame = false;
	while (u->in_at != VN_NO_BLOCK && table[u->in_at].end <= u->taken)
		u->in_at = table[u->in_at].next;
}

/**
 * vn_udp_recv() - receive a datagram
 * @data: where it is copied to
 * @n:    how much there is room for
 * @d:    is filled in, or NULL
 *
 * Return: bytes copied, 0 for an empty datagram; -EBUSY, -ECANCELED, -ETIMEDOUT, -EPIPE, -EDEADLK, -EBADF.
 */
ssize_t
vn_udp_recv(vn_udp *u, void *data, size_t n, vn_datagram *d)
{
	int rc = udp_next(u);
	uint32_t len, copied;

	if (rc < 0)
		return rc;
	len = vn_frame_datagram_len(&u->frame.head, u->given);
	copied = len < n ? len : (uint32_t)n;
	if (copied)
		vn_area_read(u->in_frames.segment, u->frame.block, u->frame.offset + u->given, data,
			copied);
	if (d)
		datagram_set(u, d, len, copied < len);
	udp_take(u, len);
	return copied;
}

/**
 * vn_udp_view() - receive a datagram in place
 * @v: valid until the next call that receives
 * @d: is filled in, or NULL
 *
 * Return: its length, or as vn_udp_recv().
 */
ssize_t
vn_udp_view(vn_udp *u, vn_view *v, vn_datagram *d)
{
	int rc = udp_next(u);
	uint32_t len;

	if (rc < 0)
		return rc;
	len = vn_frame_datagram_len(&u->frame.head, u->given);
	*v = (vn_view){.data = vn_area_at(
			       u->in_frames.segment, u->frame.block, u->frame.offset + u->given),
		.len = len};
	if (d)
		datagram_set(u, d, len, false);
	udp_take(u, len);
	return len;
}

/**
 * vn_udp_on_input() - frames were added to u->in
 */
void
vn_udp_on_input(vn_udp *u)
{
	const vn_chain_link *table = u->in_frames.table;

	if (u->in_at == VN_NO_BLOCK)
		u->in_at = u->in.chain.first;
	while (table[u->in_at].end <= u->taken)
		u->in_at = table[u->in_at].next;
	vn_conn_wake(&u->listener.takers);
}

/**
 * vn_udp_on_refused() - the network has said something of the peer
 * @rc: what the next call that receives is to say
 */
void
vn_udp_on_refused(vn_udp *u, int rc)
{
	u->refused = rc;
	vn_conn_wake(&u->listener.takers);
}

/* Sending. */

/* May it have so much more of the area? One block it always may. */
static bool
may_have(const vn_udp *u, uint32_t bytes)
{
	const vn_net *net = u->listener.net;
	uint32_t held = u->out.chain.charge;

	return held == 0 || (held + bytes <= net->window && vn_net_shares(net, held + bytes));
}

static bool
udp_put(vn_udp *u, const vn_datagram_head *h, const void *data)
{
	unsigned int size_class = OUT_CLASS;
	uint32_t need = vn_frames_need(&u->out, &u->out_frames, h->len, size_class);

	if (need && !may_have(u, need)) {
		size_class = 0;
		need = vn_frames_need(&u->out, &u->out_frames, h->len, size_class);
		if (!may_have(u, need))
			return false;
	}
	return vn_frames_add(&u->out, &u->out_frames, h, data, size_class);
}

static int
udp_wait_room(vn_udp *u)
{
	vn_net *net = u->listener.net;
	vn_clause clauses[2];
	int rc;

	net->ops->needs(u);
	for (int i = 0; i < 2; i++) {
		clauses[i].result = 0;
		vn_waitq_push(i ? &net->starved : &u->writers, &clauses[i]);
	}
	u->n_waits++;
	rc = vn_wait(net->hub, clauses, 2, VN_NEVER);
	return vn_udp_back(u, rc < 0 ? rc : clauses[rc].result);
}

/**
 * vn_udp_send() - send a datagram
 * @d: where to, and where from; or NULL where there is but one peer
 *
 * Return: 0, -EMSGSIZE, -EAFNOSUPPORT, -EDESTADDRREQ, -EINVAL, -EISCONN; -EPIPE, -ECANCELED, -ETIMEDOUT when it
 * had to wait.
 */
int
vn_udp_send(vn_udp *u, const void *data, size_t n, const vn_datagram *d)
{
	vn_datagram_head h;
	int rc = u ? head_set(u, &h, n, d) : -EBADF;

	if (rc < 0)
		return rc;
	if (!vn_frames_grow(&u->out, &u->out_frames, &h, data)) {
		while (!udp_put(u, &h, data)) {
			rc = udp_wait_room(u);
			if (rc < 0)
				return rc;
		}
		vn_conn_wake(&u->writers); /* there may be room for the next one too */
	}
	u->n_sent++;
	u->listener.net->ops->sends(u);
	return 0;
}

/**
 * vn_udp_on_sent() - output up to `sent` has left: its blocks are ours again
 */
void
vn_udp_on_sent(vn_udp *u, uint64_t sent)
{
	u->sent = sent;
	vn_chain_free(&u->out.chain, u->out_frames.table, u->out_frames.blocks, sent);
	vn_conn_wake(&u->writers);
	vn_net_on_room(u->listener.net);
}

/* Groups. */

static int
group_parse(const vn_udp *u, const char *group, const char *interface, vn_desc_peer *g)
{
	*g = (vn_desc_peer){.family = u->family};
	if (!group || inet_pton(u->family, group, g->addr) != 1)
		return -EINVAL;
	if (u->family == AF_INET ? (g->addr[0] & 0xf0) != 0xe0 : g->addr[0] != 0xff)
		return -EINVAL;
	if (interface)
		g->scope = if_nametoindex(interface);
	return interface && !g->scope ? -ENODEV : 0;
}

static int
udp_join(vn_udp *u, const char *group, const char *interface, bool leave)
{
	vn_desc_peer g;
	int rc = u ? group_parse(u, group, interface, &g) : -EBADF;

	if (rc == 0 && u->listener.is_dialled)
		rc = -EISCONN;
	return rc < 0 ? rc : u->listener.net->ops->join(u, &g, leave);
}

/**
 * vn_udp_join() - receive what is sent to a group
 * @group:     its address
 * @interface: name of a network interface, or NULL
 *
 * Return: 0, also when it was joined already; -EINVAL, -ENODEV, -ENOBUFS, -EISCONN, -EBADF.
 */
int
vn_udp_join(vn_udp *u, const char *group, const char *interface)
{
	return udp_join(u, group, interface, false);
}

/**
 * vn_udp_leave() - no longer receive what is sent to a group
 *
 * Return: 0; -EADDRNOTAVAIL if it was not joined there; as vn_udp_join().
 */
int
vn_udp_leave(vn_udp *u, const char *group, const char *interface)
{
	return udp_join(u, group, interface, true);
}

/* Its life. */

static int
readable_try(void *end, void *item)
{
	vn_udp *u = end;

	(void)item;
	udp_ack(u);
	return u->refused ? 0 : udp_look(u);
}

static vn_waitq *
readable_queue(void *end)
{
	return &((vn_udp *)end)->listener.takers;
}

/* Those who wait learn it; what was sent leaves. */
static int
udp_close(void *end)
{
	vn_udp *u = end;

	u->is_closed = u->listener.ended = true;
	while (u->listener.takers.first)
		vn_wake(u->listener.takers.first, -EPIPE);
	while (u->writers.first)
		vn_wake(u->writers.first, -EPIPE);
	vn_listener_unlink(&u->listener);
	udp_ack(u);
	udp_unhold(u);
	u->listener.net->ops->unbind(u);
	return 0;
}

static const vn_end_ops udp_ops = {
	.try = readable_try,
	.queue = readable_queue,
	.close = udp_close,
	.one = true,
};

/* We are to end: who has got something is waited for. */
static void
udp_on_end(vn_listener *l)
{
	vn_udp *u = (vn_udp *)(void *)l;

	if (u->holds || u->acked == u->in.end)
		return;
	u->holds = true;
	l->net->n_open++;
}

/**
 * vn_udp_new() - an endpoint that is nowhere yet
 *
 * Return: NULL with errno ENOMEM.
 */
vn_udp *
vn_udp_new(vn_hub *h)
{
	vn_udp *u = calloc(1, sizeof *u);
	vn_net *net = h->net;

	if (!u)
		return NULL;
	u->listener.rx = (vn_rx){.ops = &udp_ops, .hub = h};
	u->listener.net = net;
	u->listener.fd = u->listener.watch.fd = -1;
	u->listener.on_end = udp_on_end;
	u->in = VN_FRAMES_EMPTY;
	u->in_at = VN_NO_BLOCK;
	u->out = VN_FRAMES_EMPTY;
	u->in_frames = (vn_frame_area){net->in_area, net->in_table, net->out_blocks};
	u->out_frames = (vn_frame_area){net->out_area, net->out_table, net->out_blocks};
	return u;
}

/**
 * vn_bind() - an endpoint of datagrams
 * @url: see vanilla.h
 *
 * Ownership: the caller's, until vn_close(). Under a broker it waits for the broker's answer.
 *
 * Return: the endpoint, or NULL with errno; the log has a sentence.
 */
vn_udp *(vn_bind)(vn_hub *h, const char *url)
{
	vn_udp *u = vn_udp_new(h);
	int rc;

	if (!u)
		return NULL;
	vn_place_note(h, &u->listener, 0);
	rc = h->net->draining ? -ECANCELED : h->net->ops->bind(u, url);
	if (rc < 0) {
		free(u);
		errno = -rc;
		return NULL;
	}
	vn_hub_hold(h);
	vn_listener_link(&u->listener);
	return u;
}

/**
 * vn_udp_url() - what it is bound to, the port filled in
 *
 * Return: the URL, which lives as long as the endpoint; NULL with errno EBADF.
 */
const char *
vn_udp_url(vn_udp *u)
{
	if (u)
		return u->listener.url;
	errno = EBADF;
	return NULL;
}

/**
 * vn_udp_readable() - an end that is ready when vn_udp_recv() would not wait, for a select
 *
 * Return: the end, which goes with the endpoint; NULL for NULL.
 */
vn_rx *
vn_udp_readable(vn_udp *u)
{
	return u ? &u->listener.rx : NULL;
}

/**
 * vn_udp_count() - how many datagrams there were
 *
 * Return: 0, -EBADF.
 */
int
vn_udp_count(vn_udp *u, vn_udp_counts *c)
{
	if (!u)
		return -EBADF;
	*c = (vn_udp_counts){.received = u->n_received, .sent = u->n_sent};
	u->listener.net->ops->count(u, c);
	return 0;
}

/**
 * vn_udp_close() - done with it: what was sent leaves first, what was not received is dropped
 *
 * A coroutine that waits there gets -EPIPE.
 *
 * Return: 0. NULL is fine.
 */
int
vn_udp_close(vn_udp *u)
{
	return u ? vn_rx_close(&u->listener.rx) : 0;
}
