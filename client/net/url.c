/* SPDX-License-Identifier: MIT */
/*
 * Url - parsing, and the socket options of an endpoint
 *
 * Each failure leaves a sentence in `why`: what failed, on what, and what to do. The caller adds the URL.
 */
#include "client/net/url.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_BACKLOG 4096

static int
fail(char why[static 256], int rc, const char *format, const char *what)
{
	snprintf(why, 256, format, what);
	return rc;
}

static int
parse_unix(vn_endpoint *e, const char *path, char why[static 256])
{
	struct sockaddr_un *un = (struct sockaddr_un *)(void *)&e->sa;
	size_t len = strlen(path);

	if (strncmp(path, "//", 2) == 0 && path[2] == '/')
		path += 2, len -= 2;
	if (len == 0 || len >= sizeof un->sun_path || strcmp(path, "@") == 0)
		return fail(why, -EINVAL, "the path of a Unix socket has 1 to 107 bytes%s", "");
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, len);
	if (path[0] == '@')
		un->sun_path[0] = '\0';
	e->sa_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (path[0] != '@'));
	return 0;
}

/* Splits "host:port" or "[host]:port" in place. */
static int
split_host(char *text, char **host, char **port, char why[static 256])
{
	char *colon = strrchr(text, ':');

	if (!colon || !colon[1] || strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
		strlen(colon + 1) > 5 || atoi(colon + 1) > 65535)
		return fail(why, -EINVAL, "a port from 0 to 65535 must follow the host, as in %s",
			"tcp://127.0.0.1:7000");
	*colon = '\0';
	*port = colon + 1;
	*host = text;
	if (text[0] == '[') {
		if (colon == text + 1 || colon[-1] != ']')
			return fail(why, -EINVAL, "an IPv6 address stands in brackets, as in %s",
				"tcp://[::1]:7000");
		colon[-1] = '\0';
		*host = text + 1;
	} else if (strchr(text, ':')) {
		return fail(why, -EINVAL, "an IPv6 address stands in brackets, as in %s",
			"tcp://[::1]:7000");
	}
	return 0;
}

static int
parse_tcp(vn_endpoint *e, char *text, int flags, char why[static 256])
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | flags},
			*found;
	char *host, *port;
	int rc = split_host(text, &host, &port, why);

	if (rc < 0)
		return rc;
	if (!*host)
		return fail(why, -EINVAL, "the host is missing; %s listens on every address",
			"tcp://*:PORT");
	if (strcmp(host, "*") == 0)
		host = NULL;
	rc = getaddrinfo(host, port, &hints, &found);
	if (rc != 0) {
		snprintf(why, 256,
			"unknown host '%.100s' (%s); use an address or a name that resolves",
			host ? host : "*", gai_strerror(rc));
		return rc == EAI_MEMORY ? -ENOMEM : -ENOENT;
	}
	memcpy(&e->sa, found->ai_addr, found->ai_addrlen);
	e->sa_len = found->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

static int
parse_number(const char *value, int min, int max, int *out)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(value, &end, 10);
	if (errno || strspn(value, "0123456789") == 0 || *end || n < min || n > max)
		return -EINVAL;
	*out = (int)n;
	return 0;
}

static int
parse_options(vn_endpoint *e, char *query, char why[static 256])
{
	char *rest = NULL;

	for (char *option = strtok_r(query, "&", &rest); option;
		option = strtok_r(NULL, "&", &rest)) {
		if (strncmp(option, "backlog=", 8) != 0)
			return fail(why, -EINVAL, "unknown option '%.100s'; known is backlog=N",
				option);
		if (parse_number(option + 8, 1, 65535, &e->backlog) < 0)
			return fail(why, -EINVAL, "option '%.100s' wants a number from 1 to 65535",
				option);
	}
	return 0;
}

static int
endpoint_parse(vn_endpoint *e, const char *url, int flags, char why[static 256])
{
	char text[VN_URL_MAX], *query;
	int rc;

	*e = (vn_endpoint){.backlog = DEFAULT_BACKLOG};
	if (!url || !*url)
		return fail(why, -EINVAL, "the URL is missing; give one such as %s",
			"tcp://127.0.0.1:7000");
	if (strlen(url) >= sizeof text)
		return fail(why, -EINVAL, "a URL has at most 511 bytes%s", "");
	strcpy(text, url);
	query = strchr(text, '?');
	if (query) {
		*query++ = '\0';
		rc = parse_options(e, query, why);
		if (rc < 0)
			return rc;
	}
	if (strncmp(text, "unix:", 5) == 0)
		return parse_unix(e, text + 5, why);
	if (strncmp(text, "tcp://", 6) == 0)
		return parse_tcp(e, text + 6, flags, why);
	return fail(why, -EINVAL, "a URL begins with %s", "tcp:// or unix:");
}

/**
 * vn_endpoint_parse() - find out what a URL means
 * @why: a sentence when it fails
 *
 * Host names are resolved here, by getaddrinfo(), which may take a while.
 *
 * Return: 0, -EINVAL for a bad URL, -ENOENT for a host that is not known.
 */
int
vn_endpoint_parse(vn_endpoint *e, const char *url, char why[static 256])
{
	return endpoint_parse(e, url, 0, why);
}

/* The same, but a host must be an address: for those who cannot wait. */
int
vn_endpoint_parse_numeric(vn_endpoint *e, const char *url, char why[static 256])
{
	return endpoint_parse(e, url, AI_NUMERICHOST, why);
}

/* A file that nobody listens on any more is taken over; a live one is not. */
static int
unix_take_over(const vn_endpoint *e)
{
	int fd, rc;

	if (!((const struct sockaddr_un *)(const void *)&e->sa)->sun_path[0])
		return 0;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	rc = connect(fd, (const struct sockaddr *)(const void *)&e->sa, e->sa_len) < 0 ? errno
										       : EADDRINUSE;
	close(fd);
	if (rc == ECONNREFUSED)
		vn_endpoint_unlink(e);
	return rc == EADDRINUSE || rc == EAGAIN ? -EADDRINUSE : 0;
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
listen_on(int fd, const vn_endpoint *e)
{
	int on = 1;

	if (e->sa.ss_family != AF_UNIX) {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on,
			sizeof on); /* accepted ones inherit it */
	}
	if (bind(fd, (const struct sockaddr *)(const void *)&e->sa, e->sa_len) < 0 ||
		listen(fd, e->backlog) < 0)
		return -errno;
	return 0;
}

/**
 * vn_endpoint_listen() - a listening socket, non-blocking and close-on-exec
 * @why: a sentence when it fails
 *
 * Return: the descriptor, or what socket(2), bind(2) and listen(2) say.
 */
int
vn_endpoint_listen(const vn_endpoint *e, char why[static 256])
{
	int fd, rc = 0;

	if (e->sa.ss_family == AF_UNIX)
		rc = unix_take_over(e);
	if (rc < 0)
		return fail(why, rc, "%s", bind_advice(rc));
	fd = socket(e->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fail(why, -errno, "%s", bind_advice(-errno));
	rc = listen_on(fd, e);
	if (rc < 0) {
		close(fd);
		return fail(why, rc, "%s", bind_advice(rc));
	}
	return fd;
}

/* Removes the file of a Unix socket that was ours. */
void
vn_endpoint_unlink(const vn_endpoint *e)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)(const void *)&e->sa;
	struct stat st;

	if (un->sun_family == AF_UNIX && un->sun_path[0] && lstat(un->sun_path, &st) == 0 &&
		S_ISSOCK(st.st_mode))
		unlink(un->sun_path);
}

static void
peer_unix(int fd, vn_desc_peer *peer)
{
	struct ucred cred = {0};
	socklen_t len = sizeof cred;
	uint32_t ids[3];

	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
	ids[0] = (uint32_t)cred.pid;
	ids[1] = cred.uid;
	ids[2] = cred.gid;
	memcpy(peer->addr, ids, sizeof ids);
}

/* Who is at the other end of an accepted socket, in the form that fits into a descriptor. */
void
vn_endpoint_peer(int fd, const struct sockaddr_storage *sa, vn_desc_peer *peer)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;

	*peer = (vn_desc_peer){.family = sa->ss_family};
	if (sa->ss_family == AF_INET) {
		peer->port = in->sin_port;
		memcpy(peer->addr, &in->sin_addr, sizeof in->sin_addr);
	} else if (sa->ss_family == AF_INET6) {
		peer->port = in6->sin6_port;
		peer->scope = in6->sin6_scope_id;
		memcpy(peer->addr, &in6->sin6_addr, sizeof in6->sin6_addr);
	} else {
		peer->family = AF_UNIX;
		peer_unix(fd, peer);
	}
}

static void
name_unix(const struct sockaddr_un *un, socklen_t len, char url[static VN_URL_MAX])
{
	int n = (int)len - (int)offsetof(struct sockaddr_un, sun_path);

	if (n > 0 && !un->sun_path[0])
		snprintf(url, VN_URL_MAX, "unix:@%.*s", n - 1, un->sun_path + 1);
	else
		snprintf(url, VN_URL_MAX, "unix:%.*s", n > 0 ? n : 0, un->sun_path);
}

static void
name_address(const struct sockaddr_storage *sa, socklen_t len, char url[static VN_URL_MAX])
{
	char host[INET6_ADDRSTRLEN], scope[16] = "";

	if (sa->ss_family == AF_UNIX) {
		name_unix((const struct sockaddr_un *)(const void *)sa, len, url);
	} else if (sa->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;

		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
		if (in6->sin6_scope_id)
			snprintf(scope, sizeof scope, "%%%u", in6->sin6_scope_id);
		snprintf(url, VN_URL_MAX, "tcp://[%s%s]:%d", host, scope, ntohs(in6->sin6_port));
	} else {
		const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;

		inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
		snprintf(url, VN_URL_MAX, "tcp://%s:%d", host, ntohs(in->sin_port));
	}
}

/**
 * vn_endpoint_name() - the URL that a socket is bound to, the port filled in
 *
 * Return: 0 or what getsockname(2) says.
 */
int
vn_endpoint_name(int fd, char url[static VN_URL_MAX])
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof sa;

	if (getsockname(fd, (struct sockaddr *)(void *)&sa, &len) < 0)
		return -errno;
	name_address(&sa, len, url);
	return 0;
}

/**
 * vn_endpoint_format() - a URL that means this endpoint, its host an address, its options written out
 */
void
vn_endpoint_format(const vn_endpoint *e, char url[static VN_URL_MAX])
{
	size_t len;

	name_address(&e->sa, e->sa_len, url);
	len = strlen(url);
	if (e->backlog != DEFAULT_BACKLOG)
		snprintf(url + len, VN_URL_MAX - len, "?backlog=%d", e->backlog);
}
