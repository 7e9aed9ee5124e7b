/* SPDX-License-Identifier: MIT */
/*
 * Report - what `show` shows: one query, one row at a time
 *
 * A query keeps no pointer into what it goes through, only a cursor, so that whoever asks may wait between two
 * rows as long as the client needs to read them, while connections and workers come and go.
 */
#ifndef VN_BROKER_REPORT_H
#define VN_BROKER_REPORT_H

#include "broker/broker.h"
#include "broker/row.h"

struct vn_client;

#define VN_QUERY_ANY (-1)

typedef struct vn_report vn_report;

typedef struct vn_query {
	vn_broker *broker;
	const vn_report *report;
	bool json;
	uint32_t cursor;
	uint64_t
		after; /* the key of the last row, where rows are sorted; the number that is wanted */
	uint64_t limit;      /* rows still wanted */
	int worker;          /* number, or any */
	int64_t incarnation; /* or any */
	int endpoint;        /* index, or any */
	bool active;         /* connections that have moved of late, or have something to do */
} vn_query;

typedef enum vn_query_step {
	VN_QUERY_END,
	VN_QUERY_SKIP, /* looked at one, it is not wanted */
	VN_QUERY_ROW
} vn_query_step;

struct vn_report {
	const char *name;
	const char *arguments; /* for help */
	const char *help;
	const char *more;    /* sentences, one a line; NULL */
	const char *example; /* for help as well */
	bool single;         /* one thing: an object, not an array of them */
	bool wants_id;       /* of the one thing, in q->after */
	bool filters;        /* takes active, worker, listener and limit */
	const vn_columns *columns;
	vn_query_step (*next)(vn_query *q, vn_row *row);
	/* NULL, or it is no table of rows and writes itself; words: what follows "show" */
	int (*write)(struct vn_client *c, char **words, size_t n, bool json);
};

extern const vn_report vn_reports[];
extern const size_t vn_n_reports;

/* words: what follows "show"; -EINVAL and a sentence in why */
int vn_query_init(vn_query *q, vn_broker *b, char **words, size_t n, char why[static 256]);
vn_query_step vn_query_next(vn_query *q, vn_row *row);
int vn_worker_parse(const char *text, int *number, int64_t *incarnation, char why[static 256]);
uint64_t vn_spilled_bytes(const vn_broker *b);
vn_broker_endpoint *vn_endpoint_called(vn_broker *b, const char *text, char why[static 256]);
const char *vn_endpoint_label(const vn_broker_endpoint *e);
void vn_row_peer(vn_row *row, const vn_desc_peer *peer);

/* report_conn.c */
extern const vn_columns vn_conn_columns;
vn_query_step vn_conn_next(vn_query *q, vn_row *row);
vn_record *vn_conn_search(const vn_broker *b, uint64_t id, uint32_t *cursor);

/* report_self.c */
extern const vn_columns vn_config_columns, vn_memory_columns, vn_errors_columns,
	vn_channels_columns;
vn_query_step vn_config_next(vn_query *q, vn_row *row);
vn_query_step vn_memory_next(vn_query *q, vn_row *row);
vn_query_step vn_errors_next(vn_query *q, vn_row *row);
vn_query_step vn_channels_next(vn_query *q, vn_row *row);

#endif
