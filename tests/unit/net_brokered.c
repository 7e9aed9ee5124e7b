/* SPDX-License-Identifier: MIT */
/*
 * Brokered - a worker's half of the protocol, against a broker that says what the test wants
 *
 * The broker is the test itself: it has the other half of a link in the same process, with the smallest lanes there
 * are, and looks at every descriptor that the library publishes. It takes them only when it is told to.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/net/net.h"
#include "shm/link.h"
#include "tests/unit/suite.h"

#define GOT_MAX 4096

typedef struct rig {
	vn_link link;
	vn_hub *hub;
	vn_rx *listener;
	vn_desc got[GOT_MAX];
	uint32_t n_got;
	uint32_t number; /* of the listener */
} rig;

static void
rig_push(rig *r, vn_desc d)
{
	const char *bad = vn_desc_check(&d, false, r->link.geometry.area_bytes);

	ck_assert_msg(!bad, "bad %s", bad);
	ck_assert(vn_lane_tx_has(&r->link.tx, 1));
	vn_lane_tx_push(&r->link.tx, &d);
	vn_link_flush(&r->link);
}

/* Takes all that is published. */
static void
rig_take(rig *r)
{
	int n;

	while ((n = vn_lane_rx_take(&r->link.rx, r->got + r->n_got, 64)) > 0) {
		vn_link_release(&r->link);
		for (int i = 0; i < n; i++) {
			const char *bad = vn_desc_check(
				&r->got[r->n_got + (uint32_t)i], true, r->link.geometry.area_bytes);

			ck_assert_msg(!bad, "bad %s", bad);
		}
		r->n_got += (uint32_t)n;
		ck_assert_uint_lt(r->n_got, GOT_MAX - 64);
	}
	ck_assert_int_eq(n, 0);
}

/* Lets the worker do what it can do. */
static void
rig_run(rig *r)
{
	for (int i = 0; i < 3; i++)
		vn_sleep(r->hub, VN_MS);
}

static void
rig_settle(rig *r)
{
	rig_run(r);
	rig_take(r);
	rig_run(r);
	rig_take(r);
}

/* Answers LISTEN. */
static int
answer_run(vn_hub *h, void *arg)
{
	rig *r = arg;

	while (r->n_got == 0) {
		vn_sleep(h, VN_MS);
		rig_take(r);
	}
	ck_assert_int_eq(r->got[0].kind, VN_KIND_LISTEN);
	r->number = r->got[0].arg;
	rig_push(r, (vn_desc){.kind = VN_KIND_LISTENING, .arg = r->got[0].arg});
	r->n_got = 0;
	return 0;
}

static void
rig_open(rig *r, unsigned int flags)
{
	static const vn_geometry geometry = {.n_slots = 64, .area_bytes = 1u << 20};
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
	ck_assert_ptr_null(getenv(VN_LINK_FD_ENV));
	ck_assert_int_eq(vn_link_accept(&r->link, pair[0], &why), 0);
	close(pair[0]);
	vn_spawn(r->hub, answer_run, r);
	r->listener = vn_listen(r->hub, "tcp://127.0.0.1:1", flags);
	ck_assert_ptr_nonnull(r->listener);
	rig_settle(r);
	ck_assert_uint_eq(r->n_got, 1);
	ck_assert_int_eq(r->got[0].kind, VN_KIND_READY);
	r->n_got = 0;
}

static void
rig_close(rig *r)
{
	vn_close(r->listener);
	vn_hub_free(r->hub);
	vn_link_deinit(&r->link);
}

/* A descriptor of connection 7 in its first attachment, which tests have who need only one. */
static vn_desc
desc(uint8_t kind)
{
	return (vn_desc){.kind = kind, .conn = 7, .gen = 1};
}

static uint32_t
rig_block(rig *r, unsigned int size_class)
{
	uint32_t block = vn_block_alloc(r->link.blocks, size_class);

	ck_assert_uint_ne(block, VN_NO_BLOCK);
	return block;
}

static void
rig_data_at(rig *r, vn_desc d, uint32_t block, uint32_t offset, uint64_t pos, const char *text)
{
	d.kind = VN_KIND_DATA;
	d.block = block;
	d.offset = offset;
	d.len = (uint32_t)strlen(text);
	d.pos = pos;
	vn_area_write(&r->link.own, block, offset, text, d.len);
	rig_push(r, d);
}

static vn_conn *
rig_accept(rig *r, uint32_t index, uint32_t gen)
{
	vn_conn *c;

	rig_push(r, (vn_desc){.kind = VN_KIND_OPEN,
			    .conn = index,
			    .gen = gen,
			    .arg = (uint16_t)r->number,
			    .peer.family = AF_INET});
	ck_assert_int_eq(vn_recv(r->listener, &c), 0);
	return c;
}

/* The first bytes of a resumable connection come with its OPEN. */
static vn_conn *
rig_accept_with(rig *r, uint32_t block, const char *text)
{
	vn_desc d = desc(VN_KIND_DATA);
	vn_conn *c;

	d.flags = VN_OPEN | VN_RESUME;
	d.arg = (uint16_t)r->number;
	d.peer.family = AF_INET;
	rig_data_at(r, d, block, 0, 0, text);
	ck_assert_int_eq(vn_recv(r->listener, &c), 0);
	return c;
}

static void
got_is(const rig *r, uint32_t i, uint8_t kind, uint8_t flags, uint64_t report)
{
	ck_assert_msg(i < r->n_got, "%s is missing", vn_kind_name(kind));
	ck_assert_msg(r->got[i].kind == kind, "%s instead of %s", vn_kind_name(r->got[i].kind),
		vn_kind_name(kind));
	ck_assert_uint_eq(r->got[i].flags, flags);
	ck_assert_uint_eq(r->got[i].report, report);
}

static void
final(rig *r)
{
	rig_push(r, desc(VN_KIND_FINAL));
	rig_run(r);
}

static void
reads(vn_conn *c, const char *text)
{
	char data[256];
	ssize_t n = vn_read(c, data, strlen(text));

	ck_assert_int_eq(n, (ssize_t)strlen(text));
	ck_assert_int_eq(memcmp(data, text, (size_t)n), 0);
}

typedef struct reader {
	vn_conn *conn;
	int (*call)(vn_conn *c);
	int result;
	bool is_done;
} reader;

static int
reader_run(vn_hub *h, void *arg)
{
	reader *k = arg;

	(void)h;
	k->result = k->call(k->conn);
	k->is_done = true;
	return 0;
}

static int
call_read(vn_conn *c)
{
	char data[64];

	return (int)vn_read(c, data, sizeof data);
}

static int
call_peek(vn_conn *c)
{
	const void *data;

	return (int)vn_peek(c, &data, 100);
}

static int
call_read_until(vn_conn *c)
{
	char data[1000];

	return (int)vn_read_until(c, data, sizeof data, "\n");
}

static int
call_write_and_commit(vn_conn *c)
{
	int rc = vn_write(c, "answer", 6);

	return rc < 0 ? rc : vn_commit(c);
}

static void
start(rig *r, reader *k, vn_conn *c, int (*call)(vn_conn *c))
{
	*k = (reader){.conn = c, .call = call};
	ck_assert_int_eq(vn_spawn(r->hub, reader_run, k), 0);
	rig_settle(r);
}

START_TEST(answer_and_commit_leave_in_one_descriptor)
{
	static rig r;
	reader k;
	vn_conn *c;

	rig_open(&r, VN_RESUMABLE);
	c = rig_accept_with(&r, rig_block(&r, 1), "ask");
	reads(c, "ask");
	ck_assert_int_eq(vn_write(c, "ans", 3), 0);
	ck_assert_int_eq(vn_write(c, "wer", 3), 0);
	start(&r, &k, c, call_read);
	ck_assert_uint_eq(r.n_got, 1);
	got_is(&r, 0, VN_KIND_SEND, VN_ACK | VN_COMMIT, 3);
	ck_assert_uint_eq(r.got[0].len, 6);
	rig_push(&r, (vn_desc){.kind = VN_KIND_REVOKED,
			     .flags = VN_FINAL,
			     .conn = 7,
			     .gen = 1,
			     .report = 6});
	rig_run(&r);
	ck_assert(k.is_done);
	ck_assert_int_eq(k.result, -ESTALE);
	ck_assert_int_eq(vn_write(c, "x", 1), -ESTALE);
	ck_assert_int_eq(vn_close(c), 0);
	rig_settle(&r);
	ck_assert_uint_eq(r.n_got, 1); /* closing it says nothing */
	rig_close(&r);
}
END_TEST

static uint32_t
ticks_now(void)
{
	return vn_ticks(vn_sys_linux.now(&vn_sys_linux));
}

/* Works without a pause. */
static void
work(uint32_t ticks)
{
	uint32_t start = ticks_now();

	while (ticks_now() - start < ticks)
		;
}

#define LONG  4096u /* 4 ms */
#define ROUGH 64u   /* more than a look at the clock can be old */

/* A commit says when its input was found and when it was done with; both are hardly before the truth, never after. */
static void
times_are(const vn_desc *d, uint32_t found_after, uint32_t found_before)
{
	ck_assert_int_ge((int32_t)(d->times.taken - found_after), -(int32_t)ROUGH);
	ck_assert_int_le((int32_t)(d->times.taken - found_before), 0);
	ck_assert_int_ge((int32_t)(d->times.done - d->times.taken), LONG - ROUGH);
	ck_assert_int_le((int32_t)(d->times.done - ticks_now()), 0);
}

START_TEST(a_commit_says_when_its_input_was_found_and_done_with)
{
	static rig r;
	uint32_t block, before, between, second;
	char data[4];
	vn_conn *c;

	rig_open(&r, VN_RESUMABLE);
	block = rig_block(&r, 1);
	c = rig_accept_with(&r, block, "ask");
	work(LONG); /* nobody looks at it yet */
	before = ticks_now();
	ck_assert_int_eq(vn_read(c, data, 1), 1);
	between = ticks_now();
	work(LONG);
	ck_assert_int_eq(vn_read(c, data, 1), 1);
	second = ticks_now();
	work(LONG);
	ck_assert_int_eq(vn_write(c, "x", 1), 0);
	ck_assert_int_eq(vn_commit(c), 0);
	rig_settle(&r);
	ck_assert_uint_eq(r.n_got, 2);
	got_is(&r, 0, VN_KIND_ACK, VN_COMMIT, 1);
	times_are(&r.got[0], before, between);
	got_is(&r, 1, VN_KIND_SEND, VN_ACK | VN_COMMIT, 2);
	times_are(&r.got[1], r.got[0].times.done, second);
	before = ticks_now();
	ck_assert_int_eq(vn_read_n(c, data, 1), 1);
	between = ticks_now();
	work(LONG);
	vn_close(c);
	rig_settle(&r);
	got_is(&r, 2, VN_KIND_CLOSE, 0, 0);
	times_are(&r.got[2], before, between);
	rig_close(&r);
}
END_TEST

START_TEST(who_is_busy_shows_in_its_own_times)
{
	static rig r;
	vn_conn *busy, *next;
	uint32_t before, between;
	char data[4];

	rig_open(&r, 0);
	busy = rig_accept(&r, 7, 1);
	next = rig_accept(&r, 8, 1);
	rig_data_at(&r, desc(0), rig_block(&r, 1), 0, 0, "ask");
	rig_data_at(&r, (vn_desc){.conn = 8, .gen = 1}, rig_block(&r, 1), 0, 0, "ask");
	rig_run(&r);
	before = ticks_now();
	ck_assert_int_eq(vn_read(busy, data, 3), 3);
	between = ticks_now();
	work(LONG); /* and no turn of the hub in between */
	vn_commit(busy);
	ck_assert_int_eq(vn_read(next, data, 3), 3);
	vn_commit(next);
	rig_settle(&r);
	times_are(&r.got[0], before, between);
	ck_assert_int_ge((int32_t)(r.got[1].times.taken - before), LONG - ROUGH);
	rig_close(&r);
}
END_TEST

START_TEST(who_waits_for_the_rest_of_a_line_has_found_it)
{
	static rig r;
	reader k;
	vn_conn *c;
	uint32_t block;

	rig_open(&r, 0);
	c = rig_accept(&r, 7, 1);
	block = rig_block(&r, 1);
	rig_data_at(&r, desc(0), block, 0, 0, "half a ");
	start(&r, &k, c, call_read_until);
	work(LONG);
	ck_assert(!k.is_done);
	rig_data_at(&r, desc(0), block, 7, 7, "line\n");
	rig_run(&r);
	ck_assert(k.is_done);
	r.n_got = 0;
	vn_commit(c);
	rig_settle(&r);
	ck_assert_int_ge((int32_t)(r.got[0].times.done - r.got[0].times.taken), LONG - ROUGH);
	rig_close(&r);
}
END_TEST

START_TEST(output_is_never_appended_across_an_acknowledgement)
{
	static rig r;
	reader k;
	vn_conn *c;

	rig_open(&r, VN_RESUMABLE);
	c = rig_accept_with(&r, rig_block(&r, 1), "onetwo");
	reads(c, "one");
	ck_assert_int_eq(vn_write(c, "1", 1), 0);
	reads(c, "two");
	ck_assert_int_eq(vn_write(c, "22", 2), 0);
	start(&r, &k, c, call_read);
	ck_assert_uint_eq(r.n_got, 2);
	got_is(&r, 0, VN_KIND_SEND, VN_ACK | VN_COMMIT, 3);
	got_is(&r, 1, VN_KIND_SEND, VN_ACK | VN_COMMIT, 6);
	ck_assert_uint_eq(r.got[1].block, r.got[0].block);
	ck_assert_uint_eq(r.got[1].offset, 1);
	ck_assert_uint_eq(r.got[1].pos, 1);
	ck_assert_uint_eq(r.got[1].len, 2);
	vn_close(c);
	rig_settle(&r);
	ck_assert_int_eq(k.result, -EPIPE);
	got_is(&r, 2, VN_KIND_CLOSE, 0, 0);
	ck_assert_uint_eq(r.got[2].pos, 3);
	final(&r);
	rig_close(&r);
}
END_TEST

START_TEST(output_that_was_published_is_committed_alone)
{
	static rig r;
	reader k;
	vn_conn *c;

	rig_open(&r, VN_RESUMABLE);
	c = rig_accept_with(&r, rig_block(&r, 1), "ask");
	reads(c, "ask");
	ck_assert_int_eq(vn_write(c, "answer", 6), 0);
	rig_settle(&r);
	got_is(&r, 0, VN_KIND_SEND, 0, 0);
	ck_assert_int_eq(vn_write(c, "!", 1), 0);
	rig_settle(&r);
	got_is(&r, 1, VN_KIND_SEND, 0, 0);
	ck_assert_uint_eq(r.got[1].offset, 6);
	start(&r, &k, c, call_read);
	ck_assert_uint_eq(r.n_got, 3);
	got_is(&r, 2, VN_KIND_ACK, VN_COMMIT, 3);
	ck_assert_int_eq(vn_abort(c), 0);
	rig_settle(&r);
	ck_assert_int_eq(k.result, -ECONNRESET);
	got_is(&r, 3, VN_KIND_CLOSE, VN_ABORT, 0);
	final(&r); /* before the handle is closed */
	ck_assert_int_eq(vn_close(c), 0);
	rig_settle(&r);
	ck_assert_uint_eq(r.n_got, 4);
	rig_close(&r);
}
END_TEST

START_TEST(acknowledgements_in_the_middle_of_a_block_that_grows)
{
	static rig r;
	reader k;
	uint32_t block;
	vn_conn *c;

	rig_open(&r, 0);
	c = rig_accept(&r, 7, 1);
	block = rig_block(&r, 1);
	rig_data_at(&r, desc(0), block, 0, 0, "abcdef");
	reads(c, "abcd");
	reads(c, "ef");
	start(&r, &k, c, call_read); /* all of it acknowledged: the link is dropped */
	got_is(&r, 0, VN_KIND_ACK, VN_COMMIT, 4);
	got_is(&r, 1, VN_KIND_ACK, VN_COMMIT, 6);
	rig_data_at(&r, desc(0), block, 6, 6, "ghi");
	rig_settle(&r);
	ck_assert_int_eq(k.result, 3);
	rig_data_at(&r, desc(0), block, 9, 9, "jkl");
	rig_data_at(&r, desc(0), rig_block(&r, 0), 0, 12, "mno");
	rig_run(&r);
	reads(c, "jklm");
	reads(c, "no");
	vn_close(c);
	rig_settle(&r);
	got_is(&r, 2, VN_KIND_ACK, VN_COMMIT, 9);
	got_is(&r, 3, VN_KIND_ACK, VN_COMMIT, 13);
	got_is(&r, 4, VN_KIND_CLOSE, 0, 0);
	final(&r);
	rig_close(&r);
}
END_TEST

START_TEST(end_of_file_is_a_position)
{
	static rig r;
	vn_desc end = desc(VN_KIND_END);
	vn_conn *c;
	char data[8];

	rig_open(&r, 0);
	c = rig_accept(&r, 7, 1);
	rig_data_at(&r, desc(0), rig_block(&r, 0), 0, 0, "last");
	end.pos = 4;
	rig_push(&r, end);
	rig_run(&r);
	reads(c, "last");
	ck_assert_int_eq(vn_read(c, data, 8), 0);
	ck_assert_int_eq(vn_read(c, data, 8), 0);
	ck_assert_int_eq(vn_read(c, data, 8), 0);
	ck_assert_int_eq(vn_commit(c), 0);
	vn_close(c);
	rig_settle(&r);
	ck_assert_uint_eq(r.n_got, 3);
	got_is(&r, 0, VN_KIND_ACK, VN_COMMIT, 4);
	got_is(&r, 1, VN_KIND_ACK, VN_COMMIT, 5);
	got_is(&r, 2, VN_KIND_CLOSE, 0, 0);
	final(&r);
	rig_close(&r);
}
END_TEST

START_TEST(no_acknowledgement_passes_a_view)
{
	static rig r;
	uint32_t block;
	vn_view v, second;
	vn_conn *c;

	rig_open(&r, 0);
	c = rig_accept(&r, 7, 1);
	block = rig_block(&r, 1);
	rig_data_at(&r, desc(0), block, 0, 0, "first");
	ck_assert_int_eq(vn_take(c, &v), 1);
	rig_data_at(&r, desc(0), block, 5, 5, "second");
	rig_run(&r);
	ck_assert_int_eq(vn_take(c, &second), 1);
	ck_assert_uint_eq(second.len, 6);
	ck_assert_int_eq(vn_commit(c), 0);
	rig_settle(&r);
	ck_assert_uint_eq(r.n_got, 0);
	ck_assert_int_eq(vn_release(c, &second), 0);
	rig_settle(&r);
	ck_assert_uint_eq(r.n_got, 0);
	ck_assert_int_eq(memcmp(v.data, "firstsecond", 11), 0);
	ck_assert_int_eq(vn_release(c, &v), 0);
	rig_settle(&r);
	ck_assert_uint_eq(r.n_got, 1);
	got_is(&r, 0, VN_KIND_ACK, VN_COMMIT, 11);
	rig_data_at(&r, desc(0), block, 11, 11, "third");
	rig_run(&r);
	ck_assert_int_eq(vn_take(c, &v), 1);
	ck_assert_int_eq(vn_abort(c), 0);
	rig_settle(&r);
	ck_assert_uint_eq(r.n_got, 1); /* a CLOSE gives the block back */
	ck_assert_int_eq(vn_release(c, &v), 0);
	rig_settle(&r);
	got_is(&r, 1, VN_KIND_CLOSE, VN_ABORT, 0);
	vn_close(c);
	final(&r);
	ck_assert_uint_eq(r.n_got, 2);
	rig_close(&r);
}
END_TEST

START_TEST(two_attachments_of_one_connection)
{
	static rig r;
	vn_conn *old, *new;
	uint32_t n;

	rig_open(&r, 0);
	n = r.hub->n_sources;
	old = rig_accept(&r, 7, 1);
	rig_push(&r, desc(VN_KIND_RESET));
	new = rig_accept(&r, 7, 2);
	rig_data_at(&r, (vn_desc){.conn = 7, .gen = 2}, rig_block(&r, 0), 0, 0, "new");
	rig_run(&r);
	ck_assert_int_eq(call_read(old), -ECONNRESET);
	reads(new, "new");
	vn_close(old);
	rig_settle(&r);
	got_is(&r, r.n_got - 1, VN_KIND_CLOSE, 0, 0);
	ck_assert_uint_eq(r.got[r.n_got - 1].gen, 1);
	final(&r);
	vn_close(new);
	rig_settle(&r);
	ck_assert_uint_eq(r.got[r.n_got - 1].gen, 2);
	rig_push(&r, (vn_desc){.kind = VN_KIND_FINAL, .conn = 7, .gen = 2});
	rig_push(&r, (vn_desc){.kind = VN_KIND_FINAL, .conn = 7, .gen = 2}); /* nobody's */
	rig_run(&r);
	ck_assert_uint_eq(r.hub->n_sources, n);
	rig_close(&r);
}
END_TEST

START_TEST(connections_for_which_nobody_listens_any_more)
{
	static rig r;
	uint32_t block;

	rig_open(&r, 0);
	vn_close(r.listener);
	r.listener = NULL;
	rig_settle(&r);
	got_is(&r, 0, VN_KIND_UNLISTEN, 0, 0);
	rig_push(&r, (vn_desc){.kind = VN_KIND_OPEN,
			     .conn = 7,
			     .gen = 1,
			     .arg = (uint16_t)r.number,
			     .peer.family = AF_INET});
	block = rig_block(&r, 0);
	rig_data_at(&r, desc(0), block, 0, 0, "late");
	rig_settle(&r);
	ck_assert_uint_eq(r.n_got, 2);
	got_is(&r, 1, VN_KIND_CLOSE, VN_ABORT, 0);
	final(&r);
	ck_assert_uint_eq(r.hub->net->n_open, 0);
	rig_close(&r);
}
END_TEST

START_TEST(full_is_believed_when_it_is_said_twice)
{
	static rig r;
	reader k;
	vn_conn *c;

	rig_open(&r, 0);
	c = rig_accept(&r, 7, 1);
	rig_push(&r, desc(VN_KIND_FULL)); /* crossed an acknowledgement: nothing is held */
	start(&r, &k, c, call_read_until);
	ck_assert_uint_eq(r.n_got, 0);
	rig_data_at(&r, desc(0), rig_block(&r, 0), 0, 0, "line without end");
	rig_settle(&r);
	ck_assert_uint_eq(r.n_got, 1);
	got_is(&r, 0, VN_KIND_NEED_INPUT, 0, 16);
	rig_push(&r, desc(VN_KIND_FULL));
	rig_settle(&r);
	ck_assert(!k.is_done);
	ck_assert_uint_eq(r.n_got, 2);
	got_is(&r, 1, VN_KIND_NEED_INPUT, 0, 16);
	rig_push(&r, desc(VN_KIND_FULL));
	rig_settle(&r);
	ck_assert_int_eq(k.result, -EMSGSIZE);
	reads(c, "line without end");
	start(&r, &k, c, call_read_until);
	got_is(&r, 2, VN_KIND_ACK, VN_COMMIT, 16);
	ck_assert(!k.is_done);
	vn_close(c);
	rig_settle(&r);
	final(&r);
	rig_close(&r);
}
END_TEST

static int
call_read_n(vn_conn *c)
{
	char data[12];

	return (int)vn_read_n(c, data, sizeof data);
}

START_TEST(held_reads_acknowledge_without_a_commit_when_it_is_full)
{
	static rig r;
	reader k;
	vn_conn *c;

	rig_open(&r, 0);
	c = rig_accept(&r, 7, 1);
	rig_data_at(&r, desc(0), rig_block(&r, 0), 0, 0, "half..");
	rig_run(&r);
	start(&r, &k, c, call_read_n);
	got_is(&r, 0, VN_KIND_NEED_INPUT, 0, 6);
	rig_push(&r, desc(VN_KIND_FULL));
	rig_settle(&r);
	got_is(&r, 1, VN_KIND_ACK, 0, 6);
	rig_data_at(&r, desc(0), rig_block(&r, 0), 0, 6, "whole.");
	rig_settle(&r);
	ck_assert_int_eq(k.result, 12);
	ck_assert_int_eq(vn_commit(c), 0);
	rig_settle(&r);
	ck_assert_uint_eq(r.n_got, 3);
	got_is(&r, 2, VN_KIND_ACK, VN_COMMIT, 12);
	vn_close(c);
	rig_settle(&r);
	final(&r);
	rig_close(&r);
}
END_TEST

static int
call_select(vn_conn *c)
{
	vn_hub *h = c->net->hub;

	return vn_select(h, VN_READ(c), VN_AFTER(1000 * VN_SEC)) == 0 ? vn_selected(h) : 1;
}

START_TEST(taken_back_and_closed_before_the_reader_has_run)
{
	static int (*const calls[])(vn_conn *) = {
		call_read, call_read_until, call_read_n, call_select};

	for (size_t i = 0; i < SUITE_COUNT(calls); i++) {
		static rig r;
		reader k;
		vn_conn *c;

		rig_open(&r, VN_RESUMABLE);
		c = rig_accept_with(&r, rig_block(&r, 1), "ask");
		reads(c, "ask");
		start(&r, &k, c, calls[i]);
		got_is(&r, 0, VN_KIND_ACK, VN_COMMIT, 3);
		rig_push(&r,
			(vn_desc){.kind = VN_KIND_REVOKED, .flags = VN_FINAL, .conn = 7, .gen = 1});
		while (c->readers.first)
			vn_yield(r.hub);
		ck_assert(!k.is_done);
		vn_close(c);
		rig_run(&r);
		ck_assert(k.is_done);
		ck_assert_int_eq(k.result, -EPIPE);
		ck_assert_ptr_null(r.hub->net->graves);
		rig_close(&r);
	}
}
END_TEST

/* Lanes that are full. */

#define MANY 40

static int
call_loans(vn_conn *c)
{
	int rc = 0;

	for (int i = 0; i < 5 && rc == 0; i++) {
		vn_loan l;

		rc = vn_borrow(c, 10, &l);
		if (rc < 0)
			break;
		memset(l.data, 'a' + i, 10);
		l.len = 10;
		rc = vn_publish(c, &l);
	}
	return rc;
}

/* Positions and payload of one connection's output, as far as it was published. */
static uint64_t
check_output(const rig *r, uint32_t conn)
{
	uint64_t pos = 0;

	for (uint32_t i = 0; i < r->n_got; i++) {
		const vn_desc *d = &r->got[i];

		if (d->conn != conn || d->kind == VN_KIND_NEED)
			continue;
		ck_assert_uint_eq(d->pos, pos);
		if (d->kind != VN_KIND_SEND)
			break;
		for (uint32_t at = 0; at < d->len; at++) {
			char byte;

			vn_area_read(&r->link.peer, d->block, d->offset + at, &byte, 1);
			ck_assert_int_eq(byte, 'a' + (int)(pos / 10));
			pos++;
		}
	}
	return pos;
}

START_TEST(everything_arrives_when_the_lane_was_full)
{
	static rig r;
	reader k[MANY];
	vn_conn *c[MANY];
	int n_waiting = 0;

	rig_open(&r, 0);
	for (uint32_t i = 0; i < MANY; i++)
		c[i] = rig_accept(&r, i, 1);
	for (uint32_t i = 0; i < MANY; i++) {
		k[i] = (reader){.conn = c[i], .call = call_loans};
		ck_assert_int_eq(vn_spawn(r.hub, reader_run, &k[i]), 0);
	}
	rig_run(&r);
	for (uint32_t i = 0; i < MANY; i++)
		n_waiting += !k[i].is_done;
	ck_assert_int_gt(n_waiting, 10);
	/* Some are closed while they wait for a slot, and all the others wait on. */
	for (uint32_t i = 0; i < MANY; i += 4)
		vn_close(c[i]);
	rig_run(&r);
	for (uint32_t i = 0; i < MANY; i++) {
		ck_assert(i % 4 == 0 ? k[i].is_done : true);
		if (k[i].is_done)
			ck_assert_msg(k[i].result == 0 || (i % 4 == 0 && k[i].result == -EPIPE),
				"%d", k[i].result);
	}
	for (int i = 0; i < 20; i++)
		rig_settle(&r);
	for (uint32_t i = 0; i < MANY; i++) {
		ck_assert(k[i].is_done);
		if (i % 4)
			ck_assert_uint_eq(check_output(&r, i), 50);
		else
			check_output(&r, i);
	}
	r.n_got = 0;
	for (uint32_t i = 0; i < MANY; i++)
		if (i % 4)
			vn_close(c[i]);
	for (int i = 0; i < 5; i++)
		rig_settle(&r);
	ck_assert_uint_eq(r.n_got, MANY - MANY / 4);
	for (uint32_t i = 0; i < MANY; i++)
		rig_push(&r, (vn_desc){.kind = VN_KIND_FINAL, .conn = i, .gen = 1});
	rig_run(&r);
	rig_close(&r);
}
END_TEST

/* The broker's half, in a thread of its own. */
static void *
take_run(void *arg)
{
	rig *r = arg;

	for (int i = 0; i < 10000 && r->n_got < 101; i++) {
		usleep(1000);
		rig_take(r);
	}
	return NULL;
}

/* The program ends with more to say than there are slots. */
START_TEST(nothing_is_lost_when_the_hub_is_freed_with_a_full_lane)
{
	static rig r;
	pthread_t broker;

	rig_open(&r, 0);
	for (uint32_t i = 0; i < 100; i++)
		rig_accept(&r, i, 1);
	ck_assert_int_eq(pthread_create(&broker, NULL, take_run, &r), 0);
	vn_close(r.listener);
	vn_hub_free(r.hub);
	ck_assert_int_eq(pthread_join(broker, NULL), 0);
	ck_assert_uint_eq(r.n_got, 101);
	got_is(&r, 0, VN_KIND_UNLISTEN, 0, 0);
	for (uint32_t i = 1; i < 101; i++)
		got_is(&r, i, VN_KIND_CLOSE, 0, 0);
	vn_link_deinit(&r.link);
}
END_TEST

/* Blocks that are used up: one megabyte for all. */

static int
call_write_much(vn_conn *c)
{
	static char data[100000];
	int rc;

	memset(data, 'm', sizeof data);
	rc = vn_write(c, data, sizeof data);
	if (rc == 0)
		rc = vn_close(c);
	return rc;
}

/* Says that everything that was published has been sent. */
static void
report_sent(rig *r, uint64_t *sent, uint32_t n)
{
	for (uint32_t i = 0; i < r->n_got; i++)
		if (r->got[i].kind == VN_KIND_SEND)
			sent[r->got[i].conn] += r->got[i].len;
	r->n_got = 0;
	for (uint32_t i = 0; i < n; i++)
		rig_push(
			r, (vn_desc){.kind = VN_KIND_SENT, .conn = i, .gen = 1, .report = sent[i]});
}

static bool
all_done(const reader *k)
{
	for (int i = 0; i < MANY; i++)
		if (!k[i].is_done)
			return false;
	return true;
}

START_TEST(writers_share_the_blocks_and_go_on_when_some_come_home)
{
	static rig r;
	reader k[MANY];
	vn_conn *c[MANY];
	uint64_t sent[MANY] = {0};

	rig_open(&r, 0);
	for (uint32_t i = 0; i < MANY; i++)
		c[i] = rig_accept(&r, i, 1);
	for (uint32_t i = 0; i < MANY; i++) {
		k[i] = (reader){.conn = c[i], .call = call_write_much};
		ck_assert_int_eq(vn_spawn(r.hub, reader_run, &k[i]), 0);
	}
	for (int i = 0; i < 20; i++)
		rig_settle(&r);
	for (uint32_t i = 0; i < MANY; i++) {
		bool has_sent = false;

		for (uint32_t d = 0; d < r.n_got; d++)
			has_sent |= r.got[d].kind == VN_KIND_SEND && r.got[d].conn == i;
		ck_assert_msg(has_sent, "connection %u got no block at all", i);
	}
	ck_assert(!k[MANY - 1].is_done);
	for (int i = 0; i < 1000 && !all_done(k); i++) {
		report_sent(&r, sent, MANY);
		rig_settle(&r);
	}
	rig_settle(&r);
	report_sent(&r, sent, 0);
	for (uint32_t i = 0; i < MANY; i++) {
		ck_assert_int_eq(k[i].result, 0);
		ck_assert(k[i].is_done);
		ck_assert_uint_eq(sent[i], 100000);
		rig_push(&r, (vn_desc){.kind = VN_KIND_FINAL, .conn = i, .gen = 1});
	}
	rig_run(&r);
	ck_assert_uint_eq(vn_blocks_available(r.hub->net->out_blocks), 1u << 20);
	rig_close(&r);
}
END_TEST

START_TEST(a_writer_without_a_block_is_woken_by_those_of_others)
{
	static rig r;
	reader k;
	vn_conn *c, *other;
	static uint32_t blocks[4096];
	uint32_t n = 0;
	vn_blocks *pool;

	rig_open(&r, 0);
	c = rig_accept(&r, 7, 1);
	other = rig_accept(&r, 8, 1);
	ck_assert_int_eq(vn_write(other, "x", 1), 0);
	pool = r.hub->net->out_blocks;
	for (unsigned int class = VN_N_CLASSES; class -- > 0;)
		while ((blocks[n] = vn_block_alloc(pool, class)) != VN_NO_BLOCK)
			n++;
	start(&r, &k, c, call_loans);
	ck_assert(!k.is_done);
	rig_push(&r, (vn_desc){.kind = VN_KIND_SENT, .conn = 8, .gen = 1, .report = 1});
	rig_settle(&r);
	ck_assert_uint_eq(check_output(&r, 7), 10);
	while (n--)
		vn_block_free(pool, blocks[n]);
	rig_push(&r, (vn_desc){.kind = VN_KIND_SENT, .conn = 7, .gen = 1, .report = 10});
	rig_settle(&r);
	ck_assert(k.is_done);
	ck_assert_int_eq(k.result, 0);
	vn_close(c);
	vn_close(other);
	rig_settle(&r);
	final(&r);
	rig_push(&r, (vn_desc){.kind = VN_KIND_FINAL, .conn = 8, .gen = 1});
	rig_run(&r);
	rig_close(&r);
}
END_TEST

/* Listening. */

static int
refuse_run(vn_hub *h, void *arg)
{
	rig *r = arg;
	uint32_t n = r->n_got;

	while (r->n_got == n) {
		vn_sleep(h, VN_MS);
		rig_take(r);
	}
	rig_push(r, (vn_desc){.kind = VN_KIND_LISTENING, .arg = r->got[n].arg, .report = EACCES});
	return 0;
}

START_TEST(listeners_that_are_refused)
{
	static rig r;

	rig_open(&r, 0);
	for (int i = 0; i < 3; i++) {
		r.n_got = 0;
		vn_spawn(r.hub, refuse_run, &r);
		vn_deadline(r.hub, vn_now(r.hub)); /* matters not: the broker answers */
		ck_assert_ptr_null(vn_listen(r.hub, "tcp://127.0.0.1:2", 0));
		ck_assert_int_eq(errno, EACCES);
		vn_deadline(r.hub, VN_NEVER);
		rig_settle(&r);
		ck_assert_uint_eq(r.n_got, 2);
		got_is(&r, 0, VN_KIND_LISTEN, 0, 0);
		got_is(&r, 1, VN_KIND_UNLISTEN, 0, 0);
		ck_assert_uint_eq(r.got[1].arg, r.got[0].arg);
	}
	r.n_got = 0;
	ck_assert_ptr_null(vn_listen(r.hub, "tcp://127.0.0.1:1", 0));
	ck_assert_int_eq(errno, EADDRINUSE);
	rig_settle(&r);
	ck_assert_uint_eq(r.n_got, 0);
	rig_close(&r);
}
END_TEST

static int
stopped_run(vn_hub *h, void *arg)
{
	vn_rx *listener = vn_listen(h, "tcp://127.0.0.1:3", 0);

	*(int *)arg = listener ? 0 : -errno;
	return 0;
}

START_TEST(a_group_is_cancelled_while_the_answer_to_a_listen_is_awaited)
{
	static rig r;
	vn_group *g;
	int rc = 1;

	rig_open(&r, 0);
	g = vn_group_new(r.hub);
	ck_assert_int_eq(vn_group_spawn(g, stopped_run, &rc), 0);
	rig_settle(&r);
	ck_assert_uint_eq(r.n_got, 1);
	vn_group_cancel(g);
	rig_run(&r);
	vn_group_cancel(g);
	rig_push(&r, (vn_desc){.kind = VN_KIND_LISTENING, .arg = r.got[0].arg});
	vn_group_free(g);
	ck_assert_int_eq(
		rc, 0); /* the broker has it: nothing of it is lost, and its number is ours */
	rig_settle(&r);
	ck_assert_uint_eq(r.n_got, 1);
	rig_close(&r);
}
END_TEST

START_TEST(stop_while_the_answer_to_a_listen_is_awaited)
{
	static rig r;
	int rc = 1;

	rig_open(&r, 0);
	ck_assert_int_eq(vn_spawn(r.hub, stopped_run, &rc), 0);
	rig_settle(&r);
	ck_assert_uint_eq(r.n_got, 1);
	vn_stop(r.hub);
	vn_yield(r.hub);
	vn_yield(r.hub);
	ck_assert_int_eq(rc, -ECANCELED);
	rig_push(&r, (vn_desc){.kind = VN_KIND_LISTENING, .arg = r.got[0].arg});
	vn_yield(r.hub);
	ck_assert_ptr_null(vn_listen(r.hub, "tcp://127.0.0.1:4", 0));
	ck_assert_int_eq(errno, ECANCELED);
	rig_close(&r);
}
END_TEST

/* The broker wants connection 7 back. */
static void
release(rig *r)
{
	rig_push(r, desc(VN_KIND_RELEASE));
	rig_settle(r);
}

START_TEST(whoever_waits_at_a_commit_point_gives_back_at_once)
{
	int (*const calls[])(vn_conn *) = {call_read, call_read_until, call_peek};

	for (size_t i = 0; i < SUITE_COUNT(calls); i++) {
		static rig r;
		uint32_t block;
		reader k;
		vn_conn *c;

		rig_open(&r, VN_RESUMABLE);
		block = rig_block(&r, 1);
		c = rig_accept_with(&r, block, "ask");
		reads(c, "ask");
		ck_assert_int_eq(vn_write(c, "answer", 6), 0);
		if (i > 0)
			rig_data_at(&r, desc(0), block, 3, 3, "part");
		start(&r, &k, c, calls[i]);
		ck_assert(!k.is_done);
		release(&r);
		ck_assert_int_eq(k.result, -ESTALE);
		got_is(&r, 0, VN_KIND_SEND, VN_ACK | VN_COMMIT, 3);
		got_is(&r, r.n_got - 1, VN_KIND_RELEASED, 0, 3);
		/* What crosses it is ignored, and nothing more is said of this attachment. */
		rig_data_at(&r, desc(0), rig_block(&r, 0), 0, i ? 7 : 3, "crossing");
		rig_push(&r, desc(VN_KIND_FULL));
		rig_run(&r);
		r.n_got = 0;
		ck_assert_int_eq(vn_write(c, "x", 1), -ESTALE);
		ck_assert_int_eq(call_read(c), -ESTALE);
		ck_assert_int_eq(vn_abort(c), -ESTALE);
		if (i % 2)
			final(&r);
		vn_close(c);
		if (i % 2 == 0)
			final(&r);
		rig_settle(&r);
		ck_assert_uint_eq(r.n_got, 0);
		ck_assert_uint_eq(vn_blocks_available(r.hub->net->out_blocks), 1u << 20);
		rig_close(&r);
	}
}
END_TEST

START_TEST(with_a_release_pending_any_read_is_a_commit_point)
{
	static rig r;
	vn_conn *c;

	rig_open(&r, VN_RESUMABLE);
	c = rig_accept_with(&r, rig_block(&r, 1), "onetwo");
	reads(c, "one");
	release(&r);
	ck_assert_uint_eq(r.n_got, 0); /* the request in hand is finished first */
	ck_assert_int_eq(vn_write(c, "1", 1), 0);
	ck_assert_int_eq(call_read(c), -ESTALE); /* although there is more to read */
	rig_settle(&r);
	ck_assert_uint_eq(r.n_got, 2);
	got_is(&r, 0, VN_KIND_SEND, VN_ACK | VN_COMMIT, 3);
	got_is(&r, 1, VN_KIND_RELEASED, 0, 3);
	vn_close(c);
	final(&r);
	rig_close(&r);
}
END_TEST

START_TEST(a_held_request_gets_the_rest_before_it_is_given_back)
{
	static rig r;
	uint32_t block;
	reader k;
	vn_conn *c;

	rig_open(&r, VN_RESUMABLE);
	block = rig_block(&r, 1);
	c = rig_accept_with(&r, block, "one");
	ck_assert_int_eq(vn_hold(c), 0);
	reads(c, "one");
	start(&r, &k, c, call_read);
	release(&r);
	ck_assert(!k.is_done);
	rig_data_at(&r, desc(0), block, 3, 3, "two");
	rig_settle(&r);
	ck_assert_int_eq(k.result, 3);
	ck_assert_int_eq(vn_write(c, "12", 2), 0);
	ck_assert_int_eq(vn_commit(c), 0); /* which is no read */
	rig_settle(&r);
	got_is(&r, 1, VN_KIND_SEND, VN_ACK | VN_COMMIT, 6);
	ck_assert_uint_eq(r.n_got, 2);
	ck_assert_int_eq(call_read(c), -ESTALE);
	rig_settle(&r);
	got_is(&r, 2, VN_KIND_RELEASED, 0, 6);
	vn_close(c);
	final(&r);
	rig_close(&r);
}
END_TEST

START_TEST(no_view_and_no_ended_output_is_given_back)
{
	static rig r;
	vn_view v;
	vn_conn *c;

	rig_open(&r, VN_RESUMABLE);
	c = rig_accept_with(&r, rig_block(&r, 1), "ask");
	ck_assert_int_eq(vn_take(c, &v), 1);
	ck_assert_int_eq(vn_write(c, "answer", 6), 0);
	ck_assert_int_eq(vn_commit(c), 0);
	release(&r);
	rig_settle(&r);
	ck_assert_uint_eq(r.n_got, 1); /* SEND: the commit waits for the view */
	got_is(&r, 0, VN_KIND_SEND, 0, 0);
	ck_assert_int_eq(vn_shutdown(c), 0);
	ck_assert_int_eq(vn_release(c, &v), 0);
	rig_push(&r, (vn_desc){.kind = VN_KIND_END, .conn = 7, .gen = 1, .pos = 3});
	rig_run(&r);
	ck_assert_int_eq(call_read(c), 0);
	vn_close(c);
	rig_settle(&r);
	got_is(&r, 1, VN_KIND_SHUTDOWN, 0, 0);
	got_is(&r, 2, VN_KIND_ACK, VN_COMMIT, 3);
	got_is(&r, 3, VN_KIND_CLOSE, 0, 0);
	final(&r);
	rig_close(&r);
}
END_TEST

START_TEST(state_is_said_before_the_commit_and_only_when_it_changed)
{
	static rig r;
	unsigned char *state;
	vn_conn *c;

	rig_open(&r, VN_RESUMABLE);
	c = rig_accept_with(&r, rig_block(&r, 1), "abc");
	ck_assert_ptr_null(vn_conn_state(c, 0));
	ck_assert_ptr_null(vn_conn_state(c, 1025));
	state = vn_conn_state(c, 49);
	ck_assert_ptr_nonnull(state);
	ck_assert_ptr_eq(vn_conn_state(c, 49), state);
	ck_assert_ptr_null(vn_conn_state(c, 50));
	ck_assert_int_eq(errno, EINVAL);
	for (int i = 0; i < 49; i++)
		ck_assert_uint_eq(state[i], 0);
	reads(c, "a");
	ck_assert_int_eq(vn_write(c, "1", 1), 0);
	state[48] = 9;
	reads(c, "b");
	ck_assert_int_eq(vn_write(c, "2", 1), 0);
	reads(c, "c");
	state[0] = 7; /* never committed */
	rig_settle(&r);
	ck_assert_uint_eq(r.n_got, 5);
	got_is(&r, 0, VN_KIND_SEND, 0, 0);
	ck_assert_int_eq(r.got[1].kind, VN_KIND_STATE);
	ck_assert_int_eq(r.got[2].kind, VN_KIND_STATE);
	ck_assert_uint_eq(r.got[1].len, 49);
	ck_assert_uint_eq(r.got[2].arg, 1);
	ck_assert_uint_eq(r.got[2].bytes[0], 9);
	got_is(&r, 3, VN_KIND_ACK, VN_COMMIT, 1);
	got_is(&r, 4, VN_KIND_SEND, VN_ACK | VN_COMMIT, 2);
	vn_close(c);
	final(&r);
	rig_close(&r);
}
END_TEST

/* What a handler writes waits until its state fits behind it, also the first time that there is state. */
START_TEST(output_waits_for_room_for_its_state)
{
	static rig r;
	enum { USED = 48 }; /* of 64 slots */
	char text[USED + 2] = "";
	unsigned char *state;
	reader k;
	vn_conn *c;

	rig_open(&r, VN_RESUMABLE);
	memset(text, '.', USED + 1);
	c = rig_accept_with(&r, rig_block(&r, 1), text);
	state = vn_conn_state(c, VN_STATE_MAX);
	for (uint32_t i = 0; i < USED; i++) {
		reads(c, ".");
		ck_assert_int_eq(vn_commit(c), 0);
	}
	rig_run(&r);
	reads(c, ".");
	state[0] = 1;
	k = (reader){.conn = c, .call = call_write_and_commit};
	ck_assert_int_eq(vn_spawn(r.hub, reader_run, &k), 0);
	rig_run(&r);
	ck_assert(!k.is_done);
	rig_take(&r);
	ck_assert_uint_eq(r.n_got, USED);
	rig_settle(&r);
	ck_assert(k.is_done);
	ck_assert_int_eq(k.result, 0);
	ck_assert_uint_eq(r.n_got, USED + 1 + vn_state_descs(VN_STATE_MAX) + 1);
	got_is(&r, USED, VN_KIND_SEND, 0, 0);
	got_is(&r, r.n_got - 1, VN_KIND_ACK, VN_COMMIT, USED + 1);
	vn_close(c);
	final(&r);
	rig_close(&r);
}
END_TEST

/* What is committed later is what it was when vn_commit() was called. */
START_TEST(state_of_a_commit_that_waits_for_a_view)
{
	static rig r;
	unsigned char *state;
	vn_view v;
	vn_conn *c;

	rig_open(&r, VN_RESUMABLE);
	c = rig_accept_with(&r, rig_block(&r, 1), "abc");
	state = vn_conn_state(c, 4);
	ck_assert_int_eq(vn_take(c, &v), 1);
	state[0] = 1;
	ck_assert_int_eq(vn_commit(c), 0);
	state[0] = 2;
	ck_assert_int_eq(vn_release(c, &v), 0);
	rig_settle(&r);
	ck_assert_uint_eq(r.n_got, 2);
	ck_assert_int_eq(r.got[0].kind, VN_KIND_STATE);
	ck_assert_uint_eq(r.got[0].bytes[0], 1);
	got_is(&r, 1, VN_KIND_ACK, VN_COMMIT, 3);
	vn_close(c);
	final(&r);
	rig_close(&r);
}
END_TEST

START_TEST(what_a_predecessor_left_is_found)
{
	static rig r;
	unsigned char *state;
	vn_desc d;
	vn_conn *c;

	rig_open(&r, VN_RESUMABLE);
	for (uint16_t i = 0; i < 2; i++) {
		d = desc(VN_KIND_RESTORE);
		d.arg = i;
		d.len = 50;
		memset(d.bytes, i + 1, sizeof d.bytes);
		rig_push(&r, d);
	}
	d = desc(VN_KIND_DATA);
	d.flags = VN_OPEN | VN_RESUME;
	d.arg = (uint16_t)(r.number | 3 << 8);
	d.peer.family = AF_INET;
	rig_data_at(&r, d, rig_block(&r, 0), 0, 1000, "ab");
	ck_assert_int_eq(vn_recv(r.listener, &c), 0);
	ck_assert_uint_eq(vn_conn_attempt(c), 4);
	state = vn_conn_state(c, 60); /* a new version of the program */
	ck_assert_ptr_nonnull(state);
	ck_assert(state[0] == 1 && state[47] == 1 && state[48] == 2 && state[49] == 2);
	ck_assert(state[50] == 0 && state[59] == 0);
	reads(c, "a");
	ck_assert_int_eq(vn_commit(c), 0);
	ck_assert_uint_eq(vn_conn_attempt(c), 4); /* nobody knows of that commit yet */
	rig_settle(&r);
	ck_assert_uint_eq(vn_conn_attempt(c), 1);
	ck_assert_int_eq(r.got[0].kind, VN_KIND_STATE); /* its length is new */
	ck_assert_uint_eq(r.got[0].len, 60);
	ck_assert_uint_eq(vn_conn_attempt(NULL), 0);
	ck_assert_ptr_null(vn_conn_state(NULL, 8));
	vn_close(c);
	final(&r);
	/* It was for that attachment alone. */
	d = desc(VN_KIND_DATA);
	d.gen = 2;
	d.flags = VN_OPEN | VN_RESUME;
	d.arg = (uint16_t)r.number;
	d.peer.family = AF_INET;
	rig_data_at(&r, d, rig_block(&r, 0), 0, 1002, "x");
	ck_assert_int_eq(vn_recv(r.listener, &c), 0);
	state = vn_conn_state(c, 60);
	ck_assert(state && state[0] == 0);
	ck_assert_uint_eq(vn_conn_attempt(c), 1);
	vn_close(c);
	rig_settle(&r);
	d = desc(VN_KIND_FINAL);
	d.gen = 2;
	rig_push(&r, d);
	rig_run(&r);
	rig_close(&r);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		answer_and_commit_leave_in_one_descriptor,
		a_commit_says_when_its_input_was_found_and_done_with,
		who_is_busy_shows_in_its_own_times,
		who_waits_for_the_rest_of_a_line_has_found_it,
		output_is_never_appended_across_an_acknowledgement,
		output_that_was_published_is_committed_alone,
		acknowledgements_in_the_middle_of_a_block_that_grows,
		end_of_file_is_a_position,
		no_acknowledgement_passes_a_view,
		two_attachments_of_one_connection,
		connections_for_which_nobody_listens_any_more,
		full_is_believed_when_it_is_said_twice,
		held_reads_acknowledge_without_a_commit_when_it_is_full,
		taken_back_and_closed_before_the_reader_has_run,
		everything_arrives_when_the_lane_was_full,
		nothing_is_lost_when_the_hub_is_freed_with_a_full_lane,
		writers_share_the_blocks_and_go_on_when_some_come_home,
		a_writer_without_a_block_is_woken_by_those_of_others,
		listeners_that_are_refused,
		a_group_is_cancelled_while_the_answer_to_a_listen_is_awaited,
		stop_while_the_answer_to_a_listen_is_awaited,
		whoever_waits_at_a_commit_point_gives_back_at_once,
		with_a_release_pending_any_read_is_a_commit_point,
		a_held_request_gets_the_rest_before_it_is_given_back,
		no_view_and_no_ended_output_is_given_back,
		state_is_said_before_the_commit_and_only_when_it_changed,
		state_of_a_commit_that_waits_for_a_view,
		output_waits_for_room_for_its_state,
		what_a_predecessor_left_is_found,
	};

	return suite_run("brokered", tests, SUITE_COUNT(tests));
}
