/* SPDX-License-Identifier: MIT */
/*
 * Pool - those that a hub has
 */
#ifndef VN_OS_POOL_H
#define VN_OS_POOL_H

#include "client/hub/hub.h"

/* NULL with errno ENOMEM, EMFILE; they go with the hub. */
vn_pool *vn_pool_of_files(vn_hub *h);
vn_pool *vn_pool_of_calls(vn_hub *h);

#endif
