/* SPDX-License-Identifier: MIT */
/*
 * Signals - who in this process is told of which signal
 */
#ifndef VN_MESSAGE_SIGNALS_H
#define VN_MESSAGE_SIGNALS_H

#include "client/hub/hub.h"

#define VN_SIGNAL_BIT(signal) ((uint64_t)1 << ((signal)-1))

/* Somebody who is told; embedded in its owner. It is a source: it holds the hub. */
typedef struct vn_signal_tap vn_signal_tap;
struct vn_signal_tap {
	vn_signal_tap *next, **link;
	struct vn_signals *signals;               /* its hub's; NULL: not opened */
	uint64_t mask;                            /* of VN_SIGNAL_BIT */
	void (*fn)(vn_signal_tap *t, int signal); /* on the loop, or inside of vn_signals_untap() */
};

int vn_signals_tap(
	vn_hub *h, vn_signal_tap *t, uint64_t mask, void (*fn)(vn_signal_tap *t, int signal));
void vn_signals_told(vn_hub *h, uint64_t mask);
void vn_signals_untap(vn_signal_tap *t); /* open or not */

#endif
