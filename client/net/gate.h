/* SPDX-License-Identifier: MIT */
/*
 * Gate - who may come in
 */
#ifndef VN_NET_GATE_H
#define VN_NET_GATE_H

#include <vanilla.h>

#include "client/net/option.h"
#include "shm/protocol.h"

/* Why somebody was not let in: each is counted under its name. */
typedef enum vn_refusal {
	VN_REFUSED_DENIED,        /* allow, deny */
	VN_REFUSED_PER_ADDRESS,   /* has that many already */
	VN_REFUSED_RATE,          /* came too often */
	VN_REFUSED_HEADER,        /* no PROXY header, or none that can be one */
	VN_REFUSED_HEADER_LATE,   /* and none in time */
	VN_REFUSED_MAX,           /* waited for queue-timeout while there were max */
	VN_REFUSED_NO_DESCRIPTOR, /* ... while the process had no descriptor, or no memory */
	VN_REFUSED_NO_RECORD,     /* ... while the broker had --max-conns */
	VN_N_REFUSALS,
	VN_ADMITTED = VN_N_REFUSALS,
} vn_refusal;

typedef struct vn_gate vn_gate;

/* Does an endpoint ask who comes before it lets them in? */
static inline bool
vn_gate_looks(const vn_endpoint_options *o)
{
	return o->allow.n | o->deny.n | o->per_address | o->rate;
}

vn_gate *vn_gate_new(const vn_endpoint_options *o); /* NULL with errno */
vn_gate *vn_gate_free(vn_gate *g);
vn_refusal vn_gate_check(const vn_endpoint_options *o, const vn_desc_peer *peer);
vn_refusal vn_gate_enter(
	vn_gate *g, const vn_endpoint_options *o, const vn_desc_peer *peer, vn_time now);
void vn_gate_leave(vn_gate *g, const vn_desc_peer *peer);
vn_refusal vn_refusal_of(int rc);
const char *vn_refusal_name(vn_refusal refusal);

#endif
