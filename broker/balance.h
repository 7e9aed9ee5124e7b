/* SPDX-License-Identifier: MIT */
/*
 * Balance - work for workers that have none
 */
#ifndef VN_BROKER_BALANCE_H
#define VN_BROKER_BALANCE_H

#include "broker/broker.h"

void vn_balance_init(vn_broker *b);
void vn_balance_deinit(vn_broker *b);
void vn_balance_look(vn_broker *b); /* the timer does it */

#endif
