/* SPDX-License-Identifier: MIT */
/*
 * relay - what a client says is passed on to somewhere else, and what is said there comes back
 *
 *	relay [URL [TARGET]]
 *
 * The connections come in pairs: one that was accepted, one that was dialled for it. Each direction is a coroutine, and
 * ends by itself: the end of one stream becomes the end of the other, while the other direction goes on. What arrived
 * is written from where it lies. If either connection breaks, both are reset: nobody takes a half for the whole.
 */
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <vanilla.h>

struct service {
	vn_rx *listener;
	const char *target;
};

struct visit {
	vn_conn *client;
	const char *target;
};

struct direction {
	vn_conn *from, *to;
};

static int
copy(vn_hub *h, void *arg)
{
	struct direction *d = arg;
	const void *data;
	ssize_t n;
	int rc = 0;

	(void)h;
	while (rc == 0 && (n = vn_peek(d->from, &data, 1)) > 0) {
		rc = vn_write(d->to, data, (size_t)n);
		if (rc == 0)
			rc = vn_skip(d->from, (size_t)n);
	}
	return rc < 0 ? rc : n < 0 ? (int)n : vn_shutdown(d->to);
}

/* Until both directions have ended, or one has failed. */
static int
relay_both(vn_hub *h, vn_conn *client, vn_conn *server)
{
	struct direction there = {client, server}, back = {server, client};
	vn_group *g = vn_group_new(h);
	int rc = g ? vn_group_spawn(g, copy, &there) : -ENOMEM;

	if (rc == 0)
		rc = vn_group_spawn(g, copy, &back);
	if (rc == 0)
		rc = vn_group_wait(g);
	vn_group_free(g);
	return rc;
}

/* The server's connection; NULL, and why was said. */
static vn_conn *
reach(vn_hub *h, const char *target)
{
	vn_time outer = vn_timeout(h, 10 * VN_SEC);
	vn_conn *server = vn_dial(h, target);
	int error = errno;

	vn_deadline(h, outer);
	if (!server)
		fprintf(stderr, "%s: %s\n", target, vn_strerror(-error));
	return server;
}

static int
relay(vn_hub *h, void *arg)
{
	struct visit v = *(struct visit *)arg;
	vn_conn *server = reach(h, v.target);

	free(arg);
	if (!server || relay_both(h, v.client, server) < 0) {
		vn_abort(v.client);
		vn_abort(server);
	}
	vn_close(server);
	return vn_close(v.client);
}

/* A coroutine for each client; one for whom there is no memory is reset. */
static int
accept_all(vn_hub *h, void *arg)
{
	struct service *s = arg;
	vn_conn *client;

	while (vn_recv(s->listener, &client) == 0) {
		struct visit *v = malloc(sizeof *v);

		if (v)
			*v = (struct visit){client, s->target};
		if (!v || vn_spawn(h, relay, v) != 0) {
			free(v);
			vn_abort(client);
			vn_close(client);
		}
	}
	return vn_close(s->listener);
}

int
main(int argc, char **argv)
{
	const char *url = argc > 1 ? argv[1] : "tcp://127.0.0.1:7003";
	vn_hub *h = vn_hub_new();
	struct service service = {.listener = vn_listen(h, url, 0),
		.target = argc > 2 ? argv[2] : "tcp://127.0.0.1:7000"};

	if (!service.listener)
		err(1, "%s", url);
	vn_spawn(h, accept_all, &service);
	vn_stop_on_term(h);
	vn_hub_free(h);
}
