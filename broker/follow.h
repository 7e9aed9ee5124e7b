/* SPDX-License-Identifier: MIT */
/*
 * Follow - events, to a client of the control socket
 */
#ifndef VN_BROKER_FOLLOW_H
#define VN_BROKER_FOLLOW_H

#include "broker/http.h"

int vn_follow_run(vn_client *c, char **words, size_t n);
int vn_follow_page(vn_client *c, const vn_http_request *r);

#endif
