/* SPDX-License-Identifier: MIT */
/*
 * Spawn - functions in fresh processes of this program, what goes to and fro, and what one of the two may do to the other
 */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include "client/os/cable.h"
#include "tests/unit/actors.h"

static vn_hub *
hub_new(void)
{
	vn_hub *h = vn_hub_new();

	ck_assert_ptr_nonnull(h);
	return h;
}

/* In a child, which has no Check: whoever waits for it sees that it died. */
#define IN_CHILD(what)                                                                             \
	do {                                                                                       \
		if (!(what))                                                                       \
			abort();                                                                   \
	} while (0)

static const int none;

static int
increment(vn_hub *h, vn_pair parent, void *arg)
{
	long n;

	(void)h;
	while (vn_recv(parent.rx, &n) == 0) {
		n += 1 + *(int *)arg;
		if (vn_send(parent.tx, &n) < 0)
			return -1;
	}
	return 0;
}
VN_ENTRY(incrementer, increment)

static vn_process *
spawn_incrementer(vn_hub *h)
{
	vn_process *p = vn_process_spawn(h, long, incrementer, &none);

	ck_assert_ptr_nonnull(p);
	return p;
}

static void
ends_well(vn_process *p, int code)
{
	vn_exit end;

	ck_assert_int_eq(vn_process_wait(p, &end), 0);
	ck_assert_int_eq(end.signal, 0);
	ck_assert_int_eq(end.code, code);
	ck_assert_int_eq(vn_close(p), 0);
}

START_TEST(a_process_answers_and_nobody_sleeps_for_ever)
{
	vn_hub *h = hub_new();
	vn_process *p = spawn_incrementer(h);
	vn_pair ends = vn_process_ends(p);
	long item;

	for (long n = 0; n < SUITE_TIMES(20000); n++) {
		suite_assert(vn_send(ends.tx, &n) == 0);
		suite_assert(vn_recv(ends.rx, &item) == 0);
		suite_assert(item == n + 1);
	}
	vn_close(ends.tx);
	ck_assert_ptr_null(vn_process_ends(p).tx);
	ck_assert_ptr_eq(vn_process_ends(p).rx, ends.rx);
	ck_assert_int_eq(vn_recv(ends.rx, &item), -EPIPE);
	ends_well(p, 0);
	vn_hub_free(h);
}
END_TEST

typedef struct settings {
	int code;
	char name[1000];
} settings;

static int
check_settings(vn_hub *h, vn_pair parent, void *arg)
{
	settings *s = arg;

	(void)h;
	(void)parent;
	for (size_t i = 0; i < sizeof s->name; i++)
		IN_CHILD(s->name[i] == (char)i);
	return s->code;
}
VN_ENTRY(settings_checker, check_settings)

START_TEST(arguments_come_by_value_and_results_are_exit_codes)
{
	static const int results[][2] = {{0, 0}, {7, 7}, {255, 255}, {-5, 1}};
	vn_hub *h = hub_new();

	for (size_t r = 0; r < SUITE_COUNT(results); r++) {
		settings s = {.code = results[r][0]};
		vn_process *p;
		int ends = results[r][0] < 0 ? -EOWNERDEAD : -EPIPE;

		for (size_t i = 0; i < sizeof s.name; i++)
			s.name[i] = (char)i;
		p = vn_process_spawn(h, int, settings_checker, &s);
		ck_assert_ptr_nonnull(p);
		memset(&s, 0, sizeof s);
		ck_assert_int_eq(vn_recv(vn_process_ends(p).rx, &(int){0}), ends);
		ck_assert_int_eq(vn_send(vn_process_ends(p).tx, &none), ends);
		ends_well(p, results[r][1]);
	}
	vn_hub_free(h);
}
END_TEST

START_TEST(senseless_calls_are_refused)
{
	vn_hub *h = hub_new();
	const vn_entry stranger = {"nobody", increment};
	int n_fds = suite_n_fds();

	ck_assert_ptr_null(vn_process_spawn_entry(h, 0, &incrementer, &none, 4));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(vn_process_spawn_entry(h, 65537, &incrementer, &none, 4));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(vn_process_spawn_entry(h, 8, &incrementer, &none, 65537));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(vn_process_spawn_entry(h, 8, &incrementer, NULL, 4));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(vn_process_spawn_entry(h, 8, &stranger, &none, 4));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(vn_process_ends(NULL).tx);
	ck_assert_int_eq(suite_n_fds(), n_fds);
	vn_hub_free(h);
}
END_TEST

/* Both ways at the same time */

typedef struct flow {
	vn_hub *hub;
	size_t size;
	long n;
	uint64_t seed;
	vn_tx *tx;
} flow;

static void
fill(unsigned char *item, size_t size, long n)
{
	for (size_t i = 0; i < size; i++)
		item[i] = (unsigned char)((size_t)n * 31 + i);
}

static int
flow_out(vn_hub *h, void *arg)
{
	flow *f = arg;
	unsigned char *item = malloc(f->size);

	for (long i = 0; i < f->n; i++) {
		fill(item, f->size, i);
		IN_CHILD(i % 97 == 5 ? vn_send_error(f->tx, -(int)(i % 1000) - 100) == 0
				     : vn_send_item(f->tx, item, f->size) == 0);
		if (suite_random(&f->seed) % 7 == 0)
			vn_yield(h);
		if (suite_random(&f->seed) % 1000 == 0)
			vn_sleep(h, 10 * VN_US);
	}
	free(item);
	return vn_close(f->tx);
}

static void
flow_in(flow *f, vn_rx *rx)
{
	unsigned char *item = malloc(f->size), *wanted = malloc(f->size);
	int rc;

	for (long i = 0; i < f->n; i++) {
		memset(item, 0, f->size);
		rc = vn_recv_item(rx, item, f->size);
		fill(wanted, f->size, i);
		IN_CHILD(i % 97 == 5 ? rc == -(int)(i % 1000) - 100
				     : rc == 0 && memcmp(item, wanted, f->size) == 0);
		if (suite_random(&f->seed) % 11 == 0)
			vn_yield(f->hub);
	}
	IN_CHILD(vn_recv_item(rx, item, f->size) == -EPIPE);
	free(item);
	free(wanted);
}

static int
flow_both(vn_hub *h, vn_pair ends, void *arg)
{
	flow out = *(flow *)arg, in = *(flow *)arg;

	in.seed++;
	out.tx = ends.tx;
	out.hub = in.hub = h;
	IN_CHILD(vn_spawn(h, flow_out, &out) == 0);
	flow_in(&in, ends.rx);
	while (h->n_coroutines > 0)
		vn_yield(h);
	return vn_close(ends.rx);
}
VN_ENTRY(flowing, flow_both)

START_TEST(items_of_all_sizes_arrive_in_order_both_ways)
{
	static const size_t sizes[] = {1, 3, 8, 47, 48, 49, 256, 257, 2048, 4097, 65536};
	int n_fds = suite_n_fds();

	for (size_t i = 0; i < SUITE_COUNT(sizes); i++) {
		flow f = {.size = sizes[i],
			.n = SUITE_TIMES(sizes[i] > 1000 ? 2000 : 20000),
			.seed = 4711 + i};
		vn_hub *h = hub_new();
		vn_process *p = vn_process_spawn_entry(h, sizes[i], &flowing, &f, sizeof f);

		ck_assert_ptr_nonnull(p);
		f.seed = 7 * i + 1;
		flow_both(h, vn_process_ends(p), &f);
		ends_well(p, 0);
		vn_hub_free(h);
	}
	ck_assert_int_eq(suite_n_fds(), n_fds);
}
END_TEST

/* Dying */

typedef struct death {
	long n;
	int how; /* a signal, 0: exit, -1: a negative result */
} death;

static int
say_and_die(vn_hub *h, vn_pair parent, void *arg)
{
	death *d = arg;

	for (long i = 0; i < d->n; i++)
		IN_CHILD(vn_send(parent.tx, &i) == 0);
	vn_yield(h);
	vn_sleep(h, VN_MS);
	if (d->how > 0)
		kill(getpid(), d->how);
	else if (d->how == 0)
		_exit(3);
	return -1;
}
VN_ENTRY(dying, say_and_die)

START_TEST(what_was_sent_before_a_death_is_received_first)
{
	static const death deaths[] = {
		{0, SIGKILL}, {200, SIGKILL}, {7, SIGSEGV}, {200, 0}, {200, -1}};

	for (size_t k = 0; k < SUITE_COUNT(deaths); k++) {
		vn_hub *h = hub_new();
		vn_process *p = vn_process_spawn(h, long, dying, &deaths[k]);
		vn_pair ends = vn_process_ends(p);
		vn_exit end;
		long item;

		ck_assert_int_eq(vn_process_wait(p, &end), 0);
		if (deaths[k].how > 0 && deaths[k].how != SIGSEGV)
			ck_assert_int_eq(end.signal, deaths[k].how);
		for (long i = 0; i < deaths[k].n; i++) {
			suite_assert(vn_recv(ends.rx, &item) == 0);
			suite_assert(item == i);
		}
		ck_assert_int_eq(vn_recv(ends.rx, &item), -EOWNERDEAD);
		ck_assert_int_eq(vn_recv(ends.rx, &item), -EOWNERDEAD);
		ck_assert_int_eq(vn_send(ends.tx, &item), -EOWNERDEAD);
		vn_close(p);
		vn_hub_free(h);
	}
}
END_TEST

START_TEST(whoever_waits_at_a_process_that_is_killed_is_told)
{
	vn_hub *h = hub_new();
	vn_process *p = spawn_incrementer(h);
	vn_pair ends = vn_process_ends(p);
	actor a = {.rx = ends.rx};

	start(h, act_recv, &a);
	ck_assert_int_eq(vn_process_signal(p, SIGKILL), 0);
	while (!a.done)
		vn_yield(h);
	ck_assert_int_eq(a.rc, -EOWNERDEAD);
	vn_close(p);
	vn_hub_free(h);
}
END_TEST

START_TEST(ends_with_another_owner_outlive_the_process_and_its_handle)
{
	vn_hub *h = hub_new();
	death d = {100, 0};
	vn_process *p = vn_process_spawn(h, long, dying, &d);
	vn_rx *rx = vn_dup(vn_process_ends(p).rx);
	vn_tx *tx = vn_dup(vn_process_ends(p).tx);
	long item;

	ck_assert_int_eq(vn_process_wait(p, NULL), 0);
	vn_close(p);
	for (long i = 0; i < d.n; i++)
		ck_assert_int_eq(vn_recv(rx, &item), 0);
	ck_assert_int_eq(vn_recv(rx, &item), -EOWNERDEAD);
	vn_close(tx);
	vn_close(rx);
	vn_hub_free(h);
}
END_TEST

/* What the child is told: it says it by its exit code. */
static int
tell_end(vn_hub *h, vn_pair parent, void *arg)
{
	long item;
	int rc = vn_recv(parent.rx, &item);

	(void)h;
	(void)arg;
	return -rc;
}
VN_ENTRY(end_teller, tell_end)

static int
adopt_and_return(vn_hub *h, void *arg)
{
	(void)h;
	return vn_adopt((vn_tx *)arg);
}

START_TEST(the_child_is_told_how_our_ends_were_closed)
{
	vn_hub *h = hub_new();
	vn_process *p = vn_process_spawn(h, long, end_teller, &none);

	vn_close(vn_process_ends(p).tx); /* before there is a link */
	vn_close(vn_process_ends(p).rx);
	ends_well(p, EPIPE);
	p = vn_process_spawn(h, long, end_teller, &none);
	vn_sleep(h, 20 * VN_MS);
	vn_close(vn_process_ends(p).rx);
	vn_close(vn_process_ends(p).tx);
	ends_well(p, EPIPE);
	p = vn_process_spawn(h, long, end_teller, &none);
	start(h, adopt_and_return, vn_process_ends(p).tx);
	ends_well(p, EOWNERDEAD);
	vn_hub_free(h);
}
END_TEST

/* Room */

static long
send_until_full(vn_hub *h, vn_tx *tx)
{
	vn_time outer = vn_timeout(h, 100 * VN_MS);
	long n = 0;
	int rc;

	while ((rc = vn_send(tx, &n)) == 0)
		n++;
	vn_deadline(h, outer);
	ck_assert_int_eq(rc, -ETIMEDOUT);
	return n;
}

/* Takes nothing until its parent has closed its receiving end, which it hears by sending. */
static int
deaf(vn_hub *h, vn_pair parent, void *arg)
{
	long n = 0, item = 0;

	(void)arg;
	while (vn_send(parent.tx, &item) == 0)
		vn_sleep(h, VN_MS);
	while (vn_recv(parent.rx, &item) == 0)
		IN_CHILD(item == n++);
	return n > 200 ? 0 : 1;
}
VN_ENTRY(deaf_one, deaf)

START_TEST(that_an_end_was_closed_does_not_wait_behind_items)
{
	vn_hub *h = hub_new();
	vn_process *p = vn_process_spawn(h, long, deaf_one, &none);
	vn_pair ends = vn_process_ends(p);
	long n = send_until_full(h, ends.tx);

	ck_assert_int_eq(n, VN_CABLE_WINDOW);
	vn_close(ends.rx);
	for (; n < 1000; n++)
		ck_assert_int_eq(vn_send(ends.tx, &n), 0);
	vn_close(ends.tx);
	ends_well(p, 0);
	vn_hub_free(h);
}
END_TEST

START_TEST(a_stopped_process_makes_who_sends_wait_and_nothing_else)
{
	vn_hub *h = hub_new();
	vn_process *p = spawn_incrementer(h);
	vn_pair ends = vn_process_ends(p);
	long n, item = 0;

	ck_assert_int_eq(vn_send(ends.tx, &item), 0);
	ck_assert_int_eq(vn_recv(ends.rx, &item), 0);
	ck_assert_int_eq(vn_process_signal(p, SIGSTOP), 0);
	n = send_until_full(h, ends.tx);
	ck_assert_int_eq(n, VN_CABLE_WINDOW);
	ck_assert_int_eq(vn_select(h, VN_RECV(ends.rx, &item), VN_AFTER(VN_MS)), 1);
	ck_assert_int_eq(vn_process_signal(p, SIGCONT), 0);
	for (long i = 0; i < n; i++) {
		ck_assert_int_eq(vn_recv(ends.rx, &item), 0);
		ck_assert_int_eq(item, i + 1);
	}
	ck_assert_int_eq(vn_process_signal(p, SIGSTOP), 0);
	ck_assert_int_eq(vn_process_stop(p, 10 * VN_SEC), 0); /* SIGTERM, and SIGCONT */
	ck_assert_int_eq(vn_recv(ends.rx, &item), -EOWNERDEAD);
	vn_close(p);
	vn_hub_free(h);
}
END_TEST

START_TEST(ends_are_like_all_others)
{
	vn_hub *h = hub_new();
	vn_process *p = spawn_incrementer(h), *q = spawn_incrementer(h);
	vn_rx *last = vn_process_ends(q).rx;
	vn_tx *first = vn_process_ends(p).tx;
	vn_time outer = vn_timeout(h, VN_MS);
	long item = 0;

	ck_assert_int_eq(vn_recv(last, &item), -ETIMEDOUT);
	vn_deadline(h, outer);
	ck_assert_int_eq(vn_select(h, VN_RECV(last, &item), VN_ELSE), 1);
	ck_assert_int_eq(vn_pipe_to(vn_process_ends(p).rx, vn_process_ends(q).tx), 0);
	for (long n = 0; n < 500; n++) {
		suite_assert(vn_send(first, &n) == 0);
		suite_assert(vn_select(h, VN_RECV(last, &item), VN_AFTER(10 * VN_SEC)) == 0);
		suite_assert(item == n + 2);
	}
	vn_close(first);
	ck_assert_int_eq(vn_recv(last, &item), -EPIPE);
	ends_well(p, 0);
	ends_well(q, 0);
	vn_hub_free(h);
}
END_TEST

/* What the child has of us */

static int
look_around(vn_hub *h, vn_pair parent, void *arg)
{
	int inherited = *(int *)arg;
	sigset_t blocked;

	(void)h;
	(void)parent;
	sigprocmask(SIG_SETMASK, NULL, &blocked);
	if (fcntl(inherited, F_GETFD) >= 0)
		return 1;
	if (sigismember(&blocked, SIGUSR1))
		return 2;
	if (getenv("VANILLA_ENTRY") || !getenv("os_spawn_test"))
		return 3;
	return 0;
}
VN_ENTRY(looking_around, look_around)

START_TEST(it_has_nothing_of_us_that_was_not_meant)
{
	vn_hub *h = hub_new();
	int fd = fcntl(2, F_DUPFD, 200);
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	setenv("os_spawn_test", "x", 1);
	ends_well(vn_process_spawn(h, long, looking_around, &fd), 0);
	close(fd);
	vn_hub_free(h);
}
END_TEST

static int relay(vn_hub *h, vn_pair parent, void *arg);
VN_ENTRY(relaying, relay)

static int
relay(vn_hub *h, vn_pair parent, void *arg)
{
	int depth = *(int *)arg - 1;
	vn_process *below = depth >= 0 ? vn_process_spawn(h, long, relaying, &depth) : NULL;
	vn_pair ends = vn_process_ends(below);
	long item;

	while (vn_recv(parent.rx, &item) == 0) {
		item++;
		IN_CHILD(!below || (vn_send(ends.tx, &item) == 0 && vn_recv(ends.rx, &item) == 0));
		IN_CHILD(vn_send(parent.tx, &item) == 0);
	}
	return 0;
}

START_TEST(processes_have_processes_and_all_end_together)
{
	vn_hub *h = hub_new();
	int depth = 3;
	vn_process *p = vn_process_spawn(h, long, relaying, &depth);
	long item;

	for (long n = 0; n < 100; n++) {
		ck_assert_int_eq(vn_send(vn_process_ends(p).tx, &n), 0);
		ck_assert_int_eq(vn_recv(vn_process_ends(p).rx, &item), 0);
		ck_assert_int_eq(item, n + 4);
	}
	vn_close(vn_process_ends(p).tx);
	ends_well(p, 0);
	vn_hub_free(h);
}
END_TEST

START_TEST(a_hub_that_ends_takes_them_along)
{
	int n_fds = suite_n_fds();
	vn_hub *h = hub_new();
	pid_t pids[10];

	for (int i = 0; i < 10; i++) {
		vn_process *p = spawn_incrementer(h);

		pids[i] = vn_process_pid(p);
		if (i % 2)
			ck_assert_int_eq(vn_send(vn_process_ends(p).tx, &(long){1}), 0);
		if (i % 3 == 0)
			vn_dup(vn_process_ends(p).rx);
		if (i % 5 == 0)
			vn_sleep(h, 5 * VN_MS);
	}
	vn_hub_free(h);
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(kill(pids[i], 0), -1);
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
	ck_assert_int_eq(suite_n_fds(), n_fds);
}
END_TEST

START_TEST(many_in_a_row_and_at_a_time_leave_nothing_behind)
{
	enum { AT_A_TIME = 25 };
	vn_hub *h = hub_new();
	vn_process *all[AT_A_TIME];
	int n_fds = suite_n_fds();
	long item;

	for (int row = 0; row < SUITE_TIMES(20); row++) {
		for (int i = 0; i < AT_A_TIME; i++)
			all[i] = spawn_incrementer(h);
		for (long i = 0; i < AT_A_TIME; i++)
			suite_assert(vn_send(vn_process_ends(all[i]).tx, &i) == 0);
		for (long i = 0; i < AT_A_TIME; i++) {
			suite_assert(vn_recv(vn_process_ends(all[i]).rx, &item) == 0);
			suite_assert(item == i + 1);
			if (i % 3)
				vn_close(vn_process_ends(all[i]).tx);
			if (i % 2)
				vn_close(vn_process_ends(all[i]).rx);
			if (i % 3)
				ends_well(all[i], 0);
			else
				vn_close(all[i]);
		}
	}
	while (h->n_sources > 0)
		vn_sleep(h, VN_MS);
	ck_assert_int_eq(suite_n_fds(), n_fds);
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
	vn_hub_free(h);
}
END_TEST

/* Whatever is scarce, nothing is left of a start that fails. */
START_TEST(a_start_that_fails_leaves_nothing_behind)
{
	vn_hub *h = hub_new();
	struct rlimit before, limit;
	int n_fds = suite_n_fds(), n_failed = 0;

	vn_close(spawn_incrementer(h));
	vn_sleep(h, 20 * VN_MS);
	getrlimit(RLIMIT_NOFILE, &before);
	for (int more = 0; more < 16; more++) {
		vn_process *p;
		int error;

		limit = (struct rlimit){(rlim_t)(n_fds + more), before.rlim_max};
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
		p = vn_process_spawn(h, long, incrementer, &none);
		error = errno;
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
		if (p) {
			vn_close(p);
			while (h->n_sources > 0)
				vn_sleep(h, VN_MS);
		} else {
			ck_assert_int_eq(error, EMFILE);
			n_failed++;
		}
		ck_assert_int_eq(suite_n_fds(), n_fds);
	}
	ck_assert_int_ge(n_failed, 5);
	vn_hub_free(h);
}
END_TEST

/* A child that does not keep the rules: what it says is one of these, and then it waits for its end. */
static const vn_desc lies[] = {
	{.kind = 0},
	{.kind = 77},
	{.kind = 1, .len = 7},
	{.kind = 1, .len = 9000, .block = 0},
	{.kind = 1, .len = 100, .block = 0xffffff},
	{.kind = 1, .len = 100, .offset = 8},
	{.kind = 2, .arg = 0},
	{.kind = 2, .arg = 5000},
	{.kind = 2, .arg = EAGAIN},
	{.kind = 3, .conn = 1},
	{.kind = 3, .conn = 0xfffffff0},
};

static int
lie(vn_hub *h, vn_pair parent, void *arg)
{
	vn_cable *c = (vn_cable *)(void *)((char *)parent.tx - offsetof(vn_cable, wire.tx));
	int which = *(int *)arg;

	if (which < (int)SUITE_COUNT(lies)) {
		vn_lane_tx_push(&c->link.tx, &lies[which]);
	} else if (which == (int)SUITE_COUNT(lies)) { /* after the end */
		vn_lane_tx_push(&c->link.tx, &(vn_desc){.kind = 4});
		vn_lane_tx_push(&c->link.tx, &(vn_desc){.kind = 2, .arg = EPERM});
	} else { /* more than there is room for */
		for (uint32_t i = 0; i <= VN_CABLE_WINDOW; i++)
			vn_lane_tx_push(&c->link.tx, &(vn_desc){.kind = 2, .arg = EPERM});
	}
	vn_link_flush(&c->link);
	return vn_sleep(h, 3600 * VN_SEC);
}
VN_ENTRY(liar, lie)

static void
hear_nothing(void *arg, int level, const char *text)
{
	*(int *)arg += level <= LOG_ERR && strstr(text, "malformed") != NULL;
}

START_TEST(a_child_that_says_what_it_must_not_is_killed)
{
	vn_hub *h = hub_new();
	int n_told = 0;

	vn_log_to(h, hear_nothing, &n_told);
	for (int which = 0; which < (int)SUITE_COUNT(lies) + 2; which++) {
		vn_process *p = vn_process_spawn_entry(h, 100, &liar, &which, sizeof which);
		char item[100];
		vn_exit end;
		int rc;

		ck_assert_ptr_nonnull(p);
		ck_assert_int_eq(vn_process_wait(p, &end), 0);
		ck_assert_int_eq(end.signal, SIGKILL);
		ck_assert_int_eq(n_told, which + 1);
		while ((rc = vn_recv(vn_process_ends(p).rx, &item)) == -EPERM)
			;
		ck_assert(rc == -EOWNERDEAD || (rc == -EPIPE && which == (int)SUITE_COUNT(lies)));
		vn_close(p);
	}
	vn_hub_free(h);
}
END_TEST

/* Receives enough for its parent to need its word for free slots, which is then a lie. */
static int
lie_about_slots(vn_hub *h, vn_pair parent, void *arg)
{
	vn_cable *c = (vn_cable *)(void *)((char *)parent.tx - offsetof(vn_cable, wire.tx));
	long item;

	(void)arg;
	for (int i = 0; i < 300; i++)
		IN_CHILD(vn_recv(parent.rx, &item) == 0);
	c->link.rx.next += 5000;
	vn_link_release(&c->link);
	IN_CHILD(vn_send(parent.tx, &item) == 0);
	return vn_sleep(h, 3600 * VN_SEC);
}
VN_ENTRY(slot_liar, lie_about_slots)

START_TEST(a_child_that_lies_about_free_slots_is_killed)
{
	vn_hub *h = hub_new();
	int n_told = 0, rc;
	vn_process *p = vn_process_spawn(h, long, slot_liar, &none);
	vn_exit end;

	vn_log_to(h, hear_nothing, &n_told);
	for (long n = 0; n < 300; n++)
		ck_assert_int_eq(vn_send(vn_process_ends(p).tx, &n), 0);
	ck_assert_int_eq(vn_recv(vn_process_ends(p).rx, &(long){0}), 0);
	for (long n = 0; (rc = vn_send(vn_process_ends(p).tx, &n)) == 0; n++)
		suite_assert(n < 300);
	ck_assert_int_eq(rc, -EOWNERDEAD);
	ck_assert_int_eq(vn_process_wait(p, &end), 0);
	ck_assert_int_eq(end.signal, SIGKILL);
	ck_assert_int_eq(n_told, 1);
	vn_hub_free(h);
}
END_TEST

static int
die_before_the_link(vn_hub *h, vn_pair parent, void *arg)
{
	(void)h;
	(void)parent;
	(void)arg;
	return 0;
}
VN_ENTRY(short_lived, die_before_the_link)

START_TEST(one_that_ends_before_we_look_is_told_like_any_other)
{
	vn_hub *h = hub_new();

	for (int i = 0; i < 20; i++) {
		vn_process *p = vn_process_spawn(h, long, short_lived, &none);
		int rc;

		ck_assert_ptr_nonnull(p);
		usleep(20000); /* the hub stands still */
		rc = vn_recv(vn_process_ends(p).rx, &(long){0});
		ck_assert_int_eq(rc, -EPIPE);
		ends_well(p, 0);
	}
	vn_hub_free(h);
}
END_TEST

int
main(void)
{
	const TTest *tests[] = {
		a_process_answers_and_nobody_sleeps_for_ever,
		arguments_come_by_value_and_results_are_exit_codes,
		senseless_calls_are_refused,
		items_of_all_sizes_arrive_in_order_both_ways,
		what_was_sent_before_a_death_is_received_first,
		whoever_waits_at_a_process_that_is_killed_is_told,
		ends_with_another_owner_outlive_the_process_and_its_handle,
		the_child_is_told_how_our_ends_were_closed,
		that_an_end_was_closed_does_not_wait_behind_items,
		a_stopped_process_makes_who_sends_wait_and_nothing_else,
		ends_are_like_all_others,
		it_has_nothing_of_us_that_was_not_meant,
		processes_have_processes_and_all_end_together,
		a_hub_that_ends_takes_them_along,
		many_in_a_row_and_at_a_time_leave_nothing_behind,
		a_start_that_fails_leaves_nothing_behind,
		a_child_that_says_what_it_must_not_is_killed,
		a_child_that_lies_about_free_slots_is_killed,
		one_that_ends_before_we_look_is_told_like_any_other,
	};

	return suite_run("os spawn", tests, SUITE_COUNT(tests));
}
