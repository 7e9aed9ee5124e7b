/* SPDX-License-Identifier: MIT */
/*
 * Datagrams - answers datagrams as they ask for it
 *
 *     datagrams URL...     binds each, prints "bound URL" as it is bound
 *
 * A datagram that does not begin with "!" is sent back. Others are orders:
 *
 *     !info          peer, local, interface, len, truncated, group, as text
 *     !room N        from now on there is room for N bytes
 *     !how recv|view|select     how datagrams are received
 *     !send N SIZE   N datagrams of SIZE bytes, each with its number at the start
 *     !to PORT TEXT  TEXT to that port of the peer's host, from any address
 *     !bad N         N datagrams that the kernel refuses, with "ok" behind them
 *     !oversize      what sending one byte too many returns
 *     !join G I, !leave G I     what that returns
 *     !count         received, sent, dropped, refused
 *     !pid           of the worker
 *     !die           kills it
 *     !close         closes the endpoint
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vanilla.h>

#define ROOM 70000

typedef struct place {
	vn_udp *udp;
	vn_hub *hub;
	const char *url;
	size_t room;
	char how;
	char data[ROOM + 1];
} place;

static int
reply(place *p, const vn_datagram *d, const char *text)
{
	return vn_udp_send(p->udp, text, strlen(text), d);
}

static void
address(char *out, size_t size, const vn_addr *a)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)&a->sa;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)&a->sa;
	char host[INET6_ADDRSTRLEN];

	if (a->sa.ss_family == AF_INET)
		inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
	else
		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
	snprintf(out, size, "%s %d", host,
		ntohs(a->sa.ss_family == AF_INET ? in->sin_port : in6->sin6_port));
}

static int
say_info(place *p, const vn_datagram *d)
{
	char peer[80], local[80], text[256];

	address(peer, sizeof peer, &d->peer);
	address(local, sizeof local, &d->local);
	snprintf(text, sizeof text, "%s %s %u %zu %d %d", peer, local, d->interface, d->len,
		d->truncated, d->group);
	return reply(p, d, text);
}

static int
send_many(place *p, const vn_datagram *d, const char *arg)
{
	static const char zeros[ROOM];
	unsigned int n = 0, size = 0;
	char *data = malloc(ROOM);
	int rc = 0;

	sscanf(arg, "%u %u", &n, &size);
	memcpy(data, zeros, ROOM);
	for (unsigned int i = 0; i < n && rc == 0; i++) {
		snprintf(data, 12, "%u", i);
		rc = vn_udp_send(p->udp, data, size, d);
	}
	free(data);
	return rc;
}

static int
send_to(place *p, const vn_datagram *d, const char *arg)
{
	vn_datagram to = {.peer = d->peer};
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)&to.peer.sa;
	char text[256] = "";
	unsigned int port = 0;

	sscanf(arg, "%u %255s", &port, text);
	in->sin_port = htons((uint16_t)port); /* the same place in both families */
	return vn_udp_send(p->udp, text, strlen(text), &to);
}

/* From a loopback address nothing leaves for anywhere else. */
static int
send_bad(place *p, const vn_datagram *d, int n)
{
	vn_datagram to = *d;
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)&to.peer.sa;
	int rc = 0;

	in->sin_addr.s_addr = htonl(0xc0000201); /* 192.0.2.1 is nobody's */
	for (int i = 0; i < n && rc == 0; i++)
		rc = vn_udp_send(p->udp, "bad", 3, &to);
	return rc < 0 ? rc : reply(p, d, "ok");
}

static int
say_number(place *p, const vn_datagram *d, long n)
{
	char text[32];

	snprintf(text, sizeof text, "%ld", n);
	return reply(p, d, text);
}

static int
say_join(place *p, const vn_datagram *d, const char *arg, bool leave)
{
	char group[64] = "", interface[32] = "";
	const char *name;

	sscanf(arg, "%63s %31s", group, interface);
	name = *interface ? interface : NULL;
	return say_number(
		p, d, leave ? vn_udp_leave(p->udp, group, name) : vn_udp_join(p->udp, group, name));
}

static int
say_count(place *p, const vn_datagram *d)
{
	vn_udp_counts c;
	char text[128];

	vn_udp_count(p->udp, &c);
	snprintf(text, sizeof text, "%llu %llu %llu %llu", (unsigned long long)c.received,
		(unsigned long long)c.sent, (unsigned long long)c.dropped,
		(unsigned long long)c.refused);
	return reply(p, d, text);
}

static const char *
word(const char *text, const char *name)
{
	size_t n = strlen(name);

	return strncmp(text, name, n) == 0 && (text[n] == ' ' || text[n] == '\0') ? text + n : NULL;
}

static int
obey(place *p, const vn_datagram *d, const char *text)
{
	const char *arg;

	if (word(text, "!info"))
		return say_info(p, d);
	if ((arg = word(text, "!room")))
		p->room = strtoul(arg, NULL, 10);
	else if ((arg = word(text, "!how")))
		p->how = arg[1];
	else if ((arg = word(text, "!send")))
		return send_many(p, d, arg);
	else if ((arg = word(text, "!to")))
		return send_to(p, d, arg);
	else if ((arg = word(text, "!bad")))
		return send_bad(p, d, atoi(arg));
	else if (word(text, "!oversize"))
		return say_number(p, d, vn_udp_send(p->udp, p->data, 65528, d));
	else if ((arg = word(text, "!join")))
		return say_join(p, d, arg, false);
	else if ((arg = word(text, "!leave")))
		return say_join(p, d, arg, true);
	else if (word(text, "!count"))
		return say_count(p, d);
	else if (word(text, "!pid"))
		return say_number(p, d, getpid());
	else if (word(text, "!die"))
		kill(getpid(), SIGKILL);
	else if (word(text, "!close"))
		return -EPIPE;
	return reply(p, d, "ok");
}

/* The next datagram, in data: its length, and what follows it is 0. */
static ssize_t
receive(place *p, vn_datagram *d)
{
	vn_view v;
	ssize_t n;

	if (p->how == 's') {
		if (vn_select(p->hub, VN_AFTER(60 * VN_SEC), VN_UDP(p->udp)) != 1)
			return -ETIMEDOUT;
		if (vn_selected(p->hub) < 0)
			return vn_selected(p->hub);
	}
	if (p->how != 'v') {
		n = vn_udp_recv(p->udp, p->data, p->room, d);
	} else {
		n = vn_udp_view(p->udp, &v, d);
		if (n > 0)
			memcpy(p->data, v.data, (size_t)n);
	}
	if (n >= 0)
		p->data[n] = '\0';
	return n;
}

static int
serve(vn_hub *h, void *arg)
{
	place *p = arg;
	vn_datagram d;
	ssize_t n;

	(void)h;
	while ((n = receive(p, &d)) >= 0) {
		int rc = p->data[0] == '!' ? obey(p, &d, p->data)
					   : vn_udp_send(p->udp, p->data, (size_t)n, &d);

		if (rc < 0)
			break;
	}
	vn_close(p->udp);
	p->udp = NULL;
	return 0;
}

int
main(int argc, char **argv)
{
	vn_hub *h = vn_hub_new();
	place *places = calloc((size_t)argc, sizeof *places);
	int rc;

	if (!h || !places)
		return 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < argc; i++) {
		place *p = &places[i];

		*p = (place){.hub = h, .url = argv[i], .room = ROOM, .how = 'r'};
		p->udp = vn_bind(h, argv[i]);
		if (!p->udp)
			return 1;
		printf("bound %s\n", vn_udp_url(p->udp));
		vn_spawn(h, serve, p);
	}
	rc = vn_stop_on_term(h);
	vn_hub_free(h);
	free(places);
	return rc < 0;
}
