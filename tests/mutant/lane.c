/* SPDX-License-Identifier: MIT */
/*
 * Lane - a lane whose order is weakened at one place, between two threads
 *
 *     lane race MUTANT     two threads that never sleep pass millions of messages; for the thread sanitizer
 *     lane sleep MUTANT    both sleep whenever they can; lane itself says that a wake-up was lost
 *
 * MUTANT is "none" or a place, by the word that is stored or loaded there:
 *
 *     race    store tail, load tail, store head, load head: relaxed instead of ordered. On x86-64 the machine does
 *             not mind, so only the sanitizer can tell.
 *     sleep   P2, C3, S1, F1: the exchange is a plain store, which the load after it may pass: P3, C4, S2 and F2
 *             look before the own word is seen. Processors do so only now and then; here the store waits in a
 *             buffer of one word until the look is over, which is what x86-64 allows at its worst, with a pause
 *             between the two that lets the other side run.
 *
 * The code that is tested is shm/lane.c itself, included here with its three ordered accesses renamed. Whoever
 * sleeps for long asks whether the other one does too; then nobody can wake them, and the lane says how far it got.
 * Exit code 0: all messages arrived; 2: a wake-up was lost; anything else is a failure of the test.
 */
#include <err.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shm/bell.h"
#include "shm/layout.h"
#include "shm/segment.h"
#include "shm/sync.h"

#define SLOTS     8
#define N_RACE    2000000
#define N_SLEEP   200000
#define HONEST_MS 60000 /* the other one stands still, not a slow machine */
#define MUTANT_MS 1000
#define LOST      2

typedef struct place {
	const char *name, *access;
} place;

/* How each one reads in shm/lane.c; a run with a place that is not there changes nothing, and so fails. */
static const place places[] = {
	{"store tail", "publish tx->tail"},
	{"load tail", "load rx->tail"},
	{"store head", "publish rx->head"},
	{"load head", "load tx->head"},
	{"P2", "publish tx->tail"},
	{"C3", "publish rx->head"},
	{"S1", "publish rx->ev"},
	{"F1", "publish tx->space_ev"},
};

static const char *weak = "";
static bool sleeping_mode;

/* The store that waits, each thread's own. */
static __thread uint32_t *held;
static __thread uint32_t held_value;

static void
held_drain(void)
{
	if (held)
		__atomic_store_n(held, held_value, __ATOMIC_RELEASE);
	held = NULL;
}

static void
mutant_publish(const char *access, uint32_t *word, uint32_t value)
{
	if (strcmp(weak, access) != 0) {
		vn_sync_publish(word, value);
	} else if (sleeping_mode) {
		held = word;
		held_value = value;
	} else {
		__atomic_store_n(word, value, __ATOMIC_RELAXED);
	}
}

static uint32_t
mutant_load(const char *access, const uint32_t *word)
{
	return strcmp(weak, access) == 0 ? __atomic_load_n(word, __ATOMIC_RELAXED)
					 : vn_sync_load(word);
}

static uint32_t
mutant_look(const uint32_t *word)
{
	uint32_t value = vn_sync_look(word);

	if (held)
		sched_yield();
	held_drain();
	return value;
}

#define vn_sync_publish(word, value) mutant_publish("publish " #word, word, value)
#define vn_sync_load(word)           mutant_load("load " #word, word)
#define vn_sync_look(word)           mutant_look(word)
#include "shm/lane.c"

typedef struct side {
	int epoll, ring; /* what it sleeps on, what wakes the other one */
	bool asleep;     /* since it last came back, with nothing to do */
	uint64_t n_done;
} side;

typedef struct lane {
	vn_segment mine, theirs;
	vn_lane_tx tx;
	vn_lane_rx rx;
	side producer, consumer;
	uint64_t n_all;
	int patience_ms;
} lane;

static vn_segment
segment_new(void)
{
	vn_segment s = {.fd = -1, .writable = true, .geometry = {SLOTS, 0}};

	s.size = sizeof(vn_segment_layout) + SLOTS * sizeof(vn_desc);
	s.base = mmap(NULL, s.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s.base == MAP_FAILED || vn_segment_claim(&s, 1) < 0)
		err(1, "segment");
	return s;
}

static int
epoll_of(int fd)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET};
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		err(1, "epoll");
	return epoll;
}

static void
lane_init(lane *l)
{
	int to_consumer = vn_bell_eventfd(), to_producer = vn_bell_eventfd();

	l->mine = segment_new();
	l->theirs = segment_new();
	vn_lane_tx_init(&l->tx, &l->mine, &l->theirs);
	vn_lane_rx_init(&l->rx, &l->theirs, &l->mine);
	l->producer = (side){.epoll = epoll_of(to_producer), .ring = to_consumer};
	l->consumer = (side){.epoll = epoll_of(to_consumer), .ring = to_producer};
}

static bool
is_rung(const side *s)
{
	struct pollfd p = {.fd = s->epoll, .events = POLLIN};

	return poll(&p, 1, 0) != 0;
}

/* Both asleep, no bell on its way, and this one has waited for longer than anything takes. */
static void
side_sleep(const lane *l, side *s, const side *other)
{
	struct epoll_event event;
	int n;

	__atomic_store_n(&s->asleep, true, __ATOMIC_SEQ_CST);
	do {
		n = epoll_wait(s->epoll, &event, 1, l->patience_ms);
		if (n == 0 && __atomic_load_n(&other->asleep, __ATOMIC_SEQ_CST) &&
			!is_rung(other)) {
			printf("asleep for ever: %u published, %u taken\n",
				*l->tx.tail - VN_CURSOR_START, *l->rx.head - VN_CURSOR_START);
			fflush(stdout);
			_exit(LOST);
		}
	} while (n == 0 || (n < 0 && errno == EINTR));
	__atomic_store_n(&s->asleep, false, __ATOMIC_SEQ_CST);
}

static vn_desc
message(uint64_t i)
{
	vn_desc d = {.kind = VN_KIND_PING};

	d.pos = i;
	d.report = ~i;
	memcpy(d.peer.addr, &i, sizeof i);
	return d;
}

static void
produce_some(lane *l, uint64_t n)
{
	for (; n > 0 && l->producer.n_done < l->n_all && vn_lane_tx_has(&l->tx, 1); n--) {
		vn_desc d = message(l->producer.n_done++);

		vn_lane_tx_push(&l->tx, &d);
	}
	if (vn_lane_tx_flush(&l->tx))
		vn_bell_ring(l->producer.ring);
}

static void *
produce(void *context)
{
	lane *l = context;

	for (uint64_t turn = 0; l->producer.n_done < l->n_all; turn++) {
		produce_some(l, turn % 3 + 1);
		if (vn_lane_tx_has(&l->tx, 1) || l->producer.n_done == l->n_all)
			continue;
		if (!sleeping_mode)
			sched_yield();
		else if (!vn_lane_tx_want(&l->tx, 1))
			side_sleep(l, &l->producer, &l->consumer);
	}
	/* It will never wait again, so whoever waits for it has lost something. */
	__atomic_store_n(&l->producer.asleep, true, __ATOMIC_SEQ_CST);
	return NULL;
}

static void
consume(lane *l)
{
	vn_desc out[SLOTS];

	for (uint64_t turn = 0; l->consumer.n_done < l->n_all; turn++) {
		int n = vn_lane_rx_take(&l->rx, out, (uint32_t)(turn % SLOTS + 1));

		for (int i = 0; i < n; i++) {
			vn_desc wanted = message(l->consumer.n_done++);

			if (memcmp(&out[i], &wanted, sizeof wanted) != 0)
				errx(1, "message %llu is not what was sent",
					(unsigned long long)wanted.pos);
		}
		if (vn_lane_rx_release(&l->rx))
			vn_bell_ring(l->consumer.ring);
		if (n > 0)
			continue;
		if (n < 0)
			errx(1, "an honest tail looks like a lie");
		if (!sleeping_mode)
			sched_yield();
		else if (vn_lane_rx_arm(&l->rx))
			side_sleep(l, &l->consumer, &l->producer);
	}
}

int
main(int argc, char **argv)
{
	lane l = {0};
	pthread_t thread;

	if (argc != 3)
		errx(1, "usage: lane race|sleep MUTANT");
	sleeping_mode = strcmp(argv[1], "sleep") == 0;
	for (size_t i = 0; i < sizeof places / sizeof *places; i++)
		if (strcmp(places[i].name, argv[2]) == 0)
			weak = places[i].access;
	if (!*weak && strcmp(argv[2], "none") != 0)
		errx(1, "there is no mutant %s", argv[2]);
	l.n_all = sleeping_mode ? N_SLEEP : N_RACE;
	l.patience_ms = *weak ? MUTANT_MS : HONEST_MS;
	lane_init(&l);
	if (pthread_create(&thread, NULL, produce, &l) != 0)
		errx(1, "no thread");
	consume(&l);
	pthread_join(thread, NULL);
	printf("%llu messages\n", (unsigned long long)l.n_all);
	return 0;
}
