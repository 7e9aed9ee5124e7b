/* SPDX-License-Identifier: MIT */
/*
 * Dial - sockets that are connected because a worker asked for it
 *
 * A worker asks with the URL of an address (CONNECT): it has resolved names itself, so no name server can keep the
 * broker waiting. It gives each request a number, and may have as many under way as there are numbers. Each
 * request gets one answer (CONNECTED), when its lane has room: an error, or the connection, which is attached to that
 * worker from its first moment. What is given up meanwhile (GIVE_UP, a death) is reset, for nobody said anything on it.
 *
 * From then on it is a connection like any other, but that it is nobody else's: it does not count as work that the
 * worker was given (depth, requests, request-timeout), and when the worker dies it is reset (settle.c).
 */
#include "broker/dial.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/socket.h"
#include "client/net/connect.h"

/* One that is under way, or connected and not handed over. */
typedef struct vn_dialling {
	vn_connect connect;
	vn_worker *worker;
	uint16_t id;
} vn_dialling;

/**
 * vn_dials_init() - what was dialled has an endpoint of its own, which is none
 *
 * Caller: the counters are open.
 *
 * Return: 0 or -ENOMEM.
 */
int
vn_dials_init(vn_broker *b)
{
	vn_broker_endpoint *e = calloc(1, sizeof *e);

	if (!e)
		return -ENOMEM;
	e->broker = b;
	e->fd = e->watch.fd = -1;
	e->index = VN_DIALLED;
	e->used = true;
	e->name = e->asked = (char *)(uintptr_t) "(dialled)";
	e->count = vn_counters_listener(b->counters, e->name);
	b->endpoints[VN_DIALLED] = e;
	return 0;
}

void
vn_dials_deinit(vn_broker *b)
{
	free(b->endpoints[VN_DIALLED]);
}

static void
dialling_free(vn_worker_dial *d)
{
	if (!d->under)
		return;
	vn_connect_give_up(&d->under->connect);
	free(d->under);
	d->under = NULL;
}

/* It is decided: an answer is owed. */
static void
dial_done(vn_worker *w, vn_worker_dial *d, int error)
{
	if (error)
		dialling_free(d);
	d->error = (uint16_t)error;
	if (d->is_done)
		return;
	d->is_done = true;
	w->n_dials_done++;
	vn_worker_heat(w);
}

static void
dial_failed(vn_worker *w, vn_worker_dial *d, int error)
{
	vn_count(&w->broker->count->n_dials_failed, 1);
	dial_done(w, d, error);
}

static void
on_connected(vn_connect *c, int rc)
{
	vn_dialling *under = (vn_dialling *)(void *)((char *)c - offsetof(vn_dialling, connect));
	vn_worker *w = under->worker;

	if (rc < 0)
		dial_failed(w, &w->dials[under->id], -rc);
	else
		dial_done(w, &w->dials[under->id], 0);
}

static int
dial_begin(vn_broker *b, vn_worker *w, uint16_t id, const char *url)
{
	char host[VN_URL_MAX], why[256];
	vn_endpoint endpoint;
	vn_dialling *under;
	int rc = b->phase >= VN_PHASE_STOPPING ? -ECANCELED
					       : vn_endpoint_parse_peer(&endpoint, url, host, why);

	if (rc == 0 && *host)
		rc = -EINVAL;
	if (rc < 0)
		return rc;
	under = calloc(1, sizeof *under);
	if (!under)
		return -ENOMEM;
	under->worker = w;
	under->id = id;
	under->connect = (vn_connect){.hub = b->hub, .done = on_connected};
	w->dials[id].under = under;
	vn_connect_begin(&under->connect, &endpoint);
	return 0;
}

/**
 * vn_dial_ask() - a worker wants to be connected; it is owed an answer
 * @id: is not in use
 */
void
vn_dial_ask(vn_broker *b, vn_worker *w, uint16_t id, const char *url)
{
	int rc;

	w->dials[id] = (vn_worker_dial){.used = true};
	w->n_dials++;
	rc = dial_begin(b, w, id, url);
	if (rc < 0)
		dial_failed(w, &w->dials[id], -rc);
}

/**
 * vn_dial_give_up() - it does not want that any more
 * @id: perhaps answered already
 */
void
vn_dial_give_up(vn_broker *b, vn_worker *w, uint16_t id)
{
	vn_worker_dial *d = &w->dials[id];

	if (!d->used) { /* the answer was on its way */
		vn_count(&b->count->n_stale_messages, 1);
		return;
	}
	if (d->is_done && !d->under)
		return;
	vn_count(&b->count->n_dials_given_up, 1);
	dial_done(w, d, ECANCELED);
}

/* The connection becomes the worker's, if there is a record for it. */
static int
hand_over(vn_broker *b, vn_worker *w, vn_worker_dial *d, vn_record **r)
{
	vn_connect *c = &d->under->connect;
	int rc = vn_socket_open_dialled(b, w, c->fd, &c->sa, r);

	if (rc == 0)
		vn_connect_take(c);
	else
		vn_count(&b->count->n_dials_failed, 1);
	dialling_free(d);
	return rc == -ENOSPC ? ENFILE : -rc;
}

static void
answer_one(vn_broker *b, vn_worker *w, uint16_t id)
{
	vn_worker_dial *d = &w->dials[id];
	vn_desc answer = {.kind = VN_KIND_CONNECTED, .arg = id};
	vn_record *r = NULL;

	if (d->error == 0)
		d->error = (uint16_t)hand_over(b, w, d, &r);
	answer.report = d->error;
	if (r) {
		answer.conn = vn_record_index(b->ledger, r);
		answer.gen = r->gen;
		answer.peer = r->peer;
	}
	vn_lane_tx_push(&w->link.tx, &answer);
	*d = (vn_worker_dial){0};
	w->n_dials--;
	w->n_dials_done--;
}

void
vn_dial_answer(vn_broker *b, vn_worker *w)
{
	for (uint16_t id = 0; w->n_dials_done && id <= VN_MAX_REQUEST; id++)
		if (w->dials[id].is_done && vn_lane_tx_has(&w->link.tx, VN_OWN_SLOTS + 1))
			answer_one(b, w, id);
}

/**
 * vn_dials_forget() - the worker is gone, and with it whoever waits for an answer
 */
void
vn_dials_forget(vn_worker *w)
{
	for (uint16_t id = 0; w->n_dials && id <= VN_MAX_REQUEST; id++) {
		if (!w->dials[id].used)
			continue;
		if (w->dials[id].under)
			vn_count(&w->broker->count->n_dials_given_up, 1);
		dialling_free(&w->dials[id]);
		w->dials[id] = (vn_worker_dial){0};
		w->n_dials--;
	}
	w->n_dials_done = 0;
}
