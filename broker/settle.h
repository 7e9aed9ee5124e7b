/* SPDX-License-Identifier: MIT */
/*
 * Settle - what becomes of the connections of a worker that died
 */
#ifndef VN_BROKER_SETTLE_H
#define VN_BROKER_SETTLE_H

#include "broker/broker.h"

void vn_settle_worker(vn_broker *b, vn_worker *w);

#endif
