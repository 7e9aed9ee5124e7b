/* SPDX-License-Identifier: MIT */
/*
 * Dns - a name server for one small zone, over UDP and TCP
 *
 *     dig @127.0.0.1 -p 5300 www.example.test
 *     dig @127.0.0.1 -p 5300 +notcp +noedns big.example.test txt     (truncated; dig asks again over TCP)
 *
 * An answer leaves from the address that was asked, because it is sent with what came with the question. What does
 * not fit into a datagram is left out and flagged TC; over TCP each message has its length before it.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vanilla.h>

enum { A = 1, NS = 2, SOA = 6, MX = 15, TXT = 16, AAAA = 28, OPT = 41, ANY = 255 };
enum { OK = 0, FORMERR = 1, NXDOMAIN = 3, NOTIMP = 4, REFUSED = 5 };

#define ZONE      "example.test"
#define TTL       300
#define UDP_MAX   1232 /* what we take and send over UDP, of those who say that they take it */
#define LONG_TEXT "0123456789012345678901234567890123456789012345678901234567890123456789"

static const struct record {
	const char *name;
	int type;
	const char *data; /* as in a zone file, near enough */
} zone[] = {
	{ZONE, SOA, "ns." ZONE},
	{ZONE, NS, "ns." ZONE},
	{ZONE, MX, "mail." ZONE},
	{ZONE, A, "\300\0\2\1"},
	{ZONE, TXT, "v=spf1 -all"},
	{"ns." ZONE, A, "\177\0\0\1"},
	{"mail." ZONE, A, "\300\0\2\31"},
	{"www." ZONE, A, "\300\0\2\120"},
	{"www." ZONE, A, "\300\0\2\121"},
	{"www." ZONE, AAAA, "\40\1\15\270\0\0\0\0\0\0\0\0\0\0\0\120"},
	{"big." ZONE, TXT, "a" LONG_TEXT LONG_TEXT LONG_TEXT},
	{"big." ZONE, TXT, "b" LONG_TEXT LONG_TEXT LONG_TEXT},
	{"big." ZONE, TXT, "c" LONG_TEXT LONG_TEXT LONG_TEXT},
};

#define N_RECORDS (sizeof zone / sizeof *zone)

/* A message that is being made; `failed` when something did not fit. */
typedef struct message {
	unsigned char data[65535];
	size_t len, max;
	bool failed;
} message;

typedef struct question {
	char name[256]; /* lower case, no dot at the end */
	int type;
	size_t len;  /* of the header and the question */
	size_t room; /* for the answer, over UDP */
	bool edns;
} question;

static void
put(message *m, const void *data, size_t n)
{
	m->failed |= m->len + n > m->max;
	if (m->failed)
		return;
	memcpy(m->data + m->len, data, n);
	m->len += n;
}

static void
put8(message *m, size_t n)
{
	unsigned char byte = (unsigned char)n;

	put(m, &byte, 1);
}

static void
put16(message *m, unsigned n)
{
	put8(m, n >> 8);
	put8(m, n);
}

static void
put32(message *m, unsigned n)
{
	put16(m, n >> 16);
	put16(m, n & 0xffff);
}

static void
put_name(message *m, const char *name)
{
	for (size_t n; *name; name += n + (name[n] == '.')) {
		n = strcspn(name, ".");
		put8(m, n);
		put(m, name, n);
	}
	put8(m, 0);
}

static void
put_data(message *m, const struct record *r)
{
	static const size_t lengths[] = {[A] = 4, [AAAA] = 16};

	switch (r->type) {
	case SOA:
		put_name(m, r->data);
		put_name(m, "admin." ZONE);
		for (int i = 0; i < 5; i++)
			put32(m, (unsigned[]){1, 3600, 600, 86400, TTL}[i]);
		break;
	case MX:
		put16(m, 10);
		put_name(m, r->data);
		break;
	case NS:
		put_name(m, r->data);
		break;
	case TXT:
		put8(m, strlen(r->data));
		put(m, r->data, strlen(r->data));
		break;
	default:
		put(m, r->data, lengths[r->type]);
	}
}

/* All of a record or nothing. */
static int
put_record(message *m, const struct record *r)
{
	size_t start = m->len, data;

	put_name(m, r->name);
	put16(m, (unsigned)r->type);
	put16(m, 1);
	put32(m, TTL);
	data = m->len;
	put16(m, 0);
	put_data(m, r);
	if (m->failed) {
		m->len = start;
		return 0;
	}
	m->data[data] = (unsigned char)((m->len - data - 2) >> 8);
	m->data[data + 1] = (unsigned char)(m->len - data - 2);
	return 1;
}

static unsigned
get16(const unsigned char *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

/* Reads the one question, and how much its asker takes. Return: a response code. */
static int
parse(const unsigned char *in, size_t n, question *q)
{
	size_t at = 12, len = 0;

	*q = (question){.len = 12, .room = 512};
	if ((in[2] >> 3 & 15) != 0)
		return NOTIMP;
	if (get16(in + 4) != 1)
		return FORMERR;
	while (at < n && in[at]) {
		size_t label = in[at++];

		if (label > 63 || at + label >= n || len + label + 2 > sizeof q->name)
			return FORMERR;
		if (len)
			q->name[len++] = '.';
		for (; label; label--)
			q->name[len++] = (char)tolower(in[at++]);
	}
	if (at + 5 > n)
		return FORMERR;
	q->type = (int)get16(in + at + 1);
	q->len = at + 5;
	if (get16(in + at + 3) != 1)
		return REFUSED;
	if (get16(in + 10) && q->len + 11 <= n && in[q->len] == 0 &&
		get16(in + q->len + 1) == OPT) {
		q->edns = true;
		q->room = get16(in + q->len + 3);
		q->room = q->room < 512 ? 512 : q->room > UDP_MAX ? UDP_MAX : q->room;
	}
	return OK;
}

static bool
in_zone(const char *name)
{
	size_t n = strlen(name), z = strlen(ZONE);

	return n >= z && strcmp(name + n - z, ZONE) == 0 && (n == z || name[n - z - 1] == '.');
}

/* Answers; returns the response code. */
static int
answer(message *m, const question *q, unsigned *n_answers, unsigned *n_authorities)
{
	bool exists = false;

	if (!in_zone(q->name))
		return REFUSED;
	for (size_t i = 0; i < N_RECORDS && !m->failed; i++) {
		if (strcmp(zone[i].name, q->name) != 0)
			continue;
		exists = true;
		if (q->type == zone[i].type || q->type == ANY)
			*n_answers += (unsigned)put_record(m, &zone[i]);
	}
	if (*n_answers == 0 && !m->failed)
		*n_authorities += (unsigned)put_record(m, &zone[0]);
	return exists ? OK : NXDOMAIN;
}

/* The response to n bytes, of at most `max` bytes (0: what the asker takes over UDP); its length, 0 for none. */
static size_t
respond(message *m, const unsigned char *in, size_t n, size_t max)
{
	unsigned n_answers = 0, n_authorities = 0;
	question q;
	int code;

	if (n < 12 || in[2] & 0x80)
		return 0;
	code = parse(in, n, &q);
	m->len = q.len;
	m->max = (max ? max : q.room) - (q.edns ? 11 : 0);
	m->failed = false;
	memcpy(m->data, in, q.len);
	if (code == OK)
		code = answer(m, &q, &n_answers, &n_authorities);
	m->data[2] = (unsigned char)(0x84 | (in[2] & 0x79) | (m->failed ? 2 : 0));
	m->data[3] = (unsigned char)code;
	m->data[4] = 0;
	m->data[5] = q.len > 12;
	m->data[6] = 0;
	m->data[7] = (unsigned char)n_answers;
	m->data[8] = 0;
	m->data[9] = (unsigned char)n_authorities;
	m->data[10] = 0;
	m->data[11] = q.edns;
	m->failed = false;
	m->max += 11;
	if (q.edns)
		put(m, "\0\0\51\4\320\0\0\0\0\0", 11);
	return m->len;
}

static int
serve_udp(vn_hub *h, void *arg)
{
	unsigned char *in = malloc(65536);
	message *m = malloc(sizeof *m);
	vn_datagram d;
	ssize_t n;

	(void)h;
	while (in && m && (n = vn_udp_recv(arg, in, 65536, &d)) >= 0) {
		size_t len = respond(m, in, (size_t)n, 0);

		if (len)
			vn_udp_send(arg, m->data, len, &d);
	}
	free(m);
	free(in);
	vn_close((vn_udp *)arg);
	return 0;
}

/* Length and message, again and again; a successor may take over between two of them. */
static int
serve_tcp(vn_hub *h, void *conn)
{
	unsigned char length[2], *in = malloc(65536);
	message *m = malloc(sizeof *m);
	size_t n, len;

	(void)h;
	while (in && m && vn_hold(conn) == 0 && vn_read_n(conn, length, 2) == 2) {
		n = get16(length);
		if (vn_read_n(conn, in, n) != (ssize_t)n || !(len = respond(m, in, n, 65535)))
			break;
		length[0] = (unsigned char)(len >> 8);
		length[1] = (unsigned char)len;
		if (vn_write(conn, length, 2) < 0 || vn_write(conn, m->data, len) < 0 ||
			vn_commit(conn) < 0)
			break;
	}
	free(m);
	free(in);
	vn_close((vn_conn *)conn);
	return 0;
}

int
main(int argc, char **argv)
{
	vn_hub *h = vn_hub_new();
	vn_udp *udp = h ? vn_bind(h, argc > 1 ? argv[1] : "udp://127.0.0.1:5300") : NULL;
	vn_rx *tcp = udp ? vn_listen(h, argc > 2 ? argv[2] : "tcp://127.0.0.1:5300", VN_RESUMABLE)
			 : NULL;
	int rc = 1;

	if (tcp && vn_spawn(h, serve_udp, udp) == 0 && vn_serve(tcp, serve_tcp) == 0)
		rc = vn_stop_on_term(h) < 0;
	vn_hub_free(h);
	return rc;
}
