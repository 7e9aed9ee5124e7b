/* SPDX-License-Identifier: MIT */
/*
 * Limits - clients at the gate, clients' time, and PROXY headers, each half by itself and with a clock of the test's
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/net/gate.h"
#include "client/net/patience.h"
#include "client/net/proxy.h"
#include "tests/unit/suite.h"

static vn_desc_peer
peer_of(const char *address)
{
	vn_desc_peer peer = {.family = strchr(address, ':') ? AF_INET6 : AF_INET};

	ck_assert_int_eq(inet_pton(peer.family, address, peer.addr), 1);
	return peer;
}

static vn_refusal
enter(vn_gate *g, const vn_endpoint_options *o, const char *address, vn_time now)
{
	vn_desc_peer peer = peer_of(address);

	return vn_gate_enter(g, o, &peer, now);
}

static void
leave(vn_gate *g, const char *address)
{
	vn_desc_peer peer = peer_of(address);

	vn_gate_leave(g, &peer);
}

START_TEST(a_client_has_so_many_connections)
{
	vn_endpoint_options o = {.per_address = 2};
	vn_gate *g = vn_gate_new(&o);

	ck_assert_int_eq(enter(g, &o, "10.0.0.1", 0), VN_ADMITTED);
	ck_assert_int_eq(enter(g, &o, "10.0.0.1", 0), VN_ADMITTED);
	ck_assert_int_eq(enter(g, &o, "10.0.0.1", 0), VN_REFUSED_PER_ADDRESS);
	ck_assert_int_eq(enter(g, &o, "::ffff:10.0.0.1", 0), VN_REFUSED_PER_ADDRESS);
	ck_assert_int_eq(enter(g, &o, "10.0.0.2", 0), VN_ADMITTED);
	leave(g, "10.0.0.1");
	ck_assert_int_eq(enter(g, &o, "10.0.0.1", 0), VN_ADMITTED);
	ck_assert_int_eq(enter(g, &o, "2001:db8::1", 0), VN_ADMITTED);
	ck_assert_int_eq(enter(g, &o, "2001:db8::ffff:1:2", 0), VN_ADMITTED);
	ck_assert_int_eq(enter(g, &o, "2001:db8:0:0:1::", 0), VN_REFUSED_PER_ADDRESS);
	ck_assert_int_eq(enter(g, &o, "2001:db8:0:1::", 0), VN_ADMITTED);
	vn_gate_free(g);
}
END_TEST

START_TEST(a_client_comes_so_often)
{
	vn_endpoint_options o = {.rate = 4};
	vn_gate *g = vn_gate_new(&o);
	vn_time now = 5 * VN_SEC;

	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(enter(g, &o, "10.0.0.1", now), VN_ADMITTED);
	ck_assert_int_eq(enter(g, &o, "10.0.0.1", now), VN_REFUSED_RATE);
	ck_assert_int_eq(enter(g, &o, "10.0.0.2", now), VN_ADMITTED);
	now += VN_SEC / 4;
	ck_assert_int_eq(enter(g, &o, "10.0.0.1", now), VN_ADMITTED);
	ck_assert_int_eq(enter(g, &o, "10.0.0.1", now), VN_REFUSED_RATE);
	now += 100 * VN_SEC;
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(enter(g, &o, "10.0.0.1", now), VN_ADMITTED);
	ck_assert_int_eq(enter(g, &o, "10.0.0.1", now), VN_REFUSED_RATE);
	vn_gate_free(g);
}
END_TEST

/* What is of no use any more is dropped, what is not stays, however the table grows. */
START_TEST(the_table_forgets_those_who_left)
{
	vn_endpoint_options o = {.per_address = 1, .rate = 1};
	vn_gate *g = vn_gate_new(&o);
	char address[32];
	vn_time now = VN_SEC;

	for (int round = 0; round < 4; round++, now += 2 * VN_SEC) {
		for (int i = 0; i < 5000; i++) {
			snprintf(address, sizeof address, "10.%d.%d.%d", round, i / 250, i % 250);
			ck_assert_int_eq(enter(g, &o, address, now), VN_ADMITTED);
			if (i % 100)
				leave(g, address);
		}
		for (int i = 0; i < 5000; i += 100) {
			snprintf(address, sizeof address, "10.%d.%d.%d", round, i / 250, i % 250);
			ck_assert_int_eq(enter(g, &o, address, now), VN_REFUSED_PER_ADDRESS);
		}
		ck_assert_int_eq(enter(g, &o, "10.0.0.0", now), VN_REFUSED_PER_ADDRESS);
	}
	vn_gate_free(g);
}
END_TEST

START_TEST(deny_wins_and_allow_is_all)
{
	vn_endpoint_options o = {0};
	vn_desc_peer in = peer_of("10.1.0.1"), denied = peer_of("10.2.0.1"),
		     out = peer_of("11.0.0.1");

	ck_assert_int_eq(vn_gate_check(&o, &out), VN_ADMITTED);
	ck_assert_int_eq(vn_subnets_parse(&o.deny, "10.2.0.0/16"), 0);
	ck_assert_int_eq(vn_gate_check(&o, &out), VN_ADMITTED);
	ck_assert_int_eq(vn_gate_check(&o, &denied), VN_REFUSED_DENIED);
	ck_assert_int_eq(vn_subnets_parse(&o.allow, "10.0.0.0/8"), 0);
	ck_assert_int_eq(vn_gate_check(&o, &in), VN_ADMITTED);
	ck_assert_int_eq(vn_gate_check(&o, &denied), VN_REFUSED_DENIED);
	ck_assert_int_eq(vn_gate_check(&o, &out), VN_REFUSED_DENIED);
}
END_TEST

/* Looks every 100 ms at a connection that stands as `s` says, until there is a verdict; how long that took. */
static uint32_t
look_until(vn_patience *p, const vn_endpoint_options *o, vn_standing *s, uint32_t from,
	uint32_t bytes_each, vn_verdict expected)
{
	vn_verdict verdict = VN_GOES_ON;
	uint32_t now = from;

	for (; verdict == VN_GOES_ON && now - from < 60000; now += 100) {
		verdict = vn_patience_look(p, o, s, now);
		s->received += bytes_each;
	}
	ck_assert_int_eq(verdict, expected);
	return now - 100 - from;
}

START_TEST(clients_have_so_much_time)
{
	const vn_endpoint_options o = {.accept_ms = 1000, .idle_ms = 3000, .progress_ms = 2000};
	vn_patience p = {0};
	vn_standing s = {.id = 1, .waits = true, .fresh = true};

	ck_assert_uint_eq(look_until(&p, &o, &s, 5000, 0, VN_TOO_LATE), 1000);
	s = (vn_standing){.id = 2, .waits = true, .received = 5, .committed = 5};
	ck_assert_uint_eq(look_until(&p, &o, &s, 9000, 0, VN_TOO_QUIET), 3000);
	s = (vn_standing){.id = 3, .waits = true, .received = 9, .committed = 5, .half = true};
	ck_assert_uint_eq(look_until(&p, &o, &s, 4294967000u, 1, VN_TOO_SLOW), 2000);
	s = (vn_standing){.id = 4, .waits = true, .half = true, .received = 9, .committed = 5};
	look_until(&p, &o, &s, 1000, 300, VN_GOES_ON); /* 6,000 bytes in 2 s */
}
END_TEST

START_TEST(a_handlers_time_does_not_count)
{
	const vn_endpoint_options o = {.idle_ms = 1000, .progress_ms = 1000};
	vn_patience p = {0};
	vn_standing s = {.id = 1, .waits = true, .half = true, .received = 9};

	for (uint32_t now = 0; now < 900; now += 100)
		ck_assert_int_eq(vn_patience_look(&p, &o, &s, now), VN_GOES_ON);
	s.waits = false;
	for (uint32_t now = 900; now < 20000; now += 100)
		ck_assert_int_eq(vn_patience_look(&p, &o, &s, now), VN_GOES_ON);
	s.waits = true;
	ck_assert_int_eq(vn_patience_look(&p, &o, &s, 20000), VN_GOES_ON);
	ck_assert_int_eq(vn_patience_look(&p, &o, &s, 20300), VN_TOO_SLOW);
}
END_TEST

START_TEST(a_request_that_ends_begins_a_new_measure)
{
	const vn_endpoint_options o = {.progress_ms = 1000};
	vn_patience p = {0};
	vn_standing s = {.id = 1, .waits = true, .half = true};

	for (uint32_t now = 0; now < 30000; now += 100) {
		s.received += 2;
		if (now % 800 == 0)
			s.committed = s.received - 1;
		ck_assert_int_eq(vn_patience_look(&p, &o, &s, now), VN_GOES_ON);
	}
}
END_TEST

START_TEST(who_is_looked_at_how_often)
{
	ck_assert_uint_eq(vn_patience_every(&(vn_endpoint_options){.header_ms = 100}), UINT32_MAX);
	ck_assert_uint_eq(
		vn_patience_every(&(vn_endpoint_options){.idle_ms = 8000, .accept_ms = 4000}),
		1000);
	ck_assert_uint_eq(vn_patience_every(&(vn_endpoint_options){.idle_ms = 1}), 50);
	ck_assert_uint_eq(
		vn_patience_every(&(vn_endpoint_options){.proxy = 1, .header_ms = 400}), 100);
}
END_TEST

#define V2      "\r\n\r\n\0\r\nQUIT\n"
#define TEXT(s) (s), sizeof(s) - 1
#define NOT     (-EPROTO)

static const struct {
	const char *data;
	size_t n;
	vn_proxy versions;
	ssize_t rc;
	const char *peer; /* NULL: as it was */
} headers[] = {
	{TEXT("PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n"), VN_PROXY_ANY, 45, "192.0.2.7"},
	{TEXT("PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\nGET"), VN_PROXY_V1, 45, "192.0.2.7"},
	{TEXT("PROXY TCP6 2001:db8::7 ::1 51234 443\r\n"), VN_PROXY_V1, 38, "2001:db8::7"},
	{TEXT("PROXY UNKNOWN\r\n"), VN_PROXY_V1, 15, NULL},
	{TEXT("PROXY UNKNOWN ff:: x 1\r\n"), VN_PROXY_V1, 24, NULL},
	{TEXT("PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r"), VN_PROXY_V1, 0, NULL},
	{TEXT("PRO"), VN_PROXY_ANY, 0, NULL},
	{TEXT(""), VN_PROXY_ANY, 0, NULL},
	{TEXT("PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\n"), VN_PROXY_V1, NOT, NULL},
	{TEXT("PROXY TCP4 192.0.2.7 198.51.100.1 51234 443 \r\n"), VN_PROXY_V1, NOT, NULL},
	{TEXT("PROXY TCP4 192.0.2.7 198.51.100.1 51234\r\n"), VN_PROXY_V1, NOT, NULL},
	{TEXT("PROXY TCP4 192.0.2.7  198.51.100.1 51234 443\r\n"), VN_PROXY_V1, NOT, NULL},
	{TEXT("PROXY TCP4 192.0.2.7 198.51.100.1 051 443\r\n"), VN_PROXY_V1, NOT, NULL},
	{TEXT("PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n"), VN_PROXY_V1, NOT, NULL},
	{TEXT("PROXY TCP4 ::1 ::1 1 443\r\n"), VN_PROXY_V1, NOT, NULL},
	{TEXT("PROXY TCP5 192.0.2.7 198.51.100.1 1 443\r\n"), VN_PROXY_V1, NOT, NULL},
	{TEXT("PROXY UNKNOWNS\r\n"), VN_PROXY_V1, NOT, NULL},
	{TEXT("GET / HTTP/1.1\r\n"), VN_PROXY_ANY, NOT, NULL},
	{TEXT("PROXY UNKNOWN\r\n"), VN_PROXY_V2, NOT, NULL},
	{TEXT(V2 "\x21\x11\0\x0c"
		 "\xc0\0\2\7"
		 "\0\0\0\0"
		 "\x12\x67"
		 "\0\0"),
		VN_PROXY_ANY, 28, "192.0.2.7"},
	{TEXT(V2 "\x21\x11\0\x0f"
		 "\xc0\0\2\7"
		 "\0\0\0\0"
		 "\x12\x67"
		 "\0\0"
		 "\4\0\0"),
		VN_PROXY_V2, 31, "192.0.2.7"},
	{TEXT(V2 "\x20\x11\0\x0c"
		 "\xc0\0\2\7"
		 "\0\0\0\0"
		 "\x12\x67"
		 "\0\0"),
		VN_PROXY_V2, 28, NULL},
	{TEXT(V2 "\x21\0\0\0"), VN_PROXY_V2, 16, NULL},
	{TEXT(V2 "\x21\x11\0\x0c"
		 "\xc0\0\2\7"
		 "\0\0\0\0"
		 "\x12\x67"
		 "\0"),
		VN_PROXY_V2, 0, NULL},
	{TEXT(V2 "\x21\x11\0"), VN_PROXY_V2, 0, NULL},
	{TEXT("\r\n\r\n"), VN_PROXY_V2, 0, NULL},
	{TEXT(V2 "\x21\x11\0\4"
		 "\xc0\0\2\7"),
		VN_PROXY_V2, NOT, NULL},
	{TEXT(V2 "\x22\x11\0\0"), VN_PROXY_V2, NOT, NULL},
	{TEXT(V2 "\x11\x11\0\0"), VN_PROXY_V2, NOT, NULL},
	{TEXT(V2 "\x21\x41\0\0"), VN_PROXY_V2, NOT, NULL},
	{TEXT(V2 "\x21\x11\x7f\xff"), VN_PROXY_V2, NOT, NULL},
	{TEXT(V2 "\x21\0\0\0"), VN_PROXY_V1, NOT, NULL},
};

START_TEST(headers_name_the_client)
{
	for (size_t i = 0; i < SUITE_COUNT(headers); i++) {
		vn_desc_peer peer = {.port = 9}, expected;
		ssize_t rc =
			vn_proxy_parse(headers[i].data, headers[i].n, headers[i].versions, &peer);

		ck_assert_msg(rc == headers[i].rc, "%zu: %zd", i, rc);
		if (!headers[i].peer) {
			ck_assert_uint_eq(peer.port, 9);
			continue;
		}
		expected = peer_of(headers[i].peer);
		ck_assert_uint_eq(peer.family, expected.family);
		ck_assert_mem_eq(peer.addr, expected.addr, sizeof peer.addr);
		ck_assert(ntohs(peer.port) == 51234 || ntohs(peer.port) == 0x1267);
	}
}
END_TEST

/* However it is cut, a part of a good header asks for more. */
START_TEST(parts_of_headers_ask_for_more)
{
	for (size_t i = 0; i < SUITE_COUNT(headers); i++)
		for (size_t n = 0; headers[i].rc > 0 && n < (size_t)headers[i].rc; n++) {
			vn_desc_peer peer = {0};

			ck_assert_msg(
				vn_proxy_parse(headers[i].data, n, headers[i].versions, &peer) == 0,
				"%zu: %zu bytes", i, n);
		}
}
END_TEST

START_TEST(exactly_the_header_is_taken_out_of_the_socket)
{
	static const char all[] = "PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\nhello";
	vn_desc_peer peer = {0};
	char rest[16] = "";
	int pair[2];

	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(vn_proxy_receive(pair[0], VN_PROXY_ANY, &peer), -EAGAIN);
	ck_assert_int_eq(write(pair[1], all, 10), 10);
	ck_assert_int_eq(vn_proxy_receive(pair[0], VN_PROXY_ANY, &peer), -EAGAIN);
	ck_assert_int_eq(write(pair[1], all + 10, sizeof all - 11), sizeof all - 11);
	ck_assert_int_eq(vn_proxy_receive(pair[0], VN_PROXY_ANY, &peer), 0);
	ck_assert_uint_eq(ntohs(peer.port), 51234);
	ck_assert_int_eq(read(pair[0], rest, sizeof rest), 5);
	ck_assert_str_eq(rest, "hello");
	close(pair[1]);
	ck_assert_int_eq(vn_proxy_receive(pair[0], VN_PROXY_ANY, &peer), -EPIPE);
	close(pair[0]);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		a_client_has_so_many_connections,
		a_client_comes_so_often,
		the_table_forgets_those_who_left,
		deny_wins_and_allow_is_all,
		clients_have_so_much_time,
		a_handlers_time_does_not_count,
		a_request_that_ends_begins_a_new_measure,
		who_is_looked_at_how_often,
		headers_name_the_client,
		parts_of_headers_ask_for_more,
		exactly_the_header_is_taken_out_of_the_socket,
	};

	return suite_run("limits", tests, SUITE_COUNT(tests));
}
