/* SPDX-License-Identifier: MIT */
/*
 * State - the latest value for whoever asks, and a value that is set once
 */
#include "tests/unit/actors.h"

NO_CONNECTIONS

START_TEST(a_state_keeps_the_latest_value_and_receiving_does_not_take_it)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_state(h, long);
	long item;

	for (long i = 1; i < 4; i++)
		ck_assert_int_eq(vn_send(p.tx, &i), 0);
	for (int i = 0; i < 3; i++) {
		item = 0;
		ck_assert_int_eq(vn_recv(p.rx, &item), 0);
		ck_assert_int_eq(item, 3);
	}
	ck_assert_int_eq(vn_select(h, VN_RECV(p.rx, &item), VN_ELSE), 0);
	vn_hub_close(h);
}
END_TEST

START_TEST(all_who_wait_for_a_state_get_its_first_value)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_state(h, long), q = vn_value(h, long);
	actor r[4] = {{.rx = p.rx}, {.rx = p.rx}, {.rx = q.rx}, {.rx = q.rx}};
	long item = 6;

	for (int i = 0; i < 4; i++)
		start(h, i % 2 ? act_select : act_recv, &r[i]);
	ck_assert_int_eq(vn_send(p.tx, &item), 0);
	ck_assert_int_eq(vn_select(h, VN_SEND(q.tx, &item)), 0);
	vn_yield(h);
	for (int i = 0; i < 4; i++) {
		ck_assert(r[i].done && r[i].rc == 0);
		ck_assert_int_eq(r[i].item, 6);
	}
	vn_hub_close(h);
}
END_TEST

START_TEST(a_state_that_was_cleared_has_no_value)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_state(h, long), v = vn_value(h, long), q = vn_pipe(h, long);
	actor r = {.rx = p.rx};
	long item = 1;

	ck_assert_int_eq(vn_clear(p.tx), 0);
	ck_assert_int_eq(vn_send(p.tx, &item), 0);
	ck_assert_int_eq(vn_clear(p.tx), 0);
	ck_assert_int_eq(vn_select(h, VN_RECV(p.rx, &item), VN_ELSE), 1);
	start(h, act_recv, &r);
	item = 2;
	ck_assert_int_eq(vn_send(p.tx, &item), 0);
	vn_yield(h);
	ck_assert_int_eq(r.item, 2);
	ck_assert_int_eq(vn_clear(v.tx), -EINVAL);
	ck_assert_int_eq(vn_clear(q.tx), -EINVAL);
	ck_assert_int_eq(vn_clear(NULL), -EBADF);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_value_is_set_once)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_value(h, long), q = vn_value(h, long);
	long item = 1, other = 2;

	ck_assert_int_eq(vn_send(p.tx, &item), 0);
	ck_assert_int_eq(vn_send(p.tx, &other), -EALREADY);
	ck_assert_int_eq(vn_send_error(p.tx, -EIO), -EALREADY);
	ck_assert_int_eq(vn_recv(p.rx, &other), 0);
	ck_assert_int_eq(other, 1);
	ck_assert_int_eq(vn_send_error(q.tx, -EIO), 0);
	ck_assert_int_eq(vn_send(q.tx, &item), -EALREADY);
	ck_assert_int_eq(vn_recv(q.rx, &item), -EIO);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_state_keeps_an_error_as_it_keeps_an_item)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_state(h, long);
	actor r = {.rx = p.rx};
	long item = 3;

	start(h, act_recv, &r);
	ck_assert_int_eq(vn_send_error(p.tx, -EIO), 0);
	vn_yield(h);
	ck_assert_int_eq(vn_recv(p.rx, &item), -EIO);
	ck_assert_int_eq(vn_recv(p.rx, &item), -EIO);
	ck_assert_int_eq(r.rc, -EIO);
	ck_assert_int_eq(vn_send(p.tx, &item), 0);
	ck_assert_int_eq(vn_recv(p.rx, &item), 0);
	vn_hub_close(h);
}
END_TEST

START_TEST(what_a_state_has_when_its_sender_closes_stays)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_state(h, long), q = vn_state(h, long), v = vn_value(h, long);
	actor r[2] = {{.rx = q.rx}, {.rx = q.rx}};
	long item = 4;

	ck_assert_int_eq(vn_send(p.tx, &item), 0);
	ck_assert_int_eq(vn_send(v.tx, &item), 0);
	start(h, act_recv, &r[0]);
	start(h, act_select, &r[1]);
	vn_close(p.tx);
	vn_close(q.tx);
	vn_close(v.tx);
	vn_yield(h);
	ck_assert_int_eq(r[0].rc, -EPIPE);
	ck_assert_int_eq(r[1].rc, -EPIPE);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(vn_recv(p.rx, &item), 0);
		ck_assert_int_eq(vn_recv(v.rx, &item), 0);
		ck_assert_int_eq(vn_recv(q.rx, &item), -EPIPE);
	}
	vn_close(p.rx);
	vn_close(q.rx);
	vn_close(v.rx);
	ck_assert_ptr_null(h->owned);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_state_whose_receivers_have_gone_says_so_to_its_sender)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_state(h, long);
	actor r = {.rx = p.rx};
	long item = 4;

	start(h, act_recv, &r);
	vn_close(p.rx);
	vn_yield(h);
	ck_assert_int_eq(r.rc, -EPIPE);
	ck_assert_int_eq(vn_send(p.tx, &item), -EPIPE);
	ck_assert_int_eq(vn_send_error(p.tx, -EIO), -EPIPE);
	vn_close(p.tx);
	ck_assert_ptr_null(h->owned);
	vn_hub_close(h);
}
END_TEST

START_TEST(who_waits_for_a_state_in_vain_is_told)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_state(h, long), v = vn_value(h, long);
	actor r = {.rx = p.rx, .timeout = VN_SEC};
	long item;

	start(h, act_recv, &r);
	ck_assert_int_eq(vn_recv(v.rx, &item), -EDEADLK);
	ck_assert_int_eq(r.rc, -ETIMEDOUT);
	vn_stop(h);
	ck_assert_int_eq(vn_recv(v.rx, &item), -ECANCELED);
	vn_hub_close(h);
}
END_TEST

START_TEST(items_of_a_state_have_any_size_that_fits)
{
	world w;
	vn_hub *h = world_open(&w);
	static char in[5000], out[5000];
	vn_pair p = vn_state_new(h, sizeof in), none = vn_value_new(h, 0), bad;

	memset(in, 7, sizeof in);
	ck_assert_int_eq(vn_send(p.tx, &in), 0);
	ck_assert_int_eq(vn_recv(p.rx, &out), 0);
	ck_assert(memcmp(in, out, sizeof in) == 0);
	ck_assert_int_eq(vn_send(p.tx, &in[0]), -EINVAL);
	ck_assert_int_eq(vn_send_item(none.tx, NULL, 0), 0);
	ck_assert_int_eq(vn_recv_item(none.rx, NULL, 0), 0);
	errno = 0;
	bad = vn_state_new(h, SIZE_MAX);
	ck_assert(!bad.tx && errno == EINVAL);
	vn_hub_close(h);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		a_state_keeps_the_latest_value_and_receiving_does_not_take_it,
		all_who_wait_for_a_state_get_its_first_value,
		a_state_that_was_cleared_has_no_value,
		a_value_is_set_once,
		a_state_keeps_an_error_as_it_keeps_an_item,
		what_a_state_has_when_its_sender_closes_stays,
		a_state_whose_receivers_have_gone_says_so_to_its_sender,
		who_waits_for_a_state_in_vain_is_told,
		items_of_a_state_have_any_size_that_fits,
	};

	return suite_run("state", tests, SUITE_COUNT(tests));
}
