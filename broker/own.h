/* SPDX-License-Identifier: MIT */
/*
 * Own - what the workers of a service count themselves
 */
#ifndef VN_BROKER_OWN_H
#define VN_BROKER_OWN_H

#include "broker/broker.h"

const char *vn_own_ask(vn_broker *b, vn_worker *w, const vn_desc *d);
void vn_own_collect(vn_worker *w);
void vn_own_forget(vn_worker *w);

#endif
