/* SPDX-License-Identifier: MIT */
/*
 * Fiber - the switch of Boost.Context, and what the tools that watch stacks must be told about it
 *
 * AddressSanitizer must know the bounds of the stack that is switched to and keeps a fake stack for each;
 * ThreadSanitizer keeps a fiber for each, which is destroyed from another one, and wants no call between its
 * switch and ours. Valgrind takes the bounds of each stack once, see stack.c. In a plain build all of this is
 * nothing, and vn_fiber has no size.
 */
#ifndef VN_HUB_FIBER_H
#define VN_HUB_FIBER_H

#include <stddef.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define VN_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define VN_TSAN 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define VN_ASAN 1
#endif
#ifdef __SANITIZE_THREAD__
#define VN_TSAN 1
#endif

#ifdef VN_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

/* The registers go in rax:rdx; entry never returns, Boost would exit the process silently. */
typedef void *vn_context;
typedef struct {
	vn_context context; /* of whoever jumped */
	void *data;
} vn_transfer;

extern vn_transfer jump_fcontext(vn_context to, void *data);
extern vn_context make_fcontext(void *stack_top, size_t size, void (*entry)(vn_transfer));

#ifdef VN_TSAN
#define VN_FIBER_SWITCH static __attribute__((noinline, unused, no_sanitize("thread")))
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned int flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned int flags);
#else
#define VN_FIBER_SWITCH static inline
#endif

typedef struct vn_fiber {
#ifdef VN_ASAN
	void *fake_stack;
	const void *bottom;
	size_t size;
#endif
#ifdef VN_TSAN
	void *tsan;
#endif
} vn_fiber;

/* bottom NULL: the stack that runs now; its bounds become known when it is left */
static inline void
vn_fiber_init(vn_fiber *f, const void *bottom, size_t size)
{
	(void)f, (void)bottom, (void)size;
#ifdef VN_ASAN
	f->fake_stack = NULL;
	f->bottom = bottom;
	f->size = size;
	if (bottom)
		__asan_unpoison_memory_region(bottom, size);
#endif
#ifdef VN_TSAN
	f->tsan = bottom ? __tsan_create_fiber(0) : __tsan_get_current_fiber();
#endif
}

/* Never from the fiber itself. */
static inline void
vn_fiber_deinit(vn_fiber *f)
{
	(void)f;
#ifdef VN_TSAN
	__tsan_destroy_fiber(f->tsan);
#endif
}

/* The last thing before the jump. */
static inline __attribute__((always_inline)) void
vn_fiber_leave(vn_fiber *from, const vn_fiber *to, int for_good)
{
	(void)from, (void)to, (void)for_good;
#ifdef VN_ASAN
	__sanitizer_start_switch_fiber(for_good ? NULL : &from->fake_stack, to->bottom, to->size);
#endif
#ifdef VN_TSAN
	__tsan_switch_to_fiber(to->tsan, 0);
#endif
}

/* The first thing after it: `self` runs again, or for the first time, and `from` was left. */
static inline __attribute__((always_inline)) void
vn_fiber_enter(vn_fiber *self, vn_fiber *from)
{
	(void)self, (void)from;
#ifdef VN_ASAN
	__sanitizer_finish_switch_fiber(self->fake_stack, &from->bottom, &from->size);
#endif
}

#endif
