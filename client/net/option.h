/* SPDX-License-Identifier: MIT */
/*
 * Option - what follows the question mark of an endpoint's URL
 *
 * What an endpoint has no option for is zero here, or what `vn_option_defaults` says. Both backends read this; what
 * the kernel does about it is asked of it in bind.c, once, on the listening socket, whose connections inherit it.
 */
#ifndef VN_NET_OPTION_H
#define VN_NET_OPTION_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/net/subnet.h"

#define VN_NO_ID UINT32_MAX /* no user, no group */

/* What an endpoint is, as bits: which options it can have. */
enum {
	VN_FOR_TCP = 1 << 0,
	VN_FOR_UNIX = 1 << 1,
	VN_FOR_SEQPACKET = 1 << 2,
	VN_FOR_UDP = 1 << 3,
	VN_FOR_DIAL = 1 << 4, /* TCP, to connect to */
};

typedef enum vn_proxy {
	VN_PROXY_NONE,
	VN_PROXY_V1,
	VN_PROXY_V2,
	VN_PROXY_ANY,
} vn_proxy;

typedef struct vn_endpoint_options {
	/* of the socket */
	uint32_t backlog;
	uint32_t keepalive_ms; /* 0: no probes */
	uint32_t nodelay;      /* 0, 1 */
	uint32_t reuseport;
	uint32_t v6only; /* 2: as the system has it */
	uint32_t dscp;   /* 64: as the system has it */
	char interface[IFNAMSIZ];
	uint32_t mode; /* of the file; VN_NO_ID: what umask leaves */
	uint32_t user, group;
	/* of its connections; 0: none */
	uint32_t accept_ms, idle_ms, progress_ms;
	uint32_t max, per_address, rate;
	uint32_t proxy; /* a vn_proxy */
	uint32_t header_ms;
	vn_subnets allow, deny;
} vn_endpoint_options;

extern const vn_endpoint_options vn_option_defaults __attribute__((visibility("hidden")));

int vn_option_parse(
	vn_endpoint_options *o, uint32_t what, char *query, bool may_wait, char why[static 256]);
int vn_option_format(const vn_endpoint_options *o, uint32_t what, char *text, size_t size);

#endif
