/* SPDX-License-Identifier: MIT */
/*
 * Forward - who asked for which signal
 *
 * A worker says which signals it wants (SUBSCRIBE, all of them each time). From its READY on, a signal that the broker
 * gets is owed to it (SIGNAL, all that came since the last one). As long as anybody wants a signal, the broker reads
 * it from its descriptor; else it has the action that it has for any process, which for most ends the broker.
 *
 * While a successor starts, what the dead worker asked for still holds: a signal that comes then is kept for who is
 * READY first and wants it, and does not end the service.
 *
 * Some are never forwarded: those with a meaning of the broker's own (OWN), and those that a process gets for what it
 * does itself (FAULTS). To ask for them is no error: the same program may run alone.
 */
#include "broker/forward.h"

#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define BIT(signal) ((uint64_t)1 << ((signal)-1))
#define OWN         (BIT(SIGTERM) | BIT(SIGINT) | BIT(SIGQUIT) | BIT(SIGHUP) | BIT(SIGTTIN) | BIT(SIGTTOU))
#define FAULTS                                                                                     \
	(BIT(SIGSEGV) | BIT(SIGBUS) | BIT(SIGFPE) | BIT(SIGILL) | BIT(SIGTRAP) | BIT(SIGSYS) |     \
		BIT(SIGABRT) | BIT(SIGPIPE) | BIT(SIGCHLD) | BIT(SIGKILL) | BIT(SIGSTOP))
#define LIBRARYS (BIT(32) | BIT(33)) /* glibc's own */

static sigset_t
set_of(uint64_t mask)
{
	sigset_t set;

	sigemptyset(&set);
	for (; mask; mask &= mask - 1)
		sigaddset(&set, __builtin_ctzll(mask) + 1);
	return set;
}

/**
 * vn_forward_set() - the broker's own signals, and these
 */
sigset_t
vn_forward_set(uint64_t forwarded)
{
	return set_of(OWN | forwarded);
}

/* Does it run, and has it said that it does? */
static bool
may_get(const vn_worker *w)
{
	return w && w->linked && !w->broken && w->was_ready &&
	       (w->state == VN_WORKER_READY || w->state == VN_WORKER_DRAINING);
}

/* Is somebody about to say what it wants? */
static bool
somebody_starts(const vn_broker *b)
{
	for (uint32_t i = 1; i <= b->n_slots; i++) {
		const vn_worker *w = b->workers[i];

		if (w && !w->going &&
			(w->state == VN_WORKER_NONE || w->state == VN_WORKER_STARTING))
			return true;
	}
	return false;
}

static void
forwarded_set(vn_broker *b, uint64_t forwarded)
{
	sigset_t set = vn_forward_set(forwarded), gone = set_of(b->forwarded & ~forwarded);

	b->forwarded = forwarded;
	if (b->signals.fd < 0)
		return;
	sigprocmask(SIG_BLOCK, &set, NULL);
	signalfd(b->signals.fd, &set, 0);
	sigprocmask(SIG_UNBLOCK, &gone, NULL);
}

static void
owe(vn_worker *w, uint64_t mask)
{
	w->owes_signals |= mask;
	vn_worker_heat(w);
}

/* What came while nobody was there goes to whom it would have gone to. */
static void
kept_give(vn_broker *b)
{
	uint64_t given = 0;

	for (uint32_t i = 1; b->signals_kept && i <= b->n_slots; i++) {
		vn_worker *w = b->workers[i];

		if (!may_get(w) || !(b->signals_kept & w->subscribed))
			continue;
		owe(w, b->signals_kept & w->subscribed);
		given |= w->subscribed;
	}
	b->signals_kept &= ~given;
}

/**
 * vn_forward_update() - a worker is READY, or wants others
 */
void
vn_forward_update(vn_broker *b)
{
	uint64_t wanted = 0;

	for (uint32_t i = 1; i <= b->n_slots; i++)
		if (may_get(b->workers[i]))
			wanted |= b->workers[i]->subscribed;
	if (somebody_starts(b))
		wanted |= b->forwarded;
	if (wanted != b->forwarded)
		forwarded_set(b, wanted);
	b->signals_kept &= wanted;
	kept_give(b);
}

/**
 * vn_forward_subscribe() - a worker wants these signals, and no others
 */
void
vn_forward_subscribe(vn_broker *b, vn_worker *w, uint64_t mask)
{
	w->subscribed = mask & ~(OWN | FAULTS | LIBRARYS);
	if (may_get(w))
		vn_forward_update(b);
}

/**
 * vn_forward_untaken() - what a worker was told and has not taken yet
 */
uint64_t
vn_forward_untaken(vn_worker *w)
{
	if (!w->linked || !w->said_signals)
		return 0;
	vn_lane_tx_refresh(&w->link.tx);
	return (int32_t)(w->link.tx.taken - w->signals_next) < 0 ? w->said_signals : 0;
}

/**
 * vn_forward_gone() - a worker is dead: what it had not taken, and nobody else was told, is for its successor
 *
 * Its link is still there.
 */
void
vn_forward_gone(vn_broker *b, vn_worker *w)
{
	uint64_t lost = w->owes_signals | vn_forward_untaken(w);

	w->subscribed = w->owes_signals = w->said_signals = 0;
	for (uint32_t i = 1; i <= b->n_slots; i++)
		if (may_get(b->workers[i]))
			lost &= ~b->workers[i]->subscribed;
	b->signals_kept |= lost;
}

/**
 * vn_forward_signal() - a signal came that some worker wants, or wanted
 */
void
vn_forward_signal(vn_broker *b, int signal)
{
	bool given = false;

	for (uint32_t i = 1; i <= b->n_slots; i++) {
		vn_worker *w = b->workers[i];

		if (!may_get(w) || !(w->subscribed & BIT(signal)))
			continue;
		owe(w, BIT(signal));
		given = true;
	}
	if (given)
		return;
	b->signals_kept |= BIT(signal);
	vn_log(b->hub, LOG_NOTICE,
		"signal %d (%s): no worker is there to take it; kept for the next", signal,
		strsignal(signal));
}
