/* SPDX-License-Identifier: MIT */
/*
 * Coroutine - a stack, a context to jump to, and what it waits for
 *
 * The record lies at the top of the coroutine's own stack, so a parked coroutine that has not gone deep costs
 * one page and no allocation. The thread's main stack is a coroutine too, and so is the hub's loop.
 *
 * What a coroutine waits for is an array of clauses on its own stack. Each clause stands in the queue of one
 * thing (a pipe end, a connection). The first thing that decides takes all of them out of their queues, fills
 * in the result and makes the coroutine ready: a wait is decided once, and what is decided stands, even if a
 * deadline passes or a cancel comes before the coroutine runs.
 */
#ifndef VN_HUB_COROUTINE_H
#define VN_HUB_COROUTINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vanilla.h>

#include "client/hub/fiber.h"
#include "client/hub/timer.h"

typedef struct vn_co vn_co;
typedef struct vn_clause vn_clause;

/* Those who wait for one thing, first come first served. */
typedef struct vn_waitq {
	vn_clause *first, *last;
} vn_waitq;

struct vn_clause {
	vn_clause *next, *prev;
	vn_waitq *queue; /* NULL while it stands in none */
	vn_co *co;
	void *end, *item; /* for the thing that is waited for */
	int result;       /* what the decider gave; before that, the thing's as well */
};

/* What is to be done when a coroutine returns; embedded in its owner. */
typedef struct vn_parting vn_parting;
struct vn_parting {
	vn_parting *next, **link;        /* link is NULL while nobody's return is waited for */
	void (*returned)(vn_parting *p); /* unlinked by then */
};

/* Two cache lines: what a switch needs is in the first. */
struct vn_co {
	void *context; /* fcontext_t, while it does not run */
	vn_co *next;   /* in the ready queue */
	vn_hub *hub;
	vn_clause *clauses; /* while it waits */
	uint32_t n_clauses;
	int decided;      /* index of the clause, or the negative errno that ended the wait */
	vn_time deadline; /* VN_CO_CANCELLED: its waits are refused */
	bool waiting;     /* parked, and not decided */
	bool timed;       /* its timer is armed */
	int selected;     /* result of the last vn_select() */
	vn_co *all_next, **all_link; /* all coroutines of the hub */
	vn_timer timer;
	vn_fn *fn; /* NULL: the main stack or the loop */
	union {
		void *arg;            /* until it runs */
		vn_parting *partings; /* from then on */
	};
	uint64_t id;
	vn_fiber fiber; /* the sanitizers'; nothing in a plain build */
};

/*
 * A deadline so long ago that waits are refused where those of any other deadline that has passed are: that a
 * coroutine can be cancelled costs its waits nothing.
 */
#define VN_CO_CANCELLED INT64_MIN

void vn_co_part(vn_co *co, vn_parting *p); /* linked to nobody; co has begun to run */
void vn_parting_unlink(vn_parting *p);     /* linked or not */

void vn_waitq_push(vn_waitq *q, vn_clause *c); /* c->co is set by vn_wait() */
void vn_clause_unlink(vn_clause *c);           /* in a queue or not */

#endif
