/* SPDX-License-Identifier: MIT */
/*
 * Life - owners, adopters, and who is told when an end closes
 */
#include "client/message/life.h"

#include <stdlib.h>

#include "tests/unit/actors.h"

NO_CONNECTIONS

typedef struct ends {
	vn_tx *tx;
	vn_rx *rx;
} ends;

static ends
each_pair(vn_hub *h, int i)
{
	vn_pair p = i == 0   ? vn_pipe(h, long)
		    : i == 1 ? vn_queue(h, long, 2)
		    : i == 2 ? vn_channel(h, long, 0)
		    : i == 3 ? vn_state(h, long)
			     : vn_value(h, long);

	return (ends){p.tx, p.rx};
}

#define N_PAIRS 5

static ends
broadcast_ends(vn_hub *h)
{
	vn_tx *tx = vn_broadcast(h, long);

	return (ends){tx, vn_subscribe(tx)};
}

static ends
ends_make(vn_hub *h, int i)
{
	return i < N_PAIRS ? each_pair(h, i) : broadcast_ends(h);
}

#define N_KINDS (N_PAIRS + 1)

START_TEST(an_end_is_closed_by_the_last_of_its_owners)
{
	for (int i = 0; i < N_KINDS; i++) {
		world w;
		vn_hub *h = world_open(&w);
		ends e = ends_make(h, i), f = ends_make(h, i);
		actor r = {.rx = e.rx};
		long item = 1;

		ck_assert_ptr_eq(vn_dup(e.tx), e.tx);
		ck_assert_ptr_eq(vn_dup(f.rx), f.rx);
		start(h, act_recv, &r);
		vn_close(e.tx);
		vn_close(f.rx);
		vn_yield(h);
		ck_assert(!r.done);
		vn_close(e.tx);
		vn_close(f.rx);
		vn_yield(h);
		ck_assert_int_eq(r.rc, -EPIPE);
		/* a broadcast goes on without subscribers */
		ck_assert_int_eq(vn_send(f.tx, &item), i < N_PAIRS ? -EPIPE : 0);
		vn_close(e.rx);
		vn_close(f.tx);
		ck_assert_ptr_null(h->owned);
		ck_assert_ptr_null(h->witnesses);
		vn_hub_close(h);
	}
}
END_TEST

static int
adopt_both_and_return(vn_hub *h, void *arg)
{
	ends *e = arg;

	if (e->tx)
		ck_assert_int_eq(vn_adopt(e->tx), 0);
	if (e->rx)
		ck_assert_int_eq(vn_adopt(e->rx), 0);
	return vn_yield(h);
}

START_TEST(an_end_whose_owner_returns_is_closed_and_the_other_side_knows_why)
{
	for (int i = 0; i < N_KINDS; i++) {
		world w;
		vn_hub *h = world_open(&w);
		ends e = ends_make(h, i), f = ends_make(h, i);
		actor r = {.rx = e.rx};
		long item = 1;

		start(h, act_recv, &r);
		vn_spawn(h, adopt_both_and_return, &(ends){e.tx, NULL});
		vn_spawn(h, adopt_both_and_return, &(ends){NULL, f.rx});
		let_run(h);
		ck_assert_int_eq(r.rc, -EOWNERDEAD);
		ck_assert_int_eq(vn_recv(e.rx, &item), -EOWNERDEAD);
		if (i < N_PAIRS)
			ck_assert_int_eq(vn_send(f.tx, &item), -EOWNERDEAD);
		vn_close(e.rx);
		vn_close(f.tx);
		ck_assert_ptr_null(h->owned);
		vn_hub_close(h);
	}
}
END_TEST

static int
adopt_and_wait(vn_hub *h, void *arg)
{
	ends *e = arg;
	long item;

	ck_assert_int_eq(vn_adopt(e->rx), 0);
	(void)h;
	return vn_recv(e->rx, &item);
}

START_TEST(who_is_cancelled_while_it_waits_at_its_end_leaves_it_dead)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_group *g = vn_group_new(h);
	vn_pair p = vn_pipe(h, long);
	ends e = {NULL, p.rx};
	long item = 1;

	vn_group_spawn(g, adopt_and_wait, &e);
	vn_yield(h);
	vn_group_free(g);
	ck_assert_int_eq(vn_send(p.tx, &item), -EOWNERDEAD);
	vn_close(p.tx);
	ck_assert_ptr_null(h->owned);
	vn_hub_close(h);
}
END_TEST

static int
adopt_and_close(vn_hub *h, void *arg)
{
	ends *e = arg;

	(void)h;
	ck_assert_int_eq(vn_adopt(e->tx), 0);
	return vn_close(e->tx);
}

START_TEST(who_closes_what_it_adopted_did_not_die)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, long);
	ends e = {p.tx, NULL};
	long item;

	start(h, adopt_and_close, &e);
	let_run(h);
	ck_assert_int_eq(vn_recv(p.rx, &item), -EPIPE);
	vn_hub_close(h);
}
END_TEST

START_TEST(who_closes_its_share_takes_none_of_the_others)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, long);
	ends e = {vn_dup(p.tx), NULL};
	actor r = {.rx = p.rx};

	start(h, adopt_and_close, &e);
	start(h, act_recv, &r);
	let_run(h);
	ck_assert(!r.done);
	ck_assert_int_eq(vn_send(p.tx, &(long){3}), 0);
	ck_assert_int_eq(r.item, 3);
	vn_hub_close(h);
}
END_TEST

START_TEST(an_end_that_others_closed_is_none_of_its_adopters)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, long);
	ends e = {p.tx, p.rx};

	start(h, adopt_both_and_return, &e);
	vn_close(p.tx);
	vn_close(p.rx);
	ck_assert_ptr_null(h->owned);
	let_run(h);
	vn_hub_close(h);
}
END_TEST

typedef struct heir {
	vn_tx *tx;
	vn_pair go;
} heir;

static int
adopt_until_told(vn_hub *h, void *arg)
{
	heir *x = arg;
	long item;

	(void)h;
	ck_assert_int_eq(vn_adopt(x->tx), 0);
	return vn_recv(x->go.rx, &item);
}

START_TEST(an_end_is_handed_from_one_coroutine_to_the_next)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_queue(h, long, 9);
	heir a = {p.tx, vn_pipe(h, long)}, b = {p.tx, vn_pipe(h, long)};
	long item = 1;

	start(h, adopt_until_told, &a);
	start(h, adopt_until_told, &b); /* the end is b's from here on */
	ck_assert_int_eq(vn_send(a.go.tx, &item), 0);
	let_run(h);
	ck_assert_int_eq(vn_send(p.tx, &item), 0);
	ck_assert_int_eq(vn_send(b.go.tx, &item), 0);
	let_run(h);
	ck_assert_int_eq(vn_recv(p.rx, &item), 0);
	ck_assert_int_eq(vn_recv(p.rx, &item), -EOWNERDEAD);
	vn_hub_close(h);
}
END_TEST

START_TEST(each_owner_may_be_adopted_by_another_coroutine)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_channel(h, long, 9);
	heir a = {p.tx, vn_pipe(h, long)}, b = {vn_dup(p.tx), vn_pipe(h, long)};
	long item = 1;

	start(h, adopt_until_told, &a);
	start(h, adopt_until_told, &b);
	ck_assert_int_eq(vn_send(a.go.tx, &item), 0);
	let_run(h);
	ck_assert_int_eq(vn_send(p.tx, &item), 0);
	ck_assert_int_eq(vn_recv(p.rx, &item), 0);
	ck_assert_int_eq(vn_send(b.go.tx, &item), 0);
	let_run(h);
	ck_assert_int_eq(vn_recv(p.rx, &item), -EOWNERDEAD);
	vn_hub_close(h);
}
END_TEST

static int
adopt_twice(vn_hub *h, void *arg)
{
	vn_tx *tx = arg;

	(void)h;
	ck_assert_int_eq(vn_adopt(tx), 0);
	ck_assert_int_eq(vn_adopt(tx), 0);
	return 0;
}

START_TEST(who_adopts_twice_what_has_one_owner_owns_it_once)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, long), q = vn_pipe(h, long);
	long item;

	start(h, adopt_twice, p.tx);
	start(h, adopt_twice, vn_dup(q.tx));
	let_run(h);
	ck_assert_int_eq(vn_recv(p.rx, &item), -EOWNERDEAD);
	ck_assert_int_eq(vn_recv(q.rx, &item), -EOWNERDEAD);
	vn_close(p.rx);
	vn_close(q.rx);
	ck_assert_ptr_null(h->owned);
	vn_hub_close(h);
}
END_TEST

typedef struct told {
	journal *journal;
	const char *name;
	vn_tx *closes_tx;
	vn_rx *closes_rx;
} told;

static void
note_close(void *arg, int how)
{
	told *t = arg;

	note_rc(t->journal, t->name, how);
	vn_close(t->closes_tx);
	vn_close(t->closes_rx);
}

START_TEST(callbacks_run_once_in_the_order_in_which_they_were_asked_for)
{
	for (int i = 0; i < N_KINDS; i++) {
		world w;
		vn_hub *h = world_open(&w);
		journal j = {""};
		ends e = ends_make(h, i);
		told a = {.journal = &j, .name = "a"}, b = {.journal = &j, .name = "b"};
		told c = {.journal = &j, .name = "c"};

		ck_assert_int_eq(vn_on_close(e.tx, note_close, &a), 0);
		ck_assert_int_eq(vn_on_close(e.tx, note_close, &b), 0);
		ck_assert_int_eq(vn_on_close(e.rx, note_close, &c), 0);
		vn_dup(e.tx);
		vn_close(e.tx);
		ck_assert_str_eq(j.text, "");
		vn_close(e.tx);
		ck_assert_str_eq(j.text, "a:0 b:0");
		vn_close(e.rx);
		ck_assert_str_eq(j.text, "a:0 b:0 c:0");
		vn_hub_close(h);
		ck_assert_str_eq(j.text, "a:0 b:0 c:0");
	}
}
END_TEST

START_TEST(callbacks_are_told_of_death_and_of_the_end_of_the_hub)
{
	for (int i = 0; i < N_KINDS; i++) {
		world w;
		vn_hub *h = world_open(&w);
		journal j = {""};
		ends e = ends_make(h, i), f = ends_make(h, i);
		told a = {.journal = &j, .name = "a"}, b = {.journal = &j, .name = "b"};

		vn_on_close(e.tx, note_close, &a);
		vn_on_close(f.rx, note_close, &b);
		start(h, adopt_both_and_return, &(ends){e.tx, NULL});
		let_run(h);
		ck_assert_str_eq(j.text, "a:EOWNERDEAD");
		vn_hub_close(h);
		ck_assert_str_eq(j.text, "a:EOWNERDEAD b:ECANCELED");
	}
}
END_TEST

START_TEST(callbacks_may_close_other_ends_also_when_the_hub_ends)
{
	for (int ends_with_hub = 0; ends_with_hub < 2; ends_with_hub++)
		for (int i = 0; i < N_KINDS; i++) {
			world w;
			vn_hub *h = world_open(&w);
			journal j = {""};
			ends e = ends_make(h, i), f = ends_make(h, i), g = ends_make(h, i);
			/* the first closes its own pair's other end, an older and a newer one */
			told a = {&j, "a", e.tx, f.rx}, b = {&j, "b", g.tx, e.rx};
			told c = {&j, "c", NULL, NULL};

			vn_on_close(f.tx, note_close, &a);
			vn_on_close(f.rx, note_close, &b);
			vn_on_close(g.tx, note_close, &c);
			if (!ends_with_hub)
				vn_close(f.tx);
			if (!ends_with_hub)
				ck_assert_str_eq(j.text, "a:0 b:0 c:0");
			vn_hub_close(h);
			ck_assert_ptr_nonnull(strstr(j.text, "a:"));
			ck_assert_ptr_nonnull(strstr(j.text, "b:"));
			ck_assert_ptr_nonnull(strstr(j.text, "c:"));
			ck_assert_uint_le(
				strlen(j.text), strlen("a:ECANCELED b:ECANCELED c:ECANCELED"));
		}
}
END_TEST

typedef struct drops {
	long sum;
	int n;
} drops;

static void
free_item(void *arg, void *item)
{
	drops *d = arg;
	long *own;

	memcpy(&own, item, sizeof own);
	d->sum += *own;
	d->n++;
	free(own);
}

static long *
own(long number)
{
	long *p = malloc(sizeof *p);

	*p = number;
	return p;
}

START_TEST(what_is_buffered_when_the_receiver_closes_is_given_to_on_drop)
{
	for (int by_hub = 0; by_hub < 2; by_hub++)
		for (int k = 0; k < 2; k++) {
			world w;
			vn_hub *h = world_open(&w);
			vn_pair p = k ? vn_queue(h, long *, 5) : vn_channel(h, long *, 5);
			drops d = {0};
			long *item;

			ck_assert_int_eq(k ? vn_on_drop(p.tx, free_item, &d)
					   : vn_on_drop(p.rx, free_item, &d),
				0);
			for (long i = 1; i <= 4; i++) {
				item = own(i);
				ck_assert_int_eq(vn_send(p.tx, &item), 0);
			}
			ck_assert_int_eq(vn_send_error(p.tx, -EIO), 0);
			ck_assert_int_eq(vn_recv(p.rx, &item), 0);
			free(item);
			if (by_hub) {
				vn_close(p.tx);
			} else {
				vn_close(p.rx);
				ck_assert_int_eq(d.n, 3);
			}
			vn_hub_close(h);
			ck_assert_int_eq(d.n, 3);
			ck_assert_int_eq(d.sum, 9);
		}
}
END_TEST

START_TEST(an_item_that_a_waiting_sender_still_has_is_not_dropped)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_queue(h, long *, 1);
	drops d = {0};
	actor s = {.tx = p.tx};
	long *item = own(1);

	vn_on_drop(p.rx, free_item, &d);
	ck_assert_int_eq(vn_send(p.tx, &item), 0);
	start(h, act_send, &s);
	vn_close(p.rx);
	vn_yield(h);
	ck_assert_int_eq(s.rc, -EPIPE);
	ck_assert_int_eq(d.n, 1);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_broadcast_drops_what_nobody_will_get)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_tx *tx = vn_broadcast(h, long *);
	vn_rx *rx;
	drops d = {0};
	long *item = own(1);

	ck_assert_int_eq(vn_on_drop(tx, free_item, &d), 0);
	ck_assert_int_eq(vn_send(tx, &item), 0);
	ck_assert_int_eq(d.n, 1);
	rx = vn_subscribe_with(tx, VN_BLOCK, 3);
	item = own(2);
	ck_assert_int_eq(vn_send(tx, &item), 0);
	vn_close(rx);
	ck_assert_int_eq(d.n, 2);
	rx = vn_subscribe_with(tx, VN_BLOCK, 3);
	item = own(3);
	ck_assert_int_eq(vn_send(tx, &item), 0);
	vn_close(tx); /* and what is left goes with the hub */
	vn_hub_close(h);
	ck_assert_int_eq(d.n, 3);
	ck_assert_int_eq(d.sum, 6);
}
END_TEST

START_TEST(nobody_owns_no_end)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_state(h, long);

	ck_assert_ptr_null(vn_dup((vn_tx *)NULL));
	ck_assert_ptr_null(vn_dup((vn_rx *)NULL));
	ck_assert_int_eq(vn_adopt((vn_tx *)NULL), -EBADF);
	ck_assert_int_eq(vn_adopt((vn_rx *)NULL), -EBADF);
	ck_assert_int_eq(vn_on_close((vn_tx *)NULL, note_close, NULL), -EBADF);
	ck_assert_int_eq(vn_on_close((vn_rx *)NULL, note_close, NULL), -EBADF);
	ck_assert_int_eq(vn_on_drop((vn_tx *)NULL, free_item, NULL), -EBADF);
	ck_assert_int_eq(vn_on_drop((vn_rx *)NULL, free_item, NULL), -EBADF);
	ck_assert_int_eq(vn_on_drop(p.tx, free_item, NULL), -EINVAL);
	ck_assert_int_eq(vn_on_drop(p.rx, free_item, NULL), -EINVAL);
	vn_hub_close(h);
}
END_TEST

START_TEST(what_main_has_adopted_goes_with_the_hub)
{
	world w;
	vn_hub *h = world_open(&w);
	journal j = {""};
	vn_pair p = vn_pipe(h, long);
	told a = {.journal = &j, .name = "a"};

	ck_assert_int_eq(vn_adopt(p.tx), 0);
	ck_assert_int_eq(vn_on_close(p.tx, note_close, &a), 0);
	vn_hub_close(h);
	ck_assert_str_eq(j.text, "a:ECANCELED");
}
END_TEST

START_TEST(an_owner_that_failed_tells_the_other_side)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, long), q = vn_pipe(h, long);
	long item = 1;

	vn_tx_died(p.tx);
	vn_rx_died(q.rx);
	vn_tx_died(NULL);
	vn_rx_died(NULL);
	ck_assert_int_eq(vn_recv(p.rx, &item), -EOWNERDEAD);
	ck_assert_int_eq(vn_send(q.tx, &item), -EOWNERDEAD);
	vn_hub_close(h);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		an_end_is_closed_by_the_last_of_its_owners,
		an_end_whose_owner_returns_is_closed_and_the_other_side_knows_why,
		who_is_cancelled_while_it_waits_at_its_end_leaves_it_dead,
		who_closes_what_it_adopted_did_not_die,
		who_closes_its_share_takes_none_of_the_others,
		an_end_that_others_closed_is_none_of_its_adopters,
		an_end_is_handed_from_one_coroutine_to_the_next,
		each_owner_may_be_adopted_by_another_coroutine,
		who_adopts_twice_what_has_one_owner_owns_it_once,
		callbacks_run_once_in_the_order_in_which_they_were_asked_for,
		callbacks_are_told_of_death_and_of_the_end_of_the_hub,
		callbacks_may_close_other_ends_also_when_the_hub_ends,
		what_is_buffered_when_the_receiver_closes_is_given_to_on_drop,
		an_item_that_a_waiting_sender_still_has_is_not_dropped,
		a_broadcast_drops_what_nobody_will_get,
		nobody_owns_no_end,
		what_main_has_adopted_goes_with_the_hub,
		an_owner_that_failed_tells_the_other_side,
	};

	return suite_run("life", tests, SUITE_COUNT(tests));
}
