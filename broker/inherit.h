/* SPDX-License-Identifier: MIT */
/*
 * Inherit - listening sockets that the service manager has opened for us
 */
#ifndef VN_BROKER_INHERIT_H
#define VN_BROKER_INHERIT_H

#include "broker/broker.h"

/* Goes through them: fd and name (NULL: none). 0, or what take() said; the environment is cleared of them. */
int vn_inherit(vn_broker *b, int (*take)(vn_broker *b, int fd, const char *name));

#endif
