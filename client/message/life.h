/* SPDX-License-Identifier: MIT */
/*
 * Life - owners of an end, and what happens when the last one closes it
 *
 * Ends call vn_life_deinit() when the hub frees them, and vn_end_ops.close when their last owner closes them;
 * by then the will has been taken out.
 */
#ifndef VN_MESSAGE_LIFE_H
#define VN_MESSAGE_LIFE_H

#include "client/message/end.h"

/* What joins a receiving end to a sending end. It is an owner of both. */
typedef struct vn_hop vn_hop;
struct vn_hop {
	vn_rx *from;
	vn_tx *to;
	bool rewired; /* nobody runs for it: it ends with the first end of either pair that closes */
	bool seen;    /* by who looks for a circle */
	vn_hop *from_next, **from_link, *to_next, **to_link; /* in the wills of both */
	vn_hop *next;                                        /* of those that end, or were seen */
	int how;
};

vn_hop *vn_hop_new(vn_rx *from, vn_tx *to);      /* NULL without memory */
void vn_hop_end(vn_hop *p, int how);             /* closes both ends; frees it */
bool vn_hop_leads(vn_tx *to, const vn_rx *back); /* does what is sent there come back? */
void vn_life_deinit(vn_life *l);

/* An end that was adopted is given to somebody who is no coroutine, or not yet one. */
void vn_tx_give(vn_tx *tx);
void vn_rx_give(vn_rx *rx);
/* vn_tx_close() and vn_rx_close(), but the other side gets -EOWNERDEAD. */
void vn_tx_died(vn_tx *tx);
void vn_rx_died(vn_rx *rx);

#endif
