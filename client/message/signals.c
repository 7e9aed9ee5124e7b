/* SPDX-License-Identifier: MIT */
/*
 * Signals - read from a descriptor, told to everybody who asked
 *
 * Dispositions and pending signals are the process's, and a signal that is sent to the process is read by one
 * thread alone. So this file has the one variable of the library that all hubs share: the list of those hubs that
 * want signals, with a lock. A hub has a signalfd for the union of what its taps ask for, and blocks these signals
 * in its thread. Whoever reads a signal tells its own taps, and counts it for each other hub that wants it, whose
 * eventfd wakes it.
 *
 *     kernel --signalfd--> hub that reads --> its taps
 *                              `--> counts of the others --eventfd--> their taps
 *
 * Dispositions are not touched: blocked signals stay pending, and the last tap of a thread unblocks what was not
 * blocked before, so each signal has again the action that it had. What is pending by then was for us: it is read
 * first, else a SIGTERM that came a moment too late would end the process. If several hubs of one thread want a
 * signal, the duty to unblock it goes from one that leaves to one that stays.
 *
 * Under a broker, signals to the service come by the link (client/net), to the hub that has it: vn_signals_told(). Which
 * ones it wants, h->on_signals is told.
 *
 * An end keeps what was not taken as the kernel keeps what is pending: ordinary signals once, realtime signals as
 * often as they came, and the lowest number first.
 */
#include "client/message/signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "client/message/source.h"

#define SIGNALS 64
#define BATCH   16

typedef struct vn_signals vn_signals;
struct vn_signals {
	vn_signals *next;
	vn_hub *hub;
	pid_t thread;
	uint64_t mask;            /* what its taps ask for; read by others */
	uint64_t unblocks;        /* its duty, when the last tap of its thread leaves */
	uint32_t passed[SIGNALS]; /* by other hubs, and not told yet */
	vn_signal_tap *taps;
	vn_watch kernel, others;
	int kernel_fd, others_fd;
};

/* The lock is for the list, and for `mask`, `unblocks` and `passed` of all that are in it. */
static struct {
	pthread_mutex_t lock;
	vn_signals *hubs;
} process = {.lock = PTHREAD_MUTEX_INITIALIZER};

static sigset_t
set_of(uint64_t mask)
{
	sigset_t set;

	sigemptyset(&set);
	for (; mask; mask &= mask - 1)
		sigaddset(&set, __builtin_ctzll(mask) + 1);
	return set;
}

static void
tell_taps(vn_signals *s, int signal)
{
	for (vn_signal_tap *t = s->taps, *next; t; t = next) {
		next = t->next;
		if (t->mask & VN_SIGNAL_BIT(signal))
			t->fn(t, signal);
	}
}

static void
tell_others(const vn_signals *self, int signal)
{
	pthread_mutex_lock(&process.lock);
	for (vn_signals *s = process.hubs; s; s = s->next)
		if (s != self && (s->mask & VN_SIGNAL_BIT(signal))) {
			s->passed[signal - 1]++;
			eventfd_write(s->others_fd, 1);
		}
	pthread_mutex_unlock(&process.lock);
}

static void
signals_read(vn_signals *s)
{
	struct signalfd_siginfo infos[BATCH];
	ssize_t n;

	while ((n = read(s->kernel_fd, infos, sizeof infos)) > 0)
		for (size_t i = 0; i < (size_t)n / sizeof *infos; i++) {
			tell_taps(s, (int)infos[i].ssi_signo);
			tell_others(s, (int)infos[i].ssi_signo);
		}
}

static void
on_kernel(vn_watch *w, uint32_t events)
{
	(void)events;
	signals_read((vn_signals *)(void *)((char *)w - offsetof(vn_signals, kernel)));
}

static void
on_others(vn_watch *w, uint32_t events)
{
	vn_signals *s = (vn_signals *)(void *)((char *)w - offsetof(vn_signals, others));
	uint32_t passed[SIGNALS];
	eventfd_t waste;

	(void)events;
	pthread_mutex_lock(&process.lock);
	eventfd_read(s->others_fd, &waste);
	memcpy(passed, s->passed, sizeof passed);
	memset(s->passed, 0, sizeof s->passed);
	pthread_mutex_unlock(&process.lock);
	for (int i = 0; i < SIGNALS; i++)
		while (passed[i]-- > 0)
			tell_taps(s, i + 1);
}

static vn_signals *
signals_free(vn_signals *s)
{
	int error = errno;

	if (!s)
		return NULL;
	vn_watch_remove(s->hub->poller, &s->kernel);
	vn_watch_remove(s->hub->poller, &s->others);
	if (s->kernel_fd >= 0)
		close(s->kernel_fd);
	if (s->others_fd >= 0)
		close(s->others_fd);
	free(s);
	errno = error;
	return NULL;
}

static int
signals_watch(vn_signals *s)
{
	sigset_t none = set_of(0);
	int rc;

	s->kernel_fd = signalfd(-1, &none, SFD_CLOEXEC | SFD_NONBLOCK);
	s->others_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->kernel_fd < 0 || s->others_fd < 0)
		return -errno;
	rc = vn_watch_add(s->hub->poller, &s->kernel, s->kernel_fd, EPOLLIN, on_kernel);
	if (rc == 0)
		rc = vn_watch_add(s->hub->poller, &s->others, s->others_fd, EPOLLIN, on_others);
	return rc;
}

static vn_signals *
signals_new(vn_hub *h)
{
	vn_signals *s = calloc(1, sizeof *s);
	int rc;

	if (!s)
		return NULL;
	s->hub = h;
	s->thread = gettid();
	s->kernel_fd = s->others_fd = s->kernel.fd = s->others.fd = -1;
	rc = signals_watch(s);
	if (rc == 0)
		return s;
	errno = -rc;
	return signals_free(s);
}

static vn_signals *
signals_of(const vn_hub *h)
{
	vn_signals *s;

	pthread_mutex_lock(&process.lock);
	for (s = process.hubs; s && s->hub != h; s = s->next)
		;
	pthread_mutex_unlock(&process.lock);
	return s;
}

/* Hands the duty to unblock what it wants no longer to another hub of its thread, or does it. */
static void
signals_unblock(vn_signals *s, uint64_t gone)
{
	uint64_t left = s->unblocks & gone;
	sigset_t set;

	s->unblocks &= ~gone;
	for (vn_signals *o = process.hubs; o; o = o->next)
		if (o != s && o->thread == s->thread) {
			o->unblocks |= left & o->mask;
			left &= ~o->mask;
		}
	set = set_of(left);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void
signals_block(vn_signals *s, uint64_t fresh)
{
	sigset_t set = set_of(fresh), old;

	pthread_sigmask(SIG_BLOCK, &set, &old);
	for (uint64_t left = fresh; left; left &= left - 1)
		if (sigismember(&old, __builtin_ctzll(left) + 1) == 0)
			s->unblocks |= left & -left;
}

/* Taps have come or gone. */
static void
signals_ask(vn_signals *s)
{
	uint64_t before = s->mask, mask = 0;
	sigset_t set;

	for (const vn_signal_tap *t = s->taps; t; t = t->next)
		mask |= t->mask;
	set = set_of(mask);
	pthread_mutex_lock(&process.lock);
	s->mask = mask;
	signals_block(s, mask & ~before);
	signalfd(s->kernel_fd, &set, 0);
	signals_unblock(s, before & ~mask);
	pthread_mutex_unlock(&process.lock);
	if (s->hub->on_signals && mask != before)
		s->hub->on_signals(s->hub, mask);
}

static void
signals_link(vn_signals *s)
{
	pthread_mutex_lock(&process.lock);
	s->next = process.hubs;
	process.hubs = s;
	pthread_mutex_unlock(&process.lock);
}

static void
signals_unlink(vn_signals *s)
{
	vn_signals **link = &process.hubs;

	pthread_mutex_lock(&process.lock);
	while (*link != s)
		link = &(*link)->next;
	*link = s->next;
	pthread_mutex_unlock(&process.lock);
}

/**
 * vn_signals_tap() - be told of signals; they have no other effect from here on
 * @h:    hub of the calling thread
 * @t:    not open
 * @mask: of VN_SIGNAL_BIT
 * @fn:   runs on the loop, or inside of vn_signals_untap(); must neither wait nor tap nor untap
 *
 * Return: 0, -ENOMEM, -EMFILE or -ENFILE.
 */
int
vn_signals_tap(vn_hub *h, vn_signal_tap *t, uint64_t mask, void (*fn)(vn_signal_tap *t, int signal))
{
	vn_signals *s = signals_of(h);

	if (!s) {
		s = signals_new(h);
		if (!s)
			return -errno;
		signals_link(s);
	}
	*t = (vn_signal_tap){
		.next = s->taps, .link = &s->taps, .signals = s, .mask = mask, .fn = fn};
	if (t->next)
		t->next->link = &t->next;
	s->taps = t;
	signals_ask(s);
	vn_hub_hold(h);
	return 0;
}

/**
 * vn_signals_told() - signals came by another way than to this process
 * @mask: of VN_SIGNAL_BIT; those that nobody asked for are ignored
 */
void
vn_signals_told(vn_hub *h, uint64_t mask)
{
	vn_signals *s = signals_of(h);

	for (; s && mask; mask &= mask - 1)
		tell_taps(s, __builtin_ctzll(mask) + 1);
}

/**
 * vn_signals_untap() - be told no longer, after what is pending
 * @t: open or not
 *
 * Signals that nobody asks for any more have again the action that they had.
 */
void
vn_signals_untap(vn_signal_tap *t)
{
	vn_signals *s = t->signals;

	if (!s)
		return;
	signals_read(s);
	*t->link = t->next;
	if (t->next)
		t->next->link = t->link;
	t->signals = NULL;
	signals_ask(s);
	vn_hub_unhold(s->hub);
	if (s->taps)
		return;
	signals_unlink(s);
	signals_free(s);
}

/* The end. */

typedef struct receiver {
	vn_source source;
	vn_signal_tap tap;
	uint64_t pending;
	uint32_t n_pending[SIGNALS];
} receiver;

static void
receiver_told(vn_signal_tap *t, int signal)
{
	receiver *r = (receiver *)(void *)((char *)t - offsetof(receiver, tap));

	if (vn_source_give(&r->source, &signal))
		return;
	r->pending |= VN_SIGNAL_BIT(signal);
	if (signal >= SIGRTMIN || r->n_pending[signal - 1] == 0)
		r->n_pending[signal - 1]++;
}

static int
receiver_try(void *end, void *item)
{
	receiver *r = end;
	int signal;

	if (!r->pending)
		return -EAGAIN;
	signal = __builtin_ctzll(r->pending) + 1;
	if (--r->n_pending[signal - 1] == 0)
		r->pending &= ~VN_SIGNAL_BIT(signal);
	memcpy(item, &signal, sizeof signal);
	return 0;
}

static void
receiver_deinit(vn_source *s)
{
	vn_signals_untap(&((receiver *)(void *)s)->tap);
}

static const vn_end_ops receiver_ops = {
	.try = receiver_try,
	.queue = vn_source_queue,
	.close = vn_source_close,
};

/* 0 if one of them can be no signal of ours. */
static uint64_t
mask_of(const int *signals, size_t n)
{
	uint64_t mask = 0;
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < n; i++) {
		if (signals[i] == SIGKILL || signals[i] == SIGSTOP || signals[i] > SIGNALS ||
			sigaddset(&set, signals[i]) < 0)
			return 0;
		mask |= VN_SIGNAL_BIT(signals[i]);
	}
	return mask;
}

/**
 * vn_signals_new() - receive signals
 * @h:       hub of the calling thread
 * @signals: their numbers
 * @n:       how many
 *
 * Return: a receiving end of int; NULL with errno EINVAL for none, or a number that is no signal, or SIGKILL, SIGSTOP;
 * ENOMEM, EMFILE, ENFILE.
 */
vn_rx *
vn_signals_new(vn_hub *h, const int *signals, size_t n)
{
	uint64_t mask = mask_of(signals, n);
	receiver *r = mask ? calloc(1, sizeof *r) : NULL;
	int rc;

	if (!r) {
		errno = mask ? ENOMEM : EINVAL;
		return NULL;
	}
	rc = vn_signals_tap(h, &r->tap, mask, receiver_told);
	if (rc < 0) {
		free(r);
		errno = -rc;
		return NULL;
	}
	return vn_source_init(&r->source, h, &receiver_ops, sizeof(int), receiver_deinit);
}
