/* SPDX-License-Identifier: MIT */
/*
 * Recent - what histograms have counted of late
 *
 * The histograms of the counters file count since the service began, which is right for who compares two scrapes and
 * hides a bad minute from who looks once. So every VN_RECENT seconds they are remembered, and what is shown is what
 * was added since the time before the last: half a minute to a minute.
 */
#ifndef VN_BROKER_RECENT_H
#define VN_BROKER_RECENT_H

#include "broker/broker.h"

#define VN_RECENT 30 /* seconds */

/* What happened to requests, of one worker or one listener. */
typedef struct vn_stage_set {
	vn_histogram wait, run, write;
} vn_stage_set;

struct vn_recent *vn_recent_new(void);
struct vn_recent *vn_recent_free(struct vn_recent *recent);
void vn_recent_turn(vn_broker *b); /* every VN_RECENT seconds */
void vn_recent_worker(const vn_broker *b, const vn_worker_counters *w, vn_stage_set *out);
void vn_recent_listener(const vn_broker *b, const vn_listener_counters *l, vn_stage_set *out);

#endif
