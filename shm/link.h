/* SPDX-License-Identifier: MIT */
/*
 * Link - two lanes and two bells between the broker and one worker incarnation
 *
 * Making a link (each step is one message on a SOCK_SEQPACKET pair; the worker's end has a fixed number):
 *
 *   broker   vn_link_offer    makes both segments and bells; maps B writable and seals it; does not map W
 *   broker   vn_link_hello    HELLO: versions, incarnation, geometry, and B, W, bell fds
 *   worker   vn_link_join     checks HELLO, maps W writable and B read-only, writes the cursors of W, MAPPED
 *   broker   vn_link_accept   takes MAPPED, seals W (failing means that the worker sealed first: a violation)
 *                             and only then maps W, read-only
 *
 * The broker receives from workers with no control buffer: a descriptor sent uninvited is not installed.
 * A link is used by one incarnation and never again, so a stale process can only scribble on an orphan.
 */
#ifndef VN_SHM_LINK_H
#define VN_SHM_LINK_H

#include <stdint.h>

#include "shm/block.h"
#include "shm/lane.h"
#include "shm/segment.h"

#define VN_LINK_FD_ENV                                                                             \
	"VANILLA_LINK" /* names the worker's end of the handshake socket: its number */

/* What HELLO and MAPPED look like; a message of any other size is refused. MAPPED repeats what HELLO said. */
typedef struct vn_link_msg {
	uint32_t type;
	uint32_t layout_version;
	uint32_t protocol_version;
	uint32_t features; /* none yet: 0 */
	uint32_t incarnation;
	uint32_t n_slots;
	uint32_t area_bytes;
} vn_link_msg;

enum { VN_LINK_HELLO = 1, VN_LINK_MAPPED = 2 };

typedef struct vn_link {
	uint32_t incarnation;
	vn_geometry geometry; /* of both segments */
	vn_segment own, peer;
	vn_lane_tx tx;
	vn_lane_rx rx;
	vn_blocks *blocks; /* of own's area */
	int bell_in;       /* to wait on: the broker's is the eventfd, the worker's the pipe */
	int bell_out;      /* to ring: the broker's is the pipe, the worker's the eventfd */
	int hello;         /* broker: the worker's end of the pipe, until HELLO is sent */
} vn_link;

int vn_link_offer(vn_link *l, const vn_geometry *g, uint32_t incarnation);
int vn_link_hello(vn_link *l, int socket);
int vn_link_accept(vn_link *l, int socket, const char **why);
int vn_link_join(vn_link *l, int socket, const char **why);
void vn_link_deinit(vn_link *l);

/* Publishes what was pushed and rings if the peer asked for it. */
void vn_link_flush(vn_link *l);
/* Gives slots that were taken back and rings if the peer waits for room. */
void vn_link_release(vn_link *l);

#endif
