/* SPDX-License-Identifier: MIT */
/*
 * Entry - how a process learns that it is a function
 *
 * The environment has VANILLA_ENTRY=FD:NAME. At the descriptor is the handshake of a link (shm/link.h); behind HELLO
 * comes one message more, from the parent: this, and the argument.
 */
#ifndef VN_OS_ENTRY_H
#define VN_OS_ENTRY_H

#include <stdint.h>

#define VN_ENTRY_ENV      "VANILLA_ENTRY"
#define VN_ENTRY_FD       3
#define VN_ENTRY_NAME_MAX 512
#define VN_ENTRY_ARG_MAX  65536u

typedef struct vn_entry_arg {
	uint32_t item_size, size;
	unsigned char bytes[] __attribute__((aligned(16)));
} vn_entry_arg;

#endif
