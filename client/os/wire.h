/* SPDX-License-Identifier: MIT */
/*
 * Wire - a pair of ends whose other side is in another hub
 *
 * What is sent at one side of a wire is received at the other, both ways: a queue each, of items of one size. The two
 * sides are in two threads (bridge.h) or in two processes (cable.h), and those know how items get across; here is what
 * both have in common: who waits, what closing means, and when it counts against deadlock.
 *
 * Who closes an end says so to the other side, by `tell`. What the other side said is in `no_sender` and `no_receiver`:
 * the first counts when nothing is left to be received, the second at once. Whenever there is news the carrier calls
 * vn_wire_settle(), which lets everybody go on who can.
 */
#ifndef VN_OS_WIRE_H
#define VN_OS_WIRE_H

#include "client/message/end.h"

#define VN_WIRE_ITEM_MAX 65536u /* bytes */

typedef struct vn_wire vn_wire;

typedef struct vn_wire_ops {
	bool (*put)(vn_wire *w, const void *item, int error); /* false: there is no room */
	int (*get)(
		vn_wire *w, void *item); /* 0, an error that was sent, -EAGAIN: nothing is there */
	void (*tell)(vn_wire *w);        /* an end of ours was closed */
	void (*forget)(vn_wire *w);      /* both ends of ours were */
} vn_wire_ops;

struct vn_wire {
	vn_tx tx;
	vn_rx rx;
	const vn_wire_ops *ops;
	vn_waitq senders, receivers;
	vn_pair *home; /* NULL, or where somebody keeps them: what is closed becomes NULL there */
	int tx_end, rx_end;         /* 0 while ours is open; else what the other side gets */
	int no_sender, no_receiver; /* 0 while theirs is open; else what we get */
	bool is_held;               /* counts against deadlock */
};

vn_pair vn_wire_init(vn_wire *w, vn_hub *h, size_t item_size, const vn_wire_ops *ops);
void vn_wire_deinit(vn_wire *w);
bool vn_wire_settle(vn_wire *w);
void vn_wire_lost(vn_wire *w);
void vn_wire_end(vn_pair *ends, bool died);

#endif
