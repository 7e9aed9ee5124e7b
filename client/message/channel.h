/* SPDX-License-Identifier: MIT */
/*
 * Channel - what join.c needs to know of the ends that channel.c makes (see core.c)
 */
#ifndef VN_MESSAGE_CHANNEL_H
#define VN_MESSAGE_CHANNEL_H

#include "client/message/end.h"

bool vn_channel_sends(const vn_tx *tx); /* are they ends that channel.c has made? */
bool vn_channel_receives(const vn_rx *rx);

/*
 * Joins two ends without anybody who runs for it. 0; -EAGAIN if that cannot be. *over: nothing more will go that
 * way, or nothing will be taken there (0: it may go on).
 */
int vn_channel_join(vn_rx *from, vn_tx *to, int *over);

#endif
