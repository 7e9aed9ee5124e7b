/* SPDX-License-Identifier: MIT */
/*
 * Link - the lanes that are measured: made by the handshake that broker and worker have
 *
 * The sender is the broker of the link and the receiver its worker, so the sender rings a pipe and the receiver
 * an eventfd.
 */
#ifndef VN_BENCH_LANE_LINK_H
#define VN_BENCH_LANE_LINK_H

#include "shm/link.h"
#include "tests/bench/lane/carrier.h"

typedef struct bench_link {
	vn_link link;
	int sockets[2]; /* for the handshake */
	bool one_core, sends;
	int epoll;
	uint32_t n_naps;
	uint64_t n_bells_before;
} bench_link;

void bench_link_open(bench_link *b, const carrier_place *place);
void bench_link_begin(void *state, bool sends);
void bench_link_tally(bench_link *b, carrier_tally *t);
void bench_link_nap(bench_link *b);

#endif
