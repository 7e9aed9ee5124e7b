/* SPDX-License-Identifier: MIT */
/*
 * Cable - a wire between a process and one that it has spawned, over a link of shm/
 *
 * The parent has the broker's part in the link, the child the worker's. What goes over its lanes are these messages, in
 * descriptors of which only kind, flags, arg, len, conn and the payload are used:
 *
 *   ITEM         an item: up to 48 bytes in the descriptor, larger ones in a block that is the sender's
 *   ERROR        an error in place of one, in arg
 *   TAKEN        nothing else
 *   NO_SENDER    the sending end was closed; arg 1: it died
 *   NO_RECEIVER  the receiving end was
 *
 * In each of them conn counts the items that the one who sends it has received: so blocks come home, and so an end has
 * 256 items under way at most, for which the other side has room in private memory. Who is short of saying so says
 * TAKEN. All that is published is taken at once, whether somebody wants to receive or not: a lane is never full for
 * long, and that an end was closed does not wait behind items.
 *
 * What comes from the other process is checked when it is copied out of the lane. The parent kills a child that says
 * what it must not; a child has no use for a parent that does, and treats it as dead.
 *
 *     made --link--> up --the other side is gone--> lost
 *
 * A process that is lost has its messages taken once more, and what is there can still be received: the segments stay
 * mapped until both ends are closed.
 */
#ifndef VN_OS_CABLE_H
#define VN_OS_CABLE_H

#include "client/os/wire.h"
#include "shm/link.h"

#define VN_CABLE_WINDOW 256u /* items under way, each way */

typedef struct vn_cable vn_cable;
struct vn_cable {
	vn_wire wire;
	vn_link link;
	vn_hook hook;
	vn_watch bell;
	vn_owned owned;
	bool is_up, is_lost, is_child;
	bool said_tx, said_rx; /* that they are closed */
	uint32_t armed;        /* what ev says */
	uint32_t n_rung;
	/* sending */
	uint32_t n_sent, n_taken; /* by the other side, as it said */
	uint32_t blocks[VN_CABLE_WINDOW];
	/* receiving */
	uint32_t n_come, n_received, n_said;
	vn_desc come[VN_CABLE_WINDOW];
	/* the parent's, see spawn.c */
	struct vn_process *process; /* NULL: it is freed */
	vn_watch handshake;
};

vn_cable *vn_cable_new(vn_hub *h, size_t item_size);
void vn_cable_up(vn_cable *c);
void vn_cable_lost(vn_cable *c);
vn_geometry vn_cable_geometry(size_t item_size);

/* spawn.c, and nothing at all at the child's side: */
void vn_cable_accept(vn_cable *c, bool last);       /* MAPPED may have come, or it never will */
void vn_cable_unplug(vn_cable *c);                  /* it is freed */
void vn_cable_fault(vn_cable *c, const char *what); /* the child says what it must not */

#endif
