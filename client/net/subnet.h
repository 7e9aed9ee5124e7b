/* SPDX-License-Identifier: MIT */
/*
 * Subnet - lists of networks, as in allow=10.0.0.0/8,192.0.2.7,fe80::/10
 */
#ifndef VN_NET_SUBNET_H
#define VN_NET_SUBNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/protocol.h"

#define VN_MAX_SUBNETS 32u

/* IPv4 lies in the IPv6 addresses that stand for it, so there is one kind. */
typedef struct vn_subnet {
	uint8_t addr[16];
	uint8_t bits;
} vn_subnet;

typedef struct vn_subnets {
	uint32_t n;
	vn_subnet of[VN_MAX_SUBNETS];
} vn_subnets;

int vn_subnets_parse(vn_subnets *s, const char *text);
size_t vn_subnets_format(const vn_subnets *s, char *text, size_t size);
bool vn_subnets_have(const vn_subnets *s, const vn_desc_peer *peer);
void vn_subnet_address(const vn_desc_peer *peer, uint8_t addr[static 16]);

#endif
