/* SPDX-License-Identifier: MIT */
/*
 * Words - what programs in Go, with libdill, and in Python's Vanilla say, said here
 *
 * Each line of the table in client/message/README.md is written out here, with the public header alone. The last
 * tests are what the Python library showed of itself.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include <vanilla.h>

#include "tests/unit/suite.h"

static vn_hub *
hub_open(void)
{
	vn_hub *h = vn_hub_new();

	ck_assert_ptr_nonnull(h);
	return h;
}

typedef struct point {
	int x, y;
} point;

/* Functions to spawn */

static int
count(vn_hub *h, void *arg)
{
	(void)h;
	++*(int *)arg;
	return 0;
}

static int
wait_for_ever(vn_hub *h, void *arg)
{
	(void)arg;
	return vn_sleep(h, VN_NEVER);
}

static int
go_wrong(vn_hub *h, void *arg)
{
	(void)arg;
	return vn_sleep(h, VN_MS) < 0 ? 0 : -EIO;
}

static int
send_three(vn_hub *h, void *arg)
{
	vn_tx *tx = arg;

	(void)h;
	for (long i = 1; i <= 3; i++)
		if (vn_send(tx, &i) < 0)
			break;
	return vn_close(tx);
}

static int
adopt_and_return(vn_hub *h, void *arg)
{
	vn_adopt((vn_tx *)arg);
	return vn_sleep(h, VN_MS);
}

static int
adopt_rx_and_return(vn_hub *h, void *arg)
{
	vn_adopt((vn_rx *)arg);
	return vn_sleep(h, VN_MS);
}

static int
twice(vn_hub *h, void *arg)
{
	(void)h;
	return 2 * *(int *)arg;
}

/* Go */

START_TEST(go_and_channels)
{
	vn_hub *h = hub_open();
	int n = 0;
	long v = 7, sum = 0;
	point corner;
	vn_pair c = vn_channel(h, long, 0), buffered = vn_channel(h, point, 10);

	vn_spawn(h, count, &n); /* go count(&n) */
	vn_yield(h);            /* runtime.Gosched() */
	ck_assert_int_eq(n, 1);
	ck_assert_int_eq(vn_send(buffered.tx, &(point){1, 2}), 0);
	ck_assert_int_eq(vn_recv(buffered.rx, &corner), 0);
	ck_assert_int_eq(corner.y, 2);
	vn_spawn(h, send_three, c.tx);
	while (vn_recv(c.rx, &v) == 0) /* for v := range c */
		sum += v;
	ck_assert_int_eq(sum, 6);
	ck_assert_int_eq(vn_recv(c.rx, &v), -EPIPE); /* v, ok := <-c; !ok */
	vn_close(buffered.rx);
	ck_assert_int_eq(vn_send(buffered.tx, &corner), -EPIPE); /* no panic */
	vn_hub_free(h);
}
END_TEST

START_TEST(go_select_and_time)
{
	vn_hub *h = hub_open();
	long v = 7;
	int n = 0, fds[2];
	vn_pair a = vn_channel(h, long, 1), b = vn_channel(h, long, 1);
	vn_alarm *later;
	vn_rx *ticker;

	ck_assert_int_eq(vn_select_random(h, VN_RECV(a.rx, &v), VN_SEND(b.tx, &v)), 1);
	ck_assert_int_eq(vn_select_random(h, VN_RECV(a.rx, &v), VN_ELSE), 1);
	ck_assert_int_eq(vn_select(h, VN_RECV(a.rx, &v), VN_AFTER(VN_MS)), 1); /* time.After */
	vn_close(a.tx);
	ck_assert_int_eq(vn_select(h, VN_RECV(a.rx, &v), VN_ELSE), 0);
	ck_assert_int_eq(vn_selected(h), -EPIPE);
	ck_assert_int_eq(vn_select(h, VN_RECV((vn_rx *)NULL, &v), VN_ELSE), 0); /* nil is ready */
	ck_assert_int_eq(vn_selected(h), -EBADF);
	later = vn_alarm_new(h, VN_SEC, count, &n); /* time.AfterFunc; t.Stop() */
	ck_assert_int_eq(vn_alarm_cancel(later), 0);
	ticker = vn_pulse(h, VN_MS, &v); /* time.NewTicker */
	ck_assert_int_eq(vn_recv(ticker, &v), 0);
	vn_close(ticker);
	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(vn_select(h, VN_FD(fds[0], VN_READABLE), VN_FD(fds[1], VN_WRITABLE)), 1);
	close(fds[0]);
	close(fds[1]);
	vn_hub_free(h);
	ck_assert_int_eq(n, 0);
}
END_TEST

START_TEST(go_contexts_and_groups)
{
	vn_hub *h = hub_open();
	int n = 0, five = 5;
	vn_group *g = vn_group_new(h); /* errgroup.WithContext, sync.WaitGroup */
	vn_pair done = vn_value(h, int);
	vn_time outer;
	vn_tx *locked;

	for (int i = 0; i < 10; i++)
		vn_group_spawn(g, count, &n);
	ck_assert_int_eq(vn_group_wait(g), 0);
	ck_assert_int_eq(n, 10);
	vn_group_spawn(g, wait_for_ever, NULL);
	vn_group_spawn(g, go_wrong, NULL);
	ck_assert_int_eq(vn_group_wait(g), -EIO);
	vn_group_free(g);
	outer = vn_timeout(h, VN_MS); /* context.WithTimeout */
	ck_assert_int_eq(vn_sleep(h, VN_SEC), -ETIMEDOUT);
	vn_deadline(h, outer);
	ck_assert_int_eq(vn_send(done.tx, &n), 0); /* close(done): everybody hears it */
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(vn_recv(done.rx, &n), 0);
	locked = vn_serialize(h, twice); /* sync.Mutex */
	ck_assert_int_eq(vn_call(locked, &five), 10);
	ck_assert_int_eq(vn_recv(vn_pipe(h, int).rx, &n), -EDEADLK); /* all goroutines are asleep */
	vn_hub_free(h);
}
END_TEST

START_TEST(go_signals_and_defer)
{
	vn_hub *h = hub_open();
	vn_rx *signals = vn_signals(h, SIGUSR1, SIGHUP); /* signal.Notify */
	vn_pair c = vn_channel(h, long, 0);
	long v;
	int signal;

	ck_assert_int_eq(kill(getpid(), SIGUSR1), 0);
	ck_assert_int_eq(vn_recv(signals, &signal), 0);
	ck_assert_int_eq(signal, SIGUSR1);
	vn_close(signals); /* signal.Stop */
	vn_spawn(h, adopt_and_return, c.tx);
	ck_assert_int_eq(vn_recv(c.rx, &v), -EOWNERDEAD); /* defer close(c), and more */
	vn_hub_free(h);
}
END_TEST

/* libdill */

START_TEST(dill_handles_and_deadlines)
{
	vn_hub *h = hub_open();
	vn_pair ch = vn_channel(h, int, 0);               /* chmake(ch) */
	vn_time before = vn_timeout(h, 10 * VN_MS), then; /* now() + 10 */
	int v = 1;

	then = vn_now(h);
	ck_assert_int_eq(vn_send(ch.tx, &v), -ETIMEDOUT); /* chsend(ch, &v, sizeof v, deadline) */
	vn_deadline(h, before);                           /* -1 */
	ck_assert_int_gt(vn_now(h), then);
	ck_assert_int_eq(vn_select(h, VN_RECV(ch.rx, &v), VN_ELSE), 1); /* deadline 0 */
	ck_assert_ptr_eq(vn_dup(ch.tx), ch.tx);                         /* hdup(ch), of old */
	vn_close(ch.tx);
	ck_assert_int_eq(vn_select(h, VN_RECV(ch.rx, &v), VN_ELSE), 1);
	vn_close(ch.tx); /* chdone(ch) */
	ck_assert_int_eq(vn_recv(ch.rx, &v), -EPIPE);
	vn_close(ch.rx);                         /* hclose(ch) */
	ck_assert_int_eq(vn_sleep(h, VN_MS), 0); /* msleep(now() + 1) */
	vn_hub_free(h);
}
END_TEST

START_TEST(dill_bundles_and_choose)
{
	vn_hub *h = hub_open();
	vn_group *b = vn_group_new(h); /* bundle() */
	vn_pair ch = vn_channel(h, int, 0);
	int v, fds[2];
	vn_case clauses[] = {VN_RECV(ch.rx, &v), VN_AFTER(VN_MS)};
	vn_time before;

	ck_assert_int_eq(vn_group_spawn(b, wait_for_ever, NULL), 0); /* bundle_go(b, f()) */
	ck_assert_int_eq(vn_select_cases(h, clauses, 2), 1); /* choose(clauses, 1, now() + 1) */
	before = vn_timeout(h, VN_MS);
	ck_assert_int_eq(vn_group_wait(b), -ETIMEDOUT); /* bundle_wait(b, now() + 1) */
	vn_deadline(h, before);
	ck_assert_ptr_null(vn_group_free(b)); /* hclose(b) */
	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(vn_select(h, VN_FD(fds[0], VN_READABLE), VN_AFTER(VN_MS)), 1); /* fdin */
	ck_assert_int_eq(vn_select(h, VN_FD(fds[1], VN_WRITABLE), VN_AFTER(VN_MS)), 0); /* fdout */
	close(fds[0]);
	close(fds[1]);
	vn_hub_free(h);
}
END_TEST

/* Vanilla, in Python */

static int
produce(vn_hub *h, vn_tx *tx, void *arg)
{
	(void)h;
	(void)arg;
	for (long i = 1; i <= 3; i++)
		if (vn_send(tx, &i) < 0)
			break;
	return 0;
}

static int
consume(vn_hub *h, vn_rx *rx, void *arg)
{
	long item;

	(void)h;
	while (vn_recv(rx, &item) == 0)
		*(long *)arg += item;
	return 0;
}

static int
odd_ones(vn_hub *h, vn_rx *upstream, vn_tx *downstream, void *arg)
{
	long item;

	(void)h;
	(void)arg;
	while (vn_recv(upstream, &item) == 0)
		if (item % 2 && vn_send(downstream, &item) < 0)
			break;
	return 0;
}

static int
ten_times(const void *in, void *out, void *arg)
{
	long item;

	(void)arg;
	memcpy(&item, in, sizeof item);
	item *= 10;
	memcpy(out, &item, sizeof item);
	return 0;
}

static void
count_close(void *arg, int how)
{
	(void)how;
	++*(int *)arg;
}

static void
count_empty(void *arg)
{
	++*(int *)arg;
}

START_TEST(vanilla_ends)
{
	vn_hub *h = hub_open(); /* h = vanilla.Hub() */
	vn_pair p = vn_pipe(h, long), q = vn_queue(h, long, 10), d = vn_dealer(h, long);
	vn_pair r = vn_router(h, long), c = vn_channel(h, long, 0), s = vn_state(h, long);
	vn_tx *b = vn_broadcast(h, long);
	vn_rx *subscriber = vn_subscribe_with(b, VN_BLOCK, 10);
	long item = 5, n;
	int n_closed = 0, n_empty = 0;
	vn_tx *senders[] = {p.tx, d.tx, r.tx, c.tx};

	for (size_t i = 0; i < SUITE_COUNT(senders); i++)
		ck_assert_int_eq(vn_select(h, VN_SEND(senders[i], &item), VN_ELSE), 1);
	ck_assert_int_eq(vn_send(q.tx, &item), 0);
	ck_assert_int_eq(vn_send_error(q.tx, -EIO), 0); /* send(Exception()) */
	ck_assert_int_eq(vn_recv(q.rx, &n), 0);
	ck_assert_int_eq(vn_recv(q.rx, &n), -EIO);
	ck_assert_int_eq(vn_send(s.tx, &item), 0);
	ck_assert_int_eq(vn_recv(s.rx, &n), 0);
	ck_assert_int_eq(vn_clear(s.tx), 0);
	ck_assert_int_eq(vn_on_close(p.tx, count_close, &n_closed), 0); /* onclose(f) */
	ck_assert_int_eq(vn_close(p.tx), 0);
	ck_assert_int_eq(n_closed, 1);
	ck_assert_int_eq(vn_on_empty(b, count_empty, &n_empty), 0);
	ck_assert_int_eq(vn_send(b, &item), 0);
	ck_assert_int_eq(vn_recv(subscriber, &n), 0);
	vn_close(subscriber);
	ck_assert_int_eq(n_empty, 1);
	vn_hub_free(h);
}
END_TEST

START_TEST(vanilla_functions)
{
	vn_hub *h = hub_open();
	vn_rx *rx = vn_producer(h, long, produce, NULL); /* h.producer(f) */
	long sum = 0;
	int n = 0, five = 5;
	vn_tx *trigger, *serialized;

	rx = vn_pipe_through(rx, long, odd_ones, NULL); /* recver.pipe(f) */
	rx = vn_map(rx, long, ten_times, NULL);         /* recver.map(f) */
	ck_assert_int_eq(
		vn_pipe_to(rx, vn_consumer(h, long, consume, &sum)), 0); /* .pipe(sender) */
	ck_assert_int_eq(vn_sleep(h, VN_MS), 0);
	ck_assert_int_eq(sum, 40);
	trigger = vn_trigger_new(h, count, &n);
	ck_assert_int_eq(vn_trigger(trigger), 0);
	serialized = vn_serialize(h, twice);
	ck_assert_int_eq(vn_call(serialized, &five), 10);
	ck_assert_int_eq(n, 1);
	vn_stop(h); /* h.stop() */
	ck_assert_int_eq(vn_sleep(h, VN_MS), -ECANCELED);
	vn_hub_free(h);
}
END_TEST

START_TEST(what_the_system_sends)
{
	vn_hub *h = hub_open();
	vn_pair jobs = vn_queue(h, void *, 3);
	int n = 0, fds[2], events;
	void *job = &n;
	vn_group *g = vn_group_new(h);
	vn_rx *watched;

	ck_assert_int_eq(vn_send(jobs.tx, &job), 0);
	ck_assert_int_eq(vn_send(jobs.tx, &job), 0);
	vn_close(jobs.tx);
	ck_assert_int_eq(vn_serve(jobs.rx, count), 0); /* for { c, _ := l.Accept(); go f(c) } */
	ck_assert_int_eq(vn_spawn_later(h, VN_MS, count, &n), 0); /* h.spawn_later(1, f) */
	ck_assert_int_eq(vn_sleep(h, 10 * VN_MS), 0);
	ck_assert_int_eq(n, 3);
	ck_assert_int_eq(pipe(fds), 0);
	watched = vn_watch_fd(h, fds[0], VN_READABLE); /* h.register(fd, mask) */
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	ck_assert_int_eq(vn_recv(watched, &events), 0);
	ck_assert_int_eq(events, VN_READABLE);
	vn_close(watched);
	close(fds[0]);
	close(fds[1]);
	ck_assert_int_eq(vn_group_spawn(g, wait_for_ever, NULL), 0);
	vn_yield(h);
	ck_assert_int_eq(vn_group_cancel(g), 0); /* cancel() */
	ck_assert_int_eq(vn_group_wait(g), 0);
	vn_group_free(g);
	vn_hub_free(h);
}
END_TEST

START_TEST(vanilla_abandoned_before_and_after_the_wait_on_either_side)
{
	for (int before = 0; before < 2; before++) {
		vn_hub *h = hub_open();
		vn_pair p = vn_pipe(h, long), q = vn_pipe(h, long);
		long item = 1;

		vn_spawn(h, adopt_and_return, p.tx);
		vn_spawn(h, adopt_rx_and_return, q.rx);
		if (before)
			vn_sleep(h, 10 * VN_MS);
		ck_assert_int_eq(vn_recv(p.rx, &item), -EOWNERDEAD);
		ck_assert_int_eq(vn_send(q.tx, &item), -EOWNERDEAD);
		vn_hub_free(h);
	}
}
END_TEST

static int
throw_late(vn_hub *h, void *arg)
{
	vn_sleep(h, VN_MS);
	return vn_send_error((vn_tx *)arg, -EIO);
}

START_TEST(vanilla_throw_with_timeout)
{
	vn_hub *h = hub_open();
	vn_pair p = vn_pipe(h, long);
	vn_time outer = vn_timeout(h, VN_MS);
	long item;

	ck_assert_int_eq(vn_send_error(p.tx, -EIO), -ETIMEDOUT); /* nobody was there to catch it */
	vn_deadline(h, outer);
	ck_assert_int_eq(vn_select(h, VN_RECV(p.rx, &item), VN_ELSE), 1);
	vn_spawn(h, throw_late, p.tx);
	outer = vn_timeout(h, 60 * VN_SEC);
	ck_assert_int_eq(vn_recv(p.rx, &item), -EIO);
	vn_deadline(h, outer);
	vn_hub_free(h);
}
END_TEST

START_TEST(vanilla_queue_is_closed_by_its_sender)
{
	vn_hub *h = hub_open();
	vn_pair q = vn_queue(h, long, 10);
	long sum = 0;

	vn_spawn(h, send_three, q.tx);
	vn_yield(h);
	consume(h, q.rx, &sum);
	ck_assert_int_eq(sum, 6);
	vn_hub_free(h);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		go_and_channels,
		go_select_and_time,
		go_contexts_and_groups,
		go_signals_and_defer,
		dill_handles_and_deadlines,
		dill_bundles_and_choose,
		vanilla_ends,
		vanilla_functions,
		what_the_system_sends,
		vanilla_abandoned_before_and_after_the_wait_on_either_side,
		vanilla_throw_with_timeout,
		vanilla_queue_is_closed_by_its_sender,
	};

	return suite_run("words", tests, SUITE_COUNT(tests));
}
