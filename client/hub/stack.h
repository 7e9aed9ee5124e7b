/* SPDX-License-Identifier: MIT */
/*
 * Stack - stacks for coroutines from one arena, guarded, pooled, touched only as deep as they are used
 *
 * The arena is reserved once, MAP_NORESERVE, and cut into strides of a stack (64 KiB) and a guard page below
 * it. The stride is an odd number of pages on purpose: stacks a power of two apart would put the tops of all
 * of them into the same few sets of the cache. Guards are MADV_GUARD_INSTALL where the kernel has it (6.13),
 * which costs no mapping, else mprotect. The pool is last in, first out; above a high-water mark of idle
 * stacks the memory of one that comes back is returned with MADV_DONTNEED.
 */
#ifndef VN_HUB_STACK_H
#define VN_HUB_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VN_STACK_BYTES   65536u
#define VN_STACK_COLOURS 8u /* tops differ by multiples of 64 bytes below this many of them */

typedef struct vn_stacks vn_stacks;

vn_stacks *vn_stacks_new(void);
vn_stacks *vn_stacks_free(vn_stacks *s);
void *vn_stack_get(vn_stacks *s); /* the top, 64-byte aligned; NULL with errno ENOMEM */
void vn_stack_put(vn_stacks *s, void *top);
bool vn_stack_guards(
	const vn_stacks *s, const void *address); /* does it lie in a guard page of ours? */

/* The lowest address that every stack has, whatever its colour. */
static inline char *
vn_stack_bottom(void *top)
{
	return (char *)top - (VN_STACK_BYTES - 64 * (VN_STACK_COLOURS - 1));
}

#endif
