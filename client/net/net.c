/* SPDX-License-Identifier: MIT */
/*
 * Net - a hub with endpoints: its backend is chosen when it is made, and it drains when it is asked to
 *
 * A worker finds the number of its handshake socket in the environment; a program started by hand does not,
 * and uses sockets of its own. The variable is removed, so the worker's own children run by themselves.
 *
 * Stopping has two phases. Drain: listeners end, resumable reads at a commit point give their connection back,
 * everything else runs on. Stop: every wait returns -ECANCELED.
 */
#include "client/net/net.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/hub/log.h"
#include "client/hub/place.h"
#include "client/net/metric.h"
#include "shm/link.h"

#define DEFAULT_DRAIN  (30 * VN_SEC)
#define DEFAULT_WINDOW (256u << 10)

/* The socket to the broker, -1 if there is none. */
static int
link_socket(void)
{
	const char *value = getenv(VN_LINK_FD_ENV);
	char *end;
	long fd;

	if (!value)
		return -1;
	fd = strtol(value, &end, 10);
	if (end == value || *end || fd < 3 || fd > 65535)
		fd = -1;
	unsetenv(VN_LINK_FD_ENV);
	return (int)fd;
}

/**
 * vn_net_duration() - a time as VANILLA_..._TIMEOUT has it: 500ms, 10s, 2m
 * @text: NULL, or what cannot be one, is the fallback
 */
vn_time
vn_net_duration(const char *text, vn_time fallback)
{
	static const struct {
		const char *unit;
		vn_time length;
	} units[] = {{"", VN_SEC}, {"ms", VN_MS}, {"s", VN_SEC}, {"m", 60 * VN_SEC}};
	char *end;
	double n;

	if (!text)
		return fallback;
	n = strtod(text, &end);
	for (size_t i = 0; end != text && i < sizeof units / sizeof *units; i++)
		if (strcmp(end, units[i].unit) == 0 && n >= 0 && n < 1e6)
			return (vn_time)(n * (double)units[i].length);
	return fallback;
}

/**
 * vn_net_bury() - free connections that were kept for those who had not run
 *
 * Caller: nobody is ready to run, so everybody who was woken has run.
 */
void
vn_net_bury(vn_net *net)
{
	while (net->graves) {
		vn_conn *c = net->graves;

		net->graves = c->next;
		vn_slab_put(&net->conns, c);
	}
}

/* Blocks for output came home: who found none looks again. */
void
vn_net_on_room(vn_net *net)
{
	vn_conn_wake(&net->starved);
}

static vn_net *
net_free(vn_net *net)
{
	if (!net)
		return NULL;
	net->ops->deinit(net);
	vn_metrics_free(net);
	vn_net_bury(net);
	vn_slab_deinit(&net->conns);
	free(net);
	return NULL;
}

static vn_net *
net_new(vn_hub *h)
{
	vn_net *net = calloc(1, sizeof *net);
	int socket = link_socket(), rc;

	if (!net)
		return NULL;
	net->hub = h;
	net->window = DEFAULT_WINDOW;
	vn_slab_init(&net->conns, sizeof(vn_conn));
	rc = socket >= 0 ? vn_brokered_init(net, socket) : vn_direct_init(net);
	if (rc == 0)
		return net;
	vn_slab_deinit(&net->conns);
	free(net);
	errno = -rc;
	return NULL;
}

/**
 * vn_hub_new() - a hub for the calling thread
 *
 * The calling stack becomes its first coroutine. In a program started by `vanilla run` the first hub is linked
 * to the broker.
 *
 * Return: the hub; NULL with errno ENOMEM, EMFILE, or what made the broker refuse (the log says more).
 */
vn_hub *
vn_hub_new(void)
{
	vn_hub *h = vn_hub_open(&vn_sys_linux);

	if (!h)
		return NULL;
	h->net = net_new(h);
	if (!h->net) {
		int rc = errno;

		vn_hub_close(h);
		errno = rc;
		return NULL;
	}
	return h;
}

/**
 * vn_hub_free() - stop, wait for every coroutine to end, give everything back
 *
 * Every wait returns -ECANCELED at once from here on; what connections have written is still sent.
 *
 * Return: NULL. Takes NULL.
 */
vn_hub *
vn_hub_free(vn_hub *h)
{
	if (!h)
		return NULL;
	for (const vn_listener *l = h->net->listeners; l; l = l->next)
		vn_place_tell(h, l, 0, "the listener made here is still open");
	vn_places_tell(h);
	vn_stop(h);
	while (h->n_coroutines > 0)
		vn_yield(h);
	vn_hub_tell(h);
	while (h->net->listeners)
		vn_rx_close(&h->net->listeners->rx);
	h->net = net_free(h->net);
	return vn_hub_close(h);
}

/* Somebody asks to drain (1) or to stop (2). */
void
vn_net_on_term(vn_net *net, int news)
{
	if (news > net->term_news)
		net->term_news = news;
	vn_conn_wake(&net->term);
}

/* A handle was given back: that may have been the last one. */
void
vn_net_on_handle_closed(vn_net *net)
{
	net->n_open--;
	if (net->n_open == 0 && net->draining)
		vn_conn_wake(&net->term);
}

static int
term_wait(vn_net *net, vn_time until)
{
	vn_clause clause = {0};

	if (net->term.first)
		return -EBUSY;
	vn_waitq_push(&net->term, &clause);
	return vn_wait(net->hub, &clause, 1, until);
}

static int
term_drain(vn_net *net)
{
	vn_time until = VN_NEVER;
	int rc = 0;

	net->draining = true;
	for (vn_listener *l = net->listeners; l; l = l->next)
		vn_listener_end(l);
	net->ops->drain(net);
	if (net->nobody_else) /* else the broker has a clock of its own */
		until = vn_now(net->hub) +
			vn_net_duration(getenv("VANILLA_DRAIN_TIMEOUT"), DEFAULT_DRAIN);
	while (rc >= 0 && net->n_open && net->term_news < 2)
		rc = term_wait(net, until);
	if (rc >= 0 && net->n_open == 0)
		return 0;
	vn_stop(net->hub);
	return rc < 0 ? rc : -ETIMEDOUT;
}

/**
 * vn_stop_on_term() - serve until asked to end, then drain
 *
 * Alone, SIGINT and SIGTERM ask (they are blocked in this thread and read by a descriptor meanwhile); a second
 * one stops at once. Under a broker, the broker asks.
 *
 * Return: 0 when the last connection is closed; -ETIMEDOUT when the hub was stopped because the drain took too
 * long or a second signal came; -ECANCELED after vn_stop(); -EBUSY if another coroutine is here already.
 */
int
vn_stop_on_term(vn_hub *h)
{
	vn_net *net = h->net;
	int rc = net->ops->term(net, true);

	if (rc < 0) {
		vn_log(h, LOG_ERR, "cannot wait for signals: %s", vn_strerror(rc));
		return rc;
	}
	while (rc >= 0 && net->term_news == 0)
		rc = term_wait(net, VN_NEVER);
	if (rc >= 0)
		rc = term_drain(net);
	net->ops->term(net, false);
	return rc;
}
