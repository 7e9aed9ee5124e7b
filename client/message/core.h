/* SPDX-License-Identifier: MIT */
/*
 * Core - where the ends of channel.c sit, and what two of them share
 *
 * Private to channel.c, which hands items over, and core.c, which lets ends come and go.
 */
#ifndef VN_MESSAGE_CORE_H
#define VN_MESSAGE_CORE_H

#include "client/message/end.h"
#include "client/message/ring.h"

typedef struct vn_core vn_core;
typedef struct vn_seat vn_seat;

struct vn_seat {
	vn_core *core; /* NULL: it has been given away, or closed */
	vn_seat *next, **link;
	bool one;
};

struct vn_core {
	vn_waitq senders, receivers;
	int tx_gone, rx_gone; /* 0: that side is open; else what the other one gets */
	vn_ring ring;
	vn_seat *tx_seats, *rx_seats;
	vn_waitq watchers; /* want to know when the receiving side closes */
	vn_drop_fn *drop;
	void *drop_arg;
	bool dropping;
};

typedef struct vn_channel {
	vn_tx tx;
	vn_seat tx_seat;
	vn_rx rx;
	vn_seat rx_seat;
	vn_core core;
	bool tx_open, rx_open;
	vn_owned owned, witness;
} vn_channel;

static inline vn_channel *
vn_channel_of_tx(void *tx)
{
	return (vn_channel *)((char *)tx - offsetof(vn_channel, tx));
}

static inline vn_channel *
vn_channel_of_rx(void *rx)
{
	return (vn_channel *)((char *)rx - offsetof(vn_channel, rx));
}

static inline vn_core *
vn_core_of_tx(void *tx)
{
	return vn_channel_of_tx(tx)->tx_seat.core;
}

static inline vn_core *
vn_core_of_rx(void *rx)
{
	return vn_channel_of_rx(rx)->rx_seat.core;
}

/* channel.c */
void vn_channel_sit_tx(vn_channel *p, vn_core *c);
void vn_channel_sit_rx(vn_channel *p, vn_core *c);

/* core.c: the operations of the ends that have to do with their lives */
void vn_seat_take(vn_seat *s, vn_core *c, vn_seat **seats);
void vn_core_owned_free(vn_owned *o);
int vn_core_tx_close(void *tx);
int vn_core_rx_close(void *rx);
void vn_core_tx_drop(void *tx, void *item);
void vn_core_rx_drop(void *rx, void *item);
int vn_core_tx_on_drop(void *tx, vn_drop_fn *f, void *arg);
int vn_core_rx_on_drop(void *rx, vn_drop_fn *f, void *arg);

#endif
