/* SPDX-License-Identifier: MIT */
/*
 * Notify - the service manager is told how we are
 */
#ifndef VN_BROKER_NOTIFY_H
#define VN_BROKER_NOTIFY_H

#include "broker/event.h"

struct vn_notify *vn_notify_new(vn_broker *b); /* NULL: nobody wants to be told */
struct vn_notify *vn_notify_free(struct vn_notify *n);
void vn_notify_event(vn_broker *b, vn_event_kind kind);

#endif
