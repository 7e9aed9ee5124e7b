/* SPDX-License-Identifier: MIT */
/*
 * Hub - the scheduler: ready coroutines in order, then timers, then the poller
 *
 * A turn runs at most VN_TURN switches. While coroutines are ready a parking one switches straight to the
 * next; when none is, or the budget is spent, it switches to the loop, which has a stack of its own (so the
 * work of callbacks does not deepen the stack of whoever happened to park). The loop then
 *
 *   1. calls the turn hooks: lanes are flushed and looked at,
 *   2. polls: not at all if somebody is ready and the budget is not spent; without waiting if it is, or if a
 *      hook was busy; otherwise the hooks are armed ("ring me"), and if none objects it waits until the next
 *      timer,
 *   3. reads the clock and fires timers.
 *
 * vn_hub_pause() ends the run of coroutines early, for hooks that have a batch to publish: step 1 alone runs,
 * and the turn goes on.
 *
 * Deadlock: nothing ready, no timer armed, no source held: nothing can ever wake those who wait, and they get
 * -EDEADLK. A source is what can bring news from outside (a listener, a connection); its owner holds the hub.
 */
#ifndef VN_HUB_HUB_H
#define VN_HUB_HUB_H

#include <stdbool.h>
#include <stdint.h>
#include <vanilla.h>

#include "client/hub/coroutine.h"
#include "client/hub/poller.h"
#include "client/hub/spin.h"
#include "client/hub/stack.h"
#include "client/hub/stamp.h"
#include "client/hub/sys.h"
#include "client/hub/timer.h"

#define VN_TURN 256

typedef struct vn_hook vn_hook;
struct vn_hook {
	vn_hook *next;
	bool (*turn)(vn_hook *k); /* end of turn: true if there may be more to do at once */
	bool (*arm)(vn_hook *k);  /* about to sleep: true if that is fine */
};

/* What vn_hub_close() frees if nobody did before; embedded in its owner. */
typedef struct vn_owned vn_owned;
struct vn_owned {
	vn_owned *next, **link;
	void (*free)(vn_owned *o);
};

struct vn_net; /* client/net's, see there */

struct vn_hub {
	/* touched by every switch */
	vn_co *current;
	vn_co *ready_first, *ready_last;
	vn_co *dead; /* has switched away for good; whoever runs next buries it */
	int budget;
	bool stopping; /* every wait returns -ECANCELED */
	bool paused;
	bool has_alarms_to_do;
	bool advancing; /* inside the loop's callbacks: there is no current coroutine that could wait */
	vn_time now;
	vn_stamp stamp;
	vn_co *loop, *main;
	vn_wheel *wheel;
	vn_poller *poller;
	const vn_sys *sys;
	vn_hook *hooks, *next_hook; /* whose turn is next, while they are gone through */
	vn_stacks *stacks;
	vn_co *all;
	uint32_t n_coroutines;
	uint32_t n_sources;
	uint64_t n_spawned, n_turns;
	struct vn_net *net;                           /* NULL in the broker */
	void (*on_signals)(vn_hub *h, uint64_t mask); /* its taps ask for others; or NULL */
	struct vn_alarms *alarms; /* what is to be spawned later; NULL until there was any */
	vn_pool *files, *calls;   /* client/os's, for regular files and vn_thread_call(); or NULL */
	vn_owned *owned;
	vn_owned *witnesses; /* see vn_hub_witness() */
	uint64_t random;     /* state of vn_select_random(); 0: not used yet */
	const char *here;    /* where the next thing is made, with VN_DEBUG; else NULL */
	int here_line;
	uint64_t here_turn;        /* when that was said, */
	const vn_co *here_current; /* and by whom */
	struct vn_places *places;  /* where things were made; NULL without VN_DEBUG */
	vn_spin spin;
	struct vn_overflow *overflow;
	void *loop_stack;
	unsigned int watched[2]; /* valgrind's numbers for the loop's stack and this thread's */
	uint64_t n_refused;      /* waits since it is stopping */
	void (*log)(void *arg, int level, const char *text);
	void *log_arg;
};

/* The hub without endpoints: what vn_hub_new() builds on, and what the broker uses. */
vn_hub *vn_hub_open(const vn_sys *sys);
vn_hub *vn_hub_close(vn_hub *h); /* stops, waits until all coroutines are gone, frees */

/*
 * Waiting. The caller has pushed each clause into the queue of what it waits for; when vn_wait() returns they
 * are out again. Returns the index of the decided clause (its result is in clauses[i].result), or -ETIMEDOUT,
 * -ECANCELED, -EDEADLK. n may be 0: only time or a cancel ends it then. `until` is VN_NEVER or an instant; the
 * coroutine's own deadline holds as well.
 */
int vn_wait(vn_hub *h, vn_clause *clauses, uint32_t n, vn_time until);
/*
 * The same for what must be waited for: neither a deadline nor an earlier cancel matters. A cancel that comes
 * meanwhile ends it with -ECANCELED as usual, and can be waited through by waiting again.
 */
int vn_wait_shielded(vn_hub *h, vn_clause *clauses, uint32_t n);
/* Decides a wait: the coroutine becomes ready (at the tail) and will find `result`. */
void vn_wake(vn_clause *c, int result);
/* The same, and switches straight into it; the caller goes to the ready tail. Not from the loop's callbacks. */
void vn_wake_now(vn_clause *c, int result);

int vn_co_spawn(vn_hub *h, vn_fn *fn, void *arg);
vn_time vn_hub_after(vn_hub *h, vn_time delay); /* counts from the clock, not from h->now */
void vn_hub_hook(vn_hub *h, vn_hook *k);
void vn_hub_unhook(vn_hub *h, vn_hook *k);
void vn_hub_own(vn_hub *h, vn_owned *o, void (*free)(vn_owned *o));
/* Told that the hub ends while all that it owns is still there. Told or not, vn_hub_disown() ends it. */
void vn_hub_witness(vn_hub *h, vn_owned *o, void (*tell)(vn_owned *o));
void vn_hub_tell(vn_hub *h);
void vn_hub_disown(vn_owned *o);

/* The running coroutine's next wait hands over to the hooks before anybody else runs. */
static inline void
vn_hub_pause(vn_hub *h)
{
	if (h->paused)
		return;
	h->paused = true;
	h->budget -= VN_TURN;
}

/* "This may bring news from outside": counts against deadlock. */
static inline void
vn_hub_hold(vn_hub *h)
{
	h->n_sources++;
}

static inline void
vn_hub_unhold(vn_hub *h)
{
	h->n_sources--;
}

/* True when the caller runs on a coroutine and may wait; false in callbacks of the loop. */
static inline bool
vn_hub_can_wait(const vn_hub *h)
{
	return !h->advancing;
}

#endif
