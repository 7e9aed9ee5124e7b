/* SPDX-License-Identifier: MIT */
/*
 * Thread - a function in a thread with a hub of its own, and calls in threads
 *
 * The record of a thread is its parent's. It goes when the thread has ended, which the bridge tells, and the parent has
 * closed both ends; so a parent that closes them early leaves a thread that finishes what it does. A hub that is freed
 * tells its threads to stop, and waits for them.
 *
 * The thread's end of the bridge lives as long as its hub: it hears that it is to stop also when it has closed its ends.
 *
 * vn_thread_call() is a coroutine that waits for a call in a pool, and sends what came of it. The pool is the hub's.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "client/hub/log.h"
#include "client/hub/place.h"
#include "client/os/bridge.h"
#include "client/os/pool.h"

typedef struct thread {
	vn_bridge bridge;
	vn_bank bank; /* the parent's */
	vn_owned owned;
	pthread_t id;
	bool has_ended;
	vn_pair_fn *f;
	void *arg;
} thread;

/* The thread's side */

typedef struct inside {
	vn_bank bank;
	vn_pair ends;
	vn_owned owned;
} inside;

static void
inside_stop(vn_bank *b)
{
	b->on_news = NULL;
	vn_stop(b->wire.tx.hub);
}

static void
inside_disowned(vn_owned *o)
{
	vn_bank_close(&((inside *)(void *)((char *)o - offsetof(inside, owned)))->bank);
}

static int
inside_open(inside *in, vn_hub *h, vn_bridge *bridge)
{
	int rc = vn_bank_open(&in->bank, h, bridge, VN_BANK_THREAD);

	if (rc < 0)
		return rc;
	in->ends = (vn_pair){&in->bank.wire.tx, &in->bank.wire.rx};
	in->bank.wire.home = &in->ends;
	vn_hub_own(h, &in->owned, inside_disowned);
	return 0;
}

static int
thread_inside(thread *t, vn_hub *h)
{
	inside in = {.bank.on_news = inside_stop};
	int rc = h ? inside_open(&in, h, &t->bridge) : -errno;

	if (rc == 0) {
		rc = t->f(h, in.ends, t->arg);
		vn_wire_end(&in.ends, rc < 0);
	} else {
		vn_log(NULL, LOG_ERR, "a thread has no hub: %s", vn_strerror(rc));
	}
	vn_hub_free(h);
	return rc;
}

static void *
thread_run(void *arg)
{
	thread *t = arg;

	thread_inside(t, vn_hub_new());
	vn_bridge_end(&t->bridge, VN_BANK_THREAD, -EOWNERDEAD);
	vn_bridge_news(&t->bridge, VN_BANK_THREAD);
	return NULL;
}

/* The parent's side */

static void
thread_free(thread *t)
{
	vn_bridge_deinit(&t->bridge);
	free(t);
}

/* It has ended, and nobody has an end of it. */
static void
thread_over(thread *t)
{
	const vn_wire *w = &t->bank.wire;

	if (!t->has_ended || !w->tx_end || !w->rx_end)
		return;
	vn_hub_disown(&t->owned);
	vn_bank_close(&t->bank);
	thread_free(t);
}

static thread *
thread_of_bank(vn_bank *b)
{
	return (thread *)(void *)((char *)b - offsetof(thread, bank));
}

static void
thread_join(thread *t)
{
	if (!t->has_ended)
		pthread_join(t->id, NULL);
	t->has_ended = true;
}

static void
thread_ended(vn_bank *b)
{
	b->on_news = NULL;
	thread_join(thread_of_bank(b));
	thread_over(thread_of_bank(b));
}

static void
thread_forgotten(vn_bank *b)
{
	thread_over(thread_of_bank(b));
}

static void
thread_disowned(vn_owned *o)
{
	thread *t = (thread *)(void *)((char *)o - offsetof(thread, owned));

	vn_bank_close(&t->bank);
	vn_bridge_news(&t->bridge, VN_BANK_PARENT);
	thread_join(t);
	thread_free(t);
}

/* With no signal but those that a fault of its own raises: they are for the threads that wait for them. */
static int
thread_start(thread *t)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
	sigset_t most, before;
	int error;

	sigfillset(&most);
	for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
		sigdelset(&most, faults[i]);
	pthread_sigmask(SIG_SETMASK, &most, &before);
	error = pthread_create(&t->id, NULL, thread_run, t);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error)
		return -error;
	pthread_setname_np(t->id, "vn-thread");
	return 0;
}

/* Everything that can fail. */
static int
thread_open(thread *t, vn_hub *h, size_t item_size)
{
	int rc;

	if (!vn_bridge_init(&t->bridge, item_size))
		return -errno;
	t->bank.on_news = thread_ended;
	t->bank.on_forget = thread_forgotten;
	rc = vn_bank_open(&t->bank, h, &t->bridge, VN_BANK_PARENT);
	if (rc < 0)
		return rc;
	rc = thread_start(t);
	if (rc < 0)
		vn_bank_close(&t->bank);
	return rc;
}

/**
 * vn_thread_spawn_new() - run a function in a thread with a hub of its own
 * @h:         hub
 * @item_size: bytes of what is sent, both ways; up to 64 KiB
 * @f:         gets its hub, a pair of ends to here, which are closed for it, and @arg
 * @arg:       both threads have it
 *
 * Return: a pair of ends to it, the caller's; {NULL, NULL} with errno EINVAL, ENOMEM, EMFILE, EAGAIN.
 */
vn_pair
vn_thread_spawn_new(vn_hub *h, size_t item_size, vn_pair_fn *f, void *arg)
{
	thread *t;
	int rc;

	if (item_size == 0 || item_size > VN_WIRE_ITEM_MAX) {
		errno = EINVAL;
		return (vn_pair){NULL, NULL};
	}
	t = aligned_alloc(_Alignof(thread), sizeof *t);
	if (!t)
		return (vn_pair){NULL, NULL};
	*t = (thread){.f = f, .arg = arg};
	rc = thread_open(t, h, item_size);
	if (rc < 0) {
		thread_free(t);
		errno = -rc;
		return (vn_pair){NULL, NULL};
	}
	vn_hub_own(h, &t->owned, thread_disowned);
	return (vn_pair){&t->bank.wire.tx, &t->bank.wire.rx};
}

/* Calls */

typedef struct call {
	vn_pool *pool;
	int (*f)(void *arg);
	size_t size;
	unsigned char arg[] __attribute__((aligned(16)));
} call;

/* -EAGAIN is what an end says to itself, and cannot be sent. */
static int
call_run(vn_hub *h, vn_tx *tx, void *arg)
{
	call *c = arg;
	int rc = vn_pool_call_item(c->pool, c->f, c->arg, c->size, NULL);

	(void)h;
	if (rc < 0)
		vn_send_error(tx, rc == -EAGAIN ? -EBUSY : rc);
	else
		vn_send_item(tx, c->arg, c->size);
	free(c);
	return 0;
}

/**
 * vn_thread_call_item() - run a function in a thread, and receive what came of it
 * @h:    hub
 * @f:    gets a copy of what @arg points to; must not touch anything of a hub
 * @arg:  copied
 * @size: bytes of it
 *
 * Return: a receiving end, from which comes what @f has left in its argument, or the error that it returned, and then
 * -EPIPE; NULL with errno EINVAL (no argument), ENOMEM, EMFILE, ECANCELED.
 */
vn_rx *
vn_thread_call_item(vn_hub *h, int (*f)(void *arg), const void *arg, size_t size)
{
	const char *here = vn_place_given(h); /* the pool is not made there */
	int error, line = h->here_line;
	vn_pool *pool = arg ? vn_pool_of_calls(vn_here(h, NULL, 0)) : NULL;
	call *c = pool ? malloc(sizeof *c + size) : NULL;
	vn_rx *rx;

	if (!arg)
		errno = EINVAL;
	if (!c)
		return NULL;
	*c = (call){pool, f, size};
	memcpy(c->arg, arg, size);
	rx = vn_producer_new(vn_here(h, here, line), size, call_run, c);
	if (rx)
		return rx;
	error = errno;
	free(c);
	errno = error;
	return NULL;
}
