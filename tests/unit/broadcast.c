/* SPDX-License-Identifier: MIT */
/*
 * Broadcast - everybody gets what is sent from then on, and nobody suffers from who has left or is slow
 */
#include "tests/unit/actors.h"

NO_CONNECTIONS

START_TEST(with_nobody_there_an_item_is_dropped)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_tx *tx = vn_broadcast(h, long);
	vn_rx *rx;
	long item = 1;

	ck_assert_int_eq(vn_send(tx, &item), 0);
	ck_assert_int_eq(vn_send_error(tx, -EIO), 0);
	rx = vn_subscribe_with(tx, VN_BLOCK, 2);
	item = 2;
	ck_assert_int_eq(vn_send(tx, &item), 0);
	ck_assert_int_eq(vn_recv(rx, &item), 0);
	ck_assert_int_eq(item, 2);
	ck_assert_uint_eq(vn_dropped_by_all(tx), 0);
	vn_hub_close(h);
}
END_TEST

START_TEST(every_subscriber_gets_every_item_in_order)
{
	enum { N = 10 };
	world w;
	vn_hub *h = world_open(&w);
	vn_tx *tx = vn_broadcast(h, long);
	actor r[N], s = {.tx = tx, .n = 50};

	for (int i = 0; i < N; i++) {
		r[i] = (actor){.rx = vn_subscribe_with(tx, VN_BLOCK, (size_t)i)};
		start(h, act_recv_all, &r[i]);
	}
	ck_assert_uint_eq(vn_subscribers(tx), N);
	start(h, act_send_all, &s);
	for (int i = 0; i < 1000; i++)
		vn_yield(h);
	ck_assert_int_eq(s.n, 50);
	for (int i = 0; i < N; i++) {
		ck_assert_int_eq(r[i].n, 50);
		ck_assert_int_eq(r[i].rc, -EPIPE);
		for (int k = 0; k < 50; k++)
			ck_assert_int_eq(r[i].got[k], k);
	}
	vn_hub_close(h);
}
END_TEST

START_TEST(the_sender_waits_for_those_who_block_and_the_item_goes_to_all_at_once)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_tx *tx = vn_broadcast(h, long);
	vn_rx *a = vn_subscribe(tx), *b = vn_subscribe_with(tx, VN_BLOCK, 1),
	      *c = vn_subscribe_with(tx, VN_DROP_NEWEST, 5);
	actor s = {.tx = tx, .item = 8}, r = {.rx = a};
	long item = 7;

	start(h, act_recv, &r);
	ck_assert_int_eq(vn_send(tx, &item), 0);
	vn_yield(h);
	ck_assert_int_eq(r.item, 7);
	r = (actor){.rx = a};
	start(h, act_recv, &r);
	start(h, act_send, &s); /* b is full */
	ck_assert(!s.done && !r.done);
	ck_assert_int_eq(vn_recv(c, &item), 0);
	ck_assert_int_eq(vn_select(h, VN_RECV(c, &item), VN_ELSE), 1);
	ck_assert_int_eq(vn_recv(b, &item), 0);
	vn_yield(h);
	ck_assert(s.done && r.done);
	ck_assert_int_eq(r.item, 8);
	ck_assert_int_eq(vn_recv(b, &item), 0);
	ck_assert_int_eq(vn_recv(c, &item), 0);
	ck_assert_int_eq(item, 8);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_subscriber_without_room_that_comes_last_need_not_wait)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_tx *tx = vn_broadcast(h, long);
	vn_rx *a = vn_subscribe(tx), *b = vn_subscribe(tx);
	actor s = {.tx = tx, .item = 8}, r = {.rx = a};
	long item;

	start(h, act_send, &s);
	start(h, act_recv, &r);
	ck_assert(!s.done && !r.done);
	ck_assert_int_eq(vn_select(h, VN_RECV(b, &item), VN_ELSE), 0);
	ck_assert_int_eq(item, 8);
	vn_yield(h);
	ck_assert(s.done && s.rc == 0 && r.done && r.item == 8);
	ck_assert_int_eq(vn_select(h, VN_RECV(b, &item), VN_ELSE), 1);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_sender_whose_wait_ends_early_has_given_its_item_to_nobody)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_tx *tx = vn_broadcast(h, long);
	vn_rx *a = vn_subscribe_with(tx, VN_BLOCK, 1), *b = vn_subscribe(tx);
	actor s = {.tx = tx, .item = 8, .timeout = VN_SEC};
	long item;

	start(h, act_send, &s);
	vn_sleep(h, 2 * VN_SEC);
	ck_assert_int_eq(s.rc, -ETIMEDOUT);
	s = (actor){.tx = tx, .item = 8, .timeout = VN_SEC};
	start(h, act_select, &s);
	vn_sleep(h, 2 * VN_SEC);
	ck_assert_int_eq(s.index, 1);
	ck_assert_int_eq(vn_select(h, VN_RECV(a, &item), VN_RECV(b, &item), VN_ELSE), 2);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_subscriber_that_leaves_does_not_keep_the_sender_waiting)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_tx *tx = vn_broadcast(h, long);
	vn_rx *a = vn_subscribe(tx), *b = vn_subscribe_with(tx, VN_BLOCK, 1);
	actor s = {.tx = tx, .item = 8};
	long item;

	start(h, act_send, &s);
	vn_close(a);
	vn_yield(h);
	ck_assert(s.done && s.rc == 0);
	ck_assert_int_eq(vn_recv(b, &item), 0);
	vn_close(b);
	ck_assert_uint_eq(vn_subscribers(tx), 0);
	vn_close(tx);
	ck_assert_ptr_null(h->owned);
	vn_hub_close(h);
}
END_TEST

typedef struct drops {
	long items[ACTOR_MOST];
	int n;
} drops;

static void
note_drop(void *arg, void *item)
{
	drops *d = arg;

	d->items[d->n++] = *(long *)item;
}

START_TEST(drop_oldest_keeps_the_newest)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_tx *tx = vn_broadcast(h, long);
	vn_rx *rx = vn_subscribe_with(tx, VN_DROP_OLDEST, 3);
	drops d = {.n = 0};
	long item;

	vn_on_drop(rx, note_drop, &d);
	for (long i = 0; i < 10; i++)
		ck_assert_int_eq(vn_send(tx, &i), 0);
	for (long i = 7; i < 10; i++) {
		ck_assert_int_eq(vn_recv(rx, &item), 0);
		ck_assert_int_eq(item, i);
	}
	ck_assert_uint_eq(vn_dropped(rx), 7);
	ck_assert_uint_eq(vn_dropped_by_all(tx), 7);
	ck_assert_int_eq(d.n, 7);
	for (int i = 0; i < 7; i++)
		ck_assert_int_eq(d.items[i], i);
	vn_hub_close(h);
}
END_TEST

START_TEST(drop_newest_keeps_the_oldest)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_tx *tx = vn_broadcast(h, long);
	vn_rx *rx = vn_subscribe_with(tx, VN_DROP_NEWEST, 3),
	      *other = vn_subscribe_with(tx, VN_BLOCK, 10);
	drops d = {.n = 0};
	long item;

	vn_on_drop(tx, note_drop, &d);
	for (long i = 0; i < 10; i++)
		ck_assert_int_eq(vn_send(tx, &i), 0);
	ck_assert_int_eq(d.n, 7);
	ck_assert_int_eq(d.items[0], 3);
	for (long i = 0; i < 3; i++) {
		ck_assert_int_eq(vn_recv(rx, &item), 0);
		ck_assert_int_eq(item, i);
	}
	for (long i = 0; i < 10; i++)
		ck_assert_int_eq(vn_recv(other, &item), 0);
	ck_assert_uint_eq(vn_dropped(rx), 7);
	ck_assert_uint_eq(vn_dropped(other), 0);
	vn_close(rx);
	ck_assert_uint_eq(vn_dropped_by_all(tx), 7);
	vn_hub_close(h);
}
END_TEST

static void
count_call(void *arg)
{
	++*(int *)arg;
}

START_TEST(disconnect_gives_what_there_is_room_for_and_then_says_so_for_ever)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_tx *tx = vn_broadcast(h, long);
	vn_rx *rx = vn_subscribe_with(tx, VN_DISCONNECT, 2);
	int n_empty = 0;
	long item;

	vn_on_empty(tx, count_call, &n_empty);
	for (long i = 0; i < 5; i++)
		ck_assert_int_eq(vn_send(tx, &i), 0);
	ck_assert_uint_eq(vn_subscribers(tx), 0);
	ck_assert_int_eq(n_empty, 1);
	ck_assert_uint_eq(vn_dropped(rx), 1);
	for (long i = 0; i < 2; i++) {
		ck_assert_int_eq(vn_recv(rx, &item), 0);
		ck_assert_int_eq(item, i);
	}
	ck_assert_int_eq(vn_recv(rx, &item), -ENOBUFS);
	vn_close(tx);
	ck_assert_int_eq(vn_recv(rx, &item), -ENOBUFS);
	vn_close(rx);
	ck_assert_int_eq(n_empty, 1);
	ck_assert_ptr_null(h->owned);
	vn_hub_close(h);
}
END_TEST

START_TEST(on_empty_runs_each_time_the_last_subscriber_has_left)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_tx *tx = vn_broadcast(h, long);
	int n_empty = 0;

	ck_assert_int_eq(vn_on_empty(tx, count_call, &n_empty), 0);
	for (int i = 1; i <= 3; i++) {
		vn_rx *a = vn_subscribe(tx), *b = vn_dup(vn_subscribe(tx));

		vn_close(a);
		vn_close(b);
		ck_assert_int_eq(n_empty, i - 1);
		vn_close(b);
		ck_assert_int_eq(n_empty, i);
	}
	vn_close(tx);
	ck_assert_int_eq(n_empty, 3);
	vn_hub_close(h);
}
END_TEST

static void
close_tx(void *arg)
{
	vn_close((vn_tx *)arg);
}

START_TEST(on_empty_may_close_the_broadcast)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_tx *tx = vn_broadcast(h, long), *ty = vn_broadcast(h, long);
	vn_rx *a = vn_subscribe(tx), *b = vn_subscribe_with(ty, VN_DISCONNECT, 1);
	actor s = {.tx = tx, .item = 1};
	long item = 1;

	vn_on_empty(tx, close_tx, tx);
	vn_on_empty(ty, close_tx, ty);
	start(h, act_send, &s);
	vn_close(a);
	vn_yield(h);
	ck_assert_int_eq(s.rc, 0);
	ck_assert_int_eq(vn_send(ty, &item), 0);
	ck_assert_int_eq(vn_send(ty, &item), 0);
	ck_assert_int_eq(vn_recv(b, &item), 0);
	ck_assert_int_eq(vn_recv(b, &item), -ENOBUFS);
	vn_close(b);
	ck_assert_ptr_null(h->owned);
	vn_hub_close(h);
}
END_TEST

START_TEST(closing_the_sender_lets_subscribers_take_what_they_have)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_tx *tx = vn_broadcast(h, long);
	vn_rx *a = vn_subscribe_with(tx, VN_BLOCK, 3), *b = vn_subscribe(tx);
	actor s = {.tx = tx, .item = 5}, r = {.rx = b};
	long item;

	start(h, act_recv, &r);
	ck_assert_int_eq(vn_send(tx, &(long){4}), 0);
	r = (actor){.rx = b};
	start(h, act_send, &s); /* waits for b */
	ck_assert(!s.done);
	vn_close(tx);
	start(h, act_recv, &r);
	ck_assert_int_eq(s.rc, -EPIPE);
	ck_assert_int_eq(r.rc, -EPIPE);
	ck_assert_int_eq(vn_recv(a, &item), 0);
	ck_assert_int_eq(item, 4);
	ck_assert_int_eq(vn_recv(a, &item), -EPIPE);
	vn_close(a);
	vn_close(b);
	ck_assert_ptr_null(h->owned);
	vn_hub_close(h);
}
END_TEST

START_TEST(an_error_goes_to_all_in_its_turn)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_tx *tx = vn_broadcast(h, long);
	vn_rx *a = vn_subscribe_with(tx, VN_BLOCK, 3),
	      *b = vn_subscribe_with(tx, VN_DROP_OLDEST, 1);
	actor r = {.rx = vn_subscribe(tx)};
	long item = 1;

	start(h, act_recv_all, &r);
	ck_assert_int_eq(vn_send(tx, &item), 0);
	vn_yield(h);
	ck_assert_int_eq(vn_send_error(tx, -EIO), 0);
	vn_yield(h);
	ck_assert_int_eq(r.n, 1);
	ck_assert_int_eq(r.rc, -EIO);
	ck_assert_int_eq(vn_recv(a, &item), 0);
	ck_assert_int_eq(vn_recv(a, &item), -EIO);
	ck_assert_int_eq(vn_recv(b, &item), -EIO);
	vn_hub_close(h);
}
END_TEST

START_TEST(one_coroutine_that_stands_at_two_subscriptions_gets_each_item_in_both)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_tx *tx = vn_broadcast(h, long);
	vn_rx *a = vn_subscribe_with(tx, VN_BLOCK, 1), *b = vn_subscribe_with(tx, VN_BLOCK, 1);
	actor s = {.tx = tx, .n = 20};
	long item, next_a = 0, next_b = 0;

	start(h, act_send_all, &s);
	for (int i = 0; i < 40; i++)
		switch (vn_select(h, VN_RECV(b, &item), VN_RECV(a, &item))) {
		case 0:
			ck_assert_int_eq(item, next_b++);
			break;
		case 1:
			ck_assert_int_eq(item, next_a++);
			break;
		default:
			ck_abort();
		}
	ck_assert_int_eq(next_a + next_b, 40);
	vn_hub_close(h);
}
END_TEST

static int
select_both(vn_hub *h, void *arg)
{
	actor *pair = arg;

	pair[0].index = vn_select(h, VN_RECV(pair[0].rx, &pair[0].item),
		VN_RECV(pair[1].rx, &pair[1].item), VN_AFTER(VN_SEC));
	pair[0].done = true;
	return 0;
}

START_TEST(a_wait_at_two_subscriptions_without_room_never_loses_an_item)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_tx *tx = vn_broadcast(h, long);
	actor pair[2] = {{.rx = vn_subscribe(tx)}, {.rx = vn_subscribe(tx)}};
	actor s = {.tx = tx, .item = 3}, third = {.rx = vn_subscribe(tx)};

	start(h, act_send, &s);
	start(h, select_both, pair);
	start(h, act_recv, &third);
	ck_assert(!s.done && !third.done && !pair[0].done);
	vn_close(
		pair[1].rx); /* its case ends with -EPIPE, and the sender waits for the first again */
	vn_yield(h);
	ck_assert_int_eq(pair[0].index, 1);
	ck_assert(!s.done);
	start(h, act_recv, &pair[0]);
	vn_yield(h);
	ck_assert(s.done && third.done && pair[0].done);
	ck_assert_int_eq(third.item, 3);
	ck_assert_int_eq(pair[0].item, 3);
	ck_assert_uint_eq(vn_subscribers(tx), 2);
	vn_hub_close(h);
}
END_TEST

START_TEST(who_sends_and_receives_in_one_select_does_not_meet_itself)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_tx *tx = vn_broadcast(h, long);
	actor x = {.tx = tx, .rx = vn_subscribe(tx), .timeout = VN_SEC};
	vn_rx *other = vn_subscribe(tx);
	actor r = {.rx = other};

	start(h, act_select, &x);
	start(h, act_recv, &r);
	ck_assert(!x.done && !r.done);
	vn_close(other);
	vn_sleep(h, 2 * VN_SEC);
	ck_assert_int_eq(x.index, 2);
	ck_assert_uint_eq(vn_subscribers(tx), 1);
	vn_hub_close(h);
}
END_TEST

START_TEST(wrong_kinds_and_policies_are_refused)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_tx *tx = vn_broadcast(h, long);
	vn_pair p = vn_pipe(h, long);

	errno = 0;
	ck_assert(!vn_subscribe(p.tx) && errno == EINVAL);
	errno = 0;
	ck_assert(!vn_subscribe(NULL) && errno == EBADF);
	for (int policy = VN_DROP_OLDEST; policy <= VN_DISCONNECT; policy++) {
		errno = 0;
		ck_assert(!vn_subscribe_with(tx, policy, 0) && errno == EINVAL);
	}
	errno = 0;
	ck_assert(!vn_subscribe_with(tx, 4, 1) && errno == EINVAL);
	errno = 0;
	ck_assert(!vn_subscribe_with(tx, VN_BLOCK, SIZE_MAX) && errno == EINVAL);
	ck_assert_int_eq(vn_on_empty(NULL, NULL, NULL), -EBADF);
	ck_assert_int_eq(vn_on_empty(p.tx, NULL, NULL), -EINVAL);
	ck_assert_uint_eq(vn_subscribers(p.tx), 0);
	ck_assert_uint_eq(vn_dropped(p.rx), 0);
	ck_assert_uint_eq(vn_dropped_by_all(p.tx), 0);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_second_waiting_sender_or_receiver_is_busy)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_tx *tx = vn_broadcast(h, long);
	vn_rx *a = vn_subscribe(tx), *b = vn_subscribe(tx);
	actor s = {.tx = tx}, r = {.rx = a};
	long item = 1;

	start(h, act_send, &s);
	start(h, act_recv, &r);
	ck_assert_int_eq(vn_send(tx, &item), -EBUSY);
	ck_assert_int_eq(vn_recv(a, &item), -EBUSY);
	ck_assert_int_eq(vn_recv(b, &item), 0);
	vn_hub_close(h);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		with_nobody_there_an_item_is_dropped,
		every_subscriber_gets_every_item_in_order,
		the_sender_waits_for_those_who_block_and_the_item_goes_to_all_at_once,
		a_subscriber_without_room_that_comes_last_need_not_wait,
		a_sender_whose_wait_ends_early_has_given_its_item_to_nobody,
		a_subscriber_that_leaves_does_not_keep_the_sender_waiting,
		drop_oldest_keeps_the_newest,
		drop_newest_keeps_the_oldest,
		disconnect_gives_what_there_is_room_for_and_then_says_so_for_ever,
		on_empty_runs_each_time_the_last_subscriber_has_left,
		on_empty_may_close_the_broadcast,
		closing_the_sender_lets_subscribers_take_what_they_have,
		an_error_goes_to_all_in_its_turn,
		one_coroutine_that_stands_at_two_subscriptions_gets_each_item_in_both,
		a_wait_at_two_subscriptions_without_room_never_loses_an_item,
		who_sends_and_receives_in_one_select_does_not_meet_itself,
		wrong_kinds_and_policies_are_refused,
		a_second_waiting_sender_or_receiver_is_busy,
	};

	return suite_run("broadcast", tests, SUITE_COUNT(tests));
}
