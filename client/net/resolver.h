/* SPDX-License-Identifier: MIT */
/*
 * Resolver - the addresses of a name, without anybody waiting
 *
 * A lookup asks for both families at once: /etc/hosts first, then the name servers of /etc/resolv.conf, or those of
 * the variable VANILLA_DNS ("127.0.0.1:5353,[::1]:53"). The library is c-ares; its sockets are watched by the hub's
 * poller and its time-outs are timers of the hub's wheel.
 */
#ifndef VN_NET_RESOLVER_H
#define VN_NET_RESOLVER_H

#include "client/hub/hub.h"
#include "client/net/eyeballs.h"

#define VN_DNS_ENV "VANILLA_DNS"

typedef struct vn_lookup vn_lookup;

vn_lookup *vn_lookup_new(vn_hub *h, const char *host, uint16_t port, vn_waitq *news);
vn_lookup *vn_lookup_free(vn_lookup *l);
const vn_family *vn_lookup_families(const vn_lookup *l);

#endif
