/* SPDX-License-Identifier: MIT */
/*
 * Counters - what the broker counts, in a file that anybody may read while it counts, hangs, or is dead
 *
 * The file lies beside the control socket (PATH.counters). The broker alone writes it and never reads it to decide
 * anything: whoever could scribble in it would only spoil what is shown. Others map or read it, and need to know
 * nothing of the build, for it describes itself:
 *
 *     header     who writes it, since when, and where the rest lies
 *     tables     of things that are counted for: the broker, workers, endpoints; rows of equal size
 *     fields     of a table: name, kind, help, label, and where in a row the value lies
 *     bounds     of the buckets of every histogram, in nanoseconds
 *     errors     distinct lines of the log that are warnings or worse: how often, first and last time
 *     rows       label and state, then the values: 64 bit words
 *
 * A value is one aligned word and written by one store: never torn. What is longer, the label of a row and an entry
 * of the errors, has a sequence number that is odd while it is written. Rows are taken when they are needed, and so
 * is their memory. A row outlives what it counts for: the worker with that number or the endpoint with that name
 * goes on counting in it after a restart or a reload.
 *
 * To count one thing more is one line in the tables below, and vn_count() where it happens. What is counted for
 * each request comes first, so that it lies in one cache line of each row. Members:
 *
 *     COUNTER(member, name, help)                     vanilla_NAME_total, of workers vanilla_worker_NAME_total
 *     LABELLED(member, n, label, name_of, name, help) one counter for each of n, which name_of(i) names
 *     GAUGE(member, name, help)                       as it was at the last vn_counters_sample()
 *     HISTOGRAM(member, name, help)                   durations; a name ends in _seconds
 *
 * Names end in their unit where they have one (bytes, seconds). Help is at most 111 bytes.
 */
#ifndef VN_BROKER_COUNTERS_H
#define VN_BROKER_COUNTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "broker/histogram.h"
#include "client/net/gate.h"

#define VN_COUNTERS_MAGIC   0x31524e434c494e56ull /* "VNILCNR1" */
#define VN_COUNTERS_VERSION 1u
#define VN_COUNTERS_SUFFIX  ".counters"
#define VN_COUNTERS_TABLES  4
#define VN_COUNTERS_ERRORS  64
#define VN_COUNTERS_WORKERS 256
#define VN_COUNTERS_LISTENS 256
#define VN_COUNTERS_OWN     64 /* of a program: what its workers count */

/* Why connections were reset: each is counted under its name. */
typedef enum vn_reset_reason {
	VN_RESET_BY_HANDLER, /* vn_abort */
	VN_RESET_WORKER_DIED,
	VN_RESET_QUEUE_TIMEOUT,
	VN_RESET_NO_BLOCKS,
	VN_RESET_STOPPING,
	VN_RESET_LINGER,
	VN_RESET_QUARANTINED,
	VN_RESET_ACCEPT, /* patience.c: these and the next two */
	VN_RESET_IDLE,
	VN_RESET_PROGRESS,
	VN_RESET_DIALLER_DIED,
	VN_RESET_BY_OPERATOR, /* conn close */
	VN_RESET_TOO_LARGE,   /* a message */
	VN_N_RESET_REASONS
} vn_reset_reason;

/* Why a datagram never came to an end of its way in, and why one never left. */
typedef enum vn_lost_reason {
	VN_LOST_KERNEL,      /* it had no room */
	VN_LOST_FULL,        /* its worker had none */
	VN_LOST_DENIED,      /* by the endpoint's lists */
	VN_LOST_NO_WORKER,   /* there was none for too long */
	VN_LOST_WORKER_DIED, /* while it had it */
	VN_N_LOST_REASONS
} vn_lost_reason;

typedef enum vn_unsent_reason {
	VN_UNSENT_REFUSED, /* by the kernel */
	VN_UNSENT_WORKER_DIED,
	VN_N_UNSENT_REASONS
} vn_unsent_reason;

#define VN_BROKER_FIELDS(COUNTER, LABELLED, GAUGE, HISTOGRAM)                                      \
	COUNTER(n_requests, "requests", "Inputs that a worker acknowledged up to their end")       \
	COUNTER(bytes_in, "received_bytes", "Bytes received from clients")                         \
	COUNTER(bytes_out, "sent_bytes", "Bytes sent to clients")                                  \
	COUNTER(n_accepted, "connections_accepted", "Connections accepted")                        \
	COUNTER(n_closed, "connections_closed", "Connections closed, by whomever")                 \
	LABELLED(n_resets, VN_N_RESET_REASONS, "reason", vn_reset_reason_name,                     \
		"connection_resets", "Connections that the broker reset, and why")                 \
	COUNTER(n_dialled, "connections_dialled", "Connections made for workers")                  \
	COUNTER(n_dials_failed, "dials_failed", "Dials of workers that came to nothing")           \
	COUNTER(n_dials_given_up, "dials_given_up",                                                \
		"Dials that a worker had no use for any more, or died of")                         \
	COUNTER(n_deaths, "worker_deaths", "Worker processes that ended, for whatever reason")     \
	COUNTER(n_violations, "violations", "Violations of the protocol by workers")               \
	COUNTER(n_stale_messages, "stale_messages",                                                \
		"Messages of workers for connections they had no longer, ignored")                 \
	COUNTER(n_output_lines_dropped, "output_lines_dropped",                                    \
		"Lines of the output of workers that nobody read in time")                         \
	GAUGE(conns, "connections", "Connections that are open")                                   \
	GAUGE(conns_waiting, "connections_waiting",                                                \
		"Connections in line for a worker, or for its memory")                             \
	GAUGE(workers, "workers", "Workers that there are to be")                                  \
	GAUGE(workers_ready, "workers_ready", "Workers that are ready")

#define VN_WORKER_FIELDS(COUNTER, LABELLED, GAUGE, HISTOGRAM)                                      \
	COUNTER(n_requests, "requests", "Inputs acknowledged up to their end")                     \
	COUNTER(bytes_in, "received_bytes", "Bytes of clients given to the worker")                \
	COUNTER(bytes_out, "sent_bytes", "Bytes for clients got from the worker")                  \
	COUNTER(n_rung, "bells", "Rings of the worker's bell")                                     \
	COUNTER(n_restarts, "restarts", "Processes that took the place of another")                \
	COUNTER(n_violations, "violations", "Violations of the protocol")                          \
	GAUGE(conns, "connections", "Connections that the worker has")                             \
	GAUGE(conns_busy, "connections_busy", "Connections with input that is not acknowledged")   \
	HISTOGRAM(wait, "wait_seconds", "Time of input from its arrival until it was taken")       \
	HISTOGRAM(run, "run_seconds", "Time of input from being taken to its acknowledgement")     \
	HISTOGRAM(write, "write_seconds", "Time of answers from their commit until sent")

#define VN_LISTENER_FIELDS(COUNTER, LABELLED, GAUGE, HISTOGRAM)                                    \
	COUNTER(n_accepted, "connections_accepted", "Connections accepted")                        \
	LABELLED(n_refusals, VN_N_REFUSALS, "reason", vn_refusal_name, "connections_refused",      \
		"Connections that were not let in, and why")                                       \
	COUNTER(n_pauses, "accept_pauses", "Times that no connection could be accepted")           \
	COUNTER(n_datagrams, "datagrams_received", "Datagrams that the kernel has given")          \
	COUNTER(n_datagrams_done, "datagrams_done", "Datagrams that workers were done with")       \
	COUNTER(n_datagrams_again, "datagrams_given_again",                                        \
		"Datagrams that a worker left untaken and another one got")                        \
	LABELLED(n_datagrams_lost, VN_N_LOST_REASONS, "reason", vn_lost_reason_name,               \
		"datagrams_lost", "Datagrams that were not received to the end, and why")          \
	COUNTER(n_datagrams_sent, "datagrams_sent", "Datagrams that the kernel has taken")         \
	LABELLED(n_datagrams_unsent, VN_N_UNSENT_REASONS, "reason", vn_unsent_reason_name,         \
		"datagrams_unsent", "Datagrams of workers that never left, and why")               \
	GAUGE(conns, "connections", "Connections that are open")                                   \
	HISTOGRAM(wait, "wait_seconds", "Time of input from its arrival until it was taken")       \
	HISTOGRAM(run, "run_seconds", "Time of input from being taken to its acknowledgement")     \
	HISTOGRAM(write, "write_seconds", "Time of answers from their commit until sent")

typedef enum vn_row_state {
	VN_ROW_FREE,
	VN_ROW_USED,
	VN_ROW_GONE /* what it counted for is no more: its counters stand, its gauges mean nothing */
} vn_row_state;

typedef struct vn_counters_row {
	uint32_t sequence; /* odd while label and state are written */
	uint32_t state;    /* vn_row_state */
	char label[120];
} vn_counters_row;

#define VN_MEMBER(member, ...)           uint64_t member;
#define VN_MEMBER_MANY(member, n, ...)   uint64_t member[n];
#define VN_MEMBER_HISTOGRAM(member, ...) vn_histogram member;
#define VN_MEMBERS(fields)               fields(VN_MEMBER, VN_MEMBER_MANY, VN_MEMBER, VN_MEMBER_HISTOGRAM)

typedef struct vn_broker_counters {
	vn_counters_row row;
	VN_MEMBERS(VN_BROKER_FIELDS)
} __attribute__((aligned(64))) vn_broker_counters;

typedef struct vn_worker_counters {
	vn_counters_row row;
	VN_MEMBERS(VN_WORKER_FIELDS)
} __attribute__((aligned(64))) vn_worker_counters;

typedef struct vn_listener_counters {
	vn_counters_row row;
	VN_MEMBERS(VN_LISTENER_FIELDS)
} __attribute__((aligned(64))) vn_listener_counters;

#define VN_NO_REAL UINT64_MAX /* a NaN: that worker has no such gauge */

/* Something that workers count; for gauges with a value for each worker. */
typedef struct vn_own_counters {
	vn_counters_row row;
	char help[112];
	uint32_t kind, n_values; /* VN_FIELD_COUNTER or VN_FIELD_REAL */
	uint64_t reserved;
	uint64_t values[1 + VN_COUNTERS_WORKERS]; /* of all workers; by number, as doubles */
} __attribute__((aligned(64))) vn_own_counters;

/* The file */

typedef struct vn_counters_header {
	uint64_t magic;
	uint32_t version;
	uint32_t pid;
	uint64_t pid_started; /* of /proc/PID/stat: a number can be used again */
	uint64_t file_bytes;
	uint64_t started_ns; /* CLOCK_REALTIME */
	uint64_t zero_ns;    /* CLOCK_MONOTONIC of that; what follows is on that clock */
	uint64_t sampled_ns; /* gauges are of then; moves while the broker does */
	uint32_t n_tables, tables;
	uint32_t n_fields, fields;
	uint32_t n_bounds, bounds;
	uint32_t n_errors, errors;
	char release[32];
	char service[64];
} vn_counters_header;

typedef struct vn_counters_table {
	char name[32];
	char label[32]; /* which says which row: worker="3"; "" for the one row of the broker */
	uint32_t first_field, n_fields;
	uint32_t rows, row_bytes, n_rows;
	uint32_t n_taken; /* rows from here on were never used; grows */
	uint32_t kind, reserved;
} vn_counters_table;

typedef enum vn_table_kind {
	VN_TABLE_FIELDS = 1, /* each row has the fields of the table */
	VN_TABLE_NAMED,      /* each row is a family: vn_own_counters, whose label is its name */
} vn_table_kind;

typedef enum vn_field_kind {
	VN_FIELD_COUNTER = 1,
	VN_FIELD_GAUGE,
	VN_FIELD_HISTOGRAM,
	VN_FIELD_REAL, /* a gauge that is a double */
} vn_field_kind;

typedef struct vn_counters_field {
	char name[64]; /* of the family, without _total; members of one follow each other */
	char label[24], value[40]; /* what tells it from others of its family, or "" */
	char help[112];
	uint32_t kind, offset; /* vn_field_kind; in the row */
	uint64_t reserved;
} vn_counters_field;

typedef struct vn_counters_error {
	uint32_t sequence; /* odd while it is written */
	uint32_t level;    /* of syslog(3) */
	uint64_t count;    /* 0: there is none */
	uint64_t first_ns, last_ns;
	char text[224]; /* the last one; numbers may have been others before */
} vn_counters_error;

_Static_assert(sizeof(vn_counters_field) == 256, "layout");
_Static_assert(sizeof(vn_counters_error) == 256, "layout");
_Static_assert(sizeof(vn_counters_row) == 128, "values begin on a cache line");

typedef struct vn_counters {
	unsigned char *base;
	size_t size;
	int fd; /* -1: private memory, that nobody else can read */
	dev_t dev;
	ino_t ino;
	char path[192];
	vn_counters_header *header;
	vn_counters_header layout;            /* what is decided with is not read from there */
	uint32_t n_taken[VN_COUNTERS_TABLES]; /* rows, by table */
	vn_broker_counters *broker;
	vn_worker_counters *workers;     /* by number - 1 */
	vn_listener_counters *listeners; /* by name, in no order */
	vn_own_counters *own;
	vn_counters_table *tables;
	vn_counters_error *errors;
	vn_worker_counters no_worker; /* for those for which there was no memory */
	vn_listener_counters no_listener;
} vn_counters;

const char *vn_reset_reason_name(vn_reset_reason reason);
const char *vn_lost_reason_name(vn_lost_reason reason);
const char *vn_unsent_reason_name(vn_unsent_reason reason);

/* counters_file.c */
vn_counters *vn_counters_open(const char *control_path, const char *service);
vn_counters *vn_counters_close(vn_counters *c);
int vn_counters_reserve(vn_counters *c, size_t offset, size_t len);

/* counters.c */
size_t vn_counters_layout(vn_counters_header *header);
void vn_counters_describe(vn_counters *c);
int64_t vn_counters_wall(const vn_counters *c, uint64_t at_ns);
vn_worker_counters *vn_counters_worker(vn_counters *c, uint16_t number);
vn_listener_counters *vn_counters_listener(vn_counters *c, const char *name);
vn_own_counters *vn_counters_own(
	vn_counters *c, uint32_t kind, const char *name, const char *help, const char **why);
void vn_counters_row_end(vn_counters_row *row);
void vn_counters_error_add(vn_counters *c, int level, const char *text, uint64_t now_ns);

#endif
