/* SPDX-License-Identifier: MIT */
/*
 * Slow - the slowest requests of the last minute
 *
 * Who asks at three in the morning which client it is has no histogram in mind. So the slowest requests are kept for
 * VN_SLOW_KEPT, each with its connection, worker, endpoint and stages. A request costs one comparison, with the least
 * that would be kept. Its write is added when its output has left; an answer that only its client was slow to take is
 * kept for that alone, without the stages that it had before.
 */
#ifndef VN_BROKER_SLOW_H
#define VN_BROKER_SLOW_H

#include <stdbool.h>
#include <stdint.h>
#include <vanilla.h>

#include "shm/protocol.h"

#define VN_SLOW_MAX  16
#define VN_SLOW_KEPT (60 * VN_SEC)
#define VN_SLOW_WRITE                                                                              \
	((uint32_t)(10 * VN_MS / VN_TICK_NS)) /* a faster write is no news of itself */

typedef struct vn_slow_request {
	uint64_t conn; /* its number */
	vn_desc_peer peer;
	uint16_t endpoint, worker;
	uint32_t incarnation;
	vn_time at;      /* finished, or written if that is all that is known */
	bool is_known;   /* `queue`, `wait` and `run` are */
	bool is_written; /* `write` is */
	uint32_t queue;  /* ticks of `wait` until it was dispatched */
	uint32_t wait, run, write;
} vn_slow_request;

typedef struct vn_slow {
	vn_slow_request top[VN_SLOW_MAX];
	uint32_t n;
	uint32_t least;       /* ticks that a request must have taken to be kept */
	uint32_t n_unwritten; /* of these, the output of so many has not left */
} vn_slow;

struct vn_broker;
struct vn_worker;
struct vn_record;

void vn_slow_finished(struct vn_broker *b, const struct vn_worker *w, const struct vn_record *r,
	uint32_t wait, uint32_t run);
void vn_slow_written(struct vn_broker *b, const struct vn_record *r, uint32_t write);
void vn_slow_sweep(struct vn_broker *b);

static inline uint32_t
vn_slow_ticks(const vn_slow_request *s)
{
	return s->wait + s->run + s->write;
}

#endif
