/* SPDX-License-Identifier: MIT */
/*
 * Bridge - a wire between the hubs of two threads
 *
 * Two crossings, one each way, and for each side a bank: its end of the wire, and a bell.
 *
 *     bank (hub of the parent)  ==crossing==>  bank (hub of the thread)
 *                               <==crossing==
 *
 * Who has published chunks, or given some back, rings only if the other side sleeps, which that says in `armed` before
 * it looks once more; whoever takes the word back to 0 is the one who rings: so a batch costs one wake-up at most, as
 * with the event index of a lane. Which ends are closed is a word each, stored after what was sent before.
 */
#ifndef VN_OS_BRIDGE_H
#define VN_OS_BRIDGE_H

#include "client/os/crossing.h"
#include "client/os/wire.h"

enum { VN_BANK_PARENT, VN_BANK_THREAD };

/* What one side writes and the other reads; `armed` both. */
typedef struct vn_shore {
	uint32_t armed; /* its hub sleeps */
	int tx_end, rx_end;
	int news; /* 1: what the thread is to know, or that it has ended */
	int bell_fd;
} __attribute__((aligned(128))) vn_shore;

typedef struct vn_bridge {
	vn_shore shores[2];
	vn_crossing ways[2]; /* out of each side */
} vn_bridge;

typedef struct vn_bank vn_bank;
struct vn_bank {
	vn_wire wire;
	vn_bridge *bridge;
	int side;
	vn_hook hook;
	vn_watch bell;
	void (*on_news)(vn_bank *b);   /* the other side's, once; may free it */
	void (*on_forget)(vn_bank *b); /* both ends are closed; NULL */
};

bool vn_bridge_init(vn_bridge *b, size_t item_size);
void vn_bridge_deinit(vn_bridge *b);
void vn_bridge_news(vn_bridge *b, int side);
void vn_bridge_end(vn_bridge *b, int side, int how);

int vn_bank_open(vn_bank *b, vn_hub *h, vn_bridge *bridge, int side);
void vn_bank_close(vn_bank *b);

#endif
