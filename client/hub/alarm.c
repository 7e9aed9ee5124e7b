/* SPDX-License-Identifier: MIT */
/*
 * Alarm - coroutines that are spawned later, unless they are called off
 *
 * A delay counts from the end of the turn in which it was asked for. Until then an alarm stands in a ring of fresh
 * ones, so that the clock is read once for all of them, and one that is called off in the same turn has never been in
 * the wheel. Timers fire between turns only, so this costs none of them more than a turn.
 *
 * With a million alarms in random order what counts is memory that is not in the cache. A record is one cache line,
 * and its only list is the ring in which its timer stands; stopping walks over all of them instead. They lie in
 * chunks, the later ones on huge pages where there are any. What vn_alarm_cancel() must know and say at once is two
 * bits in the chunk's head: was it started, is it called off. The rest it does for whoever was called off some calls
 * ago, whose lines have been asked for meanwhile: first that of the record, then those of its neighbours. At the end
 * of a turn nobody is left in that row.
 *
 *	fresh --> armed --fires--> started --vn_alarm_cancel()--> free     vn_alarm_cancel(): -EALREADY
 *	  |         |--vn_stop(), or no memory to start it--> void --^                        0
 *	  `---------'--------------vn_alarm_cancel()----------------^                         0
 *
 * A record of vn_spawn_later() has no owner, and is free as soon as it was started or is void.
 */
#include "client/hub/alarm.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "client/hub/hub.h"
#include "client/hub/log.h"
#include "client/hub/place.h"

#define CHUNK_BYTES ((size_t)65536)   /* and its alignment */
#define SLAB_BYTES  ((size_t)2 << 20) /* a huge page */
#define FEW_CHUNKS  (SLAB_BYTES / CHUNK_BYTES)
#define ROW         16 /* how many calls later a cache line is there */

struct vn_alarm {
	vn_timer timer;
	vn_hub *hub;
	vn_fn *fn; /* NULL: free */
	union {
		void *arg;
		vn_alarm *next_free;
	};
	bool is_owned; /* somebody has the handle */
};

_Static_assert(sizeof(vn_alarm) == 64, "an alarm is one cache line");

#define N_RECORDS (CHUNK_BYTES / sizeof(vn_alarm))

/* It lies where the first records would. */
typedef struct chunk {
	struct chunk *older;
	struct vn_alarms *alarms;
	bool is_allocated; /* not the rest of a slab */
	size_t n_used;
	uint64_t started[N_RECORDS / 64], called_off[N_RECORDS / 64]; /* a bit per record */
} chunk;

#define FIRST ((sizeof(chunk) + sizeof(vn_alarm) - 1) / sizeof(vn_alarm))

typedef struct vn_alarms {
	vn_owned owned;
	vn_hub *hub;
	vn_alarm *free;
	chunk *newest;
	size_t n_chunks;
	char *slab;     /* what is left of the last one */
	vn_timer fresh; /* head of a ring, the oldest first; `at` is their delay */
	vn_alarm *far[ROW],
		*near[ROW]; /* called off: asked for the record, and for its neighbours */
	size_t n_called_off;
} vn_alarms;

static inline chunk *
chunk_of(vn_alarm *a)
{
	return (chunk *)(void *)((char *)a - (uintptr_t)a % CHUNK_BYTES);
}

static inline vn_alarm *
chunk_alarm(chunk *c, size_t i)
{
	return (vn_alarm *)(void *)c + i;
}

static inline size_t
alarm_index(const vn_alarm *a)
{
	return (uintptr_t)a % CHUNK_BYTES / sizeof *a;
}

static inline bool
bit_is(const uint64_t *bits, size_t i)
{
	return bits[i / 64] >> i % 64 & 1;
}

static inline void
bit_set(uint64_t *bits, size_t i)
{
	bits[i / 64] |= (uint64_t)1 << i % 64;
}

static inline void
bit_clear(uint64_t *bits, size_t i)
{
	bits[i / 64] &= ~((uint64_t)1 << i % 64);
}

/* Memory */

static void
alarms_free(vn_owned *o)
{
	vn_alarms *p = (vn_alarms *)(void *)((char *)o - offsetof(vn_alarms, owned));

	/* the chunk that is a slab's memory is older than the others in it */
	while (p->newest) {
		chunk *c = p->newest;

		p->newest = c->older;
		if (c->is_allocated)
			free(c);
	}
	p->hub->alarms = NULL;
	free(p);
}

static vn_alarms *
alarms_new(vn_hub *h)
{
	vn_alarms *p = calloc(1, sizeof *p);
	const char *here = h->here;

	if (!p)
		return NULL;
	p->hub = h;
	p->fresh.next = p->fresh.link = &p->fresh;
	h->here = NULL; /* this is nothing that the program made */
	vn_hub_own(h, &p->owned, alarms_free);
	h->here = here;
	h->alarms = p;
	return p;
}

/* The next part of a slab, or else a chunk of its own as long as there are few. */
static void *
chunk_memory(vn_alarms *p, bool *is_allocated)
{
	size_t size = p->n_chunks < FEW_CHUNKS ? CHUNK_BYTES : SLAB_BYTES;
	char *memory = p->slab;

	*is_allocated = !memory;
	if (!memory)
		memory = aligned_alloc(size, size);
	else
		size = SLAB_BYTES - (uintptr_t)memory % SLAB_BYTES;
	if (!memory)
		return NULL;
	if (*is_allocated && size == SLAB_BYTES)
		madvise(memory, size, MADV_HUGEPAGE);
	p->slab = size > CHUNK_BYTES ? memory + CHUNK_BYTES : NULL;
	return memory;
}

static chunk *
chunk_new(vn_alarms *p)
{
	bool is_allocated;
	chunk *c = chunk_memory(p, &is_allocated);

	if (!c)
		return NULL;
	*c = (chunk){
		.older = p->newest, .alarms = p, .is_allocated = is_allocated, .n_used = FIRST};
	p->newest = c;
	p->n_chunks++;
	return c;
}

/* None is free: the next that was never used. Out of line, it is rare. */
static __attribute__((noinline)) vn_alarm *
alarm_carve(vn_hub *h)
{
	vn_alarms *p = h->alarms ? h->alarms : alarms_new(h);
	chunk *c = p ? p->newest : NULL;

	if (p && (!c || c->n_used == N_RECORDS))
		c = chunk_new(p);
	return c ? chunk_alarm(c, c->n_used++) : NULL;
}

static inline vn_alarm *
alarm_get(vn_hub *h)
{
	vn_alarms *p = h->alarms;
	vn_alarm *a = p ? p->free : NULL;

	if (!a)
		return alarm_carve(h);
	p->free = a->next_free;
	return a;
}

static inline void
alarm_put(vn_alarms *p, vn_alarm *a)
{
	bit_clear(chunk_of(a)->started, alarm_index(a));
	bit_clear(chunk_of(a)->called_off, alarm_index(a));
	a->fn = NULL;
	a->next_free = p->free;
	p->free = a;
}

/* Calling off */

static inline void
alarm_end(vn_alarms *p, vn_alarm *a)
{
	vn_wheel_disarm(p->hub->wheel, &a->timer);
	alarm_put(p, a);
}

static inline void
alarm_call_off(vn_alarms *p, vn_alarm *a)
{
	size_t i = p->n_called_off++ % ROW;
	vn_alarm *far = p->far[i], *near = p->near[i];

	__builtin_prefetch(a, 1);
	p->far[i] = a;
	p->near[i] = far;
	if (far) {
		__builtin_prefetch(far->timer.next, 1);
		__builtin_prefetch(far->timer.link, 1);
	}
	if (near)
		alarm_end(p, near);
}

static void
row_end(vn_alarms *p, vn_alarm **row)
{
	for (size_t i = 0; i < ROW; i++)
		if (row[i]) {
			alarm_end(p, row[i]);
			row[i] = NULL;
		}
}

static void
rows_end(vn_alarms *p)
{
	if (!p->n_called_off)
		return;
	row_end(p, p->near);
	row_end(p, p->far);
	p->n_called_off = 0;
}

/* Arming, and what becomes of it */

static void
alarm_fire(vn_timer *t)
{
	vn_alarm *a = (vn_alarm *)(void *)((char *)t - offsetof(vn_alarm, timer));
	vn_hub *h = a->hub;
	int rc;

	if (bit_is(chunk_of(a)->called_off, alarm_index(a)))
		return;
	vn_place_recall(h, a, 0);
	rc = vn_co_spawn(h, a->fn, a->arg);
	if (rc < 0)
		vn_log(h, LOG_ERR, "cannot run what was to be spawned later: %s", vn_strerror(rc));
	if (!a->is_owned)
		alarm_put(h->alarms, a);
	else if (rc == 0)
		bit_set(chunk_of(a)->started, alarm_index(a));
}

/* A ring as the wheel has them: vn_wheel_disarm() takes a timer out of it as out of a slot. */
static inline void
fresh_push(vn_alarms *p, vn_timer *t)
{
	t->next = &p->fresh;
	t->link = p->fresh.link;
	t->link->next = t;
	p->fresh.link = t;
}

static inline __attribute__((always_inline)) vn_alarm *
alarm_make(vn_hub *h, vn_time delay, vn_fn *f, void *arg, bool is_owned)
{
	vn_alarm *a = alarm_get(h);

	if (!a)
		return NULL;
	a->timer.at = delay;
	a->timer.fire = alarm_fire;
	a->hub = h;
	a->fn = f;
	a->arg = arg;
	a->is_owned = is_owned;
	fresh_push(h->alarms, &a->timer);
	h->has_alarms_to_do = true;
	vn_place_note(h, a, 0);
	return a;
}

/**
 * vn_alarms_turn() - the turn ends: the time of the fresh ones runs from now on
 * @h: hub that has_alarms_to_do
 */
void
vn_alarms_turn(vn_hub *h)
{
	vn_timer *fresh = &h->alarms->fresh, *next;
	vn_time now = h->sys->now(h->sys), at;

	h->has_alarms_to_do = false;
	rows_end(h->alarms);
	for (vn_timer *t = fresh->next; t != fresh; t = next) {
		next = t->next;
		t->link = NULL;
		vn_wheel_arm(h->wheel, t, __builtin_add_overflow(now, t->at, &at) ? VN_NEVER : at);
	}
	fresh->next = fresh->link = fresh;
}

/* Records of owners stay, neither armed nor started: void. */
static void
alarm_stop(vn_alarms *p, vn_alarm *a)
{
	if (!a->fn || !vn_timer_armed(&a->timer))
		return;
	vn_wheel_disarm(p->hub->wheel, &a->timer);
	if (!a->is_owned)
		alarm_put(p, a);
}

/**
 * vn_alarms_stop() - nothing that is to be spawned later ever runs
 * @h: hub
 */
void
vn_alarms_stop(vn_hub *h)
{
	vn_alarms *p = h->alarms;

	if (!p)
		return;
	rows_end(p);
	for (chunk *c = p->newest; c; c = c->older)
		for (size_t i = FIRST; i < c->n_used; i++)
			alarm_stop(p, chunk_alarm(c, i));
}

/**
 * vn_spawn_later() - make a coroutine that runs after a delay
 * @h:     hub
 * @delay: nanoseconds from the end of this turn
 * @f:     what it runs
 * @arg:   its argument
 *
 * When the hub is stopped first, it never runs.
 *
 * Return: 0, -ENOMEM, or -ECANCELED when the hub is stopping.
 */
int(vn_spawn_later)(vn_hub *h, vn_time delay, vn_fn *f, void *arg)
{
	if (h->stopping)
		return -ECANCELED;
	return alarm_make(h, delay, f, arg, false) ? 0 : -ENOMEM;
}

/**
 * vn_alarm_new() - make a coroutine that runs after a delay, unless it is called off
 * @h:     hub
 * @delay: nanoseconds from the end of this turn
 * @f:     what it runs
 * @arg:   its argument
 *
 * Ownership: the caller's, until vn_alarm_cancel(); what is left goes with the hub.
 *
 * Return: its handle; NULL with errno ENOMEM, or ECANCELED when the hub is stopping.
 */
vn_alarm *(vn_alarm_new)(vn_hub *h, vn_time delay, vn_fn *f, void *arg)
{
	if (!h->stopping)
		return alarm_make(h, delay, f, arg, true);
	errno = ECANCELED;
	return NULL;
}

/**
 * vn_alarm_cancel() - call it off, and give the handle back
 * @a: handle, or NULL
 *
 * Return: 0, it will never run; -EALREADY, it was started; -EBADF for NULL.
 */
int
vn_alarm_cancel(vn_alarm *a)
{
	chunk *c;
	bool started;

	if (!a)
		return -EBADF;
	c = chunk_of(a);
	started = bit_is(c->started, alarm_index(a));
	bit_set(c->called_off, alarm_index(a));
	c->alarms->hub->has_alarms_to_do = true;
	alarm_call_off(c->alarms, a);
	return started ? -EALREADY : 0;
}
