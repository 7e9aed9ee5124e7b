/* SPDX-License-Identifier: MIT */
/*
 * History - the last minutes, second by second, for who looks only now
 *
 * Each second the counters are compared with what they were: requests, bytes, quantiles of what ended in that
 * second, and of each worker its state. The page of the admin address draws them.
 */
#ifndef VN_BROKER_HISTORY_H
#define VN_BROKER_HISTORY_H

#include "broker/broker.h"

#define VN_HISTORY 300 /* seconds */

struct vn_history *vn_history_new(vn_broker *b);
struct vn_history *vn_history_free(struct vn_history *h);
void vn_history_take(struct vn_history *h); /* one sample; by itself each second */
uint64_t vn_history_last(
	const vn_broker *b); /* the number of the latest sample; 0: there is none */
char *vn_history_sample(const vn_broker *b, uint64_t id);

#endif
