/* SPDX-License-Identifier: MIT */
/*
 * Reach - how a client finds its broker
 */
#ifndef VN_BROKER_REACH_H
#define VN_BROKER_REACH_H

int vn_reach(const char *path, int *fd);

#endif
