/* SPDX-License-Identifier: MIT */
/*
 * Dial - a worker's half of it, against a broker that says what the test wants
 *
 * The test has the other half of the link in the same process, and answers requests when it likes.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/net/net.h"
#include "shm/link.h"
#include "tests/unit/suite.h"

#define GOT_MAX 2048
#define MANY    ((int)VN_MAX_REQUEST + 1)

typedef struct rig {
	vn_link link;
	vn_hub *hub;
	vn_desc got[GOT_MAX];
	uint32_t n_got;
} rig;

typedef struct call {
	rig *rig;
	vn_conn *conn;
	int error; /* 0 while it is under way */
	vn_time timeout;
} call;

static void
rig_open(rig *r)
{
	static const vn_geometry geometry = {.n_slots = 1024, .area_bytes = 1u << 20};
	const char *why;
	char number[16];
	int pair[2];

	memset(r, 0, sizeof *r);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(vn_link_offer(&r->link, &geometry, 1), 0);
	ck_assert_int_eq(vn_link_hello(&r->link, pair[0]), 0);
	snprintf(number, sizeof number, "%d", pair[1]);
	setenv(VN_LINK_FD_ENV, number, 1);
	r->hub = vn_hub_new();
	ck_assert_ptr_nonnull(r->hub);
	ck_assert_int_eq(vn_link_accept(&r->link, pair[0], &why), 0);
	close(pair[0]);
}

static void
rig_close(rig *r)
{
	vn_hub_free(r->hub);
	vn_link_deinit(&r->link);
}

static void
rig_push(rig *r, vn_desc d)
{
	ck_assert_ptr_null(vn_desc_check(&d, false, r->link.geometry.area_bytes));
	ck_assert(vn_lane_tx_has(&r->link.tx, 1));
	vn_lane_tx_push(&r->link.tx, &d);
	vn_link_flush(&r->link);
}

/* Lets the worker do what it can do, and takes what it says. */
static void
rig_settle(rig *r)
{
	int n;

	for (int i = 0; i < 3; i++)
		vn_sleep(r->hub, VN_MS);
	while ((n = vn_lane_rx_take(&r->link.rx, r->got + r->n_got, 64)) > 0) {
		vn_link_release(&r->link);
		for (int i = 0; i < n; i++)
			ck_assert_ptr_null(vn_desc_check(&r->got[r->n_got + (uint32_t)i], true,
				r->link.geometry.area_bytes));
		r->n_got += (uint32_t)n;
		ck_assert_uint_lt(r->n_got, GOT_MAX - 64);
	}
}

static uint32_t
count(const rig *r, uint8_t kind)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->n_got; i++)
		n += r->got[i].kind == kind;
	return n;
}

static int
call_run(vn_hub *h, void *arg)
{
	call *k = arg;

	if (k->timeout)
		vn_timeout(h, k->timeout);
	k->conn = vn_dial(h, "tcp://127.0.0.1:1");
	k->error = k->conn ? 0 : errno;
	return 0;
}

static void
connected(rig *r, uint16_t id, uint32_t conn, int error)
{
	vn_desc d = {.kind = VN_KIND_CONNECTED, .arg = id, .report = (uint64_t)error};

	if (!error) {
		d.conn = conn;
		d.gen = 1;
		d.peer =
			(vn_desc_peer){.family = AF_INET, .port = htons(1), .addr = {127, 0, 0, 1}};
	}
	rig_push(r, d);
}

START_TEST(what_is_asked_for_is_an_address)
{
	static rig r;
	call k = {.rig = &r};
	char url[64] = "";

	rig_open(&r);
	vn_spawn(r.hub, call_run, &k);
	rig_settle(&r);
	ck_assert_uint_eq(r.n_got, 1);
	ck_assert_int_eq(r.got[0].kind, VN_KIND_CONNECT);
	vn_area_read(&r.link.peer, r.got[0].block, r.got[0].offset, url, r.got[0].len);
	ck_assert_str_eq(url, "tcp://127.0.0.1:1");
	connected(&r, r.got[0].arg, 7, 0);
	rig_settle(&r);
	ck_assert_ptr_nonnull(k.conn);
	ck_assert_uint_eq(vn_peer(k.conn)->sa.ss_family, AF_INET);
	vn_close(k.conn);
	rig_settle(&r);
	ck_assert_int_eq(r.got[r.n_got - 1].kind, VN_KIND_CLOSE);
	rig_push(&r, (vn_desc){.kind = VN_KIND_FINAL, .conn = 7, .gen = 1});
	rig_close(&r);
}
END_TEST

START_TEST(an_error_is_the_callers)
{
	static rig r;
	call k = {.rig = &r};

	rig_open(&r);
	vn_spawn(r.hub, call_run, &k);
	rig_settle(&r);
	connected(&r, r.got[0].arg, 0, ECONNREFUSED);
	rig_settle(&r);
	ck_assert_ptr_null(k.conn);
	ck_assert_int_eq(k.error, ECONNREFUSED);
	rig_close(&r);
}
END_TEST

START_TEST(input_that_comes_with_the_answer_is_there)
{
	static rig r;
	call k = {.rig = &r};
	uint32_t block;
	char data[16];

	rig_open(&r);
	vn_spawn(r.hub, call_run, &k);
	rig_settle(&r);
	block = vn_block_alloc(r.link.blocks, 0);
	vn_area_write(&r.link.own, block, 0, "banner", 6);
	connected(&r, r.got[0].arg, 7, 0);
	rig_push(
		&r, (vn_desc){.kind = VN_KIND_DATA, .conn = 7, .gen = 1, .block = block, .len = 6});
	rig_settle(&r);
	ck_assert_ptr_nonnull(k.conn);
	ck_assert_int_eq(vn_read(k.conn, data, sizeof data), 6);
	ck_assert_int_eq(memcmp(data, "banner", 6), 0);
	vn_close(k.conn);
	rig_close(&r);
}
END_TEST

/* The connection was made when the request was given up: it is reset, and its number is free only then. */
START_TEST(an_answer_crosses_a_give_up)
{
	static rig r;
	call late = {.rig = &r, .timeout = VN_MS}, next = {.rig = &r};

	rig_open(&r);
	vn_spawn(r.hub, call_run, &late);
	while (!late.error)
		rig_settle(&r);
	rig_settle(&r);
	ck_assert_int_eq(late.error, ETIMEDOUT);
	ck_assert_uint_eq(count(&r, VN_KIND_CONNECT), 1);
	ck_assert_uint_eq(count(&r, VN_KIND_GIVE_UP), 1);
	vn_spawn(r.hub, call_run, &next);
	rig_settle(&r);
	ck_assert_uint_eq(count(&r, VN_KIND_CONNECT), 2);
	ck_assert_uint_ne(r.got[0].arg, r.got[2].arg);
	connected(&r, r.got[0].arg, 7, 0);
	rig_settle(&r);
	ck_assert_ptr_null(next.conn);
	ck_assert_int_eq(r.got[3].kind, VN_KIND_CLOSE);
	ck_assert_int_eq(r.got[3].flags, VN_ABORT);
	ck_assert_uint_eq(r.got[3].conn, 7);
	connected(&r, r.got[2].arg, 8, 0);
	rig_settle(&r);
	ck_assert_ptr_nonnull(next.conn);
	vn_close(next.conn);
	rig_close(&r);
}
END_TEST

/* One more than there are numbers waits for one of them, as long as it likes to. */
START_TEST(more_than_there_are_numbers)
{
	static call calls[MANY + 1];
	call patient = {0};
	static rig r;

	rig_open(&r);
	for (int i = 0; i < MANY; i++) {
		calls[i] = (call){.rig = &r};
		vn_spawn(r.hub, call_run, &calls[i]);
		if (i % 16 == 15)
			rig_settle(&r);
	}
	rig_settle(&r);
	ck_assert_uint_eq(count(&r, VN_KIND_CONNECT), MANY);
	calls[MANY] = (call){.rig = &r, .timeout = 5 * VN_MS};
	vn_spawn(r.hub, call_run, &calls[MANY]);
	while (!calls[MANY].error)
		rig_settle(&r);
	ck_assert_int_eq(calls[MANY].error, ETIMEDOUT);
	vn_spawn(r.hub, call_run, &patient);
	rig_settle(&r);
	ck_assert_uint_eq(count(&r, VN_KIND_CONNECT), MANY);
	connected(&r, 100, 0, ECONNREFUSED);
	rig_settle(&r);
	ck_assert_uint_eq(count(&r, VN_KIND_CONNECT), MANY + 1);
	ck_assert_int_eq(r.got[r.n_got - 1].arg, 100);
	for (uint16_t id = 0; id < MANY; id++) {
		connected(&r, id, 0, ECONNREFUSED);
		rig_settle(&r);
	}
	for (int i = 0; i < MANY; i++)
		ck_assert_int_eq(calls[i].error, ECONNREFUSED);
	ck_assert_int_eq(patient.error, ECONNREFUSED);
	rig_close(&r);
}
END_TEST

/* Every block of ours is in use: whoever dials waits for one, and is woken by it. */
START_TEST(a_dial_waits_for_a_block)
{
	call first = {0}, other = {0};
	uint32_t out[16];
	int n = 0;
	static rig r;

	rig_open(&r);
	vn_spawn(r.hub, call_run, &first);
	rig_settle(&r);
	ck_assert_uint_eq(count(&r, VN_KIND_CONNECT), 1);
	/* All that is left but the rest of the span in which its block lies. */
	while ((out[n] = vn_block_alloc(r.hub->net->out_blocks, 3)) != VN_NO_BLOCK)
		n++;
	while (vn_block_alloc(r.hub->net->out_blocks, 0) != VN_NO_BLOCK)
		;
	vn_spawn(r.hub, call_run, &other);
	rig_settle(&r);
	ck_assert_uint_eq(count(&r, VN_KIND_CONNECT), 1);
	connected(&r, r.got[0].arg, 0, ECONNREFUSED);
	rig_settle(&r);
	ck_assert_uint_eq(count(&r, VN_KIND_CONNECT), 2);
	connected(&r, r.got[1].arg, 0, ENETUNREACH);
	rig_settle(&r);
	ck_assert_int_eq(first.error, ECONNREFUSED);
	ck_assert_int_eq(other.error, ENETUNREACH);
	rig_close(&r);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		what_is_asked_for_is_an_address,
		an_error_is_the_callers,
		input_that_comes_with_the_answer_is_there,
		an_answer_crosses_a_give_up,
		more_than_there_are_numbers,
		a_dial_waits_for_a_block,
	};

	return suite_run("net_dial", tests, SUITE_COUNT(tests));
}
