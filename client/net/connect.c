/* SPDX-License-Identifier: MIT */
/*
 * Connect - see connect.h
 */
#include "client/net/connect.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define ASK_AGAIN (10 * VN_MS)

static void connect_try(vn_connect *c);

static void
connect_fail(vn_connect *c, int rc)
{
	vn_connect_give_up(c);
	c->done(c, rc);
}

/*
 * A port of the system's choosing can be the very one that is asked for, when nobody listens there: then the socket is
 * connected to itself.
 */
static bool
is_itself(int fd, const struct sockaddr_storage *peer, socklen_t len)
{
	struct sockaddr_storage own;
	socklen_t own_len = sizeof own;

	return peer->ss_family != AF_UNIX &&
	       getsockname(fd, (struct sockaddr *)(void *)&own, &own_len) == 0 && own_len == len &&
	       memcmp(&own, peer, len) == 0;
}

/* 0 when it is connected, -EAGAIN when that is not decided. */
static int
connect_result(int fd)
{
	struct sockaddr_storage peer = {0};
	socklen_t len = sizeof(int);
	int error = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		return -errno;
	if (error)
		return -error;
	len = sizeof peer;
	if (getpeername(fd, (struct sockaddr *)(void *)&peer, &len) < 0)
		return errno == ENOTCONN ? -EAGAIN : -errno;
	return is_itself(fd, &peer, len) ? -ECONNREFUSED : 0;
}

static void
connect_on_event(vn_watch *w, uint32_t events)
{
	vn_connect *c = (vn_connect *)(void *)((char *)w - offsetof(vn_connect, watch));
	int rc = connect_result(c->fd);

	(void)events;
	if (rc == -EAGAIN)
		return;
	vn_watch_remove(c->hub->poller, w);
	if (rc < 0)
		connect_fail(c, rc);
	else
		c->done(c, 0);
}

static void
connect_again(vn_timer *t)
{
	connect_try((vn_connect *)(void *)((char *)t - offsetof(vn_connect, again)));
}

static void
connect_try(vn_connect *c)
{
	int rc = connect(c->fd, (const struct sockaddr *)(const void *)&c->sa, c->sa_len) < 0
			 ? errno
			 : 0;

	switch (rc) {
	case 0:
		rc = connect_result(c->fd);
		break;
	case EAGAIN:
		if (c->sa.ss_family == AF_UNIX) {
			vn_wheel_arm(c->hub->wheel, &c->again, vn_hub_after(c->hub, ASK_AGAIN));
			return;
		}
		rc = -EADDRNOTAVAIL; /* every port of this machine is in use */
		break;
	case EINPROGRESS:
	case EINTR:
		rc = vn_watch_add(c->hub->poller, &c->watch, c->fd, EPOLLOUT, connect_on_event);
		if (rc == 0)
			return;
		break;
	default:
		rc = -rc;
	}
	if (rc < 0)
		connect_fail(c, rc);
	else
		c->done(c, 0);
}

static int
connect_socket(const vn_endpoint *to)
{
	char why[256];
	int fd = socket(to->sa.ss_family, vn_endpoint_type(to) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int rc = fd < 0 ? -errno : to->scheme == VN_TCP ? vn_endpoint_set(fd, to, why) : 0;

	if (rc == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return rc;
}

/**
 * vn_connect_begin() - begin to connect
 * @c: hub and done are set
 *
 * done() gets what socket(2), setsockopt(2) and connect(2) have: -ECONNREFUSED, -ETIMEDOUT, -EHOSTUNREACH,
 * -ENETUNREACH, -ENOENT, -EACCES, -EMFILE, -ENODEV, ...
 */
void
vn_connect_begin(vn_connect *c, const vn_endpoint *to)
{
	c->sa = to->sa;
	c->sa_len = to->sa_len;
	c->watch.fd = -1;
	c->again = (vn_timer){.fire = connect_again};
	c->fd = connect_socket(to);
	if (c->fd < 0)
		c->done(c, c->fd);
	else
		connect_try(c);
}

/**
 * vn_connect_take() - it is connected: the descriptor is the caller's from here on
 */
int
vn_connect_take(vn_connect *c)
{
	int fd = c->fd;

	c->fd = -1;
	return fd;
}

/**
 * vn_connect_give_up() - end it, however far it is; done() is not called any more
 * @c: begun
 */
void
vn_connect_give_up(vn_connect *c)
{
	struct linger linger = {.l_onoff = 1};

	vn_wheel_disarm(c->hub->wheel, &c->again);
	vn_watch_remove(c->hub->poller, &c->watch);
	if (c->fd < 0)
		return;
	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
	close(c->fd);
	c->fd = -1;
}
