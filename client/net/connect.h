/* SPDX-License-Identifier: MIT */
/*
 * Connect - a stream socket that is being connected, without anybody waiting
 *
 * Embedded in its owner. A Unix socket whose listener's backlog is full cannot be waited for, it is asked again. One
 * that is given up is reset: nothing was said on it. The broker and a program that runs alone both come here.
 */
#ifndef VN_NET_CONNECT_H
#define VN_NET_CONNECT_H

#include "client/hub/hub.h"
#include "client/net/url.h"

typedef struct vn_connect vn_connect;
struct vn_connect {
	vn_hub *hub;
	/* Once, unless it is given up: 0 and fd is connected, or a negative errno. Within vn_connect_begin() or later. */
	void (*done)(vn_connect *c, int rc);
	struct sockaddr_storage sa;
	socklen_t sa_len;
	int fd; /* -1, or what vn_connect_take() gives away */
	vn_watch watch;
	vn_timer again;
};

void vn_connect_begin(vn_connect *c, const vn_endpoint *to);
int vn_connect_take(vn_connect *c);
void vn_connect_give_up(vn_connect *c);

#endif
