/* SPDX-License-Identifier: MIT */
/*
 * Leave - a worker gives its connections away
 */
#ifndef VN_BROKER_LEAVE_H
#define VN_BROKER_LEAVE_H

#include "broker/broker.h"

void vn_leave_begin(vn_worker *w);
void vn_leave_return(vn_worker *w);
void vn_leave_for_good(vn_worker *w);
void vn_leave_tell(vn_broker *b);
void vn_leave_give_away(vn_broker *b, vn_worker *w);
void vn_leave_deinit(vn_broker *b);

#endif
