/* SPDX-License-Identifier: MIT */
/*
 * Linked - a worker of the broker's whose other side is the test itself
 *
 * Both segments of the link are mapped in one process: the broker's side is in the worker, the worker's side, a lane to
 * publish in and one to take from, is the test's.
 */
#ifndef VN_TESTS_UNIT_LINKED_H
#define VN_TESTS_UNIT_LINKED_H

#include "broker/broker.h"
#include "shm/bell.h"
#include "tests/unit/suite.h"

static inline void
linked_open(vn_worker *w, const vn_geometry *geometry, vn_lane_tx *lane, vn_lane_rx *taken)
{
	vn_link *l = &w->link;

	*l = (vn_link){.geometry = *geometry, .bell_in = -1};
	ck_assert_int_eq(vn_segment_create(&l->own, "broker", geometry, 1), 0);
	ck_assert_int_eq(vn_segment_map(&l->own, true), 0);
	ck_assert_int_eq(vn_segment_claim(&l->own, 1), 0);
	ck_assert_int_eq(vn_segment_create(&l->peer, "worker", geometry, 1), 0);
	ck_assert_int_eq(vn_segment_map(&l->peer, true), 0);
	ck_assert_int_eq(vn_segment_claim(&l->peer, 1), 0);
	vn_lane_tx_init(&l->tx, &l->own, &l->peer);
	vn_lane_rx_init(&l->rx, &l->own, &l->peer);
	vn_lane_tx_init(lane, &l->peer, &l->own);
	vn_lane_rx_init(taken, &l->peer, &l->own);
	l->blocks = vn_blocks_new(geometry->area_bytes);
	l->bell_out = vn_bell_eventfd();
	w->linked = true;
}

#endif
