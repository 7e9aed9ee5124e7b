/* SPDX-License-Identifier: MIT */
/*
 * Watched - telling valgrind where stacks lie
 *
 * Valgrind guesses from the distance whether a new stack pointer is another stack or a deeper frame; what it
 * was told it need not guess. Outside valgrind this is nothing but a few instructions, and nothing at all
 * where its header is not installed.
 */
#ifndef VN_HUB_WATCHED_H
#define VN_HUB_WATCHED_H

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define VALGRIND_STACK_REGISTER(bottom, top) ((void)(bottom), (void)(top), 0u)
#define VALGRIND_STACK_DEREGISTER(id)        ((void)(id))
#define RUNNING_ON_VALGRIND                  0
#endif

#endif
