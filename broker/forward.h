/* SPDX-License-Identifier: MIT */
/*
 * Forward - signals to the service, for the workers that asked for them
 */
#ifndef VN_BROKER_FORWARD_H
#define VN_BROKER_FORWARD_H

#include "broker/broker.h"

sigset_t vn_forward_set(uint64_t forwarded);
void vn_forward_subscribe(vn_broker *b, vn_worker *w, uint64_t mask);
uint64_t vn_forward_untaken(vn_worker *w);
void vn_forward_gone(vn_broker *b, vn_worker *w);
void vn_forward_update(vn_broker *b);
void vn_forward_signal(vn_broker *b, int signal);

#endif
