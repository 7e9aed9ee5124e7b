/* SPDX-License-Identifier: MIT */
/*
 * Alarm - coroutines that are not spawned yet
 */
#ifndef VN_HUB_ALARM_H
#define VN_HUB_ALARM_H

#include <vanilla.h>

void vn_alarms_turn(vn_hub *h); /* the turn ends */
void vn_alarms_stop(vn_hub *h); /* none of them will run */

#endif
