/* SPDX-License-Identifier: MIT */
/*
 * Resolver - see resolver.h
 *
 * Each lookup has a channel of c-ares to itself. That costs it a few small files to be read, which c-ares would have
 * to look after anyway to notice their changes; and a lookup can be given up, whenever that is, by destroying its
 * channel, which is the only way that c-ares has for a single one. Its answers come from within calls into c-ares, so
 * nobody frees a lookup there: they are written down, and whoever waits looks again.
 *
 * A channel opens a socket for each name server that it talks to, by UDP, and one more where an answer was truncated
 * and it asks again by TCP; c-ares says what it waits for there, each time that this changes.
 */
#include "client/net/resolver.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include <ares.h>

#include "client/hub/log.h"

#define SOCKETS_MAX 16 /* of one lookup: more name servers than that nobody has */

typedef struct lookup_socket {
	vn_watch watch;
	vn_lookup *lookup; /* NULL: not in use */
	int fd;
} lookup_socket;

struct vn_lookup {
	vn_hub *hub;
	vn_waitq *news;
	ares_channel channel;
	bool ends;
	vn_timer timer;
	lookup_socket sockets[SOCKETS_MAX];
	vn_family families[VN_N_FAMILIES];
};

/* What c-ares waits for. */

/* When c-ares wants to be called although nothing happens. */
static void
timer_set(vn_lookup *l)
{
	struct timeval tv;

	if (ares_timeout(l->channel, NULL, &tv))
		vn_wheel_arm(l->hub->wheel, &l->timer,
			vn_hub_after(l->hub, tv.tv_sec * VN_SEC + tv.tv_usec * VN_US));
	else
		vn_wheel_disarm(l->hub->wheel, &l->timer);
}

static void
timer_fire(vn_timer *t)
{
	vn_lookup *l = (vn_lookup *)(void *)((char *)t - offsetof(vn_lookup, timer));

	ares_process_fd(l->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	timer_set(l);
}

static void
socket_on_event(vn_watch *w, uint32_t events)
{
	lookup_socket *s = (lookup_socket *)(void *)((char *)w - offsetof(lookup_socket, watch));
	vn_lookup *l = s->lookup;
	int fd = s->fd;

	ares_process_fd(l->channel, events & ~(uint32_t)EPOLLOUT ? fd : ARES_SOCKET_BAD,
		events & EPOLLOUT ? fd : ARES_SOCKET_BAD);
	timer_set(l);
}

/* Its entry, or a free one. */
static lookup_socket *
socket_find(vn_lookup *l, int fd)
{
	lookup_socket *free = NULL;

	for (lookup_socket *s = l->sockets; s < l->sockets + SOCKETS_MAX; s++) {
		if (s->lookup && s->fd == fd)
			return s;
		if (!s->lookup && !free)
			free = s;
	}
	return free;
}

/* A socket that finds no place here is not heard: its query ends by its time-out. */
static void
socket_on_state(void *arg, ares_socket_t fd, int readable, int writable)
{
	vn_lookup *l = arg;
	lookup_socket *s = socket_find(l, fd);
	uint32_t events = (readable ? EPOLLIN : 0) | (writable ? EPOLLOUT : 0);

	if (!s)
		return;
	if (s->lookup)
		vn_watch_remove(l->hub->poller, &s->watch);
	s->lookup = NULL;
	if (!events || vn_watch_add(l->hub->poller, &s->watch, fd, events, socket_on_event) < 0)
		return;
	s->lookup = l;
	s->fd = fd;
}

/* What it says. */

static int
error_of(int status)
{
	switch (status) {
	case ARES_ENOTFOUND:
	case ARES_EBADNAME:
	case ARES_ENONAME:
		return -ENOENT;
	case ARES_ENODATA:
		return -ENODATA;
	case ARES_ENOMEM:
		return -ENOMEM;
	default: /* no server that could be reached and was able to say */
		return -EREMOTEIO;
	}
}

static void
family_add(vn_family *f, const struct ares_addrinfo_node *node)
{
	vn_inet *to = &f->addresses[f->n];

	if (f->n == VN_FAMILY_MAX || node->ai_addrlen > sizeof *to)
		return;
	memcpy(to, node->ai_addr, node->ai_addrlen);
	f->n++;
}

static void
family_answered(vn_lookup *l, int family, int status, struct ares_addrinfo *found)
{
	vn_family *f = &l->families[family];

	if (l->ends)
		return;
	for (const struct ares_addrinfo_node *node = found ? found->nodes : NULL; node;
		node = node->ai_next)
		if (node->ai_family == (family == VN_SIX ? AF_INET6 : AF_INET))
			family_add(f, node);
	if (found)
		ares_freeaddrinfo(found);
	f->error = f->n ? 0 : error_of(status == ARES_SUCCESS ? ARES_ENODATA : status);
	f->known = true;
	if (l->news->first)
		vn_wake(l->news->first, 0);
}

static void
six_answered(void *arg, int status, int timeouts, struct ares_addrinfo *found)
{
	(void)timeouts;
	family_answered(arg, VN_SIX, status, found);
}

static void
four_answered(void *arg, int status, int timeouts, struct ares_addrinfo *found)
{
	(void)timeouts;
	family_answered(arg, VN_FOUR, status, found);
}

/* Its beginning and end. */

static int
use_servers(vn_lookup *l)
{
	const char *servers = getenv(VN_DNS_ENV);

	if (!servers || !*servers)
		return 0;
	if (ares_set_servers_ports_csv(l->channel, servers) == ARES_SUCCESS)
		return 0;
	vn_log(l->hub, LOG_ERR,
		VN_DNS_ENV "=%.200s: not a list of name servers; give addresses, as in "
			   "127.0.0.1:5353,[::1]:53",
		servers);
	return -EINVAL;
}

static int
channel_open(vn_lookup *l)
{
	struct ares_options options = {.sock_state_cb = socket_on_state, .sock_state_cb_data = l};
	int status = ares_init_options(&l->channel, &options, ARES_OPT_SOCK_STATE_CB);

	if (status == ARES_SUCCESS)
		return use_servers(l);
	l->channel = NULL;
	return status == ARES_ENOMEM ? -ENOMEM : -EREMOTEIO;
}

/* RFC 6761: it is this machine, whoever says what. */
static bool
is_localhost(const char *host)
{
	static const char name[] = "localhost";
	size_t len = strlen(host), n = sizeof name - 1;

	return len >= n && strcasecmp(host + len - n, name) == 0 &&
	       (len == n || host[len - n - 1] == '.');
}

static void
know_localhost(vn_lookup *l, uint16_t port)
{
	l->families[VN_SIX] = (vn_family){.n = 1, .known = true};
	l->families[VN_SIX].addresses[0].in6 = (struct sockaddr_in6){.sin6_family = AF_INET6,
		.sin6_port = htons(port),
		.sin6_addr = IN6ADDR_LOOPBACK_INIT};
	l->families[VN_FOUR] = (vn_family){.n = 1, .known = true};
	l->families[VN_FOUR].addresses[0].in = (struct sockaddr_in){.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int
lookup_begin(vn_lookup *l, const char *host, uint16_t port)
{
	struct ares_addrinfo_hints hints = {
		.ai_socktype = SOCK_STREAM, .ai_flags = ARES_AI_NUMERICSERV};
	char service[8];
	int rc = channel_open(l);

	if (rc < 0)
		return rc;
	snprintf(service, sizeof service, "%u", (unsigned)port);
	hints.ai_family = AF_INET6;
	ares_getaddrinfo(l->channel, host, service, &hints, six_answered, l);
	hints.ai_family = AF_INET;
	ares_getaddrinfo(l->channel, host, service, &hints, four_answered, l);
	timer_set(l);
	return 0;
}

/**
 * vn_lookup_new() - ask for the addresses of a name
 * @port: in the byte order of this machine; the addresses have it
 * @news: who waits there is woken when a family becomes known; lives longer
 *
 * What /etc/hosts has is known when this returns, and so is localhost. (c-ares knows that as well, but 1.18 leaks its
 * name.)
 *
 * Return: the lookup, or NULL with errno: ENOMEM, EREMOTEIO, EINVAL (VANILLA_DNS; the log has a sentence).
 */
vn_lookup *
vn_lookup_new(vn_hub *h, const char *host, uint16_t port, vn_waitq *news)
{
	vn_lookup *l = calloc(1, sizeof *l);
	int rc = 0;

	if (!l)
		return NULL;
	l->hub = h;
	l->news = news;
	l->timer.fire = timer_fire;
	if (is_localhost(host))
		know_localhost(l, port);
	else
		rc = lookup_begin(l, host, port);
	if (rc == 0)
		return l;
	vn_lookup_free(l);
	errno = -rc;
	return NULL;
}

/**
 * vn_lookup_free() - end it, whether everything is known or not
 * @l: or NULL
 *
 * Caller: no callback of the lookup's own: whoever was woken by its news.
 *
 * Return: NULL.
 */
vn_lookup *
vn_lookup_free(vn_lookup *l)
{
	if (!l)
		return NULL;
	l->ends = true;
	if (l->channel)
		ares_destroy(l->channel);
	vn_wheel_disarm(l->hub->wheel, &l->timer);
	free(l);
	return NULL;
}

/**
 * vn_lookup_families() - what is known so far
 *
 * Return: VN_N_FAMILIES of them, the lookup's.
 */
const vn_family *
vn_lookup_families(const vn_lookup *l)
{
	return l->families;
}
