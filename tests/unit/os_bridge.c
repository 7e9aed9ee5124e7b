/* SPDX-License-Identifier: MIT */
/*
 * Bridge - no wake-up is lost between two threads, and none is one too many: step by step, in one thread
 *
 * Both hubs are here, and do nothing by themselves: the test calls the hooks of the banks in the order that it wants.
 */
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/os/bridge.h"
#include "tests/unit/actors.h"

typedef struct pair {
	vn_bridge *bridge;
	vn_hub *hubs[2];
	vn_bank banks[2];
} pair;

static void
pair_open(pair *p)
{
	*p = (pair){.bridge = aligned_alloc(_Alignof(vn_bridge), sizeof *p->bridge)};
	*p->bridge = (vn_bridge){0};
	ck_assert(vn_bridge_init(p->bridge, sizeof(long)));
	for (int i = 0; i < 2; i++) {
		p->hubs[i] = vn_hub_open(&vn_sys_linux);
		ck_assert_int_eq(vn_bank_open(&p->banks[i], p->hubs[i], p->bridge, i), 0);
	}
}

static void
pair_close(pair *p)
{
	for (int i = 0; i < 2; i++) {
		vn_stop(p->hubs[i]);
		let_run(p->hubs[i]);
		vn_bank_close(&p->banks[i]);
		vn_hub_close(p->hubs[i]);
	}
	vn_bridge_deinit(p->bridge);
	free(p->bridge);
}

static void
turn(pair *p, int side)
{
	p->banks[side].hook.turn(&p->banks[side].hook);
}

static bool
may_sleep(pair *p, int side)
{
	return p->banks[side].hook.arm(&p->banks[side].hook);
}

/* Since this was last asked. */
static bool
was_rung(pair *p, int side)
{
	struct pollfd fd = {.fd = p->bridge->shores[side].bell_fd, .events = POLLIN};
	uint64_t n;

	return poll(&fd, 1, 0) == 1 && read(fd.fd, &n, sizeof n) == sizeof n;
}

static void
put(pair *p, int side, long item)
{
	ck_assert_int_eq(vn_send(&p->banks[side].wire.tx, &item), 0);
}

START_TEST(what_comes_between_the_last_look_and_sleeping_is_seen)
{
	actor a;
	pair p;

	pair_open(&p);
	a = (actor){.rx = &p.banks[0].wire.rx};
	start(p.hubs[0], act_recv, &a);
	turn(&p, 0);
	put(&p, 1, 5);
	turn(&p, 1);
	ck_assert(!was_rung(&p, 0)); /* it is awake */
	ck_assert(!may_sleep(&p, 0));
	let_run(p.hubs[0]);
	ck_assert(a.done);
	ck_assert_int_eq(a.item, 5);
	pair_close(&p);
}
END_TEST

START_TEST(who_sleeps_is_rung_once_for_what_is_published)
{
	actor a;
	pair p;

	pair_open(&p);
	a = (actor){.rx = &p.banks[0].wire.rx};
	start(p.hubs[0], act_recv, &a);
	turn(&p, 0);
	ck_assert(may_sleep(&p, 0));
	put(&p, 1, 1);
	ck_assert(!was_rung(&p, 0)); /* it is not published before the end of the turn */
	turn(&p, 1);
	ck_assert(was_rung(&p, 0));
	for (long i = 2; i < 200; i++)
		put(&p, 1, i);
	turn(&p, 1);
	ck_assert(!was_rung(&p, 0));
	turn(&p, 0);
	let_run(p.hubs[0]);
	ck_assert(a.done);
	pair_close(&p);
}
END_TEST

START_TEST(room_that_comes_between_the_last_look_and_sleeping_is_seen)
{
	pair p;
	actor a;
	long item, n = 0;

	pair_open(&p);
	for (; p.banks[1].wire.ops->put(&p.banks[1].wire, &n, 0); n++)
		;
	ck_assert_int_eq(n, VN_N_CHUNKS * VN_CHUNK_ITEMS);
	a = (actor){.tx = &p.banks[1].wire.tx, .item = n};
	start(p.hubs[1], act_send, &a);
	turn(&p, 1);
	for (long i = 0; i < n; i++) {
		ck_assert_int_eq(vn_recv(&p.banks[0].wire.rx, &item), 0);
		ck_assert_int_eq(item, i);
	}
	ck_assert(!was_rung(&p, 1));
	ck_assert(!may_sleep(&p, 1));
	let_run(p.hubs[1]);
	ck_assert(a.done);
	pair_close(&p);
}
END_TEST

START_TEST(who_waits_for_room_is_rung_when_half_of_it_is_there)
{
	pair p;
	actor a;
	long item, n = 0, i = 0;

	pair_open(&p);
	for (; p.banks[1].wire.ops->put(&p.banks[1].wire, &n, 0); n++)
		;
	a = (actor){.tx = &p.banks[1].wire.tx, .item = n};
	start(p.hubs[1], act_send, &a);
	turn(&p, 1);
	ck_assert(may_sleep(&p, 1));
	for (; !was_rung(&p, 1); i++)
		ck_assert_int_eq(vn_recv(&p.banks[0].wire.rx, &item), 0);
	ck_assert_int_eq(i, n / 2);
	turn(&p, 1);
	let_run(p.hubs[1]);
	ck_assert(a.done);
	pair_close(&p);
}
END_TEST

START_TEST(closing_rings_who_sleeps_and_is_seen_by_who_is_about_to)
{
	for (int sleeps = 0; sleeps < 2; sleeps++) {
		actor a;
		pair p;

		pair_open(&p);
		a = (actor){.rx = &p.banks[0].wire.rx};
		start(p.hubs[0], act_recv, &a);
		turn(&p, 0);
		if (sleeps)
			ck_assert(may_sleep(&p, 0));
		vn_close(&p.banks[1].wire.tx);
		ck_assert_int_eq(was_rung(&p, 0), sleeps);
		if (sleeps)
			turn(&p, 0);
		else
			ck_assert(!may_sleep(&p, 0));
		let_run(p.hubs[0]);
		ck_assert(a.done);
		ck_assert_int_eq(a.rc, -EPIPE);
		pair_close(&p);
	}
}
END_TEST

int
main(void)
{
	const TTest *tests[] = {
		what_comes_between_the_last_look_and_sleeping_is_seen,
		who_sleeps_is_rung_once_for_what_is_published,
		room_that_comes_between_the_last_look_and_sleeping_is_seen,
		who_waits_for_room_is_rung_when_half_of_it_is_there,
		closing_rings_who_sleeps_and_is_seen_by_who_is_about_to,
	};

	return suite_run("os bridge", tests, SUITE_COUNT(tests));
}
