/* SPDX-License-Identifier: MIT */
/*
 * Channel - pipe, queue, dealer, router, channel: who may wait, in which order, what closing does
 */
#include "tests/unit/actors.h"

NO_CONNECTIONS

typedef struct kind {
	const char *name;
	vn_pair (*make)(vn_hub *h);
	long room;
	bool one_tx, one_rx;
} kind;

static vn_pair
make_pipe(vn_hub *h)
{
	return vn_pipe(h, long);
}

static vn_pair
make_queue(vn_hub *h)
{
	return vn_queue(h, long, 3);
}

static vn_pair
make_dealer(vn_hub *h)
{
	return vn_dealer(h, long);
}

static vn_pair
make_router(vn_hub *h)
{
	return vn_router(h, long);
}

static vn_pair
make_channel(vn_hub *h)
{
	return vn_channel(h, long, 0);
}

static vn_pair
make_roomy_channel(vn_hub *h)
{
	return vn_channel(h, long, 3);
}

static const kind kinds[] = {
	{"pipe", make_pipe, 0, true, true},
	{"queue", make_queue, 3, true, true},
	{"dealer", make_dealer, 0, true, false},
	{"router", make_router, 0, false, true},
	{"channel", make_channel, 0, false, false},
	{"channel of 3", make_roomy_channel, 3, false, false},
};

#define EACH(k)                                                                                    \
	const kind *k = kinds;                                                                     \
	k < kinds + SUITE_COUNT(kinds);                                                            \
	k++

static void
fill(const kind *k, vn_tx *tx)
{
	for (long i = 0; i < k->room; i++)
		ck_assert_int_eq(vn_send(tx, &i), 0);
}

START_TEST(each_kind_hands_items_on_in_order_and_then_says_that_it_is_closed)
{
	for (EACH(k)) {
		world w;
		vn_hub *h = world_open(&w);
		vn_pair p = k->make(h);
		actor s = {.tx = p.tx, .item = 0, .n = 1000};
		long item;

		start(h, act_send_all, &s);
		for (long i = 0; i < 1000; i++) {
			suite_assert(vn_recv(p.rx, &item) == 0);
			suite_assert(item == i);
		}
		ck_assert_int_eq(vn_recv(p.rx, &item), -EPIPE);
		ck_assert_int_eq(vn_recv(p.rx, &item), -EPIPE);
		vn_close(p.rx);
		ck_assert_ptr_null(h->owned);
		vn_hub_close(h);
	}
}
END_TEST

START_TEST(a_second_coroutine_may_wait_where_many_may_and_is_busy_elsewhere)
{
	for (EACH(k)) {
		world w;
		vn_hub *h = world_open(&w);
		vn_pair p = k->make(h), q = k->make(h);
		actor s[2] = {{.tx = p.tx, .item = 1}, {.tx = p.tx, .item = 2}};
		actor r[2] = {{.rx = q.rx}, {.rx = q.rx}};

		fill(k, p.tx);
		for (int i = 0; i < 2; i++) {
			start(h, act_send, &s[i]);
			start(h, act_recv, &r[i]);
		}
		ck_assert_msg(s[1].done == k->one_tx, "%s", k->name);
		ck_assert_msg(r[1].done == k->one_rx, "%s", k->name);
		ck_assert(!s[0].done && !r[0].done);
		if (k->one_tx)
			ck_assert_int_eq(s[1].rc, -EBUSY);
		if (k->one_rx)
			ck_assert_int_eq(r[1].rc, -EBUSY);
		vn_hub_close(h);
	}
}
END_TEST

START_TEST(who_waits_longest_receives_first)
{
	for (EACH(k)) {
		world w;
		vn_hub *h = world_open(&w);
		vn_pair p = k->make(h);
		actor r[5] = {{.rx = p.rx}, {.rx = p.rx}, {.rx = p.rx}, {.rx = p.rx}, {.rx = p.rx}};

		if (k->one_rx)
			goto next;
		for (int i = 0; i < 5; i++)
			start(h, i % 2 ? act_select : act_recv, &r[i]);
		for (long i = 0; i < 5; i++)
			ck_assert_int_eq(vn_send(p.tx, &i), 0);
		let_run(h);
		for (int i = 0; i < 5; i++)
			ck_assert_int_eq(r[i].item, i);
	next:
		vn_hub_close(h);
	}
}
END_TEST

START_TEST(who_waits_longest_sends_first)
{
	for (EACH(k)) {
		world w;
		vn_hub *h = world_open(&w);
		vn_pair p = k->make(h);
		actor s[5];
		long item;

		if (k->one_tx)
			goto next;
		fill(k, p.tx);
		for (int i = 0; i < 5; i++) {
			s[i] = (actor){.tx = p.tx, .item = k->room + i};
			start(h, i % 2 ? act_select : act_send, &s[i]);
		}
		for (long i = 0; i < k->room + 5; i++) {
			ck_assert_int_eq(vn_recv(p.rx, &item), 0);
			ck_assert_int_eq(item, i);
		}
		let_run(h);
		for (int i = 0; i < 5; i++)
			ck_assert(s[i].done && s[i].rc == 0);
	next:
		vn_hub_close(h);
	}
}
END_TEST

START_TEST(a_later_sender_does_not_overtake_one_who_waits_for_room)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_channel(h, long, 1);
	actor first = {.tx = p.tx, .item = 2};
	long item = 1;

	ck_assert_int_eq(vn_send(p.tx, &item), 0);
	start(h, act_send, &first);
	ck_assert_int_eq(vn_recv(p.rx, &item), 0);
	ck_assert_int_eq(item, 1);
	/* the room that this made belongs to the one who waited, although that has not run yet */
	ck_assert(!first.done);
	item = 3;
	ck_assert_int_eq(vn_select(h, VN_SEND(p.tx, &item), VN_ELSE), 1);
	ck_assert_int_eq(vn_recv(p.rx, &item), 0);
	ck_assert_int_eq(item, 2);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_send_returns_when_the_receiver_has_it_or_when_it_is_among_those_that_wait)
{
	for (EACH(k)) {
		world w;
		vn_hub *h = world_open(&w);
		vn_pair p = k->make(h);
		actor s = {.tx = p.tx, .n = 10};
		long item;

		start(h, act_send_all, &s);
		let_run(h);
		ck_assert_int_eq(s.n, k->room);
		ck_assert_int_eq(vn_recv(p.rx, &item), 0);
		let_run(h);
		ck_assert_int_eq(s.n, k->room + 1);
		vn_hub_close(h);
	}
}
END_TEST

START_TEST(a_sender_into_a_queue_goes_on_and_the_receiver_runs_in_its_turn)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_queue(h, long, 3);
	actor r = {.rx = p.rx};

	start(h, act_recv_all, &r);
	for (long i = 0; i < 4; i++)
		ck_assert_int_eq(vn_send(p.tx, &i), 0);
	ck_assert_int_eq(r.n, 0);
	vn_yield(h);
	ck_assert_int_eq(r.n, 4);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(r.got[i], i);
	vn_hub_close(h);
}
END_TEST

START_TEST(closing_the_sending_end_wakes_all_who_wait_at_either)
{
	for (EACH(k)) {
		world w;
		vn_hub *h = world_open(&w);
		vn_pair p = k->make(h), q = k->make(h);
		actor s[2] = {{.tx = p.tx}, {.tx = p.tx}}, r[2] = {{.rx = q.rx}, {.rx = q.rx}};
		long item;

		fill(k, p.tx);
		for (int i = 0; i < (k->one_tx ? 1 : 2); i++)
			start(h, i ? act_select : act_send, &s[i]);
		for (int i = 0; i < (k->one_rx ? 1 : 2); i++)
			start(h, i ? act_select : act_recv, &r[i]);
		vn_close(p.tx);
		vn_close(q.tx);
		let_run(h);
		for (int i = 0; i < 2; i++) {
			ck_assert_int_eq(s[i].rc, k->one_tx && i ? 0 : -EPIPE);
			ck_assert_int_eq(r[i].rc, k->one_rx && i ? 0 : -EPIPE);
		}
		/* what is buffered is still received, what was in a waiting hand is not */
		for (long i = 0; i < k->room; i++)
			ck_assert_int_eq(vn_recv(p.rx, &item), 0);
		ck_assert_int_eq(vn_recv(p.rx, &item), -EPIPE);
		vn_close(p.rx);
		vn_close(q.rx);
		ck_assert_ptr_null(h->owned);
		vn_hub_close(h);
	}
}
END_TEST

START_TEST(closing_the_receiving_end_wakes_all_who_wait_at_either)
{
	for (EACH(k)) {
		world w;
		vn_hub *h = world_open(&w);
		vn_pair p = k->make(h), q = k->make(h);
		actor s[2] = {{.tx = p.tx}, {.tx = p.tx}}, r[2] = {{.rx = q.rx}, {.rx = q.rx}};
		long item = 1;

		fill(k, p.tx);
		for (int i = 0; i < (k->one_tx ? 1 : 2); i++)
			start(h, i ? act_select : act_send, &s[i]);
		for (int i = 0; i < (k->one_rx ? 1 : 2); i++)
			start(h, i ? act_select : act_recv, &r[i]);
		vn_close(p.rx);
		vn_close(q.rx);
		let_run(h);
		for (int i = 0; i < 2; i++) {
			ck_assert_int_eq(s[i].rc, k->one_tx && i ? 0 : -EPIPE);
			ck_assert_int_eq(r[i].rc, k->one_rx && i ? 0 : -EPIPE);
		}
		ck_assert_int_eq(vn_send(p.tx, &item), -EPIPE);
		ck_assert_int_eq(vn_send_error(p.tx, -EIO), -EPIPE);
		ck_assert_int_eq(vn_select(h, VN_SEND(q.tx, &item)), 0);
		ck_assert_int_eq(vn_selected(h), -EPIPE);
		vn_close(p.tx);
		vn_close(q.tx);
		ck_assert_ptr_null(h->owned);
		vn_hub_close(h);
	}
}
END_TEST

/* How a wait ends before its time. */
static void
by_deadline(vn_hub *h, vn_group *g)
{
	(void)g;
	vn_sleep(h, 2 * VN_SEC);
}

static void
by_group(vn_hub *h, vn_group *g)
{
	vn_group_cancel(g);
	vn_yield(h);
}

static void
by_stop(vn_hub *h, vn_group *g)
{
	(void)g;
	vn_stop(h);
	vn_yield(h);
}

static const struct {
	void (*end)(vn_hub *h, vn_group *g);
	vn_time timeout;
	int rc;
} ways[] = {{by_deadline, VN_SEC, -ETIMEDOUT}, {by_group, 0, -ECANCELED}, {by_stop, 0, -ECANCELED}};

START_TEST(a_send_whose_wait_ends_early_has_not_given_its_item_away)
{
	for (EACH(k))
		for (size_t i = 0; i < SUITE_COUNT(ways); i++) {
			world w;
			vn_hub *h = world_open(&w);
			vn_group *g = vn_group_new(h);
			vn_pair p = k->make(h);
			actor s = {.tx = p.tx, .item = 77, .timeout = ways[i].timeout};
			long item = -1;

			fill(k, p.tx);
			vn_group_spawn(g, act_send, &s);
			vn_yield(h);
			ck_assert(!s.done);
			ways[i].end(h, g);
			ck_assert_int_eq(s.rc, ways[i].rc);
			for (long n = 0; n < k->room; n++) {
				ck_assert_int_eq(vn_recv(p.rx, &item), 0);
				ck_assert_int_eq(item, n);
			}
			ck_assert_int_eq(vn_select(h, VN_RECV(p.rx, &item), VN_ELSE), 1);
			vn_group_free(g);
			vn_hub_close(h);
		}
}
END_TEST

START_TEST(a_receive_whose_wait_ends_early_has_not_taken_one)
{
	for (EACH(k))
		for (size_t i = 0; i < SUITE_COUNT(ways); i++) {
			world w;
			vn_hub *h = world_open(&w);
			vn_group *g = vn_group_new(h);
			vn_pair p = k->make(h);
			actor r = {.rx = p.rx, .item = -1, .timeout = ways[i].timeout};
			long item = 5;

			vn_group_spawn(g, act_recv, &r);
			vn_yield(h);
			ways[i].end(h, g);
			ck_assert_int_eq(r.rc, ways[i].rc);
			ck_assert_int_eq(r.item, -1);
			ck_assert_int_eq(
				vn_select(h, VN_SEND(p.tx, &item), VN_ELSE), k->room ? 0 : 1);
			vn_group_free(g);
			vn_hub_close(h);
		}
}
END_TEST

/* The deciding moment comes first, then the cancel, and only then does the coroutine run. */
START_TEST(what_was_decided_stands_although_a_cancel_comes_before_the_coroutine_runs)
{
	for (EACH(k))
		for (size_t i = 1; i < SUITE_COUNT(ways); i++) {
			world w;
			vn_hub *h = world_open(&w);
			vn_group *g = vn_group_new(h);
			vn_pair p = k->make(h);
			actor s = {.tx = p.tx, .item = k->room};
			long item = -1;

			fill(k, p.tx);
			vn_group_spawn(g, act_send, &s);
			vn_yield(h);
			ck_assert_int_eq(vn_recv(p.rx, &item), 0);
			ck_assert(!s.done);
			ways[i].end(h, g);
			ck_assert(s.done);
			ck_assert_int_eq(s.rc, 0);
			for (long n = 1; n <= k->room; n++)
				ck_assert_int_eq(vn_recv(p.rx, &item), 0);
			ck_assert_int_eq(item, k->room);
			vn_group_free(g);
			vn_hub_close(h);
		}
}
END_TEST

START_TEST(who_leaves_the_middle_of_a_queue_leaves_the_others_in_order)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_channel(h, long, 0);
	actor s[4];
	long item;

	for (int i = 0; i < 4; i++) {
		s[i] = (actor){.tx = p.tx, .item = i, .timeout = i == 1 ? VN_SEC : 0};
		start(h, act_send, &s[i]);
	}
	vn_sleep(h, 2 * VN_SEC);
	ck_assert_int_eq(s[1].rc, -ETIMEDOUT);
	for (int i = 0; i < 4; i++) {
		if (i == 1)
			continue;
		ck_assert_int_eq(vn_recv(p.rx, &item), 0);
		ck_assert_int_eq(item, i);
	}
	vn_hub_close(h);
}
END_TEST

START_TEST(everybody_who_waits_in_vain_is_told_of_the_deadlock)
{
	for (EACH(k)) {
		world w;
		vn_hub *h = world_open(&w);
		vn_pair p = k->make(h), q = k->make(h);
		actor s = {.tx = p.tx}, r = {.rx = q.rx};
		long item = 0;

		fill(k, p.tx);
		start(h, act_send, &s);
		start(h, act_recv, &r);
		ck_assert_int_eq(vn_select(h, VN_SEND(vn_pipe(h, long).tx, &item)), -EDEADLK);
		let_run(h);
		ck_assert_int_eq(s.rc, -EDEADLK);
		ck_assert_int_eq(r.rc, -EDEADLK);
		vn_hub_close(h);
	}
}
END_TEST

START_TEST(an_error_arrives_in_its_turn_and_the_end_goes_on)
{
	for (EACH(k)) {
		world w;
		vn_hub *h = world_open(&w);
		vn_pair p = k->make(h);
		actor before = {.tx = p.tx, .item = 1}, r = {.rx = p.rx};
		long item = 9;

		if (k->room) {
			ck_assert_int_eq(vn_send(p.tx, &before.item), 0);
			ck_assert_int_eq(vn_send_error(p.tx, -EIO), 0);
			ck_assert_int_eq(vn_send(p.tx, &item), 0);
			ck_assert_int_eq(vn_recv(p.rx, &item), 0);
			ck_assert_int_eq(item, 1);
			ck_assert_int_eq(vn_recv(p.rx, &item), -EIO);
			ck_assert_int_eq(vn_recv(p.rx, &item), 0);
			ck_assert_int_eq(item, 9);
		}
		start(h, act_recv, &r); /* to one who waits */
		ck_assert_int_eq(vn_send_error(p.tx, -EDOM), 0);
		vn_yield(h);
		ck_assert_int_eq(r.rc, -EDOM);
		vn_hub_close(h);
	}
}
END_TEST

static int
send_an_error(vn_hub *h, void *arg)
{
	actor *a = arg;

	(void)h;
	a->rc = vn_send_error(a->tx, -EIO);
	a->done = true;
	return 0;
}

START_TEST(an_error_waits_like_an_item_and_keeps_its_place)
{
	for (EACH(k)) {
		world w;
		vn_hub *h = world_open(&w);
		vn_pair p = k->make(h);
		actor s = {.tx = p.tx}, after = {.tx = p.tx, .item = 4};
		long item;

		fill(k, p.tx);
		start(h, send_an_error, &s);
		ck_assert(!s.done);
		if (!k->one_tx)
			start(h, act_send, &after);
		for (long i = 0; i < k->room; i++)
			ck_assert_int_eq(vn_recv(p.rx, &item), 0);
		ck_assert_int_eq(vn_select(h, VN_RECV(p.rx, &item)), 0);
		ck_assert_int_eq(vn_selected(h), -EIO);
		if (!k->one_tx)
			ck_assert_int_eq(vn_recv(p.rx, &item), 0);
		vn_yield(h);
		ck_assert(s.done && s.rc == 0);
		vn_hub_close(h);
	}
}
END_TEST

START_TEST(only_a_negative_errno_can_be_sent_in_place_of_an_item)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_queue(h, long, 10);

	ck_assert_int_eq(vn_send_error(NULL, -EIO), -EBADF);
	ck_assert_int_eq(vn_send_error(p.tx, 0), -EINVAL);
	ck_assert_int_eq(vn_send_error(p.tx, EIO), -EINVAL);
	ck_assert_int_eq(vn_send_error(p.tx, -EAGAIN), -EINVAL);
	ck_assert_int_eq(vn_send_error(p.tx, -4096), -EINVAL);
	ck_assert_int_eq(vn_send_error(p.tx, -4095), 0);
	ck_assert_int_eq(vn_recv(p.rx, &(long){0}), -4095);
	vn_hub_close(h);
}
END_TEST

START_TEST(what_is_too_large_is_refused)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p;

	errno = 0;
	p = vn_queue(h, long, 0);
	ck_assert(!p.tx && !p.rx && errno == EINVAL);
	errno = 0;
	p = vn_channel_new(h, SIZE_MAX / 2, 0);
	ck_assert(!p.tx && !p.rx && errno == EINVAL);
	errno = 0;
	p = vn_queue_new(h, 8, SIZE_MAX / 2);
	ck_assert(!p.tx && !p.rx && errno == EINVAL);
	p = vn_queue_new(h, 0, 2); /* nothing is an item, too */
	ck_assert_int_eq(vn_send_item(p.tx, NULL, 0), 0);
	ck_assert_int_eq(vn_send_error(p.tx, -EIO), 0);
	ck_assert_int_eq(vn_recv_item(p.rx, NULL, 0), 0);
	ck_assert_int_eq(vn_recv_item(p.rx, NULL, 0), -EIO);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_ring_goes_round_with_items_of_odd_sizes_and_errors_among_them)
{
	typedef struct odd {
		char bytes[13];
	} odd;
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_queue(h, odd, 7);
	odd in, out;
	int sent = 0, received = 0;

	for (int round = 0; round < 100; round++) {
		for (int i = 0; i <= round % 7; i++, sent++) {
			memset(&in, sent, sizeof in);
			ck_assert_int_eq(
				sent % 5 ? vn_send(p.tx, &in) : vn_send_error(p.tx, -EIO), 0);
		}
		for (int i = 0; i <= round % 7; i++, received++) {
			memset(&in, received, sizeof in);
			ck_assert_int_eq(vn_recv(p.rx, &out), received % 5 ? 0 : -EIO);
			ck_assert(received % 5 == 0 || memcmp(&in, &out, sizeof in) == 0);
		}
	}
	vn_hub_close(h);
}
END_TEST

START_TEST(many_senders_and_many_receivers_share_one_channel_and_nothing_is_lost)
{
	enum { EACH_SENDS = 200, SENDERS = 8 };

	for (size_t n = 0; n < 5; n++) {
		world w;
		vn_hub *h = world_open(&w);
		vn_pair p = vn_channel(h, long, n);
		actor s[SENDERS];
		long item, sum = 0, expected = 0, next[SENDERS] = {0};

		for (int i = 0; i < SENDERS; i++) {
			s[i] = (actor){.tx = vn_dup(p.tx), .item = i * 1000, .n = EACH_SENDS};
			start(h, act_send_all, &s[i]);
			for (int k = 0; k < EACH_SENDS; k++)
				expected += i * 1000 + k;
		}
		vn_close(p.tx);
		while (vn_recv(p.rx, &item) == 0) {
			ck_assert_int_eq(
				item % 1000, next[item / 1000]++); /* order of each sender */
			sum += item;
		}
		ck_assert_int_eq(sum, expected);
		vn_hub_close(h);
	}
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		each_kind_hands_items_on_in_order_and_then_says_that_it_is_closed,
		a_second_coroutine_may_wait_where_many_may_and_is_busy_elsewhere,
		who_waits_longest_receives_first,
		who_waits_longest_sends_first,
		a_later_sender_does_not_overtake_one_who_waits_for_room,
		a_send_returns_when_the_receiver_has_it_or_when_it_is_among_those_that_wait,
		a_sender_into_a_queue_goes_on_and_the_receiver_runs_in_its_turn,
		closing_the_sending_end_wakes_all_who_wait_at_either,
		closing_the_receiving_end_wakes_all_who_wait_at_either,
		a_send_whose_wait_ends_early_has_not_given_its_item_away,
		a_receive_whose_wait_ends_early_has_not_taken_one,
		what_was_decided_stands_although_a_cancel_comes_before_the_coroutine_runs,
		who_leaves_the_middle_of_a_queue_leaves_the_others_in_order,
		everybody_who_waits_in_vain_is_told_of_the_deadlock,
		an_error_arrives_in_its_turn_and_the_end_goes_on,
		an_error_waits_like_an_item_and_keeps_its_place,
		only_a_negative_errno_can_be_sent_in_place_of_an_item,
		what_is_too_large_is_refused,
		a_ring_goes_round_with_items_of_odd_sizes_and_errors_among_them,
		many_senders_and_many_receivers_share_one_channel_and_nothing_is_lost,
	};

	return suite_run("channel", tests, SUITE_COUNT(tests));
}
