/* SPDX-License-Identifier: MIT */
/*
 * Patience - connections that take longer than their endpoint lets them
 */
#ifndef VN_BROKER_PATIENCE_H
#define VN_BROKER_PATIENCE_H

#include "broker/broker.h"

void vn_patience_sweep(vn_broker *b, vn_time every);
void vn_patience_deinit(vn_broker *b);

#endif
