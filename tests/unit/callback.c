/* SPDX-License-Identifier: MIT */
/*
 * Callback - what functions may do that ends call: close any end, these ones too, and switch
 */
#include <stddef.h>
#include <stdlib.h>

#include "client/message/life.h"
#include "tests/unit/actors.h"

NO_CONNECTIONS

/* An item that owns ends: who drops it closes them. */
typedef struct ends {
	vn_tx *tx;
	vn_rx *rx;
} ends;

static void
ends_drop(void *arg, void *item)
{
	const ends *e = item;

	++*(int *)arg;
	vn_close(e->rx);
	vn_close(e->tx); /* the item is still there */
}

static int
send_ends(vn_tx *tx, vn_tx *owned_tx, vn_rx *owned_rx)
{
	ends e = {owned_tx, owned_rx};

	return vn_send(tx, &e);
}

START_TEST(a_dropped_item_may_close_the_subscriber_that_is_next)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_tx *tx = vn_broadcast(h, ends);
	vn_rx *a = vn_subscribe_with(tx, VN_DROP_NEWEST, 1),
	      *b = vn_subscribe_with(tx, VN_BLOCK, 2), *c = vn_subscribe_with(tx, VN_BLOCK, 2);
	int n = 0;
	ends e;

	vn_on_drop(a, ends_drop, &n);
	ck_assert_int_eq(send_ends(tx, NULL, NULL), 0);
	ck_assert_int_eq(send_ends(tx, NULL, b), 0);
	ck_assert_int_eq(n, 1);
	ck_assert_uint_eq(vn_subscribers(tx), 2);
	ck_assert_int_eq(vn_recv(c, &e), 0);
	ck_assert_int_eq(vn_recv(c, &e), 0);
	ck_assert_ptr_eq(e.rx, b);
	vn_close(a);
	vn_close(c);
	vn_close(tx);
	ck_assert_ptr_null(h->owned);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_dropped_item_may_close_its_own_subscriber)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_tx *tx = vn_broadcast(h, ends);
	vn_rx *a = vn_subscribe_with(tx, VN_DROP_OLDEST, 1);
	int n = 0;

	vn_on_drop(a, ends_drop, &n);
	ck_assert_int_eq(send_ends(tx, NULL, a), 0);
	ck_assert_int_eq(send_ends(tx, NULL, NULL), 0);
	ck_assert_int_eq(n, 1);
	ck_assert_uint_eq(vn_subscribers(tx), 0);
	vn_close(tx);
	ck_assert_ptr_null(h->owned);
	vn_hub_close(h);
}
END_TEST

START_TEST(a_dropped_item_may_close_its_broadcast)
{
	for (int policy = VN_DROP_OLDEST; policy <= VN_DISCONNECT; policy++) {
		world w;
		vn_hub *h = world_open(&w);
		vn_tx *tx = vn_broadcast(h, ends);
		vn_rx *a = vn_subscribe_with(tx, VN_DROP_NEWEST, 1),
		      *b = vn_subscribe_with(tx, policy, 1);
		int n = 0;
		ends e;

		vn_on_drop(a, ends_drop, &n);
		ck_assert_int_eq(send_ends(tx, NULL, NULL), 0);
		ck_assert_int_eq(send_ends(tx, tx, NULL), 0);
		ck_assert_int_eq(n, 1);
		ck_assert_int_eq(vn_recv(b, &e), 0);
		ck_assert_ptr_null(e.tx);
		ck_assert_int_eq(vn_recv(b, &e), -EPIPE);
		vn_close(a);
		vn_close(b);
		ck_assert_ptr_null(h->owned);
		vn_hub_close(h);
	}
}
END_TEST

typedef struct subscribing {
	vn_tx *tx;
	vn_rx *rx;
} subscribing;

static void
subscribe(void *arg, void *item)
{
	subscribing *s = arg;

	(void)item;
	s->rx = vn_subscribe_with(s->tx, VN_BLOCK, 1);
}

START_TEST(who_subscribes_while_an_item_is_dropped_gets_the_next_one)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_tx *tx = vn_broadcast(h, long);
	vn_rx *a = vn_subscribe_with(tx, VN_DROP_NEWEST, 1);
	subscribing s = {.tx = tx};
	long item;

	vn_subscribe_with(tx, VN_BLOCK, 3);
	vn_on_drop(a, subscribe, &s);
	ck_assert_int_eq(vn_send(tx, &(long){1}), 0);
	ck_assert_int_eq(vn_send(tx, &(long){2}), 0);
	vn_on_drop(a, NULL, NULL);
	ck_assert_int_eq(vn_send(tx, &(long){3}), 0);
	ck_assert_ptr_nonnull(s.rx);
	ck_assert_int_eq(vn_recv(s.rx, &item), 0);
	ck_assert_int_eq(item, 3);
	vn_hub_close(h);
}
END_TEST

START_TEST(what_is_dropped_with_the_hub_may_close_the_ends_it_lay_between)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_queue(h, ends, 3);
	vn_tx *tx = vn_broadcast(h, ends);
	vn_rx *rx = vn_subscribe_with(tx, VN_BLOCK, 3);
	int n = 0, m = 0;

	vn_on_drop(p.rx, ends_drop, &n);
	ck_assert_int_eq(send_ends(p.tx, p.tx, p.rx), 0);
	ck_assert_int_eq(send_ends(p.tx, NULL, NULL), 0);
	vn_on_drop(rx, ends_drop, &m);
	ck_assert_int_eq(send_ends(tx, tx, rx), 0);
	ck_assert_int_eq(send_ends(tx, NULL, NULL), 0);
	vn_hub_close(h);
	ck_assert_int_eq(n, 2);
	ck_assert_int_eq(m, 2);
}
END_TEST

START_TEST(what_is_dropped_by_closing_may_close_the_other_end)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, ends), q = vn_queue(h, ends, 3), r = vn_pipe(h, ends);
	int n = 0;

	vn_on_drop(r.rx, ends_drop, &n);
	ck_assert_int_eq(vn_pipe_to(p.rx, q.tx), 0);
	ck_assert_int_eq(vn_pipe_to(q.rx, r.tx), 0);
	ck_assert_int_eq(send_ends(p.tx, p.tx, NULL), 0);
	ck_assert_int_eq(send_ends(p.tx, NULL, NULL), 0);
	vn_close(r.rx);
	ck_assert_int_eq(n, 2);
	ck_assert_ptr_null(h->owned);
	vn_hub_close(h);
}
END_TEST

/* Two ends that close together, whichever is closed first. */
static void
tx_close_once(void *arg, int how)
{
	vn_tx **tx = arg, *it = *tx;

	(void)how;
	*tx = NULL;
	vn_close(it);
}

START_TEST(two_ends_may_close_each_other)
{
	for (int with_hub = 0; with_hub < 2; with_hub++) {
		world w;
		vn_hub *h = world_open(&w);
		vn_pair p = vn_pipe(h, long), q = vn_pipe(h, long);

		for (int i = 0; i < 2; i++) {
			ck_assert_int_eq(vn_on_close(p.tx, tx_close_once, &q.tx), 0);
			ck_assert_int_eq(vn_on_close(q.tx, tx_close_once, &p.tx), 0);
		}
		if (!with_hub) {
			tx_close_once(&p.tx, 0);
			ck_assert_ptr_null(q.tx);
			vn_close(p.rx);
			vn_close(q.rx);
			ck_assert_ptr_null(h->owned);
		}
		vn_hub_close(h);
		ck_assert_ptr_null(p.tx);
		ck_assert_ptr_null(q.tx);
	}
}
END_TEST

/* Tells somebody who waits for it, without waiting; and somebody switches. */
typedef struct teller {
	vn_hub *hub;
	vn_pair to;
	long n_told;
} teller;

static void
tell(teller *t)
{
	long n = t->n_told + 1;

	if (vn_select(t->hub, VN_SEND(t->to.tx, &n), VN_ELSE) == 0)
		t->n_told++;
}

static void
tell_close(void *arg, int how)
{
	(void)how;
	tell(arg);
}

static void
tell_drop(void *arg, void *item)
{
	(void)item;
	tell(arg);
}

static int
hears(vn_hub *h, void *arg)
{
	teller *t = arg;
	long n;

	while (vn_recv(t->to.rx, &n) == 0)
		let_run(h);
	return 0;
}

static teller
teller_start(vn_hub *h)
{
	return (teller){.hub = h, .to = vn_pipe(h, long)};
}

static int
adopts(vn_hub *h, void *arg)
{
	ck_assert_int_eq(vn_adopt((vn_tx *)arg), 0);
	return vn_yield(h);
}

START_TEST(an_adopter_may_return_while_a_callback_runs)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_pipe(h, long);
	teller t = teller_start(h);

	start(h, hears, &t);
	start(h, adopts, p.tx);
	ck_assert_int_eq(vn_on_close(p.tx, tell_close, &t), 0);
	vn_close(p.tx);
	ck_assert_int_eq(t.n_told, 1);
	let_run(h);
	vn_hub_close(h);
}
END_TEST

/* Its item is gone as soon as the send has returned. */
static int
sends_once(vn_hub *h, void *arg)
{
	actor *a = arg;
	long *item = malloc(sizeof *item), other;
	vn_pair p = vn_pipe(h, long);

	*item = a->item;
	a->index = vn_select(h, VN_RECV(p.rx, &other), VN_SEND(a->tx, item));
	free(item);
	a->done = true;
	return 0;
}

START_TEST(a_sender_is_there_until_its_item_was_given_to_all)
{
	world w;
	vn_hub *h = world_open(&w);
	teller t = teller_start(h);
	vn_tx *tx = vn_broadcast(h, long);
	vn_rx *a = vn_subscribe_with(tx, VN_DROP_NEWEST, 1), *b = vn_subscribe(tx),
	      *c = vn_subscribe_with(tx, VN_DROP_OLDEST, 1),
	      *d = vn_subscribe_with(tx, VN_BLOCK, 5);
	long item;

	vn_on_drop(a, tell_drop, &t);
	start(h, hears, &t);
	for (long i = 1; i <= 3; i++) {
		actor s = {.tx = tx, .item = i};

		start(h, sends_once, &s);
		ck_assert(!s.done);
		ck_assert_int_eq(vn_recv(b, &item), 0);
		ck_assert_int_eq(item, i);
		let_run(h);
		ck_assert(s.done);
		ck_assert_int_eq(s.index, 1);
		ck_assert_int_eq(vn_recv(d, &item), 0);
		ck_assert_int_eq(item, i);
	}
	ck_assert_int_eq(t.n_told, 2);
	ck_assert_int_eq(vn_recv(a, &item), 0);
	ck_assert_int_eq(item, 1);
	ck_assert_int_eq(vn_recv(c, &item), 0);
	ck_assert_int_eq(item, 3);
	vn_hub_close(h);
}
END_TEST

static bool
is_aligned(const void *item)
{
	return (uintptr_t)item % _Alignof(max_align_t) == 0;
}

static int
note_alignment(const void *in, void *out, void *arg)
{
	memcpy(out, in, sizeof(max_align_t));
	*(bool *)arg = is_aligned(in) && is_aligned(out);
	return 0;
}

static void
note_alignment_of_drop(void *arg, void *item)
{
	*(bool *)arg = is_aligned(item);
}

START_TEST(functions_find_their_items_aligned_for_anything)
{
	world w;
	vn_hub *h = world_open(&w);
	vn_pair p = vn_queue(h, max_align_t, 2), q = vn_channel(h, max_align_t, 1);
	vn_rx *mapped;
	max_align_t item = {0};
	bool map_is = false, drop_is = false;

	mapped = vn_map(p.rx, max_align_t, note_alignment, &map_is);
	ck_assert_int_eq(vn_send(p.tx, &item), 0);
	ck_assert_int_eq(vn_recv(mapped, &item), 0);
	ck_assert(map_is);
	p = vn_queue(h, max_align_t, 2);
	vn_on_drop(p.rx, note_alignment_of_drop, &drop_is);
	ck_assert_int_eq(vn_pipe_to(p.rx, q.tx), 0); /* carried */
	ck_assert_int_eq(vn_send(p.tx, &item), 0);
	ck_assert_int_eq(vn_send(p.tx, &item), 0);
	let_run(h);
	vn_close(q.rx);
	let_run(h);
	ck_assert(drop_is);
	vn_hub_close(h);
}
END_TEST

/* Random things are done to random ends, and in callbacks again. That nothing is touched when it is gone is for the
 * sanitizers to see. */

enum { PLAY_ENDS = 40, PLAY_DEEP = 6 };

typedef struct play {
	vn_hub *hub;
	uint64_t random;
	int depth;
	long n_called;
	vn_tx *tx[PLAY_ENDS];
	vn_rx *rx[PLAY_ENDS];
} play;

static size_t
play_any(play *p, size_t n)
{
	return (suite_random(&p->random) >> 20) % n;
}

static void play_on(play *p);

static void
play_called(play *p)
{
	p->n_called++;
	if (p->depth == PLAY_DEEP)
		return;
	p->depth++;
	play_on(p);
	play_on(p);
	p->depth--;
}

static void
play_closed(void *arg, int how)
{
	(void)how;
	play_called(arg);
}

static void
play_dropped(void *arg, void *item)
{
	long before = *(long *)item;

	play_called(arg);
	suite_assert(*(long *)item == before);
}

static void
play_close_tx(play *p, size_t i)
{
	vn_tx *tx = p->tx[i];

	p->tx[i] = NULL;
	vn_close(tx);
}

static void
play_close_rx(play *p, size_t i)
{
	vn_rx *rx = p->rx[i];

	p->rx[i] = NULL;
	vn_close(rx);
}

static void
play_put(play *p, size_t i, vn_pair pair)
{
	vn_tx *tx = p->tx[i];
	vn_rx *rx = p->rx[i];

	if (pair.tx)
		p->tx[i] = pair.tx;
	if (pair.rx)
		p->rx[i] = pair.rx;
	if (pair.tx)
		vn_close(tx);
	if (pair.rx)
		vn_close(rx);
}

static vn_pair
play_pair(play *p)
{
	vn_hub *h = p->hub;
	vn_pair broadcast = {NULL, NULL};

	switch (play_any(p, 6)) {
	case 0:
		return vn_pipe(h, long);
	case 1:
		return vn_queue(h, long, 1 + play_any(p, 3));
	case 2:
		return vn_channel(h, long, play_any(p, 3));
	case 3:
		return vn_state(h, long);
	default:
		broadcast.tx = vn_broadcast(h, long);
		return broadcast;
	}
}

static int
play_map(const void *in, void *out, void *arg)
{
	memcpy(out, in, sizeof(long));
	return play_any(arg, 4) == 0 ? -EIO : 0;
}

static void
play_join(play *p, size_t i, size_t k)
{
	vn_rx *rx = p->rx[k];
	vn_tx *tx = p->tx[i];

	p->rx[k] = NULL;
	if (tx && play_any(p, 2)) {
		p->tx[i] = NULL;
		vn_pipe_to(rx, tx);
	} else {
		play_put(p, k, (vn_pair){.rx = vn_map(rx, long, play_map, p)});
	}
}

static void
play_on(play *p)
{
	size_t i = play_any(p, PLAY_ENDS), k = play_any(p, PLAY_ENDS);
	vn_rx *subscriber;
	long item = 1;

	switch (play_any(p, 12)) {
	case 0:
		play_put(p, i, play_pair(p));
		break;
	case 1:
	case 2:
		subscriber = vn_subscribe_with(p->tx[i], (int)play_any(p, 4), 1 + play_any(p, 2));
		play_put(p, k, (vn_pair){.rx = subscriber});
		break;
	case 3:
		play_close_tx(p, i);
		break;
	case 4:
		play_close_rx(p, i);
		break;
	case 5:
		vn_on_close(p->tx[i], play_closed, p);
		vn_on_close(p->rx[k], play_closed, p);
		break;
	case 6:
		vn_on_drop(p->tx[i], play_dropped, p);
		vn_on_drop(p->rx[k], play_dropped, p);
		break;
	case 7:
		if (p->rx[k])
			play_join(p, i, k);
		break;
	case 8:
		vn_select(p->hub, VN_RECV(p->rx[i], &item), VN_ELSE);
		break;
	default:
		vn_select(p->hub, VN_SEND(p->tx[i], &item), VN_ELSE);
	}
}

START_TEST(whatever_callbacks_do_to_whatever_ends_no_end_is_touched_when_it_is_gone)
{
	long n_called = 0;

	for (uint64_t seed = 1; seed <= 1000; seed++) {
		world w;
		play p = {.hub = world_open(&w), .random = seed * UINT64_C(0x9e3779b97f4a7c15)};

		for (int i = 0; i < 400; i++) {
			play_on(&p);
			if (play_any(&p, 5) == 0)
				vn_yield(p.hub);
		}
		vn_hub_close(p.hub);
		n_called += p.n_called;
	}
	ck_assert_int_gt(n_called, 10000);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		a_dropped_item_may_close_the_subscriber_that_is_next,
		a_dropped_item_may_close_its_own_subscriber,
		a_dropped_item_may_close_its_broadcast,
		who_subscribes_while_an_item_is_dropped_gets_the_next_one,
		what_is_dropped_with_the_hub_may_close_the_ends_it_lay_between,
		what_is_dropped_by_closing_may_close_the_other_end,
		two_ends_may_close_each_other,
		an_adopter_may_return_while_a_callback_runs,
		a_sender_is_there_until_its_item_was_given_to_all,
		functions_find_their_items_aligned_for_anything,
		whatever_callbacks_do_to_whatever_ends_no_end_is_touched_when_it_is_gone,
	};

	return suite_run("callback", tests, SUITE_COUNT(tests));
}
