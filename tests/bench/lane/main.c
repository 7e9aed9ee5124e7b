/* SPDX-License-Identifier: MIT */
/*
 * Main - two processes that carry messages from one to the other, by one carrier after the other, in slices
 *
 *	lane -l                                          the carriers and their settings
 *	lane -p 0,0 [-t MS] [-r ROUNDS] CARRIER...       both sides on core 0
 *	lane -p 0,1 [-t MS] [-r ROUNDS] CARRIER...       each on its own, with a probe between the slices
 *	lane -c -p 0,0 CARRIER...                        instructions per message, by stepping
 *
 * -d names a directory for sockets.
 *
 * A coordinator, which sleeps while anything is measured, tells the sender and the receiver what to do next. In
 * each round every carrier has one slice, so all of them see the same machine; the first round finds out how many
 * messages a slice takes and is not printed. The time of a slice begins with the sender and ends when both are
 * done. The probe is a word that goes to and fro between the two cores: where the machine beneath moves its
 * processors around, it tells which placement a slice had.
 *
 * One line of JSON per slice. Instructions are counted one by one by ptrace, so no counter of the hardware is needed
 * and nothing else that runs makes a difference: first the sender alone, then the receiver alone, so nobody waits.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "tests/bench/client.h"
#include "tests/bench/lane/carrier.h"

#define LIMIT_S       120
#define ENOUGH_NS     14000000000 /* no round begins later, however busy the machine is */
#define CALIBRATE_NS  2000000
#define PROBES        3 /* the best counts: somebody may have come between */
#define PROBE_TRIPS   500
#define STEPPED_WARM  3
#define STEPPED       128 /* messages: less than there are slots */
#define COUNT(a)      (sizeof(a) / sizeof *(a))
#define MAX_PER_SLICE (1u << 26)
#define N_SIDES       2

static const carrier *const carriers[] = {
	&carrier_line,
	&carrier_memcpy,
	&carrier_raw,
	&carrier_raw_beside,
	&carrier_ck,
	&carrier_lane32,
	&carrier_checked32,
	&carrier_lane64,
	&carrier_hubs32,
	&carrier_hubs64,
	&carrier_big,
	&carrier_trip_polls,
	&carrier_trip_sleeps,
	&carrier_hub_trip_polls,
	&carrier_hub_trip_sleeps,
	&carrier_seqpacket32,
	&carrier_seqpacket64,
	&carrier_eventfd_trip,
	&carrier_stream_trip,
	&carrier_zmq32,
	&carrier_zmq64,
	&carrier_nng32,
	&carrier_nng64,
};

/* What the coordinator asks of a side, and what that answers. */
typedef struct order {
	uint32_t index; /* of the carrier */
	bool stepped;
	uint64_t n;
} order;

typedef struct answer {
	uint64_t start_ns, end_ns, cpu_ns;
	carrier_tally tally;
} answer;

typedef struct bench {
	carrier_place place;
	int cores[N_SIDES];
	uint32_t slice_ms, n_rounds;
	bool counts;
	const carrier *wanted[COUNT(carriers) + 1];
	void *states[COUNT(carriers) + 1];
	uint64_t n[COUNT(carriers) + 1];
	uint32_t n_wanted;
	pid_t sides[N_SIDES]; /* the receiver is 0, the sender 1 */
	int sockets[N_SIDES];
} bench;

/* A side */

static void
pin(int core)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(core, &set);
	if (sched_setaffinity(0, sizeof set, &set) < 0)
		err(1, "core %d", core);
}

static void
side_do(const carrier *c, void *state, bool sends, const order *o, carrier_tally *t)
{
	if (o->stepped && (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0 || raise(SIGSTOP)))
		err(1, "ptrace");
	if (sends)
		c->send(state, o->n, t);
	else
		c->receive(state, o->n, t);
	if (o->stepped)
		raise(SIGSTOP);
}

static void
side_run(bench *b, bool sends, int socket)
{
	order o;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(LIMIT_S);
	pin(b->cores[sends]);
	for (uint32_t i = 0; i < b->n_wanted; i++)
		b->wanted[i]->begin(b->states[i], sends);
	if (send(socket, "", 1, MSG_NOSIGNAL) != 1)
		_exit(1);
	while (recv(socket, &o, sizeof o, 0) == sizeof o) {
		uint64_t cpu = client_clock_ns(CLOCK_PROCESS_CPUTIME_ID);
		answer a = {.start_ns = client_clock_ns(CLOCK_MONOTONIC)};

		side_do(b->wanted[o.index], b->states[o.index], sends, &o, &a.tally);
		a.end_ns = client_clock_ns(CLOCK_MONOTONIC);
		a.cpu_ns = client_clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
		if (send(socket, &a, sizeof a, MSG_NOSIGNAL) != sizeof a)
			break;
	}
	_exit(0);
}

static void
bench_fork(bench *b)
{
	for (uint32_t i = 0; i < b->n_wanted; i++)
		b->states[i] = b->wanted[i]->open(b->wanted[i], &b->place);
	for (int side = 0; side < N_SIDES; side++) {
		int fds[2];

		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
			err(1, "socketpair");
		b->sides[side] = fork();
		if (b->sides[side] < 0)
			err(1, "fork");
		if (b->sides[side] == 0) {
			close(fds[0]);
			if (side > 0)
				close(b->sockets[0]); /* else the receiver never sees that the run is over */
			side_run(b, side == 1, fds[1]);
		}
		close(fds[1]);
		b->sockets[side] = fds[0];
	}
	for (int side = 0; side < N_SIDES; side++)
		if (recv(b->sockets[side], &(char){0}, 1, 0) != 1)
			errx(1, "a side ended early");
}

/* The coordinator */

static void
tell(const bench *b, int side, const order *o)
{
	if (send(b->sockets[side], o, sizeof *o, MSG_NOSIGNAL) != sizeof *o)
		err(1, "a side is gone");
}

static answer
hear(const bench *b, int side)
{
	answer a;

	if (recv(b->sockets[side], &a, sizeof a, 0) != sizeof a)
		errx(1, "a side ended early");
	return a;
}

static uint64_t
slice(const bench *b, uint32_t index, uint64_t n, answer answers[N_SIDES])
{
	order o = {.index = index, .n = n};
	uint64_t end = 0;

	for (int side = 0; side < N_SIDES; side++)
		tell(b, side, &o);
	for (int side = 0; side < N_SIDES; side++) {
		answers[side] = hear(b, side);
		if (answers[side].end_ns > end)
			end = answers[side].end_ns;
	}
	return end - answers[1].start_ns;
}

/* Nanoseconds of a round trip of one cache line; 0 on one core. */
static double
probe(const bench *b)
{
	answer answers[N_SIDES];

	uint64_t best = UINT64_MAX;

	for (int i = 0; i < PROBES && !b->place.one_core; i++) {
		uint64_t ns = slice(b, 0, PROBE_TRIPS, answers);

		best = ns < best ? ns : best;
	}
	return b->place.one_core ? 0 : (double)best / PROBE_TRIPS;
}

static void
calibrate(bench *b, uint32_t index)
{
	answer answers[N_SIDES];
	uint64_t n = b->wanted[index]->message == CARRIER_BIG_BYTES ? 1 : CARRIER_BATCH, ns;

	while ((ns = slice(b, index, n, answers)) < CALIBRATE_NS && n < MAX_PER_SLICE)
		n *= 2;
	b->n[index] = n * b->slice_ms * 1000000 / ns + 1;
}

/* As many messages as the slice before would have taken; batches stay whole. */
static void
adjust(bench *b, uint32_t index, uint64_t ns)
{
	double factor = (double)b->slice_ms * 1e6 / (double)ns;
	uint64_t n = (uint64_t)((double)b->n[index] * (factor > 4             ? 4
							      : factor < 0.25 ? 0.25
									      : factor));

	if (b->wanted[index]->message != CARRIER_BIG_BYTES)
		n = n / CARRIER_BATCH * CARRIER_BATCH;
	b->n[index] = n < 1 ? 1 : n > MAX_PER_SLICE ? MAX_PER_SLICE : n;
	if (b->n[index] < CARRIER_BATCH && b->wanted[index]->message != CARRIER_BIG_BYTES)
		b->n[index] = CARRIER_BATCH;
}

static void
rounds(bench *b)
{
	uint32_t first = b->place.one_core ? 0 : 1;
	uint64_t until = client_clock_ns(CLOCK_MONOTONIC) + ENOUGH_NS;
	double before;

	for (uint32_t i = first; i < b->n_wanted; i++)
		calibrate(b, i);
	before = probe(b);
	for (uint32_t round = 0; round < b->n_rounds && client_clock_ns(CLOCK_MONOTONIC) < until;
		round++)
		for (uint32_t i = first; i < b->n_wanted; i++) {
			answer a[N_SIDES];
			uint64_t n = b->n[i], ns = slice(b, i, n, a);
			double after = probe(b);

			printf("{\"carrier\": \"%s\", \"round\": %u, \"n\": %ju, \"ns\": %ju, "
			       "\"before\": %.1f, "
			       "\"after\": %.1f, \"cpu\": [%ju, %ju], \"bells\": %ju, \"copied\": "
			       "[%ju, %ju]}\n",
				b->wanted[i]->name, round, (uintmax_t)n, (uintmax_t)ns, before,
				after, (uintmax_t)a[1].cpu_ns, (uintmax_t)a[0].cpu_ns,
				(uintmax_t)(a[0].tally.bells + a[1].tally.bells),
				(uintmax_t)a[1].tally.copied, (uintmax_t)a[0].tally.copied);
			before = after;
			adjust(b, i, ns);
		}
}

/* Instructions */

static void
wait_stopped(pid_t pid, int *sig)
{
	int status;

	if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
		errx(1, "a side ended early");
	*sig = WSTOPSIG(status);
}

/* Steps a side through n messages. Return: how many instructions that took. */
static uint64_t
step(const bench *b, int side, uint32_t index, uint64_t n)
{
	order o = {.index = index, .stepped = true, .n = n};
	uint64_t steps = 0;
	int sig;

	tell(b, side, &o);
	wait_stopped(b->sides[side], &sig);
	do {
		if (ptrace(PTRACE_SINGLESTEP, b->sides[side], NULL, NULL) < 0)
			err(1, "ptrace");
		wait_stopped(b->sides[side], &sig);
		steps++;
	} while (sig != SIGSTOP);
	if (ptrace(PTRACE_DETACH, b->sides[side], NULL, NULL) < 0)
		err(1, "ptrace");
	hear(b, side);
	return steps;
}

static void
side_alone(const bench *b, int side, uint32_t index)
{
	order o = {.index = index, .n = STEPPED};

	tell(b, side, &o);
	hear(b, side);
}

static void
count(const bench *b)
{
	for (uint32_t i = 0; i < b->n_wanted; i++) {
		uint64_t none[N_SIDES], all[N_SIDES];

		for (int warm = 0; warm < STEPPED_WARM; warm++)
			for (int side = N_SIDES - 1; side >= 0; side--)
				side_alone(b, side, i);
		for (int side = N_SIDES - 1; side >= 0; side--) {
			none[side] = step(b, side, i, 0);
			all[side] = step(b, side, i, STEPPED);
		}
		printf("{\"carrier\": \"%s\", \"n\": %d, \"sender\": %.2f, \"receiver\": %.2f}\n",
			b->wanted[i]->name, STEPPED, (double)(all[1] - none[1]) / STEPPED,
			(double)(all[0] - none[0]) / STEPPED);
	}
}

/* The command line */

static void
list(void)
{
	for (size_t i = 0; i < COUNT(carriers); i++)
		printf("{\"carrier\": \"%s\", \"bytes\": %u, \"there\": %s, \"settings\": "
		       "\"%s\"}\n",
			carriers[i]->name, carriers[i]->message,
			carriers[i]->send ? "true" : "false", carriers[i]->settings);
}

static const carrier *
carrier_named(const char *name)
{
	for (size_t i = 0; i < COUNT(carriers); i++)
		if (strcmp(carriers[i]->name, name) == 0) {
			if (!carriers[i]->send)
				errx(1, "%s: %s", name, carriers[i]->settings);
			return carriers[i];
		}
	errx(2, "%s: no such carrier", name);
}

static void
parse_cores(bench *b, char *text)
{
	char *comma = strchr(text, ',');

	if (!comma)
		errx(2, "-p takes two cores, as in 0,1");
	*comma = 0;
	b->cores[1] = (int)client_number(text, 0, CPU_SETSIZE - 1);
	b->cores[0] = (int)client_number(comma + 1, 0, CPU_SETSIZE - 1);
	b->place.one_core = b->cores[0] == b->cores[1];
}

static void
parse(bench *b, int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "lcd:p:t:r:")) >= 0) {
		if (option == 'l') {
			list();
			exit(0);
		} else if (option == 'c') {
			b->counts = true;
		} else if (option == 'd') {
			b->place.dir = optarg;
		} else if (option == 'p') {
			parse_cores(b, optarg);
		} else if (option == 't') {
			b->slice_ms = (uint32_t)client_number(optarg, 1, 10000);
		} else if (option == 'r') {
			b->n_rounds = (uint32_t)client_number(optarg, 1, 10000);
		} else {
			exit(2);
		}
	}
	if (!b->place.one_core)
		b->wanted[b->n_wanted++] = &carrier_line; /* the probe is the first */
	for (; optind < argc && b->n_wanted < COUNT(b->wanted); optind++)
		b->wanted[b->n_wanted++] = carrier_named(argv[optind]);
}

int
main(int argc, char **argv)
{
	bench b = {.place.one_core = true, .place.dir = ".", .slice_ms = 20, .n_rounds = 9};
	int status;

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	parse(&b, argc, argv);
	alarm(LIMIT_S);
	bench_fork(&b);
	if (b.counts)
		count(&b);
	else
		rounds(&b);
	for (int side = 0; side < N_SIDES; side++) {
		close(b.sockets[side]);
		waitpid(b.sides[side], &status, 0);
	}
	return 0;
}
