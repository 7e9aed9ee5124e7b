/* SPDX-License-Identifier: MIT */
/*
 * Endpoint - opened by -l or by the first worker that asks, shared by all that ask for the same
 *
 * A worker asks with a URL, whose host it has resolved itself (so no name server can stop the broker), or with
 * the NAME of an -l. Two URLs are the same endpoint if they mean the same address; port 0 is a port of the
 * system's choosing, one for all that ask for port 0 of that address. An endpoint stays open while its workers
 * are restarted; it closes when the last one that asked for it says so and -l does not name it.
 *
 * A worker may also ask for a socket of datagrams that is connected to a URL. Such an endpoint is private: it has no name
 * and no address that others could mean, it is counted with what else is dialled, and it ends with that worker's asking.
 */
#include "broker/endpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/accept.h"
#include "broker/datagram.h"
#include "broker/debt.h"
#include "broker/event.h"
#include "broker/inherit.h"
#include "broker/report.h"

/* An index that was closed is free when its last connection is gone. The first free one; b->n_endpoints. */
static uint32_t
free_index(const vn_broker *b)
{
	uint32_t i = 0;

	while (i < b->n_endpoints && (b->endpoints[i]->used || b->endpoints[i]->n_conns > 0))
		i++;
	return i;
}

static vn_broker_endpoint *
endpoint_new(vn_broker *b, const char *url, const char *name)
{
	vn_broker_endpoint *e;

	if (free_index(b) == VN_MAX_ENDPOINTS)
		return NULL;
	e = calloc(1, sizeof *e);
	if (!e)
		return NULL;
	e->broker = b;
	e->fd = -1;
	e->watch.fd = -1;
	e->asked = strdup(url);
	e->name = name ? strdup(name) : NULL;
	vn_accept_init(e);
	e->index = (uint16_t)b->n_endpoints;
	return e;
}

static vn_broker_endpoint *
endpoint_free(vn_broker_endpoint *e)
{
	if (!e)
		return NULL;
	if (e->count && !e->is_private)
		vn_counters_row_end(&e->count->row);
	vn_gate_free(e->gate);
	free(e->asked);
	free(e->name);
	free(e);
	return NULL;
}

static bool
has_datagrams(const vn_broker_endpoint *e)
{
	return e->endpoint.scheme == VN_UDP;
}

/* Binds, listens and waits for connections; 0 or a negative errno, having said why. */
static int
endpoint_open(vn_broker_endpoint *e)
{
	vn_broker *b = e->broker;
	char why[256];
	int rc = e->fd = has_datagrams(e) ? vn_datagrams_open(e, why)
					  : vn_endpoint_listen(&e->endpoint, why);

	if (rc < 0) {
		if (!e->is_private)
			vn_log(b->hub, LOG_ERR, "%s: cannot listen: %s", e->asked, why);
		return rc;
	}
	rc = has_datagrams(e) ? 0 : vn_accept_options(e);
	if (rc == 0 && !has_datagrams(e)) /* those are waited for when somebody serves */
		rc = vn_accept_begin(e);
	if (rc < 0) {
		close(e->fd);
		e->fd = -1;
		return rc;
	}
	vn_endpoint_name(e->fd, e->url);
	if (!e->is_private)
		vn_event(
			b, VN_EVENT_LISTENER_OPENED, (vn_about){.endpoint = e}, "%s: open", e->url);
	return 0;
}

static void
endpoint_shut(vn_broker_endpoint *e)
{
	if (e->fd < 0)
		return;
	vn_accept_end(e);
	if (e->datagrams)
		vn_datagrams_shut(e);
	close(e->fd);
	e->fd = -1;
	if (!e->inherited)
		vn_endpoint_unlink(&e->endpoint);
	if (e->is_private)
		return;
	vn_event(e->broker, VN_EVENT_LISTENER_CLOSED, (vn_about){.endpoint = e}, "%s: closed",
		e->url);
}

static void
endpoint_use(vn_broker *b, vn_broker_endpoint *e)
{
	e->used = true;
	e->count = e->is_private ? b->endpoints[VN_DIALLED]->count
				 : vn_counters_listener(b->counters, vn_endpoint_label(e));
}

static void
endpoint_add(vn_broker *b, vn_broker_endpoint *e)
{
	endpoint_use(b, e);
	b->endpoints[b->n_endpoints++] = e;
}

/* What the program ends with when a socket cannot be had. */
int
vn_endpoint_exit_code(int rc)
{
	switch (rc) {
	case -EACCES:
	case -EPERM:
		return VN_EXIT_PERMISSION;
	case -EINVAL:
		return VN_EXIT_CONFIG;
	default:
		return VN_EXIT_SYSTEM;
	}
}

static bool
same_address(const vn_endpoint *a, const vn_endpoint *other)
{
	return a->scheme == other->scheme && a->sa_len == other->sa_len &&
	       memcmp(&a->sa, &other->sa, a->sa_len) == 0;
}

static vn_broker_endpoint *
find_named(vn_broker *b, const char *name)
{
	for (uint32_t i = 0; i < b->n_endpoints; i++)
		if (b->endpoints[i]->used && b->endpoints[i]->name &&
			strcmp(b->endpoints[i]->name, name) == 0)
			return b->endpoints[i];
	return NULL;
}

static vn_broker_endpoint *
find_address(vn_broker *b, const vn_endpoint *endpoint)
{
	for (uint32_t i = 0; i < b->n_endpoints; i++)
		if (b->endpoints[i]->used && !b->endpoints[i]->is_private &&
			same_address(&b->endpoints[i]->endpoint, endpoint))
			return b->endpoints[i];
	return NULL;
}

/* One that the service manager has opened. Nobody accepts before a worker is there to say how. */
static int
take_inherited(vn_broker *b, int fd, const char *name)
{
	char url[VN_URL_MAX], why[256];
	vn_broker_endpoint *e;

	if (vn_endpoint_name(fd, url) < 0 || !(e = endpoint_new(b, url, name))) {
		vn_log(b->hub, LOG_ERR, "cannot take over descriptor %d", fd);
		return VN_EXIT_SYSTEM;
	}
	if (vn_endpoint_parse_numeric(&e->endpoint, url, why) < 0 || vn_accept_options(e) < 0) {
		vn_log(b->hub, LOG_ERR, "%s: cannot be taken over: %s", url, why);
		endpoint_free(e);
		return VN_EXIT_CONFIG;
	}
	e->fd = fd;
	strcpy(e->url, url);
	e->fixed = e->inherited = true;
	endpoint_add(b, e);
	vn_event(b, VN_EVENT_LISTENER_OPENED, (vn_about){.endpoint = e}, "%s: taken over", e->url);
	return 0;
}

/* An -l that means a socket which is there already gives it a name and options. */
static int
merge_inherited(vn_broker_endpoint *e, vn_broker_endpoint *option)
{
	e->endpoint.options = option->endpoint.options;
	if (option->name) {
		free(e->name);
		e->name = option->name;
		option->name = NULL;
		vn_counters_row_end(&e->count->row);
		e->count = vn_counters_listener(e->broker->counters, e->name);
	}
	endpoint_free(option);
	return vn_accept_options(e) < 0 ? VN_EXIT_SYSTEM : 0;
}

static int
open_fixed(vn_broker *b, const vn_listen_option *option)
{
	vn_broker_endpoint *e = endpoint_new(b, option->url, option->name), *inherited;
	char why[256];
	int rc;

	if (!e)
		return VN_EXIT_SYSTEM;
	rc = vn_endpoint_parse(&e->endpoint, option->url, why);
	inherited = rc == 0 ? find_address(b, &e->endpoint) : NULL;
	if (inherited && inherited->inherited)
		return merge_inherited(inherited, e);
	if (rc < 0)
		vn_log(b->hub, LOG_ERR, "%s: cannot listen: %s", option->url, why);
	else
		rc = endpoint_open(e);
	if (rc < 0) {
		endpoint_free(e);
		return vn_endpoint_exit_code(rc);
	}
	/* Nobody accepts before a worker is there to say how. */
	vn_accept_end(e);
	e->fixed = true;
	endpoint_add(b, e);
	return 0;
}

/**
 * vn_endpoints_open_fixed() - take over what the service manager has opened, bind what -l asks for
 *
 * Return: 0, or the exit code of the program, having said why.
 */
int
vn_endpoints_open_fixed(vn_broker *b)
{
	int code = vn_inherit(b, take_inherited);

	for (uint32_t i = 0; i < b->config->n_listens && code == 0; i++)
		code = open_fixed(b, &b->config->listens[i]);
	return code;
}

static void
endpoint_place(vn_broker *b, vn_broker_endpoint *e)
{
	uint32_t i = free_index(b);

	if (i == b->n_endpoints) {
		endpoint_add(b, e);
		return;
	}
	e->index = (uint16_t)i;
	endpoint_free(b->endpoints[i]);
	b->endpoints[i] = e;
	endpoint_use(b, e);
}

/* The endpoint that a worker's URL or name means; opened if it must be. Else NULL and a negative errno. */
static vn_broker_endpoint *
endpoint_find(vn_broker *b, const char *url, int *rc)
{
	vn_broker_endpoint *e = find_named(b, url);
	vn_endpoint endpoint;
	char why[256];

	if (e)
		return e;
	*rc = vn_endpoint_parse_numeric(&endpoint, url, why);
	if (*rc < 0) {
		vn_log(b->hub, LOG_ERR, "%.200s: cannot listen: %s; or name it with -l NAME=URL",
			url, why);
		return NULL;
	}
	e = find_address(b, &endpoint);
	if (e)
		return e;
	e = endpoint_new(b, url, NULL);
	*rc = e ? 0 : -EMFILE;
	if (e) {
		e->endpoint = endpoint;
		*rc = endpoint_open(e);
	}
	if (*rc < 0)
		return endpoint_free(e);
	endpoint_place(b, e);
	return e;
}

/* The endpoint that is meant, if it has what is wanted of it. */
static vn_broker_endpoint *
endpoint_wanted(vn_broker *b, const char *url, bool datagrams, int *rc)
{
	vn_broker_endpoint *e = endpoint_find(b, url, rc);

	if (!e || has_datagrams(e) == datagrams)
		return e;
	vn_log(b->hub, LOG_ERR, "%s: a worker asks for %s there, and it has %s", e->url,
		datagrams ? "datagrams" : "connections", datagrams ? "connections" : "datagrams");
	b->may_prune = true;
	*rc = -EPROTOTYPE;
	return NULL;
}

/* A worker that asks twice, by two names perhaps, would have the endpoint taken away when it closes one of them. */
static vn_broker_endpoint *
endpoint_once(vn_broker_endpoint *e, const vn_worker *w, int *rc)
{
	if (!e || w->listener_of[e->index] == VN_NO_LISTENER)
		return e;
	vn_log(e->broker->hub, LOG_ERR,
		"%s: worker %u.%u listens there already; it has to close that listener first",
		e->url, w->number, w->incarnation);
	*rc = -EADDRINUSE;
	return NULL;
}

/* One that is connected to the URL of an address. */
static vn_broker_endpoint *
endpoint_connect(vn_broker *b, const char *url, int *rc)
{
	char host[VN_URL_MAX], why[256];
	vn_broker_endpoint *e = NULL;
	vn_endpoint endpoint;

	*rc = vn_endpoint_parse_udp_peer(&endpoint, url, host, why);
	if (*rc == 0 && *host)
		*rc = -EINVAL;
	if (*rc == 0 && (b->n_private >= VN_MAX_PRIVATE || !(e = endpoint_new(b, url, NULL))))
		*rc = -ENFILE;
	if (*rc == 0) {
		e->is_private = true;
		e->endpoint = endpoint;
		*rc = endpoint_open(e);
	}
	if (*rc < 0) {
		vn_count(&b->count->n_dials_failed, 1);
		return endpoint_free(e);
	}
	b->n_private++;
	endpoint_place(b, e);
	return e;
}

/* A private one that its worker wants no more. */
static void
endpoint_retire(vn_broker_endpoint *e)
{
	endpoint_shut(e);
	e->used = false;
	e->broker->n_private--;
}

/* Its connections, or its datagrams, may go to this worker. */
static int
endpoint_give(vn_broker_endpoint *e, vn_worker *w, uint16_t number)
{
	vn_broker *b = e->broker;

	w->listener_of[e->index] = number;
	if (has_datagrams(e)) {
		int rc = vn_binding_new(w, number, e);

		if (rc < 0 && e->is_private) {
			w->listener_of[e->index] = VN_NO_LISTENER;
			endpoint_retire(e);
		}
		return rc;
	}
	if (!w->coming || e->watch.fd < 0)
		e->resumable = w->listeners[number].resumable;
	if (e->watch.fd < 0 && b->phase < VN_PHASE_DRAINING && !vn_timer_armed(&e->pause))
		vn_accept_begin(e);
	return 0;
}

/**
 * vn_endpoint_ask() - a worker wants the connections or datagrams of an endpoint; it is owed an answer
 * @flags: of LISTEN
 */
void
vn_endpoint_ask(vn_broker *b, vn_worker *w, uint16_t number, const char *url, uint8_t flags)
{
	vn_worker_listener *l = &w->listeners[number];
	bool resumable = flags & VN_RESUME;
	int rc = 0;
	vn_broker_endpoint *e = NULL;

	if (flags & VN_PEER && b->phase < VN_PHASE_STOPPING)
		e = endpoint_connect(b, url, &rc);
	else if (b->phase < VN_PHASE_DRAINING)
		e = endpoint_once(endpoint_wanted(b, url, flags & VN_DATAGRAM, &rc), w, &rc);
	else
		rc = -ECANCELED;

	*l = (vn_worker_listener){
		.used = true, .resumable = resumable, .block = VN_NO_BLOCK, .error = -rc};
	l->answer_owed = true;
	w->n_answers_owed++;
	vn_worker_heat(w);
	if (!e) {
		if (!(flags & VN_PEER))
			b->last_listen_error = rc;
		return;
	}
	l->endpoint = e->index;
	l->error = -endpoint_give(e, w, number);
}

/* Does a worker say what is to become of its connections? */
static bool
endpoint_is_asked_for(const vn_broker *b, const vn_broker_endpoint *e)
{
	for (uint32_t i = 1; i <= b->n_slots; i++)
		if (b->workers[i] && b->workers[i]->listener_of[e->index] != VN_NO_LISTENER)
			return true;
	return false;
}

/**
 * vn_endpoint_enable() - accept its connections, or no more of them
 * @e: open
 */
void
vn_endpoint_enable(vn_broker_endpoint *e, bool enable)
{
	vn_broker *b = e->broker;

	if (e->disabled == !enable)
		return;
	e->disabled = !enable;
	vn_event(b, enable ? VN_EVENT_LISTENER_ENABLED : VN_EVENT_LISTENER_DISABLED,
		(vn_about){.endpoint = e}, "%s: %s by request", e->url,
		enable ? "enabled" : "disabled");
	if (has_datagrams(e))
		vn_datagrams_watch(e);
	else if (!enable)
		vn_accept_end(e);
	else if (endpoint_is_asked_for(b, e) && vn_accept_begin(e) < 0)
		vn_log(b->hub, LOG_ERR, "%s: cannot be enabled: out of memory", e->url);
}

static bool
endpoint_is_wanted(const vn_broker *b, const vn_broker_endpoint *e)
{
	return e->fixed || endpoint_is_asked_for(b, e);
}

/**
 * vn_endpoint_unask() - a worker wants no more connections of an endpoint
 *
 * If it was the last one, the endpoint is closed; but not while the successor of another is about to ask: a worker
 * that is leaving may say so while the only one that stays has just died.
 */
void
vn_endpoint_unask(vn_broker *b, vn_worker *w, uint16_t number)
{
	vn_worker_listener *l = &w->listeners[number];

	l->used = false;
	if (l->answer_owed)
		w->n_answers_owed--;
	l->answer_owed = false;
	if (l->block != VN_NO_BLOCK)
		vn_block_free(w->link.blocks, l->block);
	l->block = VN_NO_BLOCK;
	if (l->binding)
		vn_binding_end(l->binding);
	if (l->error)
		return;
	w->listener_of[l->endpoint] = VN_NO_LISTENER;
	if (b->endpoints[l->endpoint]->is_private) {
		endpoint_retire(b->endpoints[l->endpoint]);
		return;
	}
	b->may_prune = true;
	vn_endpoints_prune(b);
}

/**
 * vn_endpoints_adopt() - what the newest worker said of its endpoints holds for new connections
 */
void
vn_endpoints_adopt(vn_broker *b, const vn_worker *w)
{
	for (uint32_t i = 0; i <= VN_MAX_LISTENER; i++)
		if (w->listeners[i].used && w->listeners[i].error == 0)
			b->endpoints[w->listeners[i].endpoint]->resumable =
				w->listeners[i].resumable;
}

/* Is somebody about to ask? */
static bool
somebody_starts(const vn_broker *b)
{
	for (uint32_t i = 1; i <= b->n_slots; i++) {
		const vn_worker *w = b->workers[i];

		if (w && !w->going &&
			(w->state == VN_WORKER_NONE || w->state == VN_WORKER_STARTING))
			return true;
	}
	return false;
}

/**
 * vn_endpoints_prune() - close those that nobody asks for any more
 *
 * After a program was replaced by one that listens elsewhere, or the other way round. Not after a mere death: what
 * the dead one asked for its successor will.
 */
void
vn_endpoints_prune(vn_broker *b)
{
	if (!b->may_prune || b->phase >= VN_PHASE_DRAINING || somebody_starts(b))
		return;
	b->may_prune = false;
	for (uint32_t i = 0; i < b->n_endpoints; i++)
		if (b->endpoints[i]->used && !endpoint_is_wanted(b, b->endpoints[i])) {
			endpoint_shut(b->endpoints[i]);
			b->endpoints[i]->used = false;
		}
}

/* The worker is gone: what it asked for stays open for its successor, but what is private. */
void
vn_endpoint_forget_worker(vn_broker *b, vn_worker *w)
{
	for (uint32_t i = 0; i <= VN_MAX_LISTENER; i++) {
		const vn_worker_listener *l = &w->listeners[i];

		if (l->used && l->error == 0 && b->endpoints[l->endpoint]->is_private)
			endpoint_retire(b->endpoints[l->endpoint]);
		w->listeners[i] = (vn_worker_listener){.block = VN_NO_BLOCK};
	}
	for (uint32_t i = 0; i <= VN_DIALLED; i++)
		w->listener_of[i] = VN_NO_LISTENER;
	w->n_answers_owed = 0;
}

void
vn_endpoints_disarm(vn_broker *b)
{
	for (uint32_t i = 0; i < b->n_endpoints; i++)
		if (b->endpoints[i]->datagrams)
			vn_datagrams_drain(b->endpoints[i]);
		else
			endpoint_shut(b->endpoints[i]);
}

void
vn_endpoints_close(vn_broker *b)
{
	for (uint32_t i = 0; i < b->n_endpoints; i++)
		endpoint_shut(b->endpoints[i]);
	for (uint32_t i = 0; i < b->n_endpoints; i++)
		b->endpoints[i] = endpoint_free(b->endpoints[i]);
	b->n_endpoints = 0;
}
