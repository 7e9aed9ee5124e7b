/* SPDX-License-Identifier: MIT */
/*
 * Proxy - the header with which a proxy says whom it speaks for
 */
#ifndef VN_NET_PROXY_H
#define VN_NET_PROXY_H

#include <sys/types.h>

#include "client/net/option.h"
#include "shm/protocol.h"

#define VN_PROXY_MAX 4096u /* bytes of a header */

ssize_t vn_proxy_parse(const void *data, size_t n, vn_proxy versions, vn_desc_peer *peer);
int vn_proxy_receive(int fd, vn_proxy versions, vn_desc_peer *peer);

#endif
