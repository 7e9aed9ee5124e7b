/* SPDX-License-Identifier: MIT */
/*
 * Follow - events, to a client of the control socket
 */
#ifndef VN_BROKER_FOLLOW_H
#define VN_BROKER_FOLLOW_H

#include "broker/control.h"

int vn_follow_run(vn_client *c, char **words, size_t n);

#endif
