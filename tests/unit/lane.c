/* SPDX-License-Identifier: MIT */
/*
 * Lane - order, room, bells counted exactly, cursors that lie, threads that sleep, and a kill at
 * any instruction
 *
 * Most tests hold both sides in one thread, so that each step is theirs. Where there are two
 * threads, both use one mapping: ThreadSanitizer knows memory by its address, so it would see
 * nothing of a race through two.
 */
#include "shm/lane.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/bell.h"
#include "shm/layout.h"
#include "shm/segment.h"
#include "tests/unit/suite.h"

#define WATCHDOG_MS 60000 /* both sides asleep for ever, not a slow machine */

/* Two segments without an area, in memory that a forked child shares. */
typedef struct pair {
	vn_segment producer, consumer;
	vn_lane_tx tx;
	vn_lane_rx rx;
} pair;

static vn_segment
bare_segment(uint32_t n_slots)
{
	vn_segment s = {.fd = -1, .writable = true, .geometry = {n_slots, 0}};

	s.size = sizeof(vn_segment_layout) + n_slots * sizeof(vn_desc);
	s.base = mmap(NULL, s.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(s.base, MAP_FAILED);
	ck_assert_int_eq(vn_segment_claim(&s, 1), 0);
	return s;
}

static void
pair_init(pair *p, uint32_t n_slots)
{
	p->producer = bare_segment(n_slots);
	p->consumer = bare_segment(n_slots);
	vn_lane_tx_init(&p->tx, &p->producer, &p->consumer);
	vn_lane_rx_init(&p->rx, &p->consumer, &p->producer);
}

static void
pair_deinit(pair *p)
{
	vn_segment_deinit(&p->producer);
	vn_segment_deinit(&p->consumer);
}

static vn_segment_layout *
layout(vn_segment *s)
{
	return (void *)s->base;
}

/* Every word of it follows from its number, so a torn or stale one shows. */
static vn_desc
desc(uint64_t i)
{
	vn_desc d = {.kind = VN_KIND_SEND, .flags = (uint8_t)i, .arg = (uint16_t)i};

	d.len = (uint32_t)i;
	d.conn = (uint32_t)(i >> 32);
	d.gen = ~(uint32_t)i;
	d.pos = i;
	d.block = (uint32_t)(i * 3);
	d.offset = (uint32_t)(i * 5);
	d.report = ~i;
	d.peer.family = (uint16_t)i;
	d.peer.scope = (uint32_t)i;
	memcpy(d.peer.addr, &i, sizeof i);
	memcpy(d.peer.addr + sizeof i, &i, sizeof i);
	return d;
}

static bool
desc_is(const vn_desc *d, uint64_t i)
{
	vn_desc wanted = desc(i);

	return memcmp(d, &wanted, sizeof wanted) == 0;
}

static void
push(pair *p, uint64_t first, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		vn_desc d = desc(first + i);

		suite_assert(vn_lane_tx_has(&p->tx, 1));
		vn_lane_tx_push(&p->tx, &d);
	}
}

static void
take(pair *p, uint64_t first, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		vn_desc d;

		suite_assert(vn_lane_rx_take(&p->rx, &d, 1) == 1);
		suite_assert(desc_is(&d, first + i));
	}
}

START_TEST(descriptors_arrive_once_and_in_order_across_the_wrap)
{
	uint64_t seed = 7, sent = 0, got = 0, n_all = (uint64_t)SUITE_TIMES(1000000);
	vn_desc out[16];
	pair p;

	pair_init(&p, 8);
	ck_assert_uint_eq(p.tx.next, 0xfffffff0u);
	while (got < n_all) {
		uint32_t n = (uint32_t)(suite_random(&seed) % 9);
		int taken;

		for (; n > 0 && vn_lane_tx_has(&p.tx, 1); n--)
			push(&p, sent++, 1);
		if (suite_random(&seed) & 1)
			vn_lane_tx_flush(&p.tx);
		taken = vn_lane_rx_take(&p.rx, out, (uint32_t)(suite_random(&seed) % 16));
		suite_assert(taken >= 0);
		for (int i = 0; i < taken; i++)
			suite_assert(desc_is(&out[i], got++));
		if (suite_random(&seed) & 1)
			vn_lane_rx_release(&p.rx);
	}
	ck_assert_uint_le(p.tx.n_bells, p.tx.n_flushes);
	pair_deinit(&p);
}
END_TEST

START_TEST(a_batch_is_invisible_until_it_is_flushed)
{
	vn_desc out[8];
	pair p;

	pair_init(&p, 8);
	push(&p, 0, 5);
	ck_assert_uint_eq(vn_lane_tx_staged(&p.tx), 5);
	ck_assert_int_eq(vn_lane_rx_pending(&p.rx), 0);
	ck_assert_int_eq(vn_lane_rx_take(&p.rx, out, 8), 0);
	vn_lane_tx_flush(&p.tx);
	ck_assert_uint_eq(vn_lane_tx_staged(&p.tx), 0);
	ck_assert_int_eq(vn_lane_rx_pending(&p.rx), 1);
	ck_assert_int_eq(vn_lane_rx_take(&p.rx, out, 8), 5);
	ck_assert_int_eq(vn_lane_rx_pending(&p.rx), 0);
	pair_deinit(&p);
}
END_TEST

START_TEST(a_take_gives_no_more_than_it_has_room_for)
{
	vn_desc out[8];
	pair p;

	pair_init(&p, 8);
	push(&p, 0, 8);
	vn_lane_tx_flush(&p.tx);
	memset(out, 0x5a, sizeof out);
	ck_assert_int_eq(vn_lane_rx_take(&p.rx, out, 3), 3);
	ck_assert_uint_eq(out[3].kind, 0x5a);
	ck_assert_int_eq(vn_lane_rx_pending(&p.rx), 1);
	take(&p, 3, 5);
	pair_deinit(&p);
}
END_TEST

START_TEST(all_slots_are_usable)
{
	pair p;

	pair_init(&p, 64);
	ck_assert_uint_eq(vn_lane_tx_room(&p.tx), 64);
	ck_assert(!vn_lane_tx_has(&p.tx, 65));
	push(&p, 0, 64);
	ck_assert_uint_eq(vn_lane_tx_room(&p.tx), 0);
	ck_assert(!vn_lane_tx_has(&p.tx, 1));
	vn_lane_tx_flush(&p.tx);
	take(&p, 0, 64);
	pair_deinit(&p);
}
END_TEST

START_TEST(taken_slots_are_free_only_when_they_are_released)
{
	pair p;

	pair_init(&p, 4);
	push(&p, 0, 4);
	vn_lane_tx_flush(&p.tx);
	take(&p, 0, 3);
	ck_assert(!vn_lane_tx_has(&p.tx, 1));
	vn_lane_rx_release(&p.rx);
	ck_assert_uint_eq(vn_lane_tx_room(&p.tx), 0); /* nobody looked yet */
	ck_assert(vn_lane_tx_has(&p.tx, 3));
	ck_assert(!vn_lane_tx_has(&p.tx, 4));
	pair_deinit(&p);
}
END_TEST

START_TEST(the_first_flush_rings_and_no_other_until_armed)
{
	pair p;

	pair_init(&p, 64);
	ck_assert(!vn_lane_tx_flush(&p.tx)); /* nothing to publish */
	push(&p, 0, 1);
	ck_assert(vn_lane_tx_flush(&p.tx));
	for (uint32_t i = 1; i < 20; i++) {
		push(&p, i, 1);
		ck_assert(!vn_lane_tx_flush(&p.tx));
	}
	take(&p, 0, 20);
	push(&p, 20, 1);
	ck_assert(!vn_lane_tx_flush(&p.tx)); /* awake: it did not arm */
	take(&p, 20, 1);
	ck_assert(vn_lane_rx_arm(&p.rx));
	push(&p, 21, 3);
	ck_assert(vn_lane_tx_flush(&p.tx));
	ck_assert_uint_eq(p.tx.n_bells, 2);
	ck_assert_uint_eq(p.tx.n_flushes, 22);
	pair_deinit(&p);
}
END_TEST

START_TEST(one_bell_for_each_sleep_and_no_more)
{
	uint64_t seed = 3, sent = 0, n_sleeps = 1; /* each side is born armed */
	pair p;

	pair_init(&p, 64);
	for (int round = 0; round < 20000; round++) {
		uint64_t before = sent;

		for (uint64_t n = suite_random(&seed) % 4 + 1; n > 0; n--) {
			uint32_t batch = (uint32_t)(suite_random(&seed) % 8 + 1);

			push(&p, sent, batch);
			vn_lane_tx_flush(&p.tx);
			sent += batch;
		}
		suite_assert(p.tx.n_bells == n_sleeps);
		take(&p, before, (uint32_t)(sent - before));
		vn_lane_rx_release(&p.rx);
		if (suite_random(&seed) & 1) {
			suite_assert(vn_lane_rx_arm(&p.rx));
			n_sleeps++;
		}
	}
	pair_deinit(&p);
}
END_TEST

START_TEST(nobody_sleeps_on_what_has_arrived)
{
	pair p;

	pair_init(&p, 8);
	ck_assert(vn_lane_rx_arm(&p.rx));
	push(&p, 0, 2);
	ck_assert(vn_lane_rx_arm(&p.rx)); /* not published: the flush will ring */
	ck_assert(vn_lane_tx_flush(&p.tx));
	ck_assert(!vn_lane_rx_arm(&p.rx));
	take(&p, 0, 1);
	ck_assert(!vn_lane_rx_arm(&p.rx));
	take(&p, 1, 1);
	ck_assert(vn_lane_rx_arm(&p.rx));
	pair_deinit(&p);
}
END_TEST

START_TEST(whoever_wants_room_is_rung_when_there_is_enough)
{
	for (uint32_t n = 1; n <= 8; n++) {
		pair p;

		pair_init(&p, 8);
		push(&p, 0, 8);
		vn_lane_tx_flush(&p.tx);
		take(&p, 0, 1);
		ck_assert(vn_lane_rx_release(&p.rx)); /* born armed here too */
		vn_lane_tx_refresh(&p.tx);
		push(&p, 8, 1);
		vn_lane_tx_flush(&p.tx);
		ck_assert(!vn_lane_tx_want(&p.tx, n));
		for (uint32_t i = 1; i <= 8; i++) {
			take(&p, i, 1);
			ck_assert_int_eq(vn_lane_rx_release(&p.rx), i == n);
			ck_assert_int_eq(vn_lane_tx_has(&p.tx, n), i >= n);
		}
		ck_assert_uint_eq(p.rx.n_bells, 2);
		pair_deinit(&p);
	}
}
END_TEST

START_TEST(wanting_room_that_is_there_says_so)
{
	pair p;

	pair_init(&p, 8);
	push(&p, 0, 8);
	vn_lane_tx_flush(&p.tx);
	ck_assert(!vn_lane_tx_want(&p.tx, 1));
	take(&p, 0, 3);
	vn_lane_rx_release(&p.rx);
	ck_assert(vn_lane_tx_want(&p.tx, 1));
	ck_assert(vn_lane_tx_want(&p.tx, 3));
	ck_assert(!vn_lane_tx_want(&p.tx, 4));
	pair_deinit(&p);
}
END_TEST

START_TEST(a_release_of_nothing_rings_nobody)
{
	pair p;

	pair_init(&p, 8);
	ck_assert(!vn_lane_rx_release(&p.rx));
	ck_assert_uint_eq(p.rx.n_bells, 0);
	pair_deinit(&p);
}
END_TEST

START_TEST(a_tail_that_lies_is_refused)
{
	static const uint32_t lies[] = {
		9, 10, 1u << 31, UINT32_MAX, UINT32_MAX - 1, UINT32_MAX - 8};
	vn_desc out[16];
	pair p;

	for (size_t i = 0; i < SUITE_COUNT(lies); i++) {
		pair_init(&p, 8);
		vn_sync_publish(&layout(&p.producer)->tail, VN_CURSOR_START + lies[i]);
		ck_assert_int_eq(vn_lane_rx_pending(&p.rx), -EPROTO);
		ck_assert_int_eq(vn_lane_rx_take(&p.rx, out, 16), -EPROTO);
		ck_assert_int_eq(vn_lane_rx_take(&p.rx, out, 16), -EPROTO); /* it stays one */
		ck_assert(!vn_lane_rx_arm(&p.rx));
		pair_deinit(&p);
	}
}
END_TEST

START_TEST(a_tail_that_goes_back_is_refused)
{
	vn_desc out[16];
	pair p;

	pair_init(&p, 8);
	push(&p, 0, 5);
	vn_lane_tx_flush(&p.tx);
	take(&p, 0, 5);
	vn_sync_publish(&layout(&p.producer)->tail, VN_CURSOR_START + 4);
	ck_assert_int_eq(vn_lane_rx_take(&p.rx, out, 16), -EPROTO);
	ck_assert_int_eq(vn_lane_rx_pending(&p.rx), -EPROTO);
	pair_deinit(&p);
}
END_TEST

START_TEST(a_head_that_lies_breaks_the_lane)
{
	static const uint32_t lies[] = {4, 5, 1u << 31, UINT32_MAX, UINT32_MAX - 7};
	pair p;

	for (size_t i = 0; i < SUITE_COUNT(lies); i++) {
		pair_init(&p, 8);
		push(&p, 0, 3);
		vn_lane_tx_flush(&p.tx);
		push(&p, 3, 2); /* not published: a head beyond 3 is a lie */
		vn_sync_publish(&layout(&p.consumer)->head, VN_CURSOR_START + lies[i]);
		ck_assert_uint_eq(vn_lane_tx_refresh(&p.tx), 0);
		ck_assert(p.tx.broken);
		vn_sync_publish(&layout(&p.consumer)->head, VN_CURSOR_START + 3);
		ck_assert_uint_eq(vn_lane_tx_refresh(&p.tx), 0); /* and never trusted again */
		pair_deinit(&p);
	}
}
END_TEST

START_TEST(a_head_that_goes_back_breaks_the_lane)
{
	pair p;

	pair_init(&p, 8);
	push(&p, 0, 6);
	vn_lane_tx_flush(&p.tx);
	take(&p, 0, 6);
	vn_lane_rx_release(&p.rx);
	ck_assert_uint_eq(vn_lane_tx_refresh(&p.tx), 8);
	vn_sync_publish(&layout(&p.consumer)->head, VN_CURSOR_START + 5);
	ck_assert_uint_eq(vn_lane_tx_refresh(&p.tx), 0);
	ck_assert(p.tx.broken);
	pair_deinit(&p);
}
END_TEST

START_TEST(event_indexes_that_lie_cost_a_bell_per_flush_at_most)
{
	uint64_t seed = 11;
	pair p;

	pair_init(&p, 8);
	for (uint64_t i = 0; i < 20000; i++) {
		vn_sync_publish(&layout(&p.consumer)->ev, (uint32_t)suite_random(&seed));
		vn_sync_publish(&layout(&p.producer)->space_ev, (uint32_t)suite_random(&seed));
		push(&p, i, 1);
		vn_lane_tx_flush(&p.tx);
		take(&p, i, 1);
		vn_lane_rx_release(&p.rx);
	}
	ck_assert_uint_eq(p.tx.n_flushes, 20000);
	ck_assert_uint_le(p.tx.n_bells, 20000);
	ck_assert_uint_le(p.rx.n_bells, 20000);
	ck_assert(!p.tx.broken);
	pair_deinit(&p);
}
END_TEST

START_TEST(only_open_descriptors_can_be_changed)
{
	vn_desc first = {.kind = VN_KIND_SEND, .flags = VN_RESUME, .len = 10}, got;
	uint32_t a, b;
	pair p;

	pair_init(&p, 8);
	ck_assert(!vn_lane_tx_open(&p.tx, p.tx.next));
	a = vn_lane_tx_push(&p.tx, &first);
	b = vn_lane_tx_push(&p.tx, &first);
	ck_assert(vn_lane_tx_open(&p.tx, a) && vn_lane_tx_open(&p.tx, b));
	ck_assert(!vn_lane_tx_open(&p.tx, b + 1) && !vn_lane_tx_open(&p.tx, a - 1));
	vn_lane_tx_extend(&p.tx, a, 7);
	vn_lane_tx_amend(&p.tx, b, VN_ACK | VN_COMMIT, 42, (vn_desc_times){7, 8});
	vn_lane_tx_flush(&p.tx);
	ck_assert(!vn_lane_tx_open(&p.tx, a) && !vn_lane_tx_open(&p.tx, b));
	ck_assert_int_eq(vn_lane_rx_take(&p.rx, &got, 1), 1);
	ck_assert_uint_eq(got.len, 17);
	ck_assert_uint_eq(got.flags, VN_RESUME);
	ck_assert_uint_eq(got.report, 0);
	ck_assert_int_eq(vn_lane_rx_take(&p.rx, &got, 1), 1);
	ck_assert_uint_eq(got.len, 10);
	ck_assert_uint_eq(got.flags, VN_RESUME | VN_ACK | VN_COMMIT);
	ck_assert_uint_eq(got.report, 42);
	pair_deinit(&p);
}
END_TEST

/* A producer and a consumer that sleep when they have nothing to do, or only yield. */
typedef struct race {
	pair lane;
	uint64_t n_all;
	bool sleeps;
	int to_consumer[2], to_producer; /* bells, the kinds that a link has */
	int consumer_epoll, producer_epoll;
	bool lost; /* a wake-up */
} race;

static int
watch(int fd)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET};
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	ck_assert_int_ge(epoll, 0);
	ck_assert_int_eq(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), 0);
	return epoll;
}

static bool
nap(int epoll)
{
	struct epoll_event event;
	int n;

	do
		n = epoll_wait(epoll, &event, 1, WATCHDOG_MS);
	while (n < 0 && errno == EINTR);
	return n == 1;
}

/* Waits until there may be room for n. */
static bool
await_room(race *r, uint32_t n)
{
	vn_lane_tx *tx = &r->lane.tx;

	if (!r->sleeps)
		sched_yield();
	else if (!vn_lane_tx_want(tx, n) && !nap(r->producer_epoll))
		return false;
	return true;
}

static void
race_flush(race *r)
{
	if (vn_lane_tx_flush(&r->lane.tx))
		vn_bell_ring(r->to_consumer[1]);
}

static void *
produce(void *context)
{
	race *r = context;
	uint64_t seed = 5, i = 0;

	while (i < r->n_all) {
		uint64_t batch = suite_random(&seed) % 6 + 1;
		uint32_t room = (uint32_t)(suite_random(&seed) % (r->lane.tx.mask + 1) + 1);

		while (!vn_lane_tx_has(&r->lane.tx, room))
			if (!await_room(r, room)) {
				r->lost = true;
				return NULL;
			}
		for (; batch > 0 && i < r->n_all && vn_lane_tx_has(&r->lane.tx, 1); batch--) {
			vn_desc d = desc(i++);

			vn_lane_tx_push(&r->lane.tx, &d);
		}
		race_flush(r);
	}
	return NULL;
}

static bool
await_news(race *r)
{
	if (!r->sleeps)
		sched_yield();
	else if (vn_lane_rx_arm(&r->lane.rx) && !nap(r->consumer_epoll))
		return false;
	return true;
}

static uint64_t
consume(race *r)
{
	uint64_t got = 0, seed = 9, n_drains = 0;
	vn_desc out[8];

	while (got < r->n_all) {
		int n = vn_lane_rx_take(&r->lane.rx, out, (uint32_t)(suite_random(&seed) % 8 + 1));

		suite_assert(n >= 0);
		for (int i = 0; i < n; i++)
			suite_assert(desc_is(&out[i], got++));
		if (vn_lane_rx_release(&r->lane.rx))
			vn_bell_ring(r->to_producer);
		if (n > 0)
			continue;
		if (!await_news(r))
			return got;
		if (++n_drains % 1000 == 0)
			vn_bell_drain(r->to_consumer[0]);
	}
	return got;
}

static void
race_run(uint32_t n_slots, uint64_t n_all, bool sleeps)
{
	race r = {.n_all = n_all, .sleeps = sleeps};
	pthread_t thread;

	pair_init(&r.lane, n_slots);
	ck_assert_int_eq(vn_bell_pipe(r.to_consumer), 0);
	r.to_producer = vn_bell_eventfd();
	r.consumer_epoll = watch(r.to_consumer[0]);
	r.producer_epoll = watch(r.to_producer);
	ck_assert_int_eq(pthread_create(&thread, NULL, produce, &r), 0);
	ck_assert_uint_eq(consume(&r), n_all);
	pthread_join(thread, NULL);
	ck_assert(!r.lost);
	ck_assert(!r.lane.tx.broken);
	ck_assert_uint_le(r.lane.tx.n_bells, r.lane.tx.n_flushes);
	pair_deinit(&r.lane);
	close(r.to_consumer[0]);
	close(r.to_consumer[1]);
	close(r.to_producer);
	close(r.consumer_epoll);
	close(r.producer_epoll);
}

START_TEST(millions_pass_between_threads_untorn)
{
	race_run(64, (uint64_t)SUITE_TIMES(4000000), false);
}
END_TEST

START_TEST(a_lane_of_four_slots_works_as_well)
{
	race_run(4, (uint64_t)SUITE_TIMES(400000), false);
}
END_TEST

START_TEST(no_wake_up_is_lost_when_both_sides_sleep)
{
	race_run(4, (uint64_t)SUITE_TIMES(200000), true);
	race_run(64, (uint64_t)SUITE_TIMES(1000000), true);
}
END_TEST

/* The child publishes for ever: batch k has k % 7 + 1 descriptors, with k in conn. */
static void
produce_until_killed(pair *p)
{
	for (uint64_t batch = 0, i = 0;; batch++) {
		uint32_t n = (uint32_t)(batch % 7 + 1);

		while (!vn_lane_tx_has(&p->tx, n))
			sched_yield();
		for (uint32_t k = 0; k < n; k++) {
			vn_desc d = desc(i++);

			d.conn = (uint32_t)batch;
			vn_lane_tx_push(&p->tx, &d);
		}
		vn_lane_tx_flush(&p->tx);
	}
}

/* Takes what there is; whole batches only. Returns how many descriptors came. */
static uint64_t
take_batches(pair *p, uint64_t *batch, uint64_t *i, uint32_t *in_batch)
{
	uint64_t before = *i;
	vn_desc d;

	while (vn_lane_rx_take(&p->rx, &d, 1) == 1) {
		suite_assert(d.conn == (uint32_t)*batch);
		d.conn = (uint32_t)(*i >> 32);
		suite_assert(desc_is(&d, *i));
		++*i;
		if (++*in_batch == *batch % 7 + 1) {
			*in_batch = 0;
			++*batch;
		}
	}
	vn_lane_rx_release(&p->rx);
	return *i - before;
}

START_TEST(a_producer_killed_anywhere_leaves_whole_batches)
{
	uint64_t seed = 13;

	for (int round = 0; round < SUITE_TIMES(100); round++) {
		uint64_t batch = 0, i = 0, n_before_kill = suite_random(&seed) % 20000;
		uint32_t in_batch = 0;
		pair p;
		pid_t child;

		pair_init(&p, 16);
		child = fork();
		ck_assert_int_ge(child, 0);
		if (child == 0)
			produce_until_killed(&p);
		while (i < n_before_kill)
			if (take_batches(&p, &batch, &i, &in_batch) == 0)
				sched_yield();
		ck_assert_int_eq(kill(child, SIGKILL), 0);
		ck_assert_int_eq(waitpid(child, NULL, 0), child);
		take_batches(&p, &batch, &i, &in_batch); /* the final drain */
		ck_assert_uint_eq(in_batch, 0);
		ck_assert_int_eq(vn_lane_rx_pending(&p.rx), 0);
		pair_deinit(&p);
	}
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		descriptors_arrive_once_and_in_order_across_the_wrap,
		a_batch_is_invisible_until_it_is_flushed,
		a_take_gives_no_more_than_it_has_room_for,
		all_slots_are_usable,
		taken_slots_are_free_only_when_they_are_released,
		the_first_flush_rings_and_no_other_until_armed,
		one_bell_for_each_sleep_and_no_more,
		nobody_sleeps_on_what_has_arrived,
		whoever_wants_room_is_rung_when_there_is_enough,
		wanting_room_that_is_there_says_so,
		a_release_of_nothing_rings_nobody,
		a_tail_that_lies_is_refused,
		a_tail_that_goes_back_is_refused,
		a_head_that_lies_breaks_the_lane,
		a_head_that_goes_back_breaks_the_lane,
		event_indexes_that_lie_cost_a_bell_per_flush_at_most,
		only_open_descriptors_can_be_changed,
		millions_pass_between_threads_untorn,
		a_lane_of_four_slots_works_as_well,
		no_wake_up_is_lost_when_both_sides_sleep,
		a_producer_killed_anywhere_leaves_whole_batches,
	};

	return suite_run("lane", tests, SUITE_COUNT(tests));
}
