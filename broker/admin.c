/* SPDX-License-Identifier: MIT */
/*
 * Admin - the listener of --admin, for HTTP alone
 *
 * Whoever reaches it may read everything that `show` shows, and change nothing. So it is on loopback, unless the URL
 * ends in ?public, and off unless it is asked for. Its clients are those of the control socket in every way but
 * their first line (client.c, http.c), with a limit of their own.
 */
#include "broker/admin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "broker/control.h"
#include "broker/endpoint.h"

#define SCHEME "http://"
#define PUBLIC "?public"

static bool
is_loopback(const struct sockaddr_storage *sa)
{
	const struct sockaddr_in *v4 = (const void *)sa;
	const struct sockaddr_in6 *v6 = (const void *)sa;

	if (sa->ss_family == AF_INET)
		return ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	return sa->ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

/* Takes an ending away, if it is there. */
static bool
cut(char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	if (n < m || strcmp(text + n - m, end) != 0)
		return false;
	text[n - m] = '\0';
	return true;
}

/**
 * vn_admin_parse() - what the URL of --admin means
 * @url: http://HOST:PORT, with ?public if others than this machine may come
 * @why: a sentence when this fails
 *
 * Return: 0 or a negative errno.
 */
int
vn_admin_parse(vn_endpoint *e, const char *url, char why[static 256])
{
	char tcp[VN_URL_MAX];
	bool is_public;
	int rc;

	if (strncmp(url, SCHEME, strlen(SCHEME)) != 0) {
		snprintf(why, 256, "it begins with " SCHEME);
		return -EINVAL;
	}
	snprintf(tcp, sizeof tcp, "tcp://%s", url + strlen(SCHEME));
	is_public = cut(tcp, PUBLIC);
	cut(tcp, "/");
	rc = vn_endpoint_parse(e, tcp, why);
	if (rc == 0 && !is_public && !is_loopback(&e->sa)) {
		snprintf(why, 256,
			"everybody on the network could read it; end it with " PUBLIC
			" if that is meant, or use 127.0.0.1");
		rc = -EINVAL;
	}
	return rc;
}

/**
 * vn_admin_open() - listen, if that was asked for
 *
 * Return: 0, or the exit code of the program after a sentence in the log.
 */
int
vn_admin_open(vn_broker *b)
{
	char why[256], url[VN_URL_MAX];
	vn_endpoint e;
	int rc;

	if (!b->config->admin)
		return 0;
	rc = vn_admin_parse(&e, b->config->admin, why);
	if (rc == 0)
		rc = vn_endpoint_listen(&e, why);
	if (rc < 0) {
		vn_log(b->hub, LOG_ERR, "cannot serve --admin %s: %s", b->config->admin, why);
		return vn_endpoint_exit_code(rc);
	}
	vn_endpoint_name(rc, url);
	b->admin = vn_control_listen(b, rc, true);
	if (!b->admin)
		return VN_EXIT_SYSTEM;
	vn_log(b->hub, LOG_INFO, "metrics at " SCHEME "%s/metrics", url + strlen("tcp://"));
	return 0;
}

/**
 * vn_admin_close() - listen no more; who is connected is sent away
 */
void
vn_admin_close(vn_broker *b)
{
	if (b->admin)
		vn_control_end(b->admin);
	b->admin = NULL;
}
