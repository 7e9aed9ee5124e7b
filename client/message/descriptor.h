/* SPDX-License-Identifier: MIT */
/*
 * Descriptor - what vn_select() waits at for VN_FD
 */
#ifndef VN_MESSAGE_DESCRIPTOR_H
#define VN_MESSAGE_DESCRIPTOR_H

#include "client/message/end.h"

/*
 * A receiving end of items without a size, for as long as one select takes: it is ready when the descriptor is. If
 * it may not watch, it only looks.
 */
typedef struct vn_descriptor_wait {
	vn_rx rx;
	vn_waitq takers;
	vn_watch watch;
	int fd;
	int copy; /* -1, or what is watched instead: this hub watches the descriptor already */
	uint32_t events;
	bool may_watch;
} vn_descriptor_wait;

void vn_descriptor_wait_init(vn_descriptor_wait *w, vn_hub *h, int fd, int events);
void vn_descriptor_wait_deinit(vn_descriptor_wait *w);

#endif
