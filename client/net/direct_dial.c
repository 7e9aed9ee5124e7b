/* SPDX-License-Identifier: MIT */
/*
 * Direct dial - the socket of an attempt becomes a connection
 */
#include <errno.h>

#include "client/net/direct.h"

/**
 * vn_direct_may_connect() - nothing is needed but what connecting fails without
 */
bool
vn_direct_may_connect(vn_net *net)
{
	(void)net;
	return true;
}

static vn_conn *
connected_open(vn_attempt *a, int *rc)
{
	vn_desc_peer peer;
	vn_conn *c;

	vn_endpoint_peer(a->connect.fd, &a->connect.sa, &peer);
	c = vn_conn_new(a->net, NULL, &peer);
	*rc = -ENOMEM;
	if (!c)
		return NULL;
	c->fd = a->connect.fd;
	c->in_class = 1;
	c->flags |= VN_CONN_WRITABLE;
	*rc = vn_direct_watch(vn_direct_of(a->net), c);
	if (*rc == 0) {
		vn_connect_take(&a->connect);
		return c;
	}
	vn_conn_free(c);
	return NULL;
}

static void
direct_connected(vn_connect *connect, int rc)
{
	vn_attempt *a = (vn_attempt *)(void *)((char *)connect - offsetof(vn_attempt, connect));
	vn_conn *c = rc < 0 ? NULL : connected_open(a, &rc);

	if (!c)
		vn_connect_give_up(connect);
	vn_attempt_done(a, c, rc);
}

/**
 * vn_direct_connect() - begin to connect to an address
 */
void
vn_direct_connect(vn_attempt *a, const vn_endpoint *to)
{
	a->connect = (vn_connect){.hub = a->net->hub, .done = direct_connected};
	vn_connect_begin(&a->connect, to);
}

/**
 * vn_direct_give_up() - nobody waits for it any more
 */
void
vn_direct_give_up(vn_attempt *a)
{
	vn_connect_give_up(&a->connect);
}
