/* SPDX-License-Identifier: MIT */
/*
 * Pool - threads that run what would block the hub
 *
 * A call is a job: the function, and a copy of its argument, so that a caller who leaves takes nothing away that the
 * function still works on. Jobs go through a ring from the hub to the threads, and come home through a ring of each
 * thread's own.
 *
 *     callers --[room]--> todo ring --> threads --> done rings --> hub --> who waits, or `drop`
 *
 * Wake-ups, one for each batch. The hub wakes threads at the end of its turn, and only if one sleeps: a futex, whose
 * word counts these occasions, so that a thread which was about to sleep does not. A thread rings the hub's eventfd
 * only if that sleeps, which it says in `armed`; whoever takes that word back to 0 is the one who rings.
 *
 * `n_accepted` counts the jobs that are neither home nor refused. It never exceeds what each of the rings has room
 * for, so none is ever full. Who finds no room waits in `room`, and is given the place of a job that comes home.
 *
 * Threads are started as they are needed, with all signals blocked. They end when they are told to and nothing is
 * left to do; nobody tells them before all jobs are home, or the hub ends, which then waits for them.
 */
#include "client/os/pool.h"

#include <assert.h>
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client/os/handoff.h"

#define THREADS_MAX  1024u
#define WAITING_MAX  (1u << 20)
#define FILE_THREADS 4
#define FILE_WAITING 256
#define CALL_THREADS 256
#define CALL_WAITING 768

typedef struct job {
	int (*fn)(void *arg);
	void (*drop)(void *arg);
	vn_waitq caller; /* the hub's alone */
	int result;
	size_t size;
	unsigned char arg[] __attribute__((aligned(16)));
} job;

typedef struct worker {
	vn_pool *pool;
	pthread_t thread;
	vn_handoff done;
} worker;

struct vn_pool {
	/* the hub's */
	vn_hub *hub;
	vn_hook hook;
	vn_watch bell;
	vn_waitq room;
	uint32_t n_threads, n_started;
	uint32_t limit, n_accepted;
	uint32_t n_new; /* put since threads were woken */
	bool closed;
	vn_owned owned, witness;

	/* everybody's */
	vn_handoff todo;
	int bell_fd;
	uint32_t occasions; /* futex */
	uint32_t n_asleep;
	uint32_t quit;
	uint32_t armed; /* the hub sleeps */
	worker workers[];
};

/* Threads */

static void
futex_wait(uint32_t *word, uint32_t value)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void
futex_wake(uint32_t *word, uint32_t n)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n > INT32_MAX ? INT32_MAX : (int)n, NULL, NULL,
		0);
}

/* One more look after it has said that it sleeps, then it does; a job, or NULL. */
static job *
worker_rest(vn_pool *p, uint32_t occasion)
{
	job *j;

	__atomic_fetch_add(&p->n_asleep, 1, __ATOMIC_SEQ_CST);
	vn_handoff_settle();
	j = vn_handoff_take(&p->todo);
	if (!j && !__atomic_load_n(&p->quit, __ATOMIC_SEQ_CST))
		futex_wait(&p->occasions, occasion);
	__atomic_fetch_sub(&p->n_asleep, 1, __ATOMIC_SEQ_CST);
	return j;
}

/* NULL when it is to end. */
static job *
worker_next(vn_pool *p)
{
	for (;;) {
		uint32_t occasion = __atomic_load_n(&p->occasions, __ATOMIC_SEQ_CST);
		bool quit = __atomic_load_n(&p->quit, __ATOMIC_SEQ_CST);
		job *j = vn_handoff_take(&p->todo);

		if (!j && quit)
			return NULL;
		if (!j)
			j = worker_rest(p, occasion);
		if (j)
			return j;
	}
}

static void
worker_done(worker *w, job *j)
{
	vn_pool *p = w->pool;
	bool fits = vn_handoff_put(&w->done, j);

	assert(fits);
	vn_handoff_settle();
	if (__atomic_load_n(&p->armed, __ATOMIC_SEQ_CST) &&
		__atomic_exchange_n(&p->armed, 0, __ATOMIC_SEQ_CST))
		eventfd_write(p->bell_fd, 1);
}

static void *
worker_run(void *arg)
{
	worker *w = arg;

	for (job *j; (j = worker_next(w->pool));) {
		j->result = j->fn(j->arg);
		worker_done(w, j);
	}
	return NULL;
}

static int
worker_start(vn_pool *p)
{
	worker *w = &p->workers[p->n_started];
	sigset_t all, before;
	int error;

	w->pool = p;
	if (!w->done.slots && !vn_handoff_init(&w->done, p->limit))
		return -ENOMEM;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&w->thread, NULL, worker_run, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error)
		return -error;
	pthread_setname_np(w->thread, "vn-pool");
	p->n_started++;
	return 0;
}

/* What waits for a thread has one to come, or there are as many as there may be. */
static int
workers_start(vn_pool *p)
{
	int rc;

	if (p->n_started == p->n_threads || p->n_accepted <= p->n_started)
		return 0;
	rc = worker_start(p);
	return p->n_started > 0 ? 0 : rc;
}

/* They end once nothing is left to do. */
static void
workers_end(vn_pool *p)
{
	__atomic_store_n(&p->quit, 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&p->occasions, 1, __ATOMIC_SEQ_CST);
	futex_wake(&p->occasions, UINT32_MAX);
	for (uint32_t i = 0; i < p->n_started; i++)
		pthread_join(p->workers[i].thread, NULL);
}

/* The hub's side */

/* It has come home, or never went: a place is free. */
static void
place_free(vn_pool *p)
{
	if (p->room.first)
		vn_wake(p->room.first, 0);
	else
		p->n_accepted--;
}

static void
job_home(vn_pool *p, job *j)
{
	vn_clause *caller = j->caller.first;

	if (caller) {
		memcpy(caller->item, j->arg, j->size);
		vn_wake(caller, j->result);
	} else if (j->drop) {
		j->drop(j->arg);
	}
	free(j);
	place_free(p);
}

static vn_pool *
pool_free(vn_pool *p)
{
	int error = errno;

	if (!p)
		return NULL;
	vn_hub_unhook(p->hub, &p->hook);
	vn_hub_disown(&p->owned);
	vn_hub_disown(&p->witness);
	vn_watch_remove(p->hub->poller, &p->bell);
	if (p->bell_fd >= 0)
		close(p->bell_fd);
	for (uint32_t i = 0; i < p->n_threads; i++)
		vn_handoff_deinit(&p->workers[i].done);
	vn_handoff_deinit(&p->todo);
	free(p);
	errno = error;
	return NULL;
}

/* True if any job has come home. */
static bool
pool_collect(vn_pool *p)
{
	bool any = false;

	for (uint32_t i = 0; i < p->n_started; i++)
		for (job *j; (j = vn_handoff_take(&p->workers[i].done)); any = true)
			job_home(p, j);
	if (any && p->n_accepted == 0)
		vn_hub_unhold(p->hub);
	return any;
}

static void
pool_over(vn_pool *p)
{
	if (!p->closed || p->n_accepted > 0)
		return;
	workers_end(p);
	pool_free(p);
}

static void
pool_wake_threads(vn_pool *p)
{
	uint32_t n = p->n_new;

	p->n_new = 0;
	vn_handoff_settle();
	if (!__atomic_load_n(&p->n_asleep, __ATOMIC_SEQ_CST))
		return;
	__atomic_fetch_add(&p->occasions, 1, __ATOMIC_SEQ_CST);
	futex_wake(&p->occasions, n);
}

static vn_pool *
pool_of_hook(vn_hook *k)
{
	return (vn_pool *)(void *)((char *)k - offsetof(vn_pool, hook));
}

static bool
pool_turn(vn_hook *k)
{
	vn_pool *p = pool_of_hook(k);

	if (p->n_accepted == 0)
		return false;
	__atomic_store_n(&p->armed, 0, __ATOMIC_SEQ_CST);
	if (p->n_new > 0)
		pool_wake_threads(p);
	if (pool_collect(p))
		pool_over(p);
	return false;
}

static bool
pool_arm(vn_hook *k)
{
	vn_pool *p = pool_of_hook(k);

	if (p->n_accepted == 0)
		return true;
	__atomic_store_n(&p->armed, 1, __ATOMIC_SEQ_CST);
	vn_handoff_settle();
	if (!pool_collect(p))
		return true;
	__atomic_store_n(&p->armed, 0, __ATOMIC_SEQ_CST);
	pool_over(p);
	return false;
}

/* The hub is awake: its turn does the rest. */
static void
pool_rung(vn_watch *w, uint32_t events)
{
	(void)w;
	(void)events;
}

/* The hub ends: what `drop` may want to close is still there. */
static void
pool_told(vn_owned *o)
{
	vn_pool *p = (vn_pool *)(void *)((char *)o - offsetof(vn_pool, witness));

	workers_end(p);
	pool_collect(p);
	assert(p->n_accepted == 0);
	p->n_started = 0;
}

static void
pool_disowned(vn_owned *o)
{
	vn_pool *p = (vn_pool *)(void *)((char *)o - offsetof(vn_pool, owned));

	if (p->hub->files == p)
		p->hub->files = NULL;
	if (p->hub->calls == p)
		p->hub->calls = NULL;
	pool_free(p);
}

/**
 * vn_pool_new() - threads for calls that block
 * @h:         hub
 * @n_threads: how many calls can run at a time; 1 to 1024
 * @n_waiting: how many more are accepted; 0 to 2^20
 *
 * Return: the pool; NULL with errno EINVAL, ENOMEM, EMFILE.
 */
vn_pool *
vn_pool_new(vn_hub *h, unsigned n_threads, unsigned n_waiting)
{
	vn_pool *p;
	int rc;

	if (n_threads == 0 || n_threads > THREADS_MAX || n_waiting > WAITING_MAX) {
		errno = EINVAL;
		return NULL;
	}
	p = calloc(1, sizeof *p + n_threads * sizeof *p->workers);
	if (!p)
		return NULL;
	p->hub = h;
	p->n_threads = n_threads;
	p->limit = n_threads + n_waiting;
	p->bell.fd = -1;
	p->bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->bell_fd < 0 || !vn_handoff_init(&p->todo, p->limit))
		return pool_free(p);
	rc = vn_watch_add(h->poller, &p->bell, p->bell_fd, EPOLLIN | EPOLLET, pool_rung);
	if (rc < 0) {
		errno = -rc;
		return pool_free(p);
	}
	p->hook = (vn_hook){.turn = pool_turn, .arm = pool_arm};
	vn_hub_hook(h, &p->hook);
	vn_hub_own(h, &p->owned, pool_disowned);
	vn_hub_witness(h, &p->witness, pool_told);
	return p;
}

/**
 * vn_pool_of_files() - the pool in which streams read and write regular files
 * @h: hub
 *
 * Return: the pool; NULL with errno ENOMEM, EMFILE.
 */
vn_pool *
vn_pool_of_files(vn_hub *h)
{
	if (!h->files)
		h->files = vn_pool_new(h, FILE_THREADS, FILE_WAITING);
	return h->files;
}

/**
 * vn_pool_of_calls() - the pool of vn_thread_call()
 * @h: hub
 *
 * Return: the pool; NULL with errno ENOMEM, EMFILE.
 */
vn_pool *
vn_pool_of_calls(vn_hub *h)
{
	if (!h->calls)
		h->calls = vn_pool_new(h, CALL_THREADS, CALL_WAITING);
	return h->calls;
}

/**
 * vn_pool_close() - accept no more calls
 * @p: pool, or NULL
 *
 * Who waits to be accepted gets -EPIPE. What was accepted is finished, and who waits for it gets its result; the
 * threads end then.
 *
 * Return: 0.
 */
int
vn_pool_close(vn_pool *p)
{
	if (!p)
		return 0;
	p->closed = true;
	while (p->room.first)
		vn_wake(p->room.first, -EPIPE);
	pool_over(p);
	return 0;
}

/* Calling */

/* A place among those that are accepted. */
static int
place_take(vn_pool *p)
{
	vn_hub *h = p->hub;
	vn_clause clause = {.end = p};
	int rc;

	if (h->stopping || h->current->deadline <= h->now)
		return vn_wait(h, NULL, 0, VN_NEVER); /* what is not waited for is not begun */
	if (p->n_accepted < p->limit) {
		if (p->n_accepted++ == 0)
			vn_hub_hold(h);
		return 0;
	}
	vn_waitq_push(&p->room, &clause);
	rc = vn_wait(h, &clause, 1, VN_NEVER);
	return rc < 0 ? rc : clause.result;
}

static job *
job_new(int (*f)(void *arg), const void *arg, size_t size, void (*drop)(void *arg))
{
	job *j = malloc(sizeof *j + size);

	if (!j)
		return NULL;
	*j = (job){.fn = f, .drop = drop, .size = size};
	memcpy(j->arg, arg, size);
	return j;
}

/* The place was taken for nothing. */
static void
place_return(vn_pool *p)
{
	place_free(p);
	if (p->n_accepted > 0)
		return;
	vn_hub_unhold(p->hub);
	pool_over(p);
}

static int
job_submit(vn_pool *p, job *j)
{
	int rc = j ? place_take(p) : -ENOMEM;
	bool fits;

	if (rc < 0)
		return rc;
	rc = workers_start(p);
	if (rc < 0) {
		place_return(p);
		return rc;
	}
	fits = vn_handoff_put(&p->todo, j);
	assert(fits);
	p->n_new++;
	return 0;
}

/**
 * vn_pool_call_item() - run a function in a thread and wait for it
 * @p:    pool, or NULL
 * @f:    gets a copy of what @arg points to; must not touch anything of a hub
 * @arg:  written back when the function has returned
 * @size: bytes of it
 * @drop: NULL, or what is to be done with the argument if it is not written back: it gets @arg or the copy, on the
 *        hub's thread, begun or not, and must not wait
 *
 * Return: what @f returned; -EPIPE when the pool is closed before it is accepted; -ETIMEDOUT, -ECANCELED when the
 * wait ends first: a call that was accepted is finished all the same; -ENOMEM, -EAGAIN (no thread could be started),
 * -EBADF for no pool, -EINVAL for no argument.
 */
int
vn_pool_call_item(vn_pool *p, int (*f)(void *arg), void *arg, size_t size, void (*drop)(void *arg))
{
	vn_clause clause = {.end = p, .item = arg};
	job *j = p && arg ? job_new(f, arg, size, drop) : NULL;
	int rc = !p ? -EBADF : !arg ? -EINVAL : job_submit(p, j);

	if (rc < 0) {
		free(j);
		if (drop && arg)
			drop(arg);
		return rc;
	}
	vn_waitq_push(&j->caller, &clause);
	rc = vn_wait(p->hub, &clause, 1, VN_NEVER);
	return rc < 0 ? rc : clause.result;
}
