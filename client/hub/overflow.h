/* SPDX-License-Identifier: MIT */
/*
 * Overflow - a coroutine that runs over the end of its stack is named before the process dies
 *
 * A handler of SIGSEGV and SIGBUS on an alternate stack looks whether the address lies in a guard page of the
 * hub of this thread. Everything else goes to whoever handled these signals before.
 */
#ifndef VN_HUB_OVERFLOW_H
#define VN_HUB_OVERFLOW_H

#include <vanilla.h>

typedef struct vn_overflow vn_overflow;

vn_overflow *vn_overflow_open(vn_hub *h);
vn_overflow *vn_overflow_close(vn_overflow *o);

#endif
