/* SPDX-License-Identifier: MIT */
/*
 * Accept - who comes in by an endpoint, who has to wait, and who has to go
 */
#ifndef VN_BROKER_ACCEPT_H
#define VN_BROKER_ACCEPT_H

#include "broker/broker.h"

void vn_accept_init(vn_broker_endpoint *e);
int vn_accept_options(vn_broker_endpoint *e);
int vn_accept_begin(vn_broker_endpoint *e);
void vn_accept_end(vn_broker_endpoint *e);
void vn_accept_room(vn_broker_endpoint *e);
void vn_accept_header(vn_broker *b, vn_record *r);
void vn_accept_refuse(vn_broker *b, vn_record *r, vn_refusal refusal);

#endif
