/* SPDX-License-Identifier: MIT */
/*
 * Settle - what becomes of a connection when it leaves a worker
 */
#ifndef VN_BROKER_SETTLE_H
#define VN_BROKER_SETTLE_H

#include "broker/broker.h"

void vn_settle_worker(vn_broker *b, vn_worker *w);
void vn_settle_released(vn_broker *b, vn_worker *w, vn_record *r);
void vn_settle_given_back(vn_broker *b, vn_record *r);

#endif
