/* SPDX-License-Identifier: MIT */
/*
 * Quarantine - a record of input that took worker after worker down
 */
#ifndef VN_BROKER_QUARANTINE_H
#define VN_BROKER_QUARANTINE_H

#include "broker/broker.h"
#include "broker/report.h"

#define VN_MAX_QUARANTINED 16

typedef struct vn_quarantined {
	uint32_t id; /* from 1; 0: nothing is here */
	vn_time at;
	uint64_t conn;
	uint16_t endpoint;
	vn_desc_peer peer;
	uint32_t n_killed;               /* in all */
	uint32_t killed[VN_MAX_TOLD];    /* the last ones, newest first: incarnations ... */
	uint16_t killed_by[VN_MAX_TOLD]; /* ... and numbers */
	uint64_t n_bytes;                /* un-acknowledged */
	uint32_t len;                    /* kept of them */
	unsigned char *bytes;
} vn_quarantined;

typedef struct vn_quarantine {
	uint32_t last_id;
	vn_quarantined entries[VN_MAX_QUARANTINED]; /* by id, round */
} vn_quarantine;

void vn_quarantine_add(vn_broker *b, const vn_record *r);
const vn_quarantined *vn_quarantine_find(const vn_broker *b, uint32_t id);
vn_quarantine *vn_quarantine_free(vn_quarantine *q);

/* `show quarantine`, and `show quarantine ID`, of which q->after is the ID */
extern const vn_columns vn_quarantine_columns, vn_quarantine_byte_columns;
vn_query_step vn_quarantine_next(vn_query *q, vn_row *row);
vn_query_step vn_quarantine_bytes_next(vn_query *q, vn_row *row);

#endif
