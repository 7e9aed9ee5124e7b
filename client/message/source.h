/* SPDX-License-Identifier: MIT */
/*
 * Source - a receiving end with nobody at its other side but the system
 *
 * Signals, events of a descriptor, pulses: what comes is handed to whoever has waited longest, and otherwise kept
 * by the source in a way of its own, which its `try` knows. Each kind of source has this as its first member.
 */
#ifndef VN_MESSAGE_SOURCE_H
#define VN_MESSAGE_SOURCE_H

#include "client/message/end.h"

typedef struct vn_source vn_source;
struct vn_source {
	vn_rx rx;
	vn_waitq takers;
	void (*deinit)(vn_source *s);
	vn_owned owned;
};

vn_rx *vn_source_init(vn_source *s, vn_hub *h, const vn_end_ops *ops, size_t item_size,
	void (*deinit)(vn_source *s));
bool vn_source_give(vn_source *s, const void *item); /* false: nobody waits */

/* For the `ops` of each kind. */
vn_waitq *vn_source_queue(void *end);
int vn_source_close(void *end);

#endif
