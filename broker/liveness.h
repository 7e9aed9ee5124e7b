/* SPDX-License-Identifier: MIT */
/*
 * Liveness - does a worker take what it is told?
 */
#ifndef VN_BROKER_LIVENESS_H
#define VN_BROKER_LIVENESS_H

#include "broker/broker.h"

void vn_liveness_sweep(vn_broker *b);
void vn_liveness_kill(vn_worker *w, const char *why);
void vn_liveness_ask(vn_worker *w);
bool vn_liveness_answered(vn_worker *w);

#endif
