/* SPDX-License-Identifier: MIT */
/*
 * Dial - connections that workers ask for
 */
#ifndef VN_BROKER_DIAL_H
#define VN_BROKER_DIAL_H

#include "broker/broker.h"

int vn_dials_init(vn_broker *b);
void vn_dials_deinit(vn_broker *b);
void vn_dial_ask(vn_broker *b, vn_worker *w, uint16_t id, const char *url);
void vn_dial_give_up(vn_broker *b, vn_worker *w, uint16_t id);
void vn_dial_answer(vn_broker *b, vn_worker *w); /* as far as its lane has room */
void vn_dials_forget(vn_worker *w);

#endif
