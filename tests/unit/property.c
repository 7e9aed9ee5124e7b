/* SPDX-License-Identifier: MIT */
/*
 * Property - random programs of ends, against a model of what may be observed
 *
 * A program is some lines (a pipe, queue, dealer, router or channel each) and some actors, coroutines that send,
 * receive, select, sleep, close, close what is another's, pipe lines together, under deadlines, and are cancelled
 * or stopped. Everything comes from one seed, and time is a number, so each run of a program is the same.
 *
 * The model knows nothing of how ends are made. It writes down what was called and what came back, and insists:
 *
 *	items      one that was sent (0) is received once, or given to on_drop, which only a line with a buffer may;
 *	           one that was not sent is never seen; what arrives is what was sent, on the line it was sent on
 *	order      what one actor sends into one line reaches each receiver in that order
 *	errors     -EPIPE only where an end is closed, -EBUSY only where somebody else stands, -ETIMEDOUT only when
 *	           it is late, -ECANCELED only for the cancelled, -EDEADLK only if nobody could go on
 *	progress   whenever all is quiet, nobody waits who could go on: no sender beside a receiver, no receiver
 *	           beside an item, no sender beside room, nobody at a closed end, beyond his deadline, or cancelled
 */
#include <stdarg.h>
#include <stdlib.h>

#include "tests/unit/coroutines.h"

#ifndef PROGRAMS
#define PROGRAMS SUITE_TIMES(20000)
#endif
#define MAX_LINES   6
#define MAX_ACTORS  9
#define MAX_HANDLES 6
#define MAX_CASES   5
#define MAX_STEPS   16
#define MAX_ITEMS   1024
#define MAX_GROUPS  3
#define ITEM_MAX    40
#define ERROR_BASE  1000 /* an error item says which one it is: -(ERROR_BASE + id) */
#define NOBODY      UINT32_MAX

typedef enum kind { PIPE, QUEUE, DEALER, ROUTER, CHANNEL, N_KINDS } kind;
typedef enum side { TX, RX } side;
typedef enum fate { NEW, SENT, FAILED } fate;

static const char *const kind_names[N_KINDS] = {"pipe", "queue", "dealer", "router", "channel"};

typedef struct line {
	kind kind;
	size_t room;
	vn_pair ends;
	uint32_t owners[2]; /* actors' handles */
	struct line *next;  /* piped to */
} line;

typedef struct item {
	line *from;
	uint32_t sender, seq;
	fate fate;
	bool is_error;
	uint32_t n_received, n_dropped;
} item;

typedef struct call {
	line *line;
	side side;
	uint32_t id; /* of the item to be sent */
} call;

typedef struct handle {
	line *line;
	side side;
	bool is_open;
} handle;

typedef struct actor {
	uint32_t index, group;
	handle handles[MAX_HANDLES];
	uint32_t n_handles;
	call calls[MAX_CASES]; /* while it waits in them */
	uint32_t n_calls;
	vn_time deadline, sleeps_until;
	bool is_asleep;
	uint32_t seq;
	uint32_t last_seen[MAX_ACTORS][MAX_LINES]; /* by sender and line: the last seq + 1 */
} actor;

typedef struct program {
	world world;
	vn_hub *hub;
	uint64_t random, seed;
	size_t item_size;
	line lines[MAX_LINES];
	uint32_t n_lines;
	actor actors[MAX_ACTORS];
	uint32_t n_actors;
	vn_group *groups[MAX_GROUPS];
	bool is_cancelled[MAX_GROUPS];
	uint32_t n_groups;
	bool is_stopped;
	uint32_t n_deadlocked; /* who will yet come back with -EDEADLK */
	item items[MAX_ITEMS];
	uint32_t n_items;
	bool is_traced;
} program;

static program run;

static uint32_t
draw(uint32_t n)
{
	return (uint32_t)(suite_random(&run.random) >> 11) % n;
}

__attribute__((format(printf, 1, 2))) static void
trace(const char *format, ...)
{
	va_list list;

	if (!run.is_traced)
		return;
	va_start(list, format);
	fprintf(stderr, "%6lld us  ", (long long)(run.world.now / VN_US));
	vfprintf(stderr, format, list);
	fputc('\n', stderr);
	va_end(list);
}

/* The first thing that is wrong ends the test; the seed runs the program again, and PROPERTY_SEED traces it. */
__attribute__((format(printf, 1, 2), noreturn)) static void
wrong(const char *format, ...)
{
	char text[256];
	va_list list;

	va_start(list, format);
	vsnprintf(text, sizeof text, format, list);
	va_end(list);
	trace("WRONG %s", text);
	ck_abort_msg("PROPERTY_SEED=%llu: %s", (unsigned long long)run.seed, text);
}

/* The model: lines. */

static uint32_t
line_number(const line *l)
{
	return (uint32_t)(l - run.lines);
}

static line *
line_last(line *l)
{
	while (l->next)
		l = l->next;
	return l;
}

/* Nothing more will be sent into it. */
static bool
line_is_finished(const line *l)
{
	if (l->owners[TX])
		return false;
	for (uint32_t i = 0; i < run.n_lines; i++)
		if (run.lines[i].next == l && !line_is_finished(&run.lines[i]))
			return false;
	return true;
}

/* Nothing more will be received from it. */
static bool
line_is_unwanted(line *l)
{
	return line_last(l)->owners[RX] == 0;
}

static bool
line_is_closed(line *l)
{
	return line_is_finished(l) || line_is_unwanted(l);
}

/* How many items lie between its senders and its receivers. */
static uint32_t
line_holds(line *last)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < run.n_items; i++)
		n += run.items[i].fate == SENT && !run.items[i].n_received &&
		     !run.items[i].n_dropped && line_last(run.items[i].from) == last;
	return n;
}

static size_t
line_room(line *last)
{
	size_t room = 0;

	for (uint32_t i = 0; i < run.n_lines; i++)
		if (line_last(&run.lines[i]) == last)
			room += run.lines[i].room;
	return room;
}

static bool
line_has_one_source(line *last)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < run.n_lines; i++)
		n += line_last(&run.lines[i]) == last;
	return n == 1;
}

static bool
line_takes_one(const line *l, side s)
{
	if (s == TX)
		return l->kind == PIPE || l->kind == QUEUE || l->kind == DEALER;
	return l->kind == PIPE || l->kind == QUEUE || l->kind == ROUTER;
}

/* Somebody else is in a call there, or another line is piped to it and may have to wait. */
static bool
line_is_busy(const line *l, side s, const actor *but)
{
	for (uint32_t i = 0; s == TX && i < run.n_lines; i++)
		if (run.lines[i].next == l)
			return true;
	for (uint32_t i = 0; i < run.n_actors; i++)
		for (uint32_t c = 0; &run.actors[i] != but && c < run.actors[i].n_calls; c++)
			if (run.actors[i].calls[c].line == l && run.actors[i].calls[c].side == s)
				return true;
	return false;
}

/* The model: what is so whenever nobody can run. */

static void
quiet_pair(const actor *a, const call *c)
{
	for (uint32_t i = 0; i < run.n_actors; i++)
		for (uint32_t k = 0; &run.actors[i] != a && k < run.actors[i].n_calls; k++) {
			const call *other = &run.actors[i].calls[k];

			if (c->side == TX && other->side == RX && line_last(c->line) == other->line)
				wrong("%u waits to send into line %u, %u to receive from %u",
					a->index, line_number(c->line), i,
					line_number(other->line));
			if (c->side == other->side && c->line == other->line &&
				line_takes_one(c->line, c->side))
				wrong("%u and %u wait at one end of %s %u", a->index, i,
					kind_names[c->line->kind], line_number(c->line));
		}
}

static void
quiet_call(const actor *a, const call *c)
{
	line *last = line_last(c->line);

	quiet_pair(a, c);
	if (c->side == TX ? line_is_unwanted(c->line) : line_is_closed(c->line))
		wrong("%u waits at line %u, which is closed", a->index, line_number(c->line));
	if (c->side == RX && line_holds(last))
		wrong("%u waits to receive from line %u, which has an item", a->index,
			line_number(c->line));
	if (c->side == TX && line_has_one_source(last) && line_holds(last) < line_room(last))
		wrong("%u waits to send into line %u, which has room", a->index,
			line_number(c->line));
}

static void
quiet(void)
{
	for (uint32_t i = 0; i < run.n_actors; i++) {
		const actor *a = &run.actors[i];

		for (uint32_t c = 0; c < a->n_calls; c++)
			quiet_call(a, &a->calls[c]);
		if (!a->n_calls && !a->is_asleep)
			continue;
		if (run.is_cancelled[a->group] || run.is_stopped)
			wrong("%u waits although it was cancelled", i);
		if (a->deadline < run.world.now)
			wrong("%u waits beyond its deadline", i);
	}
}

/* All who wait are told of a deadlock at once, and come back one by one: it is looked at when the first one does. */
static void
deadlock_check(int rc)
{
	if (rc != -EDEADLK)
		return;
	if (run.n_deadlocked == 0) {
		quiet();
		for (uint32_t i = 0; i < run.n_actors; i++)
			run.n_deadlocked += run.actors[i].n_calls > 0;
	}
	run.n_deadlocked--;
}

/* Everybody has run: the clock is about to move. */
static int
quiet_wait(const vn_sys *sys, int epoll_fd, struct epoll_event *events, int max, int64_t timeout_ns)
{
	if (timeout_ns != 0)
		quiet();
	return world_wait(sys, epoll_fd, events, max, timeout_ns);
}

/* The model: items. */

static uint32_t
item_new(actor *a, line *l, bool is_error)
{
	uint32_t id = run.n_items;

	if (id == MAX_ITEMS)
		return NOBODY;
	run.items[run.n_items++] =
		(item){.from = l, .sender = a->index, .seq = a->seq++, .is_error = is_error};
	return id;
}

static void
item_write(unsigned char *data, uint32_t id)
{
	memcpy(data, &id, sizeof id);
	for (size_t i = sizeof id; i < run.item_size; i++)
		data[i] = (unsigned char)(id * 7 + i);
}

static uint32_t
item_read(const unsigned char *data)
{
	uint32_t id;

	memcpy(&id, data, sizeof id);
	for (size_t i = sizeof id; i < run.item_size; i++)
		if (data[i] != (unsigned char)(id * 7 + i))
			wrong("an item is not what was sent");
	return id;
}

static item *
item_at(uint32_t id)
{
	if (id >= run.n_items)
		wrong("an item that nobody sent");
	return &run.items[id];
}

static void
item_sent(uint32_t id, int rc)
{
	item *i = item_at(id);

	i->fate = rc == 0 ? SENT : FAILED;
	if (rc != 0 && (i->n_received || i->n_dropped))
		wrong("item %u arrived, and its sender %u was told %s", id, i->sender,
			strerrorname_np(-rc));
}

static void
item_received(actor *a, line *l, uint32_t id, bool is_error)
{
	item *i = item_at(id);
	uint32_t *seen = &a->last_seen[i->sender][line_number(i->from)];

	if (i->fate == FAILED || i->n_received++ || i->n_dropped || i->is_error != is_error)
		wrong("%u received item %u, which was not sent, or not to be had any more",
			a->index, id);
	if (line_last(i->from) != l)
		wrong("%u received item %u from line %u, it was sent into %u", a->index, id,
			line_number(l), line_number(i->from));
	if (i->seq < *seen)
		wrong("%u received item %u of %u too late", a->index, id, i->sender);
	*seen = i->seq + 1;
}

static void
item_on_drop(void *arg, void *data)
{
	uint32_t id = item_read(data);
	item *i = item_at(id);

	(void)arg;
	trace("item %u is dropped", id);
	if (i->fate == FAILED || i->n_received || i->n_dropped++ || i->is_error)
		wrong("item %u was dropped, but not sent, or received", id);
	if (line_room(line_last(i->from)) == 0)
		wrong("item %u was dropped where there is no buffer", id);
}

/* The model: results. */

/* Has somebody closed its handle meanwhile? Whether it is still served is not promised. */
static bool
actor_owns(const actor *a, const call *c)
{
	for (uint32_t i = 0; i < a->n_handles; i++)
		if (a->handles[i].is_open && a->handles[i].line == c->line &&
			a->handles[i].side == c->side)
			return true;
	return false;
}

static void
result_check(const actor *a, const call *c, int rc, bool was_busy)
{
	switch (rc) {
	case 0:
		return;
	case -EPIPE:
		if (!line_is_closed(c->line) && actor_owns(a, c))
			wrong("%u: -EPIPE at line %u, which is open", a->index,
				line_number(c->line));
		return;
	case -EBUSY:
		if (!was_busy)
			wrong("%u: -EBUSY at %s %u, where nobody is", a->index,
				kind_names[c->line->kind], line_number(c->line));
		return;
	case -ETIMEDOUT:
		if (run.world.now < a->deadline)
			wrong("%u: -ETIMEDOUT too early", a->index);
		return;
	case -ECANCELED:
		if (!run.is_cancelled[a->group] && !run.is_stopped)
			wrong("%u: -ECANCELED, but it was not", a->index);
		return;
	case -EDEADLK:
		return;
	default:
		wrong("%u: %d at line %u", a->index, rc, line_number(c->line));
	}
}

/* -EDEADLK and -ECANCELED are the end of an actor. */
static bool
is_final(int rc)
{
	return rc == -EDEADLK || rc == -ECANCELED;
}

/* A receive returned: an item, an error item, or an error. */
static int
call_received(actor *a, const call *c, const unsigned char *data, int rc, bool was_busy)
{
	trace("%u receives from line %u: %d", a->index, line_number(c->line), rc);
	if (rc == 0)
		item_received(a, c->line, item_read(data), false);
	else if (rc <= -ERROR_BASE)
		item_received(a, c->line, (uint32_t)(-rc - ERROR_BASE), true);
	else
		result_check(a, c, rc, was_busy);
	return rc;
}

static int
call_sent(actor *a, const call *c, int rc, bool was_busy)
{
	trace("%u sends item %u into line %u: %d", a->index, c->id, line_number(c->line), rc);
	item_sent(c->id, rc);
	result_check(a, c, rc, was_busy);
	return rc;
}

/* The actors: what they have. */

static void
handle_add(actor *a, line *l, side s)
{
	if (a->n_handles == MAX_HANDLES)
		return;
	if (l->owners[s] && s == TX)
		ck_assert_ptr_eq(vn_dup(l->ends.tx), l->ends.tx);
	else if (l->owners[s])
		ck_assert_ptr_eq(vn_dup(l->ends.rx), l->ends.rx);
	l->owners[s]++;
	a->handles[a->n_handles++] = (handle){.line = l, .side = s, .is_open = true};
}

static void
handle_close(handle *k)
{
	if (!k->is_open)
		return;
	k->is_open = false;
	k->line->owners[k->side]--;
	trace("line %u: an owner of %s closes, %u left", line_number(k->line),
		k->side == TX ? "tx" : "rx", k->line->owners[k->side]);
	if (k->side == TX)
		vn_close(k->line->ends.tx);
	else
		vn_close(k->line->ends.rx);
}

static handle *
handle_draw(actor *a, side s)
{
	uint32_t first = a->n_handles ? draw(a->n_handles) : 0;

	for (uint32_t i = 0; i < a->n_handles; i++) {
		handle *k = &a->handles[(first + i) % a->n_handles];

		if (k->is_open && k->side == s)
			return k;
	}
	return NULL;
}

/* The actors: what they do. */

static int
act_send(actor *a)
{
	handle *k = handle_draw(a, TX);
	bool is_error = draw(10) == 0, was_busy;
	unsigned char data[ITEM_MAX];
	call c;
	int rc;

	if (!k)
		return 0;
	c = (call){k->line, TX, item_new(a, k->line, is_error)};
	if (c.id == NOBODY)
		return 0;
	was_busy = line_is_busy(c.line, TX, a);
	a->calls[0] = c;
	a->n_calls = 1;
	item_write(data, c.id);
	if (is_error)
		rc = vn_send_error(c.line->ends.tx, -(ERROR_BASE + (int)c.id));
	else
		rc = vn_send_item(c.line->ends.tx, data, run.item_size);
	deadlock_check(rc);
	a->n_calls = 0;
	return call_sent(a, &c, rc, was_busy);
}

static int
act_recv(actor *a)
{
	handle *k = handle_draw(a, RX);
	unsigned char data[ITEM_MAX];
	bool was_busy;
	call c;
	int rc;

	if (!k)
		return 0;
	c = (call){k->line, RX, 0};
	was_busy = line_is_busy(c.line, RX, a);
	a->calls[0] = c;
	a->n_calls = 1;
	rc = vn_recv_item(c.line->ends.rx, data, run.item_size);
	deadlock_check(rc);
	a->n_calls = 0;
	return call_received(a, &c, data, rc, was_busy);
}

/* One case for a select; false if the actor has nothing for it. */
static bool
case_draw(actor *a, vn_case *k, unsigned char *data)
{
	side s = draw(2) ? TX : RX;
	handle *h = handle_draw(a, s);
	call *c = &a->calls[a->n_calls];

	if (!h)
		return false;
	*c = (call){h->line, s, 0};
	if (s == RX) {
		*k = vn_case_make(1, h->line->ends.rx, data, run.item_size, 0);
	} else {
		c->id = item_new(a, h->line, false);
		if (c->id == NOBODY)
			return false;
		item_write(data, c->id);
		*k = vn_case_make(2, h->line->ends.tx, data, run.item_size, 0);
	}
	a->n_calls++;
	return true;
}

/* What a select did not do was not sent. */
static void
select_others(const call *calls, uint32_t n, int but)
{
	for (uint32_t i = 0; i < n; i++)
		if ((int)i != but && calls[i].side == TX)
			item_sent(calls[i].id, -EAGAIN);
}

static int
select_ended(actor *a, const call *calls, uint32_t n, unsigned char data[][ITEM_MAX], int rc)
{
	int index = rc;

	select_others(calls, n, index);
	if (index < 0) {
		result_check(a, &calls[0], rc, true);
		return rc;
	}
	if (index >= (int)n) /* VN_AFTER, VN_ELSE */
		return 0;
	rc = vn_selected(run.hub);
	if (calls[index].side == RX)
		return call_received(a, &calls[index], data[index], rc, false);
	return call_sent(a, &calls[index], rc, false);
}

static int
act_select(actor *a)
{
	unsigned char data[MAX_CASES][ITEM_MAX];
	call calls[MAX_CASES];
	vn_case cases[MAX_CASES + 1];
	uint32_t n_wanted = 1 + draw(MAX_CASES - 1), n, more = 0;
	bool has_else = draw(6) == 0;
	vn_time started = run.world.now, after = VN_US * draw(50);
	int rc;

	a->n_calls = 0;
	while (a->n_calls < n_wanted && case_draw(a, &cases[a->n_calls], data[a->n_calls]))
		;
	n = a->n_calls;
	memcpy(calls, a->calls, sizeof calls);
	if (n == 0)
		return 0;
	if (has_else || draw(3) == 0) {
		cases[n] = has_else ? VN_ELSE : VN_AFTER(after);
		more = 1;
	}
	trace("%u selects of %u, from line %u on", a->index, n, line_number(calls[0].line));
	rc = draw(2) ? vn_select_cases(run.hub, cases, n + more)
		     : vn_select_random_cases(run.hub, cases, n + more);
	deadlock_check(rc);
	a->n_calls = 0;
	if (rc == (int)n && !has_else && run.world.now < started + after)
		wrong("%u: VN_AFTER too early", a->index);
	return select_ended(a, calls, n, data, rc);
}

static int
act_sleep(actor *a)
{
	int rc;

	a->is_asleep = true;
	rc = draw(2) ? vn_yield(run.hub) : vn_sleep(run.hub, VN_US * draw(40));
	a->is_asleep = false;
	result_check(a, &(call){&run.lines[0], TX, 0}, rc, false);
	return rc;
}

/* An end that is an actor's own, or, with nobody asking, another's. */
static int
act_close(actor *a)
{
	actor *victim = draw(3) ? a : &run.actors[draw(run.n_actors)];
	handle *k = handle_draw(victim, draw(2) ? TX : RX);

	if (k)
		handle_close(k);
	return 0;
}

static bool
makes_a_circle(line *from, line *to)
{
	return line_last(to) == from;
}

static int
act_pipe(actor *a)
{
	handle *from = handle_draw(a, RX), *to = handle_draw(a, TX);
	bool is_circle;
	int rc;

	if (!from || !to || from->line->owners[RX] != 1 || line_is_busy(from->line, RX, NULL))
		return 0;
	is_circle = makes_a_circle(from->line, to->line);
	if (is_circle && draw(8))
		return 0;
	from->is_open = to->is_open = false;
	from->line->owners[RX]--;
	to->line->owners[TX]--;
	if (!is_circle)
		from->line->next = to->line;
	trace("%u pipes line %u to %u", a->index, line_number(from->line), line_number(to->line));
	rc = vn_pipe_to(from->line->ends.rx, to->line->ends.tx);
	if (rc == -ECANCELED && run.is_stopped) { /* nobody could carry: both ends are closed */
		from->line->next = NULL;
		return 0;
	}
	if (rc != (is_circle ? -EINVAL : 0))
		wrong("%u: vn_pipe_to: %d", a->index, rc);
	return 0;
}

static int
act_deadline(actor *a)
{
	if (draw(2)) {
		vn_time delay = VN_US * draw(60);

		if (a->deadline > run.world.now + delay)
			a->deadline = run.world.now + delay;
		trace("%u has %lld us left", a->index, (long long)(delay / VN_US));
		vn_timeout(run.hub, delay);
	} else {
		trace("%u has time", a->index);
		vn_deadline(run.hub, a->deadline = VN_NEVER);
	}
	return 0;
}

static int
act_cancel(actor *a)
{
	uint32_t g = draw(run.n_groups);

	(void)a;
	if (draw(12))
		return 0;
	if (draw(4) == 0) {
		trace("%u stops the hub", a->index);
		run.is_stopped = true;
		vn_stop(run.hub);
	} else {
		trace("%u cancels group %u", a->index, g);
		run.is_cancelled[g] = true;
		vn_group_cancel(run.groups[g]);
	}
	return 0;
}

static int
actor_run(vn_hub *h, void *arg)
{
	static int (*const acts[])(actor *) = {act_send, act_send, act_send, act_send, act_recv,
		act_recv, act_recv, act_recv, act_select, act_select, act_select, act_sleep,
		act_sleep, act_close, act_pipe, act_deadline, act_cancel};
	actor *a = arg;
	uint32_t n_steps = 1 + draw(MAX_STEPS);

	(void)h;
	for (uint32_t i = 0; i < n_steps; i++)
		if (is_final(acts[draw(sizeof acts / sizeof *acts)](a)))
			break;
	for (uint32_t i = 0; i < a->n_handles; i++)
		handle_close(&a->handles[i]);
	return 0;
}

/* The program. */

static vn_pair
line_make(kind k, size_t room)
{
	switch (k) {
	case PIPE:
		return vn_pipe_new(run.hub, run.item_size);
	case QUEUE:
		return vn_queue_new(run.hub, run.item_size, room);
	case DEALER:
		return vn_dealer_new(run.hub, run.item_size);
	case ROUTER:
		return vn_router_new(run.hub, run.item_size);
	default:
		return vn_channel_new(run.hub, run.item_size, room);
	}
}

static void
line_open(line *l)
{
	kind k = draw(N_KINDS);
	size_t room = k == QUEUE ? 1 + draw(4) : k == CHANNEL ? draw(4) : 0;

	*l = (line){.kind = k, .room = room, .ends = line_make(k, room)};
	ck_assert_ptr_nonnull(l->ends.tx);
	vn_on_drop(l->ends.rx, item_on_drop, NULL);
	trace("line %u is a %s of %zu", line_number(l), kind_names[k], room);
	handle_add(&run.actors[draw(run.n_actors)], l, TX);
	handle_add(&run.actors[draw(run.n_actors)], l, RX);
	for (uint32_t i = draw(4); i > 0; i--)
		handle_add(&run.actors[draw(run.n_actors)], l, draw(2) ? TX : RX);
	/* Actors that had no hand free leave an end to nobody. */
	if (!l->owners[TX])
		vn_close(l->ends.tx);
	if (!l->owners[RX])
		vn_close(l->ends.rx);
}

static void
program_open(uint64_t seed)
{
	memset(&run, 0, sizeof run);
	run.seed = seed;
	run.random = seed * 0x9e3779b97f4a7c15u | 1;
	run.is_traced = getenv("PROPERTY_SEED") != NULL;
	run.hub = world_open(&run.world);
	run.world.sys.wait = quiet_wait;
	run.item_size = (size_t[]){4, 8, 12, ITEM_MAX}[draw(4)];
	run.n_actors = 2 + draw(MAX_ACTORS - 1);
	run.n_groups = 1 + draw(MAX_GROUPS);
	run.n_lines = 1 + draw(MAX_LINES);
	for (uint32_t i = 0; i < run.n_actors; i++)
		run.actors[i] =
			(actor){.index = i, .group = draw(run.n_groups), .deadline = VN_NEVER};
	for (uint32_t i = 0; i < run.n_lines; i++)
		line_open(&run.lines[i]);
	for (uint32_t i = 0; i < run.n_groups; i++)
		run.groups[i] = vn_group_new(run.hub);
	for (uint32_t i = 0; i < run.n_actors; i++)
		ck_assert_int_eq(
			vn_group_spawn(run.groups[run.actors[i].group], actor_run, &run.actors[i]),
			0);
}

static void
program_close(void)
{
	for (uint32_t i = 0; i < run.n_groups; i++) {
		int rc = vn_group_wait(run.groups[i]);

		if (rc != 0 && !run.is_stopped && rc != -EDEADLK)
			wrong("vn_group_wait: %d", rc);
		while (rc == -EDEADLK)
			rc = vn_group_wait(run.groups[i]);
		run.groups[i] = vn_group_free(run.groups[i]);
	}
	vn_hub_close(run.hub);
	for (uint32_t i = 0; i < run.n_items; i++) {
		const item *t = &run.items[i];

		if (t->fate == NEW)
			wrong("item %u: its sender never came back", i);
		if (t->fate == SENT && !t->is_error && t->n_received + t->n_dropped != 1)
			wrong("item %u was sent and is lost", i);
		if (t->fate == SENT && !t->n_received && line_room(line_last(t->from)) == 0)
			wrong("item %u was sent without a buffer, and nobody has it", i);
	}
}

START_TEST(random_programs_do_what_the_model_allows)
{
	const char *seed = getenv("PROPERTY_SEED");
	uint64_t first = seed ? strtoull(seed, NULL, 10) : 1, n = seed ? 1 : PROGRAMS;

	for (uint64_t i = first; i < first + n; i++) {
		program_open(i);
		program_close();
	}
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {random_programs_do_what_the_model_allows};

	return suite_run("property", tests, SUITE_COUNT(tests));
}
