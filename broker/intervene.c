/* SPDX-License-Identifier: MIT */
/*
 * Intervene - commands that end a connection, or keep new ones out
 *
 * `conn close ID` resets, as if its worker had called vn_abort(): whoever types this wants an end, and a client that
 * still sends, or does not read, would put off any other. It is counted under its own reason, by_operator.
 *
 * `listener disable NAME` stops accepting: connections that are there go on, new ones wait in the kernel's queue
 * until it is enabled again, and are refused by the kernel when that is full; so do datagrams, which are lost then.
 * It holds for workers that come later as well, until the listener closes.
 */
#include <stdlib.h>
#include <string.h>

#include "broker/command.h"
#include "broker/endpoint.h"
#include "broker/report.h"
#include "broker/socket.h"

int
vn_conn_run(vn_client *c, char **words, size_t n)
{
	char *rest = NULL;
	uint64_t id = 0;
	uint32_t cursor = 0;
	vn_record *r;
	int rc = 0;

	if (n == 3 && strcmp(words[1], "close") == 0 && *words[2] >= '0' && *words[2] <= '9')
		id = strtoull(words[2], &rest, 10);
	if (!rest || *rest)
		return vn_client_error(c, "usage", "conn close ID; see show conns");
	while (!(r = vn_conn_search(c->control->broker, id, &cursor)) && cursor != UINT32_MAX) {
		rc = vn_client_work(c, 1);
		if (rc < 0)
			return rc;
	}
	if (!r || r->fd < 0)
		return vn_client_error(c, "refused",
			"there is no connection %.60s, or not any more; see show conns", words[2]);
	vn_socket_reset(c->control->broker, r, VN_RESET_BY_OPERATOR);
	return vn_client_ok(c);
}

int
vn_listener_run(vn_client *c, char **words, size_t n)
{
	bool enable = n == 3 && strcmp(words[1], "enable") == 0;
	vn_broker_endpoint *e;
	char why[256];

	if (n != 3 || (!enable && strcmp(words[1], "disable") != 0))
		return vn_client_error(
			c, "usage", "listener enable NAME, or listener disable NAME");
	e = vn_endpoint_called(c->control->broker, words[2], why);
	if (!e)
		return vn_client_error(c, "usage", "%s", why);
	if (e->fd < 0)
		return vn_client_error(c, "refused", "%s is closed", e->url);
	vn_endpoint_enable(e, enable);
	return vn_client_ok(c);
}
