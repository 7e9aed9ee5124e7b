/* SPDX-License-Identifier: MIT */
/*
 * Hub - what a switch, a spawn, a message, a select, a timer and a parked coroutine cost, beside the raw switch
 *
 *	hub rows SLICE_MS ROW...         a round of these rows, one slice each, for each line of standard input
 *	hub parked N                     memory of N coroutines that wait three calls deep
 *	hub guards                       are stacks guarded without splitting mappings?
 *
 * Linked to the shared library, so every call goes the way that a program's calls go; the raw side is Boost's
 * switch alone, from the same object files. In a round each row stands between two slices of its raw
 * operation and is compared with the mean of both, so a machine that becomes slower moves both sides.
 *
 * Time leaps when timers are to expire, for the whole hub: so each number of timers has a process of its own.
 *
 * A slice does its operation so often that it takes about SLICE_MS. Whoever takes part is a coroutine; the main
 * stack only waits. Each line of output is one JSON document.
 */
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <vanilla.h>

#include "client/hub/fiber.h"
#include "tests/bench/client.h"

#define SEEN            __attribute__((visibility("default"))) /* by the library */
#define N_MAX           16
#define WARM_UP         4     /* this part of a slice goes before it, and does not count */
#define EVEN            160   /* what does not go once through all ends would favour some */
#define FIRST           1000u /* operations of the slice by which the others are measured */
#define RAW_STACK_BYTES 65536u
#define DELAY_LOW       (1 * VN_MS)
#define DELAY_HIGH      (3600 * VN_SEC)

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

typedef struct bench {
	vn_hub *hub;
	uint64_t n; /* operations that are to be done */
	uint64_t slice_ns;
	size_t n_ends;
	vn_pair ends[N_MAX];
	vn_context raw_peer;
	char *raw_stack;
	vn_pair done; /* closed after the last round */
} bench;

/* What a row is compared with. */
typedef struct raw {
	const char *name;
	void (*run)(bench *b);
	uint64_t n;
} raw;

typedef struct row {
	const char *name;
	void (*run)(bench *b);
	raw *raw;
	unsigned int times; /* longer slices, for what needs as long to be in the cache */
	uint64_t n;         /* operations of a slice, found in the first round */
	bool wanted;
} row;

static void
check(int rc, const char *what)
{
	if (rc < 0)
		errx(1, "%s: %s", what, vn_strerror(rc));
}

static void
spawn(bench *b, vn_fn *fn)
{
	check(vn_spawn(b->hub, fn, b), "spawn");
}

/* The raw side */

static void
raw_echo(vn_transfer t)
{
	for (;;)
		t = jump_fcontext(t.context, t.data);
}

static void
raw_once(vn_transfer t)
{
	jump_fcontext(t.context, t.data);
	__builtin_trap();
}

static void
raw_jumps(bench *b)
{
	for (uint64_t i = 0; i < b->n; i += 2)
		b->raw_peer = jump_fcontext(b->raw_peer, NULL).context;
}

static void
raw_spawns(bench *b)
{
	for (uint64_t i = 0; i < b->n; i++)
		jump_fcontext(
			make_fcontext(b->raw_stack + RAW_STACK_BYTES, RAW_STACK_BYTES, raw_once),
			NULL);
}

/* Rows: each does b->n operations */

static int
yielder(vn_hub *h, void *arg)
{
	uint64_t n = ((bench *)arg)->n;

	for (uint64_t i = 0; i < n; i += 2)
		vn_yield(h);
	return 0;
}

static void
yields(bench *b)
{
	spawn(b, yielder);
	yielder(b->hub, b);
}

static int
nothing(vn_hub *h, void *arg)
{
	(void)h, (void)arg;
	return 0;
}

static void
spawns(bench *b)
{
	for (uint64_t i = 0; i < b->n; i++) {
		spawn(b, nothing);
		vn_yield(b->hub);
	}
}

static void
ends_open(bench *b, size_t n, size_t room)
{
	b->n_ends = n;
	for (size_t i = 0; i < n; i++) {
		b->ends[i] = room ? vn_queue(b->hub, void *, room) : vn_pipe(b->hub, void *);
		if (!b->ends[i].tx)
			err(1, "pipe");
	}
}

/* Sends to all ends in turn, then closes them. */
static int
sender(vn_hub *h, void *arg)
{
	bench *b = arg;
	uint64_t n = b->n;
	void *item = b;
	size_t end = 0;

	(void)h;
	for (uint64_t i = 0; i < n; i++) {
		check(vn_send(b->ends[end].tx, &item), "send");
		end = end + 1 == b->n_ends ? 0 : end + 1;
	}
	for (end = 0; end < b->n_ends; end++)
		vn_close(b->ends[end].tx);
	return 0;
}

static void
receive_all(bench *b)
{
	void *item;

	for (uint64_t i = 0; i < b->n; i++)
		check(vn_recv(b->ends[0].rx, &item), "receive");
	vn_close(b->ends[0].rx);
}

static void
pipes(bench *b)
{
	ends_open(b, 1, 0);
	spawn(b, sender);
	receive_all(b);
}

static void
queues64(bench *b)
{
	ends_open(b, 1, 64);
	spawn(b, sender);
	receive_all(b);
}

static void
selects(bench *b, size_t n)
{
	vn_case cases[N_MAX];
	void *item;

	ends_open(b, n, 0);
	for (size_t i = 0; i < n; i++)
		cases[i] = VN_RECV(b->ends[i].rx, &item);
	spawn(b, sender);
	for (uint64_t i = 0; i < b->n; i++)
		check(vn_select_cases(b->hub, cases, n), "select");
	for (size_t i = 0; i < n; i++)
		vn_close(b->ends[i].rx);
}

static void
selects2(bench *b)
{
	selects(b, 2);
}

static void
selects16(bench *b)
{
	selects(b, 16);
}

/*
 * Time. The library's clock and its waiting are its calls of libc, and these here come first: so a wait takes no
 * time, and as much more as is asked for has passed after it.
 */

static struct timespec ahead; /* of the real clock */
static vn_time leap;

SEEN int
clock_gettime(clockid_t clock, struct timespec *t)
{
	static int (*real)(clockid_t clock, struct timespec * t);
	int rc;

	if (!real)
		real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	rc = real(clock, t);
	if (clock != CLOCK_MONOTONIC)
		return rc;
	t->tv_sec += ahead.tv_sec;
	t->tv_nsec += ahead.tv_nsec;
	if (t->tv_nsec >= VN_SEC) {
		t->tv_nsec -= VN_SEC;
		t->tv_sec++;
	}
	return rc;
}

SEEN int
epoll_pwait2(int epoll_fd, struct epoll_event *events, int max, const struct timespec *timeout,
	const sigset_t *signals)
{
	vn_time at = ahead.tv_sec * VN_SEC + ahead.tv_nsec + leap +
		     (timeout ? timeout->tv_sec * VN_SEC + timeout->tv_nsec : 0);

	(void)epoll_fd, (void)events, (void)max, (void)signals;
	ahead = (struct timespec){.tv_sec = at / VN_SEC, .tv_nsec = at % VN_SEC};
	return 0; /* there are no descriptors */
}

/*
 * Timers: so many are armed all the time. An operation arms one for a random delay and cancels a random one; a
 * tenth of them expires instead, several in one turn of the hub, as they do in one that has other work.
 */

typedef struct watchdogs watchdogs;

typedef struct watchdog {
	vn_alarm *alarm;
	watchdogs *all;
} watchdog;

struct watchdogs {
	vn_hub *hub;
	watchdog *each;
	uint64_t n, n_at_once, n_expired;
	uint64_t seed;
};

static watchdogs few = {.n = 10, .n_at_once = 3}, many = {.n = 10000, .n_at_once = 50},
		 masses = {.n = 1000000, .n_at_once = 50};

static uint64_t
random_below(uint64_t *seed, uint64_t n)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return (uint64_t)((unsigned __int128)*seed * n >> 64);
}

static int watchdog_expire(vn_hub *h, void *arg);

static void
watchdog_set(watchdog *w)
{
	watchdogs *all = w->all;
	vn_time delay = DELAY_LOW + (vn_time)random_below(&all->seed, DELAY_HIGH - DELAY_LOW);

	w->alarm = vn_alarm_new(all->hub, delay, watchdog_expire, w);
	if (!w->alarm)
		err(1, "alarm");
}

static int
watchdog_expire(vn_hub *h, void *arg)
{
	watchdog *w = arg;

	(void)h;
	w->all->n_expired++;
	vn_alarm_cancel(w->alarm);
	watchdog_set(w);
	return 0;
}

static void
watchdogs_open(watchdogs *all, vn_hub *h)
{
	all->hub = h;
	all->seed = 88172645463325252;
	all->each = calloc(all->n, sizeof *all->each);
	if (!all->each)
		err(1, "timers");
	for (uint64_t i = 0; i < all->n; i++) {
		all->each[i].all = all;
		watchdog_set(&all->each[i]);
	}
}

/* Return: how many expired. */
static uint64_t
watchdogs_expire(watchdogs *all)
{
	uint64_t before = all->n_expired;

	leap = DELAY_HIGH / (vn_time)all->n * (vn_time)all->n_at_once;
	check(vn_sleep(all->hub, 1), "sleep");
	leap = 0;
	vn_yield(all->hub);
	return all->n_expired - before;
}

static void
watchdogs_run(bench *b, watchdogs *all)
{
	uint64_t n_done = 0;

	if (!all->each)
		watchdogs_open(all, b->hub);
	while (n_done < b->n) {
		uint64_t n_expired = watchdogs_expire(all);

		for (uint64_t i = 0; i < 9 * n_expired; i++) {
			watchdog *w = &all->each[random_below(&all->seed, all->n)];

			check(vn_alarm_cancel(w->alarm), "cancel");
			watchdog_set(w);
		}
		n_done += 10 * n_expired;
	}
	b->n = n_done;
}

static void
timers10(bench *b)
{
	watchdogs_run(b, &few);
}

static void
timers10k(bench *b)
{
	watchdogs_run(b, &many);
}

static void
timers1m(bench *b)
{
	watchdogs_run(b, &masses);
}

/* Slices */

static raw jump = {"jump", raw_jumps, 0}, make = {"make", raw_spawns, 0};

static row rows[] = {
	{"yield", yields, &jump, 1, 0, false},
	{"spawn", spawns, &make, 1, 0, false},
	{"pipe", pipes, &jump, 1, 0, false},
	{"queue64", queues64, &jump, 1, 0, false},
	{"select2", selects2, &jump, 1, 0, false},
	{"select16", selects16, &jump, 1, 0, false},
	{"timer10", timers10, &jump, 1, 0, false},
	{"timer10k", timers10k, &jump, 8, 0, false},
	{"timer1m", timers1m, &jump, 8, 0, false},
};

#define N_ROWS (sizeof rows / sizeof *rows)

/* Nanoseconds of one operation, by the clock of this thread: others on this core do not count. */
static double
run(bench *b, void (*fn)(bench *b), uint64_t n)
{
	uint64_t start = client_clock_ns(CLOCK_THREAD_CPUTIME_ID), ns;

	b->n = n;
	fn(b);
	ns = client_clock_ns(CLOCK_THREAD_CPUTIME_ID) - start;
	vn_yield(b->hub); /* the other coroutine may have its last step before it */
	return (double)ns / (double)b->n;
}

/* How often, for a slice to take its time. */
static uint64_t
fit(bench *b, void (*fn)(bench *b), double slice_ns)
{
	uint64_t n = FIRST;
	double ns = run(b, fn, n);

	while (ns * (double)n < slice_ns / 8) {
		n *= 4;
		ns = run(b, fn, n);
	}
	return (uint64_t)(slice_ns / ns) / EVEN * EVEN + EVEN;
}

/* A slice, when caches and predictions are its own. */
static double
slice(bench *b, void (*fn)(bench *b), uint64_t *n, unsigned int times)
{
	if (!*n)
		*n = fit(b, fn, (double)(b->slice_ns * times));
	run(b, fn, *n / WARM_UP / EVEN * EVEN + EVEN);
	return run(b, fn, *n);
}

static void
measure(bench *b, row *r)
{
	double before = slice(b, r->raw->run, &r->raw->n, 1);
	double ns = slice(b, r->run, &r->n, r->times);
	double after = slice(b, r->raw->run, &r->raw->n, 1);

	printf("{\"row\": \"%s\", \"ns\": %.3f, \"raw\": \"%s\", \"raw_ns\": %.3f}\n", r->name, ns,
		r->raw->name, (before + after) / 2);
}

static void
round_of(bench *b)
{
	for (size_t i = 0; i < N_ROWS; i++)
		if (rows[i].wanted)
			measure(b, &rows[i]);
	printf("{\"row\": null}\n");
	fflush(stdout);
}

static void
want(const char *name)
{
	for (size_t i = 0; i < N_ROWS; i++)
		if (!strcmp(rows[i].name, name)) {
			rows[i].wanted = true;
			return;
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

static int
rounds(vn_hub *h, void *arg)
{
	bench *b = arg;

	(void)h;
	while (next_line())
		round_of(b);
	return vn_close(b->done.tx);
}

/* Parked coroutines */

static __attribute__((noinline)) int
wait_deep(vn_hub *h, int calls)
{
	int rc = calls > 1 ? wait_deep(h, calls - 1) : vn_sleep(h, DELAY_HIGH);

	__asm__(""
		: "+r"(rc)); /* something is left to do after each call: the compiler makes no loop of it */
	return rc < 0 ? rc : calls;
}

static int
parked(vn_hub *h, void *arg)
{
	(void)arg;
	return wait_deep(h, 3);
}

static void
park(bench *b, uint64_t n)
{
	uint64_t start;

	spawn(b, parked);
	vn_yield(b->hub);
	printf("{\"parked\": 1}\n");
	fflush(stdout);
	next_line();
	start = client_clock_ns(CLOCK_MONOTONIC);
	for (uint64_t i = 0; i < n; i++) {
		spawn(b, parked);
		if (i % 256 == 0)
			vn_yield(b->hub);
	}
	vn_yield(b->hub);
	printf("{\"parked\": %ju, \"ns\": %.0f}\n", (uintmax_t)n,
		(double)(client_clock_ns(CLOCK_MONOTONIC) - start) / (double)n);
	fflush(stdout);
	next_line();
}

static void
print_guards(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		err(1, "mmap");
	printf("{\"light\": %s}\n", madvise(p, page, MADV_GUARD_INSTALL) == 0 ? "true" : "false");
}

static void
bench_open(bench *b)
{
	b->hub = vn_hub_new();
	b->raw_stack = aligned_alloc(4096, RAW_STACK_BYTES);
	if (!b->hub || !b->raw_stack)
		err(1, "hub");
}

static void
measure_rows(bench *b, const char *slice_ms)
{
	char *stack = aligned_alloc(4096, RAW_STACK_BYTES), nothing_comes;

	if (!stack)
		err(1, "stack");
	b->slice_ns = client_number(slice_ms, 1, 1000) * 1000000;
	b->raw_peer = make_fcontext(stack + RAW_STACK_BYTES, RAW_STACK_BYTES, raw_echo);
	b->done = vn_pipe(b->hub, char);
	spawn(b, rounds);
	vn_recv(b->done.rx, &nothing_comes);
}

int
main(int argc, char **argv)
{
	bench b = {0};

	if (argc == 2 && !strcmp(argv[1], "guards")) {
		print_guards();
		return 0;
	}
	if (argc < 3 || (strcmp(argv[1], "rows") && strcmp(argv[1], "parked"))) {
		fprintf(stderr, "usage: hub rows SLICE_MS ROW... | parked N | guards\n");
		return 2;
	}
	for (int i = 3; i < argc; i++)
		want(argv[i]);
	bench_open(&b);
	if (!strcmp(argv[1], "rows"))
		measure_rows(&b, argv[2]);
	else
		park(&b, client_number(argv[2], 1, 100000000));
	vn_hub_free(b.hub);
	return 0;
}
