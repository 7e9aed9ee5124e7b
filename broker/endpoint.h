/* SPDX-License-Identifier: MIT */
/*
 * Endpoint - a listening socket, and which workers serve it
 */
#ifndef VN_BROKER_ENDPOINT_H
#define VN_BROKER_ENDPOINT_H

#include "broker/broker.h"

int vn_endpoints_open_fixed(vn_broker *b); /* 0 or an exit code, having said why */
void vn_endpoint_ask(vn_broker *b, vn_worker *w, uint16_t number, const char *url, uint8_t flags);
void vn_endpoint_unask(vn_broker *b, vn_worker *w, uint16_t number);
void vn_endpoint_forget_worker(vn_broker *b, vn_worker *w);
void vn_endpoints_adopt(vn_broker *b, const vn_worker *w);
void vn_endpoints_prune(vn_broker *b);
void vn_endpoints_disarm(vn_broker *b); /* accept nothing more */
void vn_endpoints_close(vn_broker *b);
void vn_endpoint_enable(vn_broker_endpoint *e, bool enable);
int vn_endpoint_exit_code(int rc);

#endif
