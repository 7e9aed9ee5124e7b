/* SPDX-License-Identifier: MIT */
/*
 * Carrier - one way to bring messages from one process to another, as the lane benchmark measures it
 *
 * A carrier is opened before the fork (what both sides share), begun in each process, and then used by slices:
 * the sender calls send(n) while the receiver is in receive(n), and both return when n messages, or n round
 * trips, are over. A message is a row of 64-bit words that all say its number; the receiver looks at the first
 * and the last, so a carrier that loses or mixes up messages ends the program and is not merely fast.
 *
 * Whatever fails ends the program with a sentence: a benchmark that goes on after an error measures something else.
 */
#ifndef VN_BENCH_LANE_CARRIER_H
#define VN_BENCH_LANE_CARRIER_H

#include <err.h>
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <ck_pr.h>

#define CARRIER_BATCH     32
#define CARRIER_SLOTS     1024 /* of every ring that is compared */
#define CARRIER_LINE      64
#define CARRIER_BIG_BYTES (1u << 20)

/* What one side did in one slice. */
typedef struct carrier_tally {
	uint64_t bells;  /* writes that may wake the other side */
	uint64_t copied; /* bytes of payload that this side copied */
} carrier_tally;

/* Where both sides of a run stand. */
typedef struct carrier_place {
	bool one_core;
	const char *dir; /* for sockets */
} carrier_place;

typedef struct carrier {
	const char *name;
	const char *settings; /* printed with the figures */
	uint32_t message;     /* bytes; 0: as it says */
	void *(*open)(const struct carrier *c, const carrier_place *place);
	void (*begin)(void *state, bool sends); /* the receiver's first */
	void (*send)(void *state, uint64_t n, carrier_tally *t);
	void (*receive)(void *state, uint64_t n, carrier_tally *t);
} carrier;

extern const carrier carrier_line, carrier_memcpy;
extern const carrier carrier_raw, carrier_raw_beside, carrier_ck;
extern const carrier carrier_lane32, carrier_lane64, carrier_checked32;
extern const carrier carrier_hubs32, carrier_hubs64, carrier_big;
extern const carrier carrier_trip_polls, carrier_trip_sleeps;
extern const carrier carrier_hub_trip_polls, carrier_hub_trip_sleeps;
extern const carrier carrier_seqpacket32, carrier_seqpacket64, carrier_eventfd_trip,
	carrier_stream_trip;
extern const carrier carrier_zmq32, carrier_zmq64, carrier_nng32, carrier_nng64;

/* Zeroed memory of both processes, with its pages there. */
static inline void *
carrier_shared(size_t size)
{
	void *base = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (base == MAP_FAILED)
		err(1, "mmap");
	return base;
}

/* Waits a moment for the other side without sleeping. */
static inline void
carrier_relax(bool one_core)
{
	if (one_core)
		sched_yield();
	else
		ck_pr_stall();
}

static inline void
carrier_fill(uint64_t *words, uint32_t bytes, uint64_t number)
{
	for (uint32_t i = 0; i < bytes / 8; i++)
		words[i] = number;
}

static inline void
carrier_verify(const uint64_t *words, uint32_t bytes, uint64_t number)
{
	if (words[0] != number || words[bytes / 8 - 1] != number)
		errx(1, "message %ju is missing or torn: there are %ju and %ju", (uintmax_t)number,
			(uintmax_t)words[0], (uintmax_t)words[bytes / 8 - 1]);
}

/* An epoll with one descriptor, edge-triggered: the kind of sleep that a hub has. */
static inline int
carrier_watch(int fd)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET};
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		err(1, "epoll");
	return epoll;
}

static inline void
carrier_nap(int epoll)
{
	struct epoll_event event;

	while (epoll_wait(epoll, &event, 1, -1) < 0)
		if (errno != EINTR)
			err(1, "epoll_wait");
}

#endif
