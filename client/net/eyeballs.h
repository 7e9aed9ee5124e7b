/* SPDX-License-Identifier: MIT */
/*
 * Eyeballs - which address of a name is tried next, and when (RFC 8305)
 *
 * Answers for both families are asked for at once and come when they come. Nothing is tried before the IPv6 addresses
 * are known, or have had a head start of VN_RESOLUTION_DELAY over the others. Then addresses are tried in turn, one
 * family after the other, IPv6 first: the next one when one has failed, or VN_ATTEMPT_DELAY after the last, while all
 * that were begun go on. What arrives late takes its place among those that were not tried yet.
 *
 * Here is only the choice: no clock, no socket.
 */
#ifndef VN_NET_EYEBALLS_H
#define VN_NET_EYEBALLS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <vanilla.h>

#define VN_RESOLUTION_DELAY (50 * VN_MS)
#define VN_ATTEMPT_DELAY    (250 * VN_MS)
#define VN_FAMILY_MAX       8 /* addresses of one family: more are not tried */
#define VN_DIAL_MAX         (2 * VN_FAMILY_MAX)

/* An address of either family; none of Unix comes from a name. */
typedef union vn_inet {
	sa_family_t family;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
} vn_inet;

/* What a name has of one family. */
typedef struct vn_family {
	vn_inet addresses[VN_FAMILY_MAX];
	uint32_t n;
	bool known; /* all that there are */
	int error;  /* 0, or why there are none */
} vn_family;

enum { VN_SIX, VN_FOUR, VN_N_FAMILIES };

typedef struct vn_eyeballs {
	const vn_family *families; /* VN_N_FAMILIES of them; they grow */
	uint32_t tried[VN_N_FAMILIES];
	int last;           /* family of the last one */
	bool four_alone;    /* IPv4 was known before IPv6 ... */
	vn_time four_since; /* ... since then */
	vn_time next_at;
} vn_eyeballs;

void vn_eyeballs_init(vn_eyeballs *e, const vn_family *families);
const vn_inet *vn_eyeballs_next(vn_eyeballs *e, vn_time now, vn_time *until);
void vn_eyeballs_failed(vn_eyeballs *e);
bool vn_eyeballs_exhausted(const vn_eyeballs *e);
int vn_eyeballs_error(const vn_eyeballs *e);

#endif
