/* SPDX-License-Identifier: MIT */
/*
 * Later - coroutines that are not spawned yet
 */
#ifndef VN_HUB_LATER_H
#define VN_HUB_LATER_H

#include <vanilla.h>

void vn_later_cancel_all(vn_hub *h);

#endif
