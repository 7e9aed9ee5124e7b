/* SPDX-License-Identifier: MIT */
/*
 * Event - a ring of what happened
 *
 * An event costs a text and, if somebody follows, a wakeup; those that come in thousands are counted before they
 * cost even that.
 */
#include "broker/event.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/control.h"
#include "broker/log.h"
#include "broker/notify.h"
#include "broker/report.h"

typedef struct kind_spec {
	const char *name;
	int level;
	bool many; /* may come for each of ten thousand connections */
} kind_spec;

/* Names are promises: added, never changed. */
static const kind_spec kinds[VN_N_EVENT_KINDS] = {
	[VN_EVENT_WORKER_STARTED] = {"worker_started", LOG_DEBUG, false},
	[VN_EVENT_WORKER_READY] = {"worker_ready", LOG_INFO, false},
	[VN_EVENT_WORKER_KILLED] = {"worker_killed", LOG_WARNING, false},
	[VN_EVENT_WORKER_DIED] = {"worker_died", LOG_WARNING, false},
	[VN_EVENT_WORKER_OVERDUE] = {"worker_overdue", LOG_WARNING, false},
	[VN_EVENT_VIOLATION] = {"violation", LOG_ERR, false},
	[VN_EVENT_CONN_RESET] = {"conn_reset", LOG_DEBUG, true},
	[VN_EVENT_CONN_QUARANTINED] = {"conn_quarantined", LOG_ERR, true},
	[VN_EVENT_CHANGE_BEGUN] = {"change_begun", LOG_INFO, false},
	[VN_EVENT_CHANGE_DONE] = {"change_done", LOG_INFO, false},
	[VN_EVENT_CHANGE_FAILED] = {"change_failed", LOG_WARNING, false},
	[VN_EVENT_LISTENER_OPENED] = {"listener_opened", LOG_DEBUG, false},
	[VN_EVENT_LISTENER_CLOSED] = {"listener_closed", LOG_DEBUG, false},
	[VN_EVENT_LISTENER_PAUSED] = {"listener_paused", LOG_WARNING, false},
	[VN_EVENT_LISTENER_RESUMED] = {"listener_resumed", LOG_NOTICE, false},
	[VN_EVENT_LISTENER_DISABLED] = {"listener_disabled", LOG_NOTICE, false},
	[VN_EVENT_LISTENER_ENABLED] = {"listener_enabled", LOG_NOTICE, false},
	[VN_EVENT_LIMIT] = {"limit", LOG_WARNING, true},
	[VN_EVENT_PHASE] = {"phase", LOG_INFO, false},
};

struct vn_events {
	vn_broker *broker;
	uint64_t last; /* number of the latest */
	const vn_event_entry *telling;
	vn_timer timer; /* the second is over; armed while there is one */
	uint32_t n_many[VN_N_EVENT_KINDS];
	vn_event_entry ring[VN_EVENTS];
};

const char *
vn_event_kind_name(vn_event_kind kind)
{
	return kinds[kind].name;
}

static void
entry_about(const vn_broker *b, vn_event_entry *e, const vn_about *about)
{
	const vn_worker *w = about->worker;
	const vn_record *r = about->conn;
	const vn_broker_endpoint *endpoint = about->endpoint;

	if (r) {
		e->conn = r->id;
		endpoint = endpoint ? endpoint : b->endpoints[r->endpoint];
		w = !w && (r->flags & VN_R_ATTACHED) ? b->workers[r->worker] : w;
	}
	if (w) {
		e->number = w->number;
		e->incarnation = w->incarnation;
	}
	if (endpoint)
		snprintf(e->listener, sizeof e->listener, "%s", vn_endpoint_label(endpoint));
}

/* Into the log, and to those who follow. */
static void
entry_tell(vn_broker *b, const vn_event_entry *e, const char *text)
{
	if (b->events)
		b->events->telling = e;
	vn_log(b->hub, e->level, "%s", text);
	if (b->events)
		b->events->telling = NULL;
	vn_notify_event(b, e->kind);
	if (b->control)
		vn_client_wake_followers(b->control);
	if (b->admin)
		vn_client_wake_followers(b->admin);
}

static vn_event_entry *
entry_new(vn_broker *b, vn_event_entry *spare)
{
	struct vn_events *events = b->events;
	uint64_t id = events ? ++events->last : 0;
	vn_event_entry *e = events ? &events->ring[id % VN_EVENTS] : spare;

	*e = (vn_event_entry){.id = id, .at = vn_wall_clock()};
	return e;
}

/* Too many of a kind that comes in thousands? */
static bool
is_too_many(struct vn_events *events, vn_event_kind kind)
{
	vn_hub *h = events->broker->hub;

	if (!kinds[kind].many)
		return false;
	if (!vn_timer_armed(&events->timer))
		vn_wheel_arm(h->wheel, &events->timer, h->now + VN_SEC);
	return ++events->n_many[kind] > VN_EVENTS_MANY;
}

static void
second_over(vn_timer *t)
{
	struct vn_events *events = (void *)((char *)t - offsetof(struct vn_events, timer));
	vn_event_entry spare;

	for (int i = 0; i < VN_N_EVENT_KINDS; i++) {
		uint32_t n = events->n_many[i];
		vn_event_entry *e;

		events->n_many[i] = 0;
		if (n <= VN_EVENTS_MANY)
			continue;
		e = entry_new(events->broker, &spare);
		e->kind = (vn_event_kind)i;
		e->level = kinds[i].level;
		snprintf(e->text, sizeof e->text, "and %u more events %s within a second",
			n - VN_EVENTS_MANY, kinds[i].name);
		entry_tell(events->broker, e, e->text);
	}
}

/**
 * vn_event() - something happened
 * @kind:   what
 * @about:  whom it is about
 * @format: a sentence that needs nothing else to be understood; it is a line of the log as well
 *
 * Before there is a ring, only what is a warning or worse is logged.
 */
void
vn_event(vn_broker *b, vn_event_kind kind, vn_about about, const char *format, ...)
{
	vn_event_entry spare, *e;
	char text[VN_EVENT_LINE];
	va_list args;

	if (b->events ? is_too_many(b->events, kind) : kinds[kind].level > LOG_WARNING)
		return;
	e = entry_new(b, &spare);
	e->kind = kind;
	e->level = about.level ? about.level : kinds[kind].level;
	entry_about(b, e, &about);
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	vn_log_clean(text, strlen(text));
	snprintf(e->text, sizeof e->text, "%.*s", VN_EVENT_TEXT - 1, text);
	entry_tell(b, e, text);
}

uint64_t
vn_events_last(const vn_broker *b)
{
	return b->events ? b->events->last : 0;
}

/**
 * vn_events_at() - an event by its number
 *
 * Return: it, until the next event; NULL if it was overwritten, or has not happened.
 */
const vn_event_entry *
vn_events_at(const vn_broker *b, uint64_t id)
{
	const vn_event_entry *e;

	if (!b->events || id == 0)
		return NULL;
	e = &b->events->ring[id % VN_EVENTS];
	return e->id == id ? e : NULL;
}

/**
 * vn_events_telling() - the event that the line being logged is about; NULL: it is about none
 */
const vn_event_entry *
vn_events_telling(const vn_broker *b)
{
	return b->events ? b->events->telling : NULL;
}

/**
 * vn_events_new() - an empty ring
 *
 * Return: NULL when out of memory.
 */
struct vn_events *
vn_events_new(vn_broker *b)
{
	struct vn_events *events = calloc(1, sizeof *events);

	if (!events)
		return NULL;
	events->broker = b;
	events->timer.fire = second_over;
	return events;
}

/**
 * vn_events_free() - forget all; takes NULL
 */
struct vn_events *
vn_events_free(struct vn_events *events)
{
	if (events)
		vn_wheel_disarm(events->broker->hub->wheel, &events->timer);
	free(events);
	return NULL;
}
