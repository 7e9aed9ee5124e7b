/* SPDX-License-Identifier: MIT */
/*
 * Patience - how long a client may take: accept, idle, progress and header of an endpoint
 */
#ifndef VN_NET_PATIENCE_H
#define VN_NET_PATIENCE_H

#include "client/net/option.h"

/* What was seen of a connection when it was last looked at; all zero before that. */
typedef struct vn_patience {
	uint32_t id;          /* of the connection; 0: never looked at */
	uint32_t looked;      /* when; milliseconds, as all times here */
	uint32_t opened;      /* first looked at */
	uint32_t quiet_since; /* nothing moved since then, in either direction */
	uint32_t slow_since;  /* in the middle of something, with slow_bytes */
	uint32_t bytes, slow_bytes;
	uint32_t committed;
} vn_patience;

/* Where a connection stands. Counts of bytes may wrap. */
typedef struct vn_standing {
	uint32_t id;             /* not 0 */
	uint32_t received, sent; /* bytes */
	uint32_t committed;      /* of received */
	bool waits;              /* it is the client's turn */
	bool half;               /* ... in the middle of a request or of an answer */
	bool fresh;              /* nothing was received yet */
	bool header;             /* ... to say who it is */
} vn_standing;

typedef enum vn_verdict {
	VN_GOES_ON,
	VN_TOO_LATE,  /* the first byte: accept */
	VN_TOO_QUIET, /* idle */
	VN_TOO_SLOW,  /* progress */
	VN_NO_HEADER,
} vn_verdict;

#define VN_PROGRESS_BYTES 4096u /* within `progress`, unless the request or the answer ends */

/* Does an endpoint have such a limit? */
static inline bool
vn_patience_ends(const vn_endpoint_options *o)
{
	return o->accept_ms | o->idle_ms | o->progress_ms | o->proxy;
}

uint32_t vn_patience_every(const vn_endpoint_options *o);
vn_verdict vn_patience_look(
	vn_patience *p, const vn_endpoint_options *o, const vn_standing *s, uint32_t now);

#endif
