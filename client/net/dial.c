/* SPDX-License-Identifier: MIT */
/*
 * Dial - connections that the program asks for
 *
 * Everything happens in the coroutine that calls: it asks for the addresses of a name (resolver.c), begins attempts
 * as eyeballs.c has it, and waits for news of either; the first attempt that succeeds wins, all others are given
 * up. So a deadline and a cancel end any phase in the same way: the wait ends, and what was begun is given up.
 *
 * An attempt is the backend's: it connects a socket of its own, or has the broker do it. Where it cannot even
 * be begun for now (no block for what is to be said to the broker), the coroutine waits among the starved ones.
 *
 * What is dialled belongs to its coroutine: it is never resumed elsewhere, and it does not keep vn_stop_on_term()
 * waiting.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/hub/log.h"
#include "client/net/eyeballs.h"
#include "client/net/net.h"
#include "client/net/resolver.h"

typedef struct dial {
	vn_net *net;
	vn_endpoint endpoint; /* complete, or what all attempts have in common */
	vn_lookup *lookup;    /* NULL: it is complete */
	vn_eyeballs eyeballs;
	vn_waitq news;
	vn_attempt attempts[VN_DIAL_MAX];
	uint32_t n_begun, n_open;
	int error; /* of the attempt that says most */
	vn_conn *conn;
} dial;

/* That no way leads to one address says less than what happened at another. */
static bool
says_little(int error)
{
	return error == -ENETUNREACH || error == -EHOSTUNREACH || error == -EADDRNOTAVAIL ||
	       error == -EAFNOSUPPORT;
}

/* Looks at what has become of the attempts. */
static void
dial_gather(dial *d)
{
	for (vn_attempt *a = d->attempts; a < d->attempts + d->n_begun && !d->conn; a++) {
		if (!a->is_open || a->rc == -EINPROGRESS)
			continue;
		a->is_open = false;
		d->n_open--;
		d->conn = a->conn;
		if (a->rc < 0)
			vn_eyeballs_failed(&d->eyeballs);
		if (a->rc < 0 && (d->error == 0 || says_little(d->error)))
			d->error = a->rc;
	}
}

static void
attempt_begin(dial *d, const vn_endpoint *to)
{
	vn_attempt *a = &d->attempts[d->n_begun++];

	*a = (vn_attempt){.net = d->net, .news = &d->news, .is_open = true, .rc = -EINPROGRESS};
	d->n_open++;
	d->net->ops->connect(a, to);
}

static vn_endpoint
endpoint_of(const dial *d, const vn_inet *address)
{
	vn_endpoint e = d->endpoint;

	e.sa = (struct sockaddr_storage){0};
	e.sa_len = address->family == AF_INET ? sizeof address->in : sizeof address->in6;
	memcpy(&e.sa, address, e.sa_len);
	return e;
}

/* Begins the next attempt if it is time for it. */
static bool
dial_begin(dial *d, vn_time *until)
{
	const vn_inet *address;
	vn_endpoint to;

	*until = VN_NEVER;
	if (!d->lookup && d->n_begun)
		return false;
	if (!d->lookup) {
		attempt_begin(d, &d->endpoint);
		return true;
	}
	address = vn_eyeballs_next(&d->eyeballs, d->net->hub->now, until);
	if (!address)
		return false;
	to = endpoint_of(d, address);
	attempt_begin(d, &to);
	return true;
}

/* Is there nothing more to wait for? */
static bool
dial_is_over(const dial *d)
{
	if (d->conn || d->n_open)
		return d->conn;
	return d->lookup ? vn_eyeballs_exhausted(&d->eyeballs) : d->n_begun > 0;
}

static int
dial_result(const dial *d)
{
	if (d->conn)
		return 0;
	return d->error ? d->error : vn_eyeballs_error(&d->eyeballs);
}

/* Waits for news, or until it is time for something; while nothing can be begun, for room as well. */
static int
dial_wait(dial *d, bool has_room, vn_time until)
{
	vn_hub *h = d->net->hub;
	vn_time deadline = h->current->deadline; /* a cancel may change it meanwhile */
	vn_clause clauses[2];
	int rc;

	vn_waitq_push(&d->news, &clauses[0]);
	if (!has_room)
		vn_waitq_push(&d->net->starved, &clauses[1]);
	rc = vn_wait(h, clauses, has_room ? 1 : 2, until);
	if (rc == 1)
		vn_net_on_room(d->net); /* there may be enough for the next one too */
	return rc >= 0 || (rc == -ETIMEDOUT && until <= deadline) ? 0 : rc;
}

static int
dial_run(dial *d)
{
	int rc = 0;

	while (rc == 0) {
		bool has_room = d->net->ops->may_connect(d->net);
		vn_time until = VN_NEVER;

		dial_gather(d);
		if (dial_is_over(d))
			return dial_result(d);
		if (!has_room || !dial_begin(d, &until))
			rc = dial_wait(d, has_room, until);
	}
	return rc;
}

/* Whatever is not the result is given up. */
static void
dial_end(dial *d)
{
	for (vn_attempt *a = d->attempts; a < d->attempts + d->n_begun; a++) {
		if (!a->is_open)
			continue;
		if (a->rc == -EINPROGRESS) {
			d->net->ops->give_up(a);
		} else if (a->rc == 0) {
			vn_abort(a->conn);
			vn_conn_close(a->conn);
		}
	}
	vn_lookup_free(d->lookup);
}

/* Finds out what the URL means; a name is asked for. */
static int
dial_parse(dial *d, const char *url)
{
	char host[VN_URL_MAX], why[256];
	int rc = vn_endpoint_parse_peer(&d->endpoint, url, host, why);

	if (rc < 0) {
		vn_log(d->net->hub, LOG_ERR, "%s: cannot dial: %s", url ? url : "(null)", why);
		return rc;
	}
	if (!*host)
		return 0;
	d->lookup = vn_lookup_new(d->net->hub, host,
		ntohs(((struct sockaddr_in *)(void *)&d->endpoint.sa)->sin_port), &d->news);
	if (!d->lookup)
		return -errno;
	vn_eyeballs_init(&d->eyeballs, vn_lookup_families(d->lookup));
	return 0;
}

static int
dial_do(dial *d, const char *url)
{
	int rc = d->net->hub->stopping ? -ECANCELED : dial_parse(d, url);

	if (rc < 0)
		return rc;
	vn_hub_hold(d->net->hub);
	rc = dial_run(d);
	dial_end(d);
	vn_hub_unhold(d->net->hub);
	return rc;
}

/**
 * vn_dial() - connect
 * @url: see vanilla.h
 *
 * Ownership: the connection is the caller's to close.
 *
 * Return: the connection, or NULL with errno, as vanilla.h has it.
 */
vn_conn *
vn_dial(vn_hub *h, const char *url)
{
	dial *d = calloc(1, sizeof *d);
	vn_conn *conn;
	int rc;

	if (!d)
		return NULL;
	d->net = h->net;
	rc = dial_do(d, url);
	conn = d->conn;
	free(d);
	if (rc == 0)
		return conn;
	errno = -rc;
	return NULL;
}
