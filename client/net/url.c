/* SPDX-License-Identifier: MIT */
/*
 * Url - text to endpoint, and endpoint to text
 *
 * Each failure leaves a sentence in `why`: what failed, on what, and what to do. The caller adds the URL.
 */
#include "client/net/url.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

/* In the order of vn_scheme. */
static const struct {
	const char *prefix;
	int type;
	uint32_t what;
} schemes[] = {
	{"tcp://", SOCK_STREAM, VN_FOR_TCP},
	{"unix:", SOCK_STREAM, VN_FOR_UNIX},
	{"seqpacket:", SOCK_SEQPACKET, VN_FOR_SEQPACKET},
	{"udp://", SOCK_DGRAM, VN_FOR_UDP},
};

#define N_SCHEMES (sizeof schemes / sizeof *schemes)

static int
fail(char why[static 256], int rc, const char *format, const char *what)
{
	snprintf(why, 256, format, what);
	return rc;
}

/**
 * vn_endpoint_type() - SOCK_STREAM, SOCK_SEQPACKET or SOCK_DGRAM
 */
int
vn_endpoint_type(const vn_endpoint *e)
{
	return schemes[e->scheme].type;
}

/* Of TCP or UDP, in network byte order. */
uint16_t
vn_endpoint_port(const vn_endpoint *e)
{
	if (e->sa.ss_family == AF_INET)
		return ((const struct sockaddr_in *)(const void *)&e->sa)->sin_port;
	return ((const struct sockaddr_in6 *)(const void *)&e->sa)->sin6_port;
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

/* A name, and the port as if it were one of IPv4. */
static int
name_keep(vn_endpoint *e, const char *host, const char *port, char name[static VN_URL_MAX])
{
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)&e->sa;

	in->sin_family = AF_INET;
	in->sin_port = htons((uint16_t)atoi(port));
	e->sa_len = sizeof *in;
	strcpy(name, host);
	return 0;
}

static int
parse_host(vn_endpoint *e, char *text, int flags, char *name, char why[static 256])
{
	struct addrinfo hints = {.ai_socktype = vn_endpoint_type(e),
				.ai_flags = AI_PASSIVE | flags},
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
	if (rc == EAI_NONAME && name)
		return name_keep(e, host, port, name);
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
parse_scheme(vn_endpoint *e, char *text, int flags, char *name, char why[static 256])
{
	size_t i = 0;

	while (i < N_SCHEMES && strncmp(text, schemes[i].prefix, strlen(schemes[i].prefix)) != 0)
		i++;
	if (i == N_SCHEMES)
		return fail(why, -EINVAL, "a URL begins with %s",
			"tcp://, udp://, unix: or seqpacket:");
	e->scheme = (vn_scheme)i;
	text += strlen(schemes[i].prefix);
	return strchr(schemes[i].prefix, '/') ? parse_host(e, text, flags, name, why)
					      : parse_unix(e, text, why);
}

/* Which options it can have: whoever connects has use for few. */
static uint32_t
options_of(vn_scheme scheme, bool is_dialled)
{
	if (!is_dialled)
		return schemes[scheme].what;
	return scheme == VN_TCP ? VN_FOR_DIAL : 0;
}

/* @name: of a host that is no address; or NULL, and it is resolved if flags do not forbid it */
static int
endpoint_parse(vn_endpoint *e, const char *url, int flags, char *name, char why[static 256])
{
	char text[VN_URL_MAX], *query;
	int rc;

	*e = (vn_endpoint){.options = vn_option_defaults};
	if (!url || !*url)
		return fail(why, -EINVAL, "the URL is missing; give one such as %s",
			"tcp://127.0.0.1:7000");
	if (strlen(url) >= sizeof text)
		return fail(why, -EINVAL, "a URL has at most 1023 bytes%s", "");
	strcpy(text, url);
	query = strchr(text, '?');
	if (query)
		*query++ = '\0';
	rc = parse_scheme(e, text, flags, name, why);
	if (rc < 0 || !query)
		return rc;
	return vn_option_parse(&e->options, options_of(e->scheme, name), query, !flags, why);
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
	return endpoint_parse(e, url, 0, NULL, why);
}

/* The same, but a host must be an address: for those who cannot wait. */
int
vn_endpoint_parse_numeric(vn_endpoint *e, const char *url, char why[static 256])
{
	return endpoint_parse(e, url, AI_NUMERICHOST, NULL, why);
}

/* Port 0 is nobody's, and neither is an address of everybody's. */
static bool
is_somewhere(const vn_endpoint *e, bool is_name)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)&e->sa;
	const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)&e->sa;

	if (e->sa.ss_family == AF_INET6)
		return in6->sin6_port && !IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
	return e->sa.ss_family == AF_UNIX ||
	       (in->sin_port && (is_name || in->sin_addr.s_addr != INADDR_ANY));
}

static int
parse_peer(vn_endpoint *e, const char *url, bool datagrams, char host[static VN_URL_MAX],
	char why[static 256])
{
	int rc;

	*host = '\0';
	rc = endpoint_parse(e, url, AI_NUMERICHOST, host, why);
	if (rc == 0 && datagrams && e->scheme != VN_UDP)
		return fail(why, -EINVAL, "datagrams are sent to %s alone", "udp://");
	if (rc == 0 && !datagrams && e->scheme != VN_TCP && e->scheme != VN_UNIX)
		return fail(why, -EINVAL, "only %s can be connected to", "tcp:// and unix:");
	if (rc == 0 && !is_somewhere(e, *host))
		return fail(why, -EINVAL,
			"somebody to talk to has an address and a port of their own, as in %s",
			datagrams ? "udp://127.0.0.1:7000" : "tcp://127.0.0.1:7000");
	return rc;
}

/**
 * vn_endpoint_parse_peer() - find out what a URL means to who connects to it
 * @host: becomes "", and e is complete; or the name that is to be resolved, and e has the port
 * @why:  a sentence when it fails
 *
 * Return: 0 or -EINVAL.
 */
int
vn_endpoint_parse_peer(
	vn_endpoint *e, const char *url, char host[static VN_URL_MAX], char why[static 256])
{
	return parse_peer(e, url, false, host, why);
}

/* The same, of one that datagrams are sent to. */
int
vn_endpoint_parse_udp_peer(
	vn_endpoint *e, const char *url, char host[static VN_URL_MAX], char why[static 256])
{
	return parse_peer(e, url, true, host, why);
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
name_unix(const char *prefix, const struct sockaddr_un *un, socklen_t len,
	char url[static VN_URL_MAX])
{
	int n = (int)len - (int)offsetof(struct sockaddr_un, sun_path);

	if (n > 0 && !un->sun_path[0])
		snprintf(url, VN_URL_MAX, "%s@%.*s", prefix, n - 1, un->sun_path + 1);
	else
		snprintf(url, VN_URL_MAX, "%s%.*s", prefix, n > 0 ? n : 0, un->sun_path);
}

static void
name_address(vn_scheme scheme, const struct sockaddr_storage *sa, socklen_t len,
	char url[static VN_URL_MAX])
{
	const char *prefix = schemes[scheme].prefix;
	char host[INET6_ADDRSTRLEN], scope[16] = "";

	if (sa->ss_family == AF_UNIX) {
		name_unix(prefix, (const struct sockaddr_un *)(const void *)sa, len, url);
	} else if (sa->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;

		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
		if (in6->sin6_scope_id)
			snprintf(scope, sizeof scope, "%%%u", in6->sin6_scope_id);
		snprintf(
			url, VN_URL_MAX, "%s[%s%s]:%d", prefix, host, scope, ntohs(in6->sin6_port));
	} else {
		const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;

		inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
		snprintf(url, VN_URL_MAX, "%s%s:%d", prefix, host, ntohs(in->sin_port));
	}
}

static vn_scheme
scheme_of(int fd, int family)
{
	int type = SOCK_STREAM;
	socklen_t len = sizeof type;

	getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
	if (family == AF_UNIX)
		return type == SOCK_SEQPACKET ? VN_SEQPACKET : VN_UNIX;
	return type == SOCK_DGRAM ? VN_UDP : VN_TCP;
}

/**
 * vn_endpoint_name() - the URL that a socket is bound to, the port filled in, without options
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
	name_address(scheme_of(fd, sa.ss_family), &sa, len, url);
	return 0;
}

/**
 * vn_endpoint_format() - a URL that means this endpoint, its host an address, its options written out
 *
 * Return: 0, or -ENAMETOOLONG: it is longer so than a URL can be.
 */
int
vn_endpoint_format(const vn_endpoint *e, char url[static VN_URL_MAX])
{
	name_address(e->scheme, &e->sa, e->sa_len, url);
	return vn_option_format(&e->options, schemes[e->scheme].what, url, VN_URL_MAX);
}
