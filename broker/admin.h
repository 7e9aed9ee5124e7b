/* SPDX-License-Identifier: MIT */
/*
 * Admin - the listener of --admin, for HTTP alone
 */
#ifndef VN_BROKER_ADMIN_H
#define VN_BROKER_ADMIN_H

#include "broker/broker.h"
#include "client/net/url.h"

int vn_admin_parse(vn_endpoint *e, const char *url, char why[static 256]);
int vn_admin_open(vn_broker *b);
void vn_admin_close(vn_broker *b);

#endif
