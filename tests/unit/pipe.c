/* SPDX-License-Identifier: MIT */
/*
 * Pipe - rendezvous, handoff, closing, and no item lost in hand
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/message/end.h"
#include "tests/unit/coroutines.h"

NO_CONNECTIONS

typedef struct sender {
	vn_tx *tx;
	journal *journal;
	long from, n;
	bool closes;
} sender;

static int
send_all(vn_hub *h, void *arg)
{
	sender *s = arg;
	int rc = 0;

	(void)h;
	for (long i = s->from; i < s->from + s->n && rc == 0; i++) {
		rc = vn_send(s->tx, &i);
		if (s->journal)
			note_rc(s->journal, "sent", rc);
	}
	if (s->closes)
		vn_close(s->tx);
	return 0;
}

typedef struct receiver {
	vn_rx *rx;
	journal *journal;
	long sum;
	int n, rc;
} receiver;

static int
recv_all(vn_hub *h, void *arg)
{
	receiver *r = arg;
	long item;

	(void)h;
	while ((r->rc = vn_recv(r->rx, &item)) == 0) {
		r->sum += item;
		r->n++;
		if (r->journal)
			note(r->journal, "got");
	}
	if (r->journal)
		note_rc(r->journal, "recv", r->rc);
	return 0;
}

START_TEST(items_arrive_in_order_and_none_twice)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, long);
	sender s = {p.tx, NULL, 0, 10000, true};
	long item;

	vn_spawn(h, send_all, &s);
	for (long i = 0; i < s.n; i++) {
		suite_assert(vn_recv(p.rx, &item) == 0);
		suite_assert(item == i);
	}
	ck_assert_int_eq(vn_recv(p.rx, &item), -EPIPE);
	ck_assert_int_eq(vn_recv(p.rx, &item), -EPIPE);
	ck_assert_int_eq(vn_close(p.rx), 0);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_send_returns_when_the_receiver_has_the_item_and_not_before)
{
	world w;
	vn_hub *h = world_open(&w);
	journal j = {""};
	vn_pair p = vn_pipe(h, long);
	sender s = {p.tx, &j, 7, 1, false};
	long item = 0;

	vn_spawn(h, send_all, &s);
	vn_yield(h);
	vn_yield(h);
	ck_assert_str_eq(j.text, "");
	ck_assert_int_eq(vn_recv(p.rx, &item), 0);
	ck_assert_int_eq(item, 7);
	vn_yield(h);
	ck_assert_str_eq(j.text, "sent:0");
	vn_hub_close(h);
}
END_TEST

static int
note_other(vn_hub *h, void *arg)
{
	(void)h;
	note(arg, "other");
	return 0;
}

START_TEST(a_send_to_a_waiting_receiver_switches_straight_into_it)
{
	world w;
	vn_hub *h = world_open(&w);
	journal j = {""};
	vn_pair p = vn_pipe(h, long);
	receiver r = {.rx = p.rx, .journal = &j};
	long item = 1;

	vn_spawn(h, recv_all, &r);
	vn_yield(h);
	vn_spawn(h, note_other, &j);
	note(&j, "sends");
	ck_assert_int_eq(vn_send(p.tx, &item), 0);
	note(&j, "sent");
	ck_assert_str_eq(j.text, "sends got other sent");
	vn_hub_close(h);
}
END_TEST

START_TEST(a_receiver_that_finds_the_sender_waiting_goes_on)
{
	world w;
	vn_hub *h = world_open(&w);
	journal j = {""};
	vn_pair p = vn_pipe(h, long);
	sender s = {p.tx, &j, 1, 1, false};
	long item;

	vn_spawn(h, send_all, &s);
	vn_yield(h);
	vn_spawn(h, note_other, &j);
	ck_assert_int_eq(vn_recv(p.rx, &item), 0);
	note(&j, "got");
	vn_yield(h);
	ck_assert_str_eq(j.text, "got other sent:0");
	vn_hub_close(h);
}
END_TEST

START_TEST(closing_the_sender_wakes_the_receiver)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, long);
	receiver r = {.rx = p.rx};

	vn_spawn(h, recv_all, &r);
	vn_yield(h);
	ck_assert_int_eq(vn_close(p.tx), 0);
	vn_yield(h);
	ck_assert_int_eq(r.rc, -EPIPE);
	ck_assert_int_eq(vn_close(p.rx), 0);
	ck_assert_ptr_null(h->owned);
	vn_hub_close(h);
}
END_TEST

START_TEST(closing_the_receiver_wakes_the_sender_that_still_has_its_item)
{
	world w;
	vn_hub *h = world_open(&w);
	journal j = {""};
	vn_pair p = vn_pipe(h, long);
	sender s = {p.tx, &j, 1, 3, false};
	long item = 1;

	vn_spawn(h, send_all, &s);
	vn_yield(h);
	ck_assert_int_eq(vn_close(p.rx), 0);
	vn_yield(h);
	ck_assert_str_eq(j.text, "sent:EPIPE");
	ck_assert_int_eq(vn_send(p.tx, &item), -EPIPE);
	ck_assert_int_eq(vn_close(p.tx), 0);
	ck_assert_ptr_null(h->owned);
	vn_hub_close(h);
}
END_TEST

START_TEST(closing_an_end_under_its_own_waiter_wakes_it)
{
	world w;
	vn_hub *h = world_open(&w);
	journal j = {""};
	vn_pair p = vn_pipe(h, long), q = vn_pipe(h, long);
	receiver r = {.rx = p.rx};
	sender s = {q.tx, &j, 1, 1, false};

	vn_spawn(h, recv_all, &r);
	vn_spawn(h, send_all, &s);
	vn_yield(h);
	ck_assert_int_eq(vn_close(p.rx), 0);
	ck_assert_int_eq(vn_close(p.tx), 0);
	ck_assert_int_eq(vn_close(q.tx), 0);
	ck_assert_int_eq(vn_close(q.rx), 0);
	ck_assert_ptr_null(h->owned);
	vn_yield(h);
	ck_assert_int_eq(r.rc, -EPIPE);
	ck_assert_str_eq(j.text, "sent:EPIPE");
	vn_hub_close(h);
}
END_TEST

START_TEST(an_item_that_was_sent_arrives_although_its_sender_closes_at_once)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, long);
	sender s = {p.tx, NULL, 42, 1, true};
	receiver r = {.rx = p.rx};

	vn_spawn(h, recv_all, &r);
	vn_spawn(h, send_all, &s);
	vn_yield(h);
	vn_yield(h);
	vn_yield(h);
	ck_assert_int_eq(r.n, 1);
	ck_assert_int_eq(r.sum, 42);
	ck_assert_int_eq(r.rc, -EPIPE);
	vn_hub_close(h);
}
END_TEST

START_TEST(an_end_that_is_closed_twice_says_so_while_the_other_is_open)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, long);

	ck_assert_int_eq(vn_close(p.tx), 0);
	ck_assert_int_eq(vn_close(p.tx), -EBADF);
	ck_assert_int_eq(vn_close(p.rx), 0);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_second_waiter_at_the_same_end_is_busy)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, long), q = vn_pipe(h, long);
	receiver r = {.rx = p.rx};
	sender s = {q.tx, NULL, 1, 1, false};
	long item = 1;

	vn_spawn(h, recv_all, &r);
	vn_spawn(h, send_all, &s);
	vn_yield(h);
	ck_assert_int_eq(vn_recv(p.rx, &item), -EBUSY);
	ck_assert_int_eq(vn_send(q.tx, &item), -EBUSY);
	ck_assert_int_eq(vn_recv(q.rx, &item), 0);
	ck_assert_int_eq(vn_send(p.tx, &item), 0);
	ck_assert_int_eq(r.n, 1);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_send_or_a_receive_ends_at_the_deadline_and_the_item_stays)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, long);
	receiver r = {.rx = p.rx};
	long item = 5;

	vn_deadline(h, w.now + VN_SEC);
	ck_assert_int_eq(vn_recv(p.rx, &item), -ETIMEDOUT);
	vn_deadline(h, w.now + VN_SEC);
	ck_assert_int_eq(vn_send(p.tx, &item), -ETIMEDOUT);
	vn_spawn(h, recv_all, &r);
	vn_yield(h);
	ck_assert_int_eq(r.n, 0);
	/* a deadline that has passed does not matter to one that need not wait */
	ck_assert_int_eq(vn_send(p.tx, &item), 0);
	ck_assert_int_eq(r.sum, 5);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_stop_cancels_both_sides_and_what_was_decided_stands)
{
	world w;
	vn_hub *h = world_open(&w);
	journal j = {""};
	vn_pair p = vn_pipe(h, long), q = vn_pipe(h, long), d = vn_pipe(h, long);
	receiver r = {.rx = p.rx};
	sender s = {q.tx, &j, 1, 2, false}, decided = {d.tx, &j, 9, 2, false};
	long item;

	vn_spawn(h, recv_all, &r);
	vn_spawn(h, send_all, &decided);
	vn_spawn(h, send_all, &s);
	vn_yield(h);
	ck_assert_int_eq(vn_recv(d.rx, &item), 0);
	vn_stop(h);
	while (h->n_coroutines)
		vn_yield(h);
	ck_assert_int_eq(item, 9);
	ck_assert_int_eq(r.rc, -ECANCELED);
	ck_assert_str_eq(j.text, "sent:0 sent:ECANCELED sent:ECANCELED");
	vn_hub_close(h);
}
END_TEST

START_TEST(no_end_no_item_wrong_size_are_errors)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, long);
	long item = 1;
	char small = 1;

	ck_assert_int_eq(vn_send((vn_tx *)NULL, &item), -EBADF);
	ck_assert_int_eq(vn_recv((vn_rx *)NULL, &item), -EBADF);
	ck_assert_int_eq(vn_close((vn_tx *)NULL), 0);
	ck_assert_int_eq(vn_close((vn_rx *)NULL), 0);
	ck_assert_int_eq(vn_send(p.tx, &small), -EINVAL);
	ck_assert_int_eq(vn_recv(p.rx, &small), -EINVAL);
	vn_hub_close(h);
}
END_TEST

typedef struct large {
	unsigned char bytes[3000];
} large;

static int
send_large(vn_hub *h, void *arg)
{
	large *l = malloc(sizeof *l);

	(void)h;
	for (int i = 0; i < 100; i++) {
		memset(l, i, sizeof *l);
		suite_assert(vn_send((vn_tx *)arg, l) == 0);
	}
	free(l);
	return vn_close((vn_tx *)arg);
}

START_TEST(items_of_any_size_are_copied)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, large), none = vn_pipe_new(h, 0);
	large l;
	int n = 0;

	vn_spawn(h, send_large, p.tx);
	while (vn_recv(p.rx, &l) == 0) {
		suite_assert(l.bytes[0] == n && l.bytes[2999] == n &&
			     memcmp(&l, &l.bytes[1], 2999) == 0);
		n++;
	}
	ck_assert_int_eq(n, 100);
	ck_assert_int_eq(vn_close(none.tx), 0);
	ck_assert_int_eq(vn_recv_item(none.rx, NULL, 0), -EPIPE);
	vn_hub_close(h);
}
END_TEST

typedef struct stage {
	vn_rx *rx;
	vn_tx *tx;
} stage;

static int
pass_on(vn_hub *h, void *arg)
{
	stage *s = arg;
	long item;

	(void)h;
	while (vn_recv(s->rx, &item) == 0) {
		item++;
		if (vn_send(s->tx, &item) < 0)
			break;
	}
	vn_close(s->rx);
	return vn_close(s->tx);
}

START_TEST(a_chain_passes_items_and_its_end_on)
{
	enum { STAGES = 100 };
	world w;
	vn_hub *h = world_open(&w);
	static stage stages[STAGES];
	vn_pair first = vn_pipe(h, long), p = first;
	sender s = {first.tx, NULL, 0, 50, true};
	long item;

	for (int i = 0; i < STAGES; i++) {
		vn_pair next = vn_pipe(h, long);

		stages[i] = (stage){p.rx, next.tx};
		vn_spawn(h, pass_on, &stages[i]);
		p = next;
	}
	vn_spawn(h, send_all, &s);
	for (long i = 0; i < 50; i++) {
		suite_assert(vn_recv(p.rx, &item) == 0);
		suite_assert(item == i + STAGES);
	}
	ck_assert_int_eq(vn_recv(p.rx, &item), -EPIPE);
	vn_close(p.rx);
	ck_assert_ptr_null(h->owned);
	vn_hub_close(h);
}
END_TEST

static bool
hook_sends(vn_hook *k)
{
	vn_tx **tx = (vn_tx **)(k + 1);
	long item = 3;

	if (*tx)
		suite_assert(vn_send(*tx, &item) == 0);
	*tx = NULL;
	return false;
}

static bool
hook_arms(vn_hook *k)
{
	(void)k;
	return true;
}

START_TEST(a_callback_of_the_loop_may_send_to_one_who_waits)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, long);
	struct {
		vn_hook hook;
		vn_tx *tx;
	} k = {{.turn = hook_sends, .arm = hook_arms}, p.tx};
	long item = 0;

	vn_hub_hook(h, &k.hook);
	ck_assert_int_eq(vn_recv(p.rx, &item), 0);
	ck_assert_int_eq(item, 3);
	vn_hub_unhook(h, &k.hook);
	vn_hub_close(h);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		items_arrive_in_order_and_none_twice,
		a_send_returns_when_the_receiver_has_the_item_and_not_before,
		a_send_to_a_waiting_receiver_switches_straight_into_it,
		a_receiver_that_finds_the_sender_waiting_goes_on,
		closing_the_sender_wakes_the_receiver,
		closing_the_receiver_wakes_the_sender_that_still_has_its_item,
		closing_an_end_under_its_own_waiter_wakes_it,
		an_item_that_was_sent_arrives_although_its_sender_closes_at_once,
		an_end_that_is_closed_twice_says_so_while_the_other_is_open,
		a_second_waiter_at_the_same_end_is_busy,
		a_send_or_a_receive_ends_at_the_deadline_and_the_item_stays,
		a_stop_cancels_both_sides_and_what_was_decided_stands,
		no_end_no_item_wrong_size_are_errors,
		items_of_any_size_are_copied,
		a_chain_passes_items_and_its_end_on,
		a_callback_of_the_loop_may_send_to_one_who_waits,
	};

	return suite_run("pipe", tests, SUITE_COUNT(tests));
}
