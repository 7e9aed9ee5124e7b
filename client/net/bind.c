/* SPDX-License-Identifier: MIT */
/*
 * Bind - the socket of an endpoint, with what its options ask of the kernel
 *
 * Connections inherit from their listening socket: so keepalive, nodelay and dscp cost nothing at an accept. The
 * file of a Unix socket gets its mode and owner before listen(2): until then nobody can connect.
 *
 * Each failure leaves a sentence in `why`: what failed, and what to do. The caller adds the URL.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "client/net/url.h"

#define PROBES 3

static const struct sockaddr_un *
unix_of(const vn_endpoint *e)
{
	return (const struct sockaddr_un *)(const void *)&e->sa;
}

/* Is there a file, or has it an abstract name? */
static bool
has_file(const vn_endpoint *e)
{
	return e->sa.ss_family == AF_UNIX && unix_of(e)->sun_path[0];
}

/* A file that nobody listens on any more is taken over; a live one is not. */
static int
unix_take_over(const vn_endpoint *e)
{
	int fd, rc;

	if (!has_file(e))
		return 0;
	fd = socket(AF_UNIX, vn_endpoint_type(e) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	rc = connect(fd, (const struct sockaddr *)(const void *)&e->sa, e->sa_len) < 0 ? errno
										       : EADDRINUSE;
	close(fd);
	if (rc == ECONNREFUSED)
		vn_endpoint_unlink(e);
	return rc == EADDRINUSE || rc == EAGAIN || rc == EPROTOTYPE ? -EADDRINUSE : 0;
}

static const char *
bind_advice(int rc)
{
	switch (rc) {
	case -EADDRINUSE:
		return "address already in use; stop the other program or choose another port or "
		       "path";
	case -EACCES:
		return "permission denied; a port below 1024 and a foreign folder need privilege, "
		       "choose another";
	case -EADDRNOTAVAIL:
		return "this machine does not have that address; use one of its own, or *";
	case -EMFILE:
	case -ENFILE:
		return "no file descriptor is free; raise the limit (ulimit -n)";
	case -ENOENT:
		return "the folder of the socket does not exist; make it first";
	default:
		return strerror(-rc);
	}
}

static int
fail(char why[static 256], int rc)
{
	snprintf(why, 256, "%s", bind_advice(rc));
	return rc;
}

static int
fail_option(char why[static 256], const char *option)
{
	int rc = -errno;

	snprintf(why, 256, "option '%s' is not possible here: %s", option, strerror(-rc));
	return rc;
}

static int
set(int fd, int level, int name, uint32_t value)
{
	int n = (int)value;

	return setsockopt(fd, level, name, &n, sizeof n);
}

/* A peer that has said nothing for so long is asked three times, a third of that apart. */
static int
set_keepalive(int fd, const vn_endpoint_options *o)
{
	uint32_t idle = (o->keepalive_ms + 999) / 1000, every = (idle + PROBES - 1) / PROBES;

	if (set(fd, SOL_SOCKET, SO_KEEPALIVE, 1) < 0 ||
		set(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle) < 0 ||
		set(fd, IPPROTO_TCP, TCP_KEEPINTVL, every) < 0)
		return -1;
	return set(fd, IPPROTO_TCP, TCP_KEEPCNT, PROBES);
}

static int
set_dscp(int fd, int family, uint32_t dscp)
{
	if (family == AF_INET6 && set(fd, IPPROTO_IPV6, IPV6_TCLASS, dscp << 2) < 0)
		return -1;
	return set(fd, IPPROTO_IP, IP_TOS, dscp << 2);
}

/**
 * vn_endpoint_set() - what the options of a TCP or UDP endpoint ask of the kernel, before it is bound
 * @why: a sentence when it fails, which names the option
 *
 * Return: 0 or what setsockopt(2) says.
 */
int
vn_endpoint_set(int fd, const vn_endpoint *e, char why[static 256])
{
	const vn_endpoint_options *o = &e->options;

	if (e->scheme == VN_TCP && set(fd, IPPROTO_TCP, TCP_NODELAY, o->nodelay) < 0)
		return fail_option(why, "nodelay");
	if (e->scheme == VN_TCP && o->keepalive_ms && set_keepalive(fd, o) < 0)
		return fail_option(why, "keepalive");
	if (o->reuseport && set(fd, SOL_SOCKET, SO_REUSEPORT, 1) < 0)
		return fail_option(why, "reuseport");
	if (o->v6only < 2 && set(fd, IPPROTO_IPV6, IPV6_V6ONLY, o->v6only) < 0)
		return fail_option(why, "v6only");
	if (o->dscp < 64 && set_dscp(fd, e->sa.ss_family, o->dscp) < 0)
		return fail_option(why, "dscp");
	if (o->interface[0] && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, o->interface,
				       (socklen_t)strlen(o->interface)) < 0)
		return fail_option(why, "interface");
	return 0;
}

/* Mode and owner of a socket's file. */
static int
set_file(const vn_endpoint *e, char why[static 256])
{
	const vn_endpoint_options *o = &e->options;
	const char *path = unix_of(e)->sun_path;

	if ((o->user != VN_NO_ID || o->group != VN_NO_ID) && lchown(path, o->user, o->group) < 0)
		return fail_option(why, o->user != VN_NO_ID ? "user" : "group");
	if (o->mode != VN_NO_ID && chmod(path, o->mode) < 0)
		return fail_option(why, "mode");
	return 0;
}

static int
bind_unix(int fd, const vn_endpoint *e, char why[static 256])
{
	int rc = 0;

	if (bind(fd, (const struct sockaddr *)(const void *)&e->sa, e->sa_len) < 0)
		return fail(why, -errno);
	if (has_file(e))
		rc = set_file(e, why);
	if (rc < 0)
		vn_endpoint_unlink(e);
	return rc;
}

static int
bind_address(int fd, const vn_endpoint *e, char why[static 256])
{
	int rc = vn_endpoint_set(fd, e, why);

	if (rc < 0)
		return rc;
	set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (bind(fd, (const struct sockaddr *)(const void *)&e->sa, e->sa_len) < 0)
		return fail(why, -errno);
	return 0;
}

static int
listen_on(int fd, const vn_endpoint *e, char why[static 256])
{
	int rc = e->sa.ss_family == AF_UNIX ? bind_unix(fd, e, why) : bind_address(fd, e, why);

	if (rc < 0)
		return rc;
	return listen(fd, (int)e->options.backlog) < 0 ? fail(why, -errno) : 0;
}

/* What cannot be had there, whatever the kernel says. */
static int
listen_check(const vn_endpoint *e, char why[static 256])
{
	const vn_endpoint_options *o = &e->options;

	if (e->scheme == VN_UDP) {
		snprintf(why, 256, "udp has no connections to listen for; it is bound instead");
		return -EINVAL;
	}
	if (e->sa.ss_family == AF_UNIX && !has_file(e) &&
		(o->mode & o->user & o->group) != VN_NO_ID) {
		snprintf(why, 256,
			"options mode, user and group are for a socket's file, and an abstract "
			"name has none");
		return -EINVAL;
	}
	if (e->sa.ss_family == AF_INET && o->v6only < 2) {
		snprintf(why, 256, "option 'v6only' is for an IPv6 address, such as tcp://[::]:80");
		return -EINVAL;
	}
	return 0;
}

/**
 * vn_endpoint_listen() - a listening socket, non-blocking and close-on-exec
 * @why: a sentence when it fails
 *
 * Return: the descriptor, or what socket(2), setsockopt(2), bind(2) and listen(2) say.
 */
int
vn_endpoint_listen(const vn_endpoint *e, char why[static 256])
{
	int fd, rc = listen_check(e, why);

	if (rc < 0)
		return rc;
	if (e->sa.ss_family == AF_UNIX)
		rc = unix_take_over(e);
	if (rc < 0)
		return fail(why, rc);
	fd = socket(e->sa.ss_family, vn_endpoint_type(e) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fail(why, -errno);
	rc = listen_on(fd, e, why);
	if (rc < 0)
		close(fd);
	return rc < 0 ? rc : fd;
}

/**
 * vn_endpoint_bind() - a socket of datagrams, bound, non-blocking and close-on-exec
 * @why: a sentence when it fails
 *
 * Two programs get the same port only if both ask for that (reuseport).
 *
 * Return: the descriptor, or what socket(2), setsockopt(2) and bind(2) say; -EINVAL for an endpoint of connections.
 */
int
vn_endpoint_bind(const vn_endpoint *e, char why[static 256])
{
	int fd, rc;

	if (e->scheme != VN_UDP) {
		snprintf(why, 256, "only udp has datagrams to bind for; listen there instead");
		return -EINVAL;
	}
	if (e->sa.ss_family == AF_INET && e->options.v6only < 2) {
		snprintf(why, 256, "option 'v6only' is for an IPv6 address, such as udp://[::]:53");
		return -EINVAL;
	}
	fd = socket(e->sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fail(why, -errno);
	rc = vn_endpoint_set(fd, e, why);
	if (rc == 0 && bind(fd, (const struct sockaddr *)(const void *)&e->sa, e->sa_len) < 0)
		rc = fail(why, -errno);
	if (rc < 0)
		close(fd);
	return rc < 0 ? rc : fd;
}

/* Removes the file of a Unix socket that was ours. */
void
vn_endpoint_unlink(const vn_endpoint *e)
{
	struct stat st;

	if (has_file(e) && lstat(unix_of(e)->sun_path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(unix_of(e)->sun_path);
}
