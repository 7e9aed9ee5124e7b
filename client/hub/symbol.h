/* SPDX-License-Identifier: MIT */
/*
 * Symbol - the name of a function, from its program file
 */
#ifndef VN_HUB_SYMBOL_H
#define VN_HUB_SYMBOL_H

#include <stddef.h>

/* The name, else file and offset, for addr2line(1). Takes no lock and no memory of malloc. */
void vn_symbol_name(const void *function, char *name, size_t n);

#endif
