/* SPDX-License-Identifier: MIT */
/*
 * Event - what happened, for whoever looks now and whoever looks later
 *
 * The last VN_EVENTS of them are in a ring, with whom they are about in fields of their own, and each is a line of
 * the log as well, at the level of its kind. Events are numbered: who reads the ring keeps a number, not a place,
 * and whoever is too slow learns how many were overwritten meanwhile. Nobody is waited for.
 *
 * What happens to connections can happen to ten thousand of them at once. Of such kinds a second has room for
 * VN_EVENTS_MANY, and then one more that tells how many there were beyond.
 */
#ifndef VN_BROKER_EVENT_H
#define VN_BROKER_EVENT_H

#include "broker/broker.h"

#define VN_EVENTS      512  /* that are remembered */
#define VN_EVENTS_MANY 32   /* in a second, of a kind that is about connections */
#define VN_EVENT_TEXT  224  /* bytes that are remembered ... */
#define VN_EVENT_LINE  1024 /* ... and that are logged */

typedef enum vn_event_kind {
	VN_EVENT_WORKER_STARTED,
	VN_EVENT_WORKER_READY,
	VN_EVENT_WORKER_KILLED, /* by us; its death follows */
	VN_EVENT_WORKER_DIED,
	VN_EVENT_WORKER_OVERDUE, /* leaves, and has not finished in time */
	VN_EVENT_VIOLATION,
	VN_EVENT_CONN_RESET,
	VN_EVENT_CONN_QUARANTINED,
	VN_EVENT_CHANGE_BEGUN,
	VN_EVENT_CHANGE_DONE,
	VN_EVENT_CHANGE_FAILED, /* rolled back, or given up */
	VN_EVENT_LISTENER_OPENED,
	VN_EVENT_LISTENER_CLOSED,
	VN_EVENT_LISTENER_PAUSED, /* no descriptor, or no memory */
	VN_EVENT_LISTENER_RESUMED,
	VN_EVENT_LISTENER_DISABLED, /* by command */
	VN_EVENT_LISTENER_ENABLED,
	VN_EVENT_LIMIT, /* somebody reached one */
	VN_EVENT_PHASE, /* of the service: serving, draining, stopping */
	VN_N_EVENT_KINDS
} vn_event_kind;

/* Whom an event is about; what does not apply is left out. A connection brings its listener and its worker. */
typedef struct vn_about {
	const vn_worker *worker;
	const vn_record *conn;
	const vn_broker_endpoint *endpoint;
	int level; /* of syslog(3); 0: as usual for the kind */
} vn_about;

typedef struct vn_event_entry {
	uint64_t id; /* from 1, never used again */
	int64_t at;  /* nanoseconds of the wall clock */
	vn_event_kind kind;
	int level;
	uint16_t number; /* of the worker; 0: none */
	uint32_t incarnation;
	uint64_t conn; /* 0: none */
	char listener[64];
	char text[VN_EVENT_TEXT];
} vn_event_entry;

struct vn_events *vn_events_new(vn_broker *b);
struct vn_events *vn_events_free(struct vn_events *events);

void vn_event(vn_broker *b, vn_event_kind kind, vn_about about, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

uint64_t vn_events_last(const vn_broker *b); /* the number of the latest; 0: there was none */
const vn_event_entry *vn_events_at(const vn_broker *b, uint64_t id); /* NULL: not any more */
const vn_event_entry *vn_events_telling(const vn_broker *b); /* whose line is just being logged */
const char *vn_event_kind_name(vn_event_kind kind);

#endif
