/* SPDX-License-Identifier: MIT */
/*
 * Os - what a call in a pool, an item to another thread, a program and a message to a spawned process cost, beside what
 * the system itself takes for the same
 *
 *	os SLICE_MS ROW...      a round of these rows for each line of standard input
 *
 *	pool      a call that does nothing, there and back; raw: an eventfd each way between two threads
 *	threads   8 bytes one way between two hubs, in batches of 32; raw: 8-byte writes into a pipe, read 32 at a time
 *	exec      /bin/true, until its end is known; raw: posix_spawn and waitid
 *	spawn     8 bytes to a spawned process and back; raw: two hubs with a lane each way, as in bench/lane
 *
 * In a round each row stands between two slices of its raw side and is compared with the mean of both. Everybody is on
 * the cores that the driver has chosen. Each line of output is one JSON document.
 */
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <vanilla.h>

#include "tests/bench/client.h"
#include "tests/bench/lane/carrier.h"

#define BATCH 32
#define FIRST 8u /* operations of the slice by which the others are measured */

typedef struct bench {
	vn_hub *hub;
	vn_pool *pool;
	vn_pair thread;
	vn_process *process;
	uint64_t slice_ns;
	int there, back;      /* eventfds */
	int orders, items[2]; /* pipes: how many, and the items */
	void *lane;
	int lane_orders;
} bench;

extern char **environ;

static void
check(int rc, const char *what)
{
	if (rc < 0)
		errx(1, "%s: %s", what, vn_strerror(rc));
}

static void
must(bool is_so, const char *what)
{
	if (!is_so)
		err(1, "%s", what);
}

static void
thread_start(void *(*f)(void *), bench *b)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, f, b))
		errx(1, "thread");
	pthread_detach(thread);
}

/* A call in a pool */

static int
nothing(void *arg)
{
	(void)arg;
	return 0;
}

static void
pool_calls(bench *b, uint64_t n)
{
	for (char none = 0; n > 0; n--)
		check(vn_pool_call(b->pool, nothing, &none), "call");
}

static void *
eventfd_answer(void *arg)
{
	bench *b = arg;
	eventfd_t value;

	while (eventfd_read(b->there, &value) == 0)
		must(eventfd_write(b->back, 1) == 0, "eventfd");
	return NULL;
}

static void
eventfd_trips(bench *b, uint64_t n)
{
	eventfd_t value;

	for (; n > 0; n--)
		must(eventfd_write(b->there, 1) == 0 && eventfd_read(b->back, &value) == 0,
			"eventfd");
}

static void
pool_open(bench *b)
{
	b->pool = vn_pool(b->hub, 1);
	b->there = eventfd(0, EFD_CLOEXEC);
	b->back = eventfd(0, EFD_CLOEXEC);
	must(b->pool && b->there >= 0 && b->back >= 0, "pool");
	thread_start(eventfd_answer, b);
}

/* Items to another thread */

static int
send_as_asked(vn_hub *h, vn_pair parent, void *arg)
{
	uint64_t n, item;

	(void)arg;
	while (vn_recv(parent.rx, &n) == 0)
		for (item = 0; item < n; item++) {
			check(vn_send(parent.tx, &item), "send");
			if (item % BATCH == BATCH - 1)
				vn_yield(h);
		}
	return 0;
}

static void
thread_items(bench *b, uint64_t n)
{
	uint64_t item;

	check(vn_send(b->thread.tx, &n), "send");
	for (uint64_t i = 0; i < n; i++) {
		check(vn_recv(b->thread.rx, &item), "receive");
		if (item != i)
			errx(1, "item %ju is missing", (uintmax_t)i);
	}
}

static void *
pipe_write_as_asked(void *arg)
{
	bench *b = arg;
	uint64_t n;

	while (read(b->items[0], &n, sizeof n) == sizeof n)
		for (uint64_t item = 0; item < n; item++)
			must(write(b->items[1], &item, sizeof item) == sizeof item, "pipe");
	return NULL;
}

static void
pipe_items(bench *b, uint64_t n)
{
	uint64_t items[BATCH];

	must(write(b->orders, &n, sizeof n) == sizeof n, "pipe");
	for (uint64_t i = 0; i < n;) {
		ssize_t got = read(b->back, items, sizeof items);

		must(got > 0, "pipe");
		if (items[0] != i)
			errx(1, "item %ju is missing", (uintmax_t)i);
		i += (uint64_t)got / sizeof *items;
	}
}

static void
threads_open(bench *b)
{
	int orders[2], items[2];

	b->thread = vn_thread_spawn(b->hub, uint64_t, send_as_asked, NULL);
	must(b->thread.tx && pipe(orders) == 0 && pipe(items) == 0, "threads");
	b->orders = orders[1];
	b->items[0] = orders[0];
	b->items[1] = items[1];
	b->back = items[0];
	thread_start(pipe_write_as_asked, b);
}

/* Programs */

static const char *const program[] = {"/bin/true", NULL};

static void
execs(bench *b, uint64_t n)
{
	const vn_exec how = {.in = VN_PASSED, .out = VN_PASSED, .err = VN_PASSED};
	vn_exit end;

	for (; n > 0; n--) {
		vn_process *p = vn_process_exec(b->hub, program, &how);

		must(p != NULL, "exec");
		check(vn_process_wait(p, &end), "wait");
		if (end.code)
			errx(1, "%s failed", program[0]);
		vn_close(p);
	}
}

static void
posix_spawns(bench *b, uint64_t n)
{
	siginfo_t info;
	pid_t pid;

	(void)b;
	for (; n > 0; n--) {
		errno = posix_spawn(
			&pid, program[0], NULL, NULL, (char *const *)(uintptr_t)program, environ);
		must(errno == 0 && waitid(P_PID, (id_t)pid, &info, WEXITED) == 0 &&
				info.si_status == 0,
			"posix_spawn");
	}
}

static void
exec_open(bench *b)
{
	(void)b;
}

/* Messages to a process */

static int
answer(vn_hub *h, vn_pair parent, void *arg)
{
	uint64_t item;

	(void)h;
	(void)arg;
	while (vn_recv(parent.rx, &item) == 0)
		check(vn_send(parent.tx, &item), "send");
	return 0;
}
VN_ENTRY(answering, answer)

static void
process_trips(bench *b, uint64_t n)
{
	vn_pair ends = vn_process_ends(b->process);
	uint64_t item;

	for (uint64_t i = 0; i < n; i++) {
		check(vn_send(ends.tx, &i), "send");
		check(vn_recv(ends.rx, &item), "receive");
		if (item != i)
			errx(1, "message %ju is missing", (uintmax_t)i);
	}
}

static void
lane_trips(bench *b, uint64_t n)
{
	carrier_tally tally = {0};

	must(write(b->lane_orders, &n, sizeof n) == sizeof n, "pipe");
	carrier_hub_trip_sleeps.send(b->lane, n, &tally);
}

/* The other side of the raw lane, a process as well. */
static void
lane_answer(void *lane, int orders)
{
	carrier_tally tally = {0};
	uint64_t n;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	carrier_hub_trip_sleeps.begin(lane, false);
	while (read(orders, &n, sizeof n) == sizeof n)
		carrier_hub_trip_sleeps.receive(lane, n, &tally);
	_exit(0);
}

static void
lane_open(bench *b)
{
	carrier_place place = {.one_core = true};
	int orders[2];

	b->lane = carrier_hub_trip_sleeps.open(&carrier_hub_trip_sleeps, &place);
	must(pipe(orders) == 0, "pipe");
	switch (fork()) {
	case 0:
		close(orders[1]);
		lane_answer(b->lane, orders[0]);
		break;
	case -1:
		err(1, "fork");
	default:
		close(orders[0]);
		b->lane_orders = orders[1];
		carrier_hub_trip_sleeps.begin(b->lane, true);
	}
}

static void
spawn_open(bench *b)
{
	const char none = 0;

	lane_open(b);
	b->process = vn_process_spawn(b->hub, uint64_t, answering, &none);
	must(b->process != NULL, "spawn");
}

/* Slices */

typedef struct side {
	void (*run)(bench *b, uint64_t n);
	uint64_t n; /* operations of a slice, found in the first round */
} side;

typedef struct row {
	const char *name;
	void (*open)(bench *b);
	side ours, raw;
	bench b;
} row;

static row rows[] = {
	{.name = "pool", .open = pool_open, .ours = {pool_calls, 0}, .raw = {eventfd_trips, 0}},
	{.name = "threads",
		.open = threads_open,
		.ours = {thread_items, 0},
		.raw = {pipe_items, 0}},
	{.name = "exec", .open = exec_open, .ours = {execs, 0}, .raw = {posix_spawns, 0}},
	{.name = "spawn", .open = spawn_open, .ours = {process_trips, 0}, .raw = {lane_trips, 0}},
};

#define N_ROWS (sizeof rows / sizeof *rows)

static double
run(bench *b, const side *s, uint64_t n)
{
	uint64_t start = client_clock_ns(CLOCK_MONOTONIC);

	s->run(b, n);
	return (double)(client_clock_ns(CLOCK_MONOTONIC) - start) / (double)n;
}

static double
slice(bench *b, side *s)
{
	uint64_t n = FIRST;

	while (!s->n) {
		double ns = run(b, s, n);

		if (ns * (double)n > (double)b->slice_ns / 8)
			s->n = (uint64_t)((double)b->slice_ns / ns) + 1;
		n *= 4;
	}
	run(b, s, s->n / 8 + 1);
	return run(b, s, s->n);
}

static void
measure(row *r)
{
	double before = slice(&r->b, &r->raw);
	double ns = slice(&r->b, &r->ours);
	double after = slice(&r->b, &r->raw);

	printf("{\"row\": \"%s\", \"ns\": %.3f, \"raw_ns\": %.3f}\n", r->name, ns,
		(before + after) / 2);
}

static row *
row_open(const char *name, vn_hub *h, uint64_t slice_ns)
{
	for (size_t i = 0; i < N_ROWS; i++)
		if (!strcmp(rows[i].name, name)) {
			rows[i].b = (bench){.hub = h, .slice_ns = slice_ns};
			rows[i].open(&rows[i].b);
			return &rows[i];
		}
	errx(2, "%s: no such row", name);
}

static bool
next_line(void)
{
	int c;

	while ((c = getchar()) != EOF)
		if (c == '\n')
			return true;
	return false;
}

int
main(int argc, char **argv)
{
	row *wanted[N_ROWS];
	vn_hub *h;
	int n = argc - 2;

	if (argc < 3 || n > (int)N_ROWS) {
		fprintf(stderr, "usage: os SLICE_MS ROW...\n");
		return 2;
	}
	h = vn_hub_new();
	if (!h)
		err(1, "hub");
	for (int i = 0; i < n; i++)
		wanted[i] = row_open(argv[i + 2], h, client_number(argv[1], 1, 1000) * 1000000);
	while (next_line()) {
		for (int i = 0; i < n; i++)
			measure(wanted[i]);
		printf("{\"row\": null}\n");
		fflush(stdout);
	}
	for (int i = 0; i < n; i++)
		vn_close(wanted[i]->b.process);
	vn_hub_free(h);
	return 0;
}
