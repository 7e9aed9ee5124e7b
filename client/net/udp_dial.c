/* SPDX-License-Identifier: MIT */
/*
 * Udp dial - an endpoint of datagrams that is connected to a peer
 *
 * As dial.c has it, everything happens in the coroutine that calls. But with datagrams nobody answers: whether an
 * address is one to which there is a way is known at once, and the first that connect(2) accepts is taken. So there is
 * no attempt to wait for; what is waited for is a name, until the deadline or a cancel, and the head start that
 * eyeballs.c gives to IPv6.
 *
 * What is dialled belongs to its coroutine: it does not end when the service drains, nor does it keep
 * vn_stop_on_term() waiting.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/hub/log.h"
#include "client/hub/place.h"
#include "client/net/eyeballs.h"
#include "client/net/resolver.h"
#include "client/net/udp.h"

typedef struct dialling {
	vn_udp *udp;
	vn_endpoint endpoint; /* complete, or what all attempts have in common */
	vn_lookup *lookup;    /* NULL: it is complete */
	vn_eyeballs eyeballs;
	vn_waitq news;
	int error; /* of the last address */
} dialling;

static int
try_endpoint(dialling *d, const vn_endpoint *to)
{
	vn_udp *u = d->udp;
	int rc = u->listener.net->ops->connect_udp(u, to);

	if (rc == 0)
		vn_endpoint_peer(-1, &to->sa, &u->peer);
	return rc;
}

static int
try_address(dialling *d, const vn_inet *address)
{
	vn_endpoint to = d->endpoint;

	to.sa = (struct sockaddr_storage){0};
	to.sa_len = address->family == AF_INET ? sizeof address->in : sizeof address->in6;
	memcpy(&to.sa, address, to.sa_len);
	return try_endpoint(d, &to);
}

/* Waits for news, or until it is time for something. */
static int
dial_wait(dialling *d, vn_time until)
{
	vn_hub *h = d->udp->listener.net->hub;
	vn_time deadline = h->current->deadline; /* a cancel may change it meanwhile */
	vn_clause clause = {0};
	int rc;

	vn_waitq_push(&d->news, &clause);
	rc = vn_wait(h, &clause, 1, until);
	return rc >= 0 || (rc == -ETIMEDOUT && until <= deadline) ? 0 : rc;
}

/* One address after the other, as they become known. */
static int
dial_name(dialling *d)
{
	vn_hub *h = d->udp->listener.net->hub;
	int rc = 0;

	while (rc == 0) {
		vn_time until;
		const vn_inet *address = vn_eyeballs_next(&d->eyeballs, h->now, &until);

		if (!address) {
			if (vn_eyeballs_exhausted(&d->eyeballs))
				return d->error ? d->error : vn_eyeballs_error(&d->eyeballs);
			rc = dial_wait(d, until);
			continue;
		}
		d->error = try_address(d, address);
		if (d->error == 0 || d->error == -ECANCELED || d->error == -ETIMEDOUT)
			return d->error;
		vn_eyeballs_failed(&d->eyeballs);
	}
	return rc;
}

static int
dial_do(dialling *d, const char *url)
{
	vn_hub *h = d->udp->listener.net->hub;
	char host[VN_URL_MAX], why[256];
	int rc = vn_endpoint_parse_udp_peer(&d->endpoint, url, host, why);

	if (rc < 0) {
		vn_log(h, LOG_ERR, "%s: cannot dial: %s", url ? url : "(null)", why);
		return rc;
	}
	if (!*host)
		return try_endpoint(d, &d->endpoint);
	d->lookup = vn_lookup_new(h, host, ntohs(vn_endpoint_port(&d->endpoint)), &d->news);
	if (!d->lookup)
		return -errno;
	vn_eyeballs_init(&d->eyeballs, vn_lookup_families(d->lookup));
	rc = dial_name(d);
	vn_lookup_free(d->lookup);
	return rc;
}

/**
 * vn_udp_dial() - an endpoint of datagrams that is connected to a peer
 * @url: see vanilla.h
 *
 * Ownership: the caller's, until vn_close().
 *
 * Return: the endpoint, or NULL with errno, as vanilla.h has it.
 */
vn_udp *(vn_udp_dial)(vn_hub *h, const char *url)
{
	dialling *d = calloc(1, sizeof *d);
	vn_udp *u = d ? vn_udp_new(h) : NULL;
	int rc = -ENOMEM;

	if (u) {
		d->udp = u;
		u->listener.is_dialled = true;
		vn_place_note(h, &u->listener, 0);
		vn_hub_hold(h);
		rc = h->stopping ? -ECANCELED : dial_do(d, url);
	}
	free(d);
	if (rc == 0) {
		vn_listener_link(&u->listener);
		return u;
	}
	if (u)
		vn_hub_unhold(h);
	free(u);
	errno = -rc;
	return NULL;
}
