/* SPDX-License-Identifier: MIT */
/*
 * Pool - the one that a hub has for regular files
 */
#ifndef VN_OS_POOL_H
#define VN_OS_POOL_H

#include "client/hub/hub.h"

vn_pool *vn_pool_of_files(vn_hub *h); /* NULL with errno ENOMEM; goes with the hub */

#endif
