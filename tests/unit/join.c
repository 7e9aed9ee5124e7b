/* SPDX-License-Identifier: MIT */
/*
 * Join - vn_pipe_to(): from any end to any end, rewired or carried, and closing passes through
 */
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/actors.h"

NO_CONNECTIONS

/* Two ends that were made together, both without room, with room, or with many who may wait. */
static vn_pair
make(vn_hub *h, int kind)
{
	switch (kind) {
	case 0:
		return vn_pipe(h, long);
	case 1:
		return vn_queue(h, long, 3);
	case 2:
		return vn_dealer(h, long);
	case 3:
		return vn_router(h, long);
	case 4:
		return vn_channel(h, long, 0);
	default:
		return vn_channel(h, long, 2);
	}
}

#define N_KINDS 6

/* A second owner keeps an end from being rewired alone. */
#define EACH_CHAIN(a, b, shared)                                                                   \
	int a = 0;                                                                                 \
	a < N_KINDS; a++)                                                               \
		for (int b = 0; b < N_KINDS; b++)                                                  \
			for (int shared = 0; shared < 4; shared++

typedef struct chain {
	vn_tx *tx;
	vn_rx *rx;
	vn_rx *spare_rx; /* second owners, or NULL */
	vn_tx *spare_tx;
} chain;

static chain
chain_make(vn_hub *h, int a, int b, int shared)
{
	vn_pair p = make(h, a), q = make(h, b);
	chain c = {p.tx, q.rx, shared & 1 ? vn_dup(p.rx) : NULL, shared & 2 ? vn_dup(q.tx) : NULL};

	ck_assert_int_eq(vn_pipe_to(p.rx, q.tx), 0);
	return c;
}

static void
chain_close(chain *c)
{
	vn_close(c->spare_rx);
	vn_close(c->spare_tx);
}

START_TEST(items_pass_in_order_and_the_end_follows_them)
{
	for (EACH_CHAIN(a, b, shared)) {
		world w;
		vn_hub *h = world_open(&w);
		chain c = chain_make(h, a, b, shared);
		actor s = {.tx = c.tx, .n = 50};
		long item;

		start(h, act_send_all, &s);
		for (long i = 0; i < 50; i++) {
			ck_assert_int_eq(vn_recv(c.rx, &item), 0);
			ck_assert_int_eq(item, i);
		}
		let_run(h);
		chain_close(&c);
		let_run(h);
		ck_assert_int_eq(vn_recv(c.rx, &item), -EPIPE);
		vn_close(c.rx);
		let_run(h);
		ck_assert_ptr_null(h->owned);
		ck_assert_uint_eq(h->n_coroutines, 0);
		vn_hub_close(h);
	}
}
END_TEST

START_TEST(closing_the_receiver_of_the_chain_closes_its_sender)
{
	for (EACH_CHAIN(a, b, shared)) {
		world w;
		vn_hub *h = world_open(&w);
		chain c = chain_make(h, a, b, shared);
		long item = 1;

		let_run(h);
		chain_close(&c);
		vn_close(c.rx);
		let_run(h);
		ck_assert_int_eq(vn_send(c.tx, &item), -EPIPE);
		vn_close(c.tx);
		let_run(h);
		ck_assert_ptr_null(h->owned);
		vn_hub_close(h);
	}
}
END_TEST

START_TEST(who_waits_already_meets_across_the_new_hop)
{
	for (EACH_CHAIN(a, b, shared)) {
		world w;
		vn_hub *h = world_open(&w);
		vn_pair p = make(h, a), q = make(h, b);
		actor s = {.tx = p.tx, .n = 6}, r = {.rx = q.rx};

		vn_rx *spare_rx = shared & 1 ? vn_dup(p.rx) : NULL;
		vn_tx *spare_tx = shared & 2 ? vn_dup(q.tx) : NULL;
		start(h, act_send_all, &s);
		start(h, act_recv_all, &r);
		ck_assert_int_eq(vn_pipe_to(p.rx, q.tx), 0);
		for (int i = 0; i < 5; i++)
			let_run(h);
		ck_assert_int_eq(r.n, 6);
		for (int i = 0; i < 6; i++)
			ck_assert_int_eq(r.got[i], i);
		vn_close(spare_tx);
		vn_close(spare_rx);
		let_run(h);
		ck_assert_int_eq(r.rc, -EPIPE);
		vn_hub_close(h);
	}
}
END_TEST

START_TEST(an_unbuffered_chain_is_still_a_rendezvous)
{
	for (int a = 0; a < N_KINDS; a++) {
		world w;
		vn_hub *h = world_open(&w);
		chain c = chain_make(h, a, 0, 0), d = chain_make(h, 0, a, 0);
		long room = a == 1 ? 3 : a == 5 ? 2 : 0;
		actor s = {.tx = c.tx, .n = 10}, t = {.tx = d.tx, .n = 10};

		ck_assert_uint_eq(h->n_coroutines, 0); /* nobody carries */
		start(h, act_send_all, &s);
		start(h, act_send_all, &t);
		let_run(h);
		ck_assert_int_eq(s.n, room);
		ck_assert_int_eq(t.n, room);
		vn_hub_close(h);
	}
}
END_TEST

START_TEST(a_rewired_hop_hands_over_at_once)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair first = vn_pipe(h, long), last = first;
	actor r;
	long item = 5;

	for (int i = 0; i < 1000; i++) {
		vn_pair next = vn_pipe(h, long);

		ck_assert_int_eq(vn_pipe_to(last.rx, next.tx), 0);
		last = next;
	}
	r = (actor){.rx = last.rx};
	start(h, act_recv, &r);
	ck_assert_int_eq(vn_send(first.tx, &item), 0);
	ck_assert(r.done); /* it was switched to */
	ck_assert_int_eq(r.item, 5);
	vn_close(last.rx); /* a thousand hops end on this stack */
	ck_assert_int_eq(vn_send(first.tx, &item), -EPIPE);
	vn_close(first.tx);
	ck_assert_ptr_null(h->owned);
	vn_hub_close(h);
}
END_TEST

static int
close_from_a_small_stack(vn_hub *h, void *arg)
{
	(void)h;
	return vn_close((vn_tx *)arg);
}

START_TEST(long_chains_of_any_kind_end_from_either_side)
{
	for (int kind = 0; kind < N_KINDS; kind++)
		for (int side = 0; side < 2; side++) {
			world w;
			vn_hub *h = world_open(&w);
			vn_pair first = make(h, kind), last = first;
			long item;

			for (int i = 0; i < 300; i++) {
				vn_pair next = make(h, i % 3 ? kind : (kind + i) % N_KINDS);

				ck_assert_int_eq(vn_pipe_to(last.rx, next.tx), 0);
				last = next;
			}
			if (side) {
				vn_close(last.rx);
				for (int i = 0; i < 20; i++)
					let_run(h);
				vn_close(first.tx);
			} else {
				vn_spawn(h, close_from_a_small_stack, first.tx);
				ck_assert_int_eq(vn_recv(last.rx, &item), -EPIPE);
				vn_close(last.rx);
			}
			for (int i = 0; i < 20; i++)
				let_run(h);
			ck_assert_ptr_null(h->owned);
			vn_hub_close(h);
		}
}
END_TEST

static int
die_with(vn_hub *h, void *arg)
{
	chain *c = arg;

	if (c->tx)
		vn_adopt(c->tx);
	if (c->rx)
		vn_adopt(c->rx);
	return vn_yield(h);
}

START_TEST(death_at_one_end_of_a_chain_is_seen_at_the_other)
{
	for (EACH_CHAIN(a, b, shared)) {
		world w;
		vn_hub *h = world_open(&w);
		chain c = chain_make(h, a, b, shared), d = chain_make(h, a, b, shared);
		long item = 1;

		chain_close(&c);
		chain_close(&d);
		start(h, die_with, &(chain){.tx = c.tx});
		start(h, die_with, &(chain){.rx = d.rx});
		let_run(h);
		ck_assert_int_eq(vn_recv(c.rx, &item), -EOWNERDEAD);
		ck_assert_int_eq(vn_send(d.tx, &item), -EOWNERDEAD);
		vn_hub_close(h);
	}
}
END_TEST

START_TEST(other_senders_and_receivers_of_shared_ends_go_on)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair a = vn_router(h, long), b = vn_router(h, long), c = vn_router(h, long);
	actor s[3] = {{.tx = a.tx, .item = 1}, {.tx = b.tx, .item = 2}, {.tx = c.tx, .item = 3}};
	long item;

	ck_assert_int_eq(vn_pipe_to(a.rx, vn_dup(c.tx)), 0);
	ck_assert_int_eq(vn_pipe_to(b.rx, vn_dup(c.tx)), 0);
	for (int i = 0; i < 3; i++)
		start(h, act_send, &s[i]);
	for (long i = 1; i <= 3; i++) { /* first come, first served, across all of them */
		ck_assert_int_eq(vn_recv(c.rx, &item), 0);
		ck_assert_int_eq(item, i);
	}
	vn_close(a.tx);
	vn_close(c.tx);
	s[1] = (actor){.tx = b.tx, .item = 4};
	start(h, act_send, &s[1]);
	ck_assert_int_eq(vn_recv(c.rx, &item), 0);
	ck_assert_int_eq(item, 4);
	vn_close(b.tx);
	ck_assert_int_eq(vn_recv(c.rx, &item), -EPIPE);
	vn_hub_close(h);
}
END_TEST

START_TEST(other_owners_of_an_end_that_was_piped_on_are_still_there)
{
	for (int a = 0; a < N_KINDS; a++)
		for (int b = 0; b < N_KINDS; b++) {
			world w;
			vn_hub *h = world_open(&w);
			vn_pair p = make(h, a), q = make(h, b);
			actor r = {.rx = p.rx}, s = {.tx = q.tx, .item = 100}, t = {.rx = q.rx};

			if ((a != 2 && a < 4) || b < 3)
				goto next; /* many receive from p, many send to q */
			ck_assert_int_eq(vn_pipe_to(vn_dup(p.rx), vn_dup(q.tx)), 0);
			start(h, act_recv, &r);
			let_run(h);
			start(h, act_send, &s);
			for (long i = 0; i < 4 && !r.done; i++) {
				vn_deadline(h, w.now + VN_SEC);
				vn_send(p.tx, &i);
				let_run(h);
			}
			vn_deadline(h, VN_NEVER);
			ck_assert_int_eq(r.rc, 0);
			for (int i = 0; i < 5 && t.item != 100; i++)
				start(h, act_recv, &t);
			let_run(h);
			ck_assert_int_eq(t.item, 100);
			ck_assert(s.done && s.rc == 0);
		next:
			vn_hub_close(h);
		}
}
END_TEST

START_TEST(each_joined_sender_that_may_wait_alone_waits_alone)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair a = vn_pipe(h, long), b = vn_pipe(h, long), c = vn_router(h, long);
	actor s[2] = {{.tx = a.tx, .item = 1}, {.tx = b.tx, .item = 2}};
	long item = 9;

	ck_assert_int_eq(vn_pipe_to(a.rx, vn_dup(c.tx)), 0);
	ck_assert_int_eq(vn_pipe_to(b.rx, c.tx), 0);
	start(h, act_send, &s[0]);
	start(h, act_send, &s[1]);
	ck_assert(!s[0].done && !s[1].done);
	ck_assert_int_eq(vn_send(a.tx, &item), -EBUSY);
	ck_assert_int_eq(vn_select(h, VN_SEND(b.tx, &item)), -EBUSY);
	vn_close(b.tx); /* wakes who waits at b alone */
	vn_yield(h);
	ck_assert(!s[0].done);
	ck_assert_int_eq(s[1].rc, -EPIPE);
	ck_assert_int_eq(vn_recv(c.rx, &item), 0);
	ck_assert_int_eq(item, 1);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_state_hands_on_its_latest_value_when_somebody_is_ready)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair state = vn_state(h, long), p = vn_router(h, long);
	long item;

	ck_assert_int_eq(vn_pipe_to(state.rx, p.tx), 0);
	for (long i = 1; i < 4; i++) {
		ck_assert_int_eq(vn_send(state.tx, &i), 0);
		let_run(h);
	}
	ck_assert_int_eq(vn_recv(p.rx, &item), 0);
	ck_assert_int_eq(item, 3);
	let_run(h);
	ck_assert_int_eq(vn_select(h, VN_RECV(p.rx, &item), VN_ELSE), 1); /* each value once */
	item = 4;
	ck_assert_int_eq(vn_send(state.tx, &item), 0);
	let_run(h);
	ck_assert_int_eq(vn_clear(state.tx), 0);
	let_run(h);
	ck_assert_int_eq(vn_select(h, VN_RECV(p.rx, &item), VN_ELSE), 1);
	item = 5;
	ck_assert_int_eq(vn_send(state.tx, &item), 0);
	ck_assert_int_eq(vn_send_error(state.tx, -EIO), 0);
	let_run(h);
	ck_assert_int_eq(vn_recv(p.rx, &item), -EIO);
	item = 6;
	ck_assert_int_eq(vn_send(state.tx, &item), 0);
	vn_close(state.tx); /* the last value still arrives */
	ck_assert_int_eq(vn_recv(p.rx, &item), 0);
	ck_assert_int_eq(item, 6);
	ck_assert_int_eq(vn_recv(p.rx, &item), -EPIPE);
	vn_close(p.rx);
	let_run(h);
	ck_assert_ptr_null(h->owned);
	vn_hub_close(h);
}
END_TEST

START_TEST(anything_can_be_piped_into_a_state_a_value_or_a_broadcast)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, long), state = vn_state(h, long);
	vn_pair q = vn_pipe(h, long), value = vn_value(h, long), r = vn_queue(h, long, 2);
	vn_tx *tx = vn_broadcast(h, long);
	vn_rx *sub = vn_subscribe_with(tx, VN_BLOCK, 5);
	long item = 1;

	ck_assert_int_eq(vn_pipe_to(p.rx, state.tx), 0);
	ck_assert_int_eq(vn_pipe_to(q.rx, value.tx), 0);
	ck_assert_int_eq(vn_pipe_to(r.rx, tx), 0);
	ck_assert_int_eq(vn_send(p.tx, &item), 0);
	ck_assert_int_eq(vn_send(q.tx, &item), 0);
	ck_assert_int_eq(vn_send(r.tx, &item), 0);
	ck_assert_int_eq(vn_recv(state.rx, &item), 0);
	ck_assert_int_eq(vn_recv(value.rx, &item), 0);
	ck_assert_int_eq(vn_recv(sub, &item), 0);
	ck_assert_int_eq(vn_send(q.tx, &item), 0); /* the value is set: nothing more goes there */
	let_run(h);
	ck_assert_int_eq(vn_send(q.tx, &item), -EPIPE);
	vn_close(state.rx);
	let_run(h);
	ck_assert_int_eq(vn_send(p.tx, &item), -EPIPE);
	vn_close(r.tx);
	ck_assert_int_eq(vn_recv(sub, &item), -EPIPE);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_subscription_can_be_piped_on)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_tx *tx = vn_broadcast(h, long);
	vn_pair q = vn_queue(h, long, 2), slow = vn_pipe(h, long);
	vn_rx *lossy = vn_subscribe_with(tx, VN_DISCONNECT, 1);
	long item;

	ck_assert_int_eq(vn_pipe_to(vn_subscribe(tx), q.tx), 0);
	ck_assert_int_eq(vn_pipe_to(lossy, slow.tx), 0);
	for (long i = 1; i <= 2; i++)
		ck_assert_int_eq(vn_send(tx, &i), 0);
	let_run(h);
	for (long i = 1; i <= 2; i++) {
		ck_assert_int_eq(vn_recv(q.rx, &item), 0);
		ck_assert_int_eq(item, i);
	}
	for (long i = 3; i <= 5; i++)
		ck_assert_int_eq(vn_send(tx, &i), 0);
	for (long i = 1; vn_recv(slow.rx, &item) == 0; i++)
		ck_assert_int_eq(item, i);
	ck_assert_int_eq(vn_recv(slow.rx, &item), -EPIPE);
	ck_assert_uint_eq(vn_subscribers(tx), 1);
	vn_close(q.rx);
	let_run(h);
	ck_assert_uint_eq(vn_subscribers(tx), 0);
	vn_hub_close(h);
}
END_TEST

START_TEST(error_items_pass)
{
	for (EACH_CHAIN(a, b, shared)) {
		world w;
		vn_hub *h = world_open(&w);
		chain c = chain_make(h, a, b, shared);
		actor r = {.rx = c.rx};

		start(h, act_recv, &r);
		let_run(h);
		ck_assert_int_eq(vn_send_error(c.tx, -EIO), 0);
		let_run(h);
		ck_assert_int_eq(r.rc, -EIO);
		r = (actor){.rx = c.rx};
		start(h, act_recv, &r);
		ck_assert_int_eq(vn_send(c.tx, &(long){3}), 0);
		let_run(h);
		ck_assert_int_eq(r.rc, 0);
		ck_assert_int_eq(r.item, 3);
		vn_hub_close(h);
	}
}
END_TEST

START_TEST(a_circle_is_refused_and_closed)
{
	for (int kind = 0; kind < N_KINDS; kind++) {
		world w;
		vn_hub *h = world_open(&w);
		vn_pair a = make(h, kind), b = make(h, kind), c = make(h, 5);
		vn_pair s = vn_state(h, long);
		vn_tx *tx = vn_broadcast(h, long);
		vn_rx *one = vn_subscribe(tx), *two = vn_subscribe(tx);

		ck_assert_int_eq(vn_pipe_to(s.rx, s.tx), -EINVAL);
		ck_assert_int_eq(vn_pipe_to(one, a.tx), 0);
		ck_assert_int_eq(vn_pipe_to(a.rx, b.tx), 0);
		ck_assert_int_eq(vn_pipe_to(b.rx, c.tx), 0);
		ck_assert_int_eq(vn_pipe_to(c.rx, tx), -EINVAL);
		ck_assert_int_eq(vn_pipe_to(two, make(h, kind).tx), 0);
		let_run(h);
		vn_hub_close(h);
	}
}
END_TEST

START_TEST(a_second_owner_makes_no_circle_invisible)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair a = vn_channel(h, long, 2), b = vn_channel(h, long, 2);

	ck_assert_int_eq(vn_pipe_to(vn_dup(a.rx), vn_dup(b.tx)), 0);
	ck_assert_int_eq(vn_pipe_to(vn_dup(b.rx), vn_dup(a.tx)), -EINVAL);
	ck_assert_int_eq(vn_pipe_to(vn_dup(a.rx), vn_dup(a.tx)), -EINVAL);
	/* two ways to the same place are no circle */
	ck_assert_int_eq(vn_pipe_to(vn_dup(a.rx), vn_dup(b.tx)), 0);
	vn_hub_close(h);
}
END_TEST

START_TEST(what_cannot_be_joined_is_closed)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, long), q = vn_pipe(h, char), r = vn_queue(h, long, 1),
		s = vn_queue(h, long, 1);
	long item = 1;
	char c;

	ck_assert_int_eq(vn_pipe_to(p.rx, q.tx), -EINVAL);
	ck_assert_int_eq(vn_send(p.tx, &item), -EPIPE);
	ck_assert_int_eq(vn_recv(q.rx, &c), -EPIPE);
	ck_assert_int_eq(vn_pipe_to(NULL, NULL), -EBADF);
	ck_assert_int_eq(vn_pipe_to(NULL, r.tx), -EBADF);
	ck_assert_int_eq(vn_recv(r.rx, &item), -EPIPE);
	ck_assert_int_eq(vn_pipe_to(r.rx, NULL), -EBADF);
	vn_stop(h);
	r = vn_queue(h, long, 1);
	ck_assert_int_eq(vn_pipe_to(r.rx, s.tx), -ECANCELED);
	ck_assert_int_eq(vn_send(r.tx, &item), -EPIPE);
	ck_assert_int_eq(vn_recv(s.rx, &item), -EPIPE);
	vn_hub_close(h);
}
END_TEST

START_TEST(joining_what_is_closed_already_ends_the_chain)
{
	for (EACH_CHAIN(a, b, shared)) {
		world w;
		vn_hub *h = world_open(&w);
		vn_pair p = make(h, a), q = make(h, b), r = make(h, a), s = make(h, b);
		long item = 1, room = a == 1 || a == 5 ? 1 : 0;

		if (room)
			ck_assert_int_eq(vn_send(p.tx, &item), 0);
		vn_close(p.tx);
		vn_close(s.rx);
		ck_assert_int_eq(vn_pipe_to(p.rx, q.tx), 0);
		ck_assert_int_eq(vn_pipe_to(r.rx, s.tx), 0);
		if (room)
			ck_assert_int_eq(vn_recv(q.rx, &item), 0);
		ck_assert_int_eq(vn_recv(q.rx, &item), -EPIPE);
		let_run(h);
		ck_assert_int_eq(vn_send(r.tx, &item), -EPIPE);
		vn_close(q.rx);
		vn_close(r.tx);
		let_run(h);
		ck_assert_ptr_null(h->owned);
		vn_hub_close(h);
		(void)shared;
	}
}
END_TEST

static void
note_how(void *arg, int how)
{
	note_rc(arg, "closed", how);
}

START_TEST(the_ends_inside_of_a_chain_close_with_it)
{
	for (EACH_CHAIN(a, b, side)) {
		world w;
		vn_hub *h = world_open(&w);
		journal j = {""};
		vn_pair p = make(h, a), q = make(h, b);

		vn_on_close(p.rx, note_how, &j);
		vn_on_close(q.tx, note_how, &j);
		ck_assert_int_eq(vn_pipe_to(p.rx, q.tx), 0);
		let_run(h);
		ck_assert_str_eq(j.text, "");
		if (side & 1)
			vn_close(p.tx);
		else
			vn_close(q.rx);
		let_run(h);
		ck_assert_str_eq(j.text, "closed:0 closed:0");
		vn_hub_close(h);
	}
}
END_TEST

static int
pipe_and_return(vn_hub *h, void *arg)
{
	vn_pair *p = arg;

	(void)h;
	vn_adopt(p[0].rx);
	vn_adopt(p[1].tx);
	ck_assert_int_eq(vn_pipe_to(p[0].rx, p[1].tx), 0);
	return 0;
}

START_TEST(who_joins_two_ends_that_it_adopted_has_given_them_away)
{
	for (EACH_CHAIN(a, b, shared)) {
		world w;
		vn_hub *h = world_open(&w);
		vn_pair p[2] = {make(h, a), make(h, b)};
		actor r = {.rx = p[1].rx};

		start(h, pipe_and_return, p);
		let_run(h);
		start(h, act_recv, &r);
		ck_assert_int_eq(vn_send(p[0].tx, &(long){4}), 0);
		let_run(h);
		ck_assert_int_eq(r.item, 4);
		vn_hub_close(h);
		(void)shared;
	}
}
END_TEST

static void
free_item(void *arg, void *item)
{
	long *own;

	memcpy(&own, item, sizeof own);
	free(own);
	++*(int *)arg;
}

START_TEST(what_is_on_its_way_when_the_receiver_closes_is_dropped)
{
	for (int room = 0; room < 3; room++) {
		world w;
		vn_hub *h = world_open(&w);
		vn_pair p = vn_queue(h, long *, 5), q = vn_channel(h, long *, (size_t)room);
		int n_dropped = 0;

		vn_on_drop(p.rx, free_item, &n_dropped);
		vn_on_drop(q.rx, free_item, &n_dropped);
		ck_assert_int_eq(vn_pipe_to(p.rx, q.tx), 0);
		for (int i = 0; i < 5; i++) {
			long *item = malloc(sizeof *item);

			ck_assert_int_eq(vn_send(p.tx, &item), 0);
			let_run(h);
		}
		vn_close(q.rx);
		let_run(h);
		ck_assert_int_eq(n_dropped, 5);
		vn_hub_close(h);
	}
}
END_TEST

START_TEST(what_either_end_said_about_dropping_holds_behind_a_rewired_hop)
{
	for (int first = 0; first < 2; first++)
		for (int by_hub = 0; by_hub < 2; by_hub++) {
			world w;
			vn_hub *h = world_open(&w);
			vn_pair p = vn_queue(h, long *, 2), q = vn_pipe(h, long *);
			vn_pair from = first ? q : p, to = first ? p : q;
			int n_dropped = 0;

			vn_on_drop(q.rx, free_item, &n_dropped); /* which has no room itself */
			ck_assert_int_eq(vn_pipe_to(from.rx, to.tx), 0);
			ck_assert_uint_eq(h->n_coroutines, 0);
			for (int i = 0; i < 2; i++) {
				long *item = malloc(sizeof *item);

				ck_assert_int_eq(vn_send(from.tx, &item), 0);
			}
			if (!by_hub)
				vn_close(to.rx);
			vn_hub_close(h);
			ck_assert_int_eq(n_dropped, 2);
		}
}
END_TEST

START_TEST(one_select_at_both_sides_of_a_new_hop_does_not_meet_itself)
{
	for (int a = 0; a < N_KINDS; a++) {
		world w;
		vn_hub *h = world_open(&w);
		vn_pair p = make(h, a == 1 || a == 5 ? 0 : a), q = vn_pipe(h, long);
		actor x = {.tx = p.tx, .rx = q.rx, .item = 1}, r = {.rx = vn_dup(q.rx)};
		long item = 7;

		start(h, act_select, &x);
		ck_assert_int_eq(vn_pipe_to(p.rx, q.tx), 0);
		let_run(h);
		ck_assert(!x.done);
		ck_assert_int_eq(vn_recv(q.rx, &item), 0);
		ck_assert_int_eq(item, 1);
		vn_yield(h);
		ck_assert_int_eq(x.index, 1);
		(void)r;
		vn_hub_close(h);
	}
}
END_TEST

START_TEST(a_carrier_is_not_in_a_deadlock_but_those_at_its_ends_are)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_queue(h, long, 1), q = vn_queue(h, long, 1);
	long item = 3;

	ck_assert_int_eq(vn_pipe_to(p.rx, q.tx), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(vn_recv(q.rx, &item), -EDEADLK);
	ck_assert_int_eq(vn_send(p.tx, &item), 0);
	ck_assert_int_eq(vn_recv(q.rx, &item), 0);
	ck_assert_int_eq(item, 3);
	vn_hub_close(h);
}
END_TEST

/* A client of the endpoint, connected through the kernel's backlog. */
static int
client_open(vn_rx *listener)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const char *port = strrchr(vn_url(listener), ':');
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	sa.sin_port = htons((uint16_t)strtoul(port + 1, NULL, 10));
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
	return fd;
}

START_TEST(a_listener_can_be_piped_to_those_who_serve)
{
	vn_hub *h = vn_hub_new();
	vn_rx *listener = vn_listen(h, "tcp://127.0.0.1:0", 0);
	vn_pair p = vn_dealer(h, vn_conn *);
	int fds[3];
	char byte;

	ck_assert_ptr_nonnull(listener);
	for (int i = 0; i < 3; i++)
		fds[i] = client_open(listener);
	ck_assert_int_eq(vn_pipe_to(listener, p.tx), 0);
	for (int i = 0; i < 2; i++) {
		vn_conn *c = NULL;

		ck_assert_int_eq(vn_recv(p.rx, &c), 0);
		ck_assert_int_eq(vn_write(c, "x", 1), 0);
		ck_assert_int_eq(vn_conn_close(c), 0);
	}
	vn_sleep(h, 10 * VN_MS); /* the third is in the carrier's hand, or was never accepted */
	vn_close(p.rx);
	vn_sleep(h, 10 * VN_MS);
	ck_assert_ptr_null(vn_hub_free(h));
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(read(fds[i], &byte, 1), 1);
	ck_assert_int_le(read(fds[2], &byte, 1), 0);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
}
END_TEST

static void
note_how_and_count(void *arg, int how)
{
	ck_assert_int_eq(how, -ECANCELED);
	++*(int *)arg;
}

START_TEST(a_listener_has_owners_and_callbacks_like_any_end)
{
	vn_hub *h = vn_hub_new();
	vn_rx *listener = vn_dup(vn_listen(h, "tcp://127.0.0.1:0", 0));
	int n_closed = 0, fd;
	vn_conn *c;

	ck_assert_int_eq(vn_on_close(listener, note_how_and_count, &n_closed), 0);
	ck_assert_int_eq(vn_on_drop(listener, NULL, NULL), -EINVAL);
	ck_assert_int_eq(vn_adopt(listener), 0);
	vn_close(listener);
	fd = client_open(listener);
	ck_assert_int_eq(vn_recv(listener, &c), 0);
	vn_conn_close(c);
	ck_assert_int_eq(n_closed, 0);
	vn_hub_free(h);
	ck_assert_int_eq(n_closed, 1);
	close(fd);
}
END_TEST

static void
close_conn(void *arg, void *item)
{
	vn_conn *c;

	memcpy(&c, item, sizeof c);
	++*(int *)arg;
	vn_conn_close(c);
}

START_TEST(connections_that_wait_in_a_queue_when_the_hub_ends_can_be_closed)
{
	vn_hub *h = vn_hub_new();
	vn_rx *listener = vn_listen(h, "tcp://127.0.0.1:0", 0);
	vn_pair p = vn_queue(h, vn_conn *, 4);
	int n_dropped = 0, fd = client_open(listener);
	char byte;

	vn_on_drop(p.rx, close_conn, &n_dropped);
	ck_assert_int_eq(vn_pipe_to(listener, p.tx), 0);
	vn_sleep(h, 10 * VN_MS);
	vn_hub_free(h);
	ck_assert_int_eq(n_dropped, 1);
	ck_assert_int_eq(read(fd, &byte, 1), 0);
	close(fd);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		items_pass_in_order_and_the_end_follows_them,
		closing_the_receiver_of_the_chain_closes_its_sender,
		who_waits_already_meets_across_the_new_hop,
		an_unbuffered_chain_is_still_a_rendezvous,
		a_rewired_hop_hands_over_at_once,
		long_chains_of_any_kind_end_from_either_side,
		death_at_one_end_of_a_chain_is_seen_at_the_other,
		other_senders_and_receivers_of_shared_ends_go_on,
		other_owners_of_an_end_that_was_piped_on_are_still_there,
		each_joined_sender_that_may_wait_alone_waits_alone,
		a_state_hands_on_its_latest_value_when_somebody_is_ready,
		anything_can_be_piped_into_a_state_a_value_or_a_broadcast,
		a_subscription_can_be_piped_on,
		error_items_pass,
		a_circle_is_refused_and_closed,
		a_second_owner_makes_no_circle_invisible,
		what_cannot_be_joined_is_closed,
		joining_what_is_closed_already_ends_the_chain,
		the_ends_inside_of_a_chain_close_with_it,
		who_joins_two_ends_that_it_adopted_has_given_them_away,
		what_is_on_its_way_when_the_receiver_closes_is_dropped,
		what_either_end_said_about_dropping_holds_behind_a_rewired_hop,
		one_select_at_both_sides_of_a_new_hop_does_not_meet_itself,
		a_carrier_is_not_in_a_deadlock_but_those_at_its_ends_are,
		a_listener_can_be_piped_to_those_who_serve,
		a_listener_has_owners_and_callbacks_like_any_end,
		connections_that_wait_in_a_queue_when_the_hub_ends_can_be_closed,
	};

	return suite_run("join", tests, SUITE_COUNT(tests));
}
