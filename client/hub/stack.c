/* SPDX-License-Identifier: MIT */
/*
 * Stack - one arena of stacks
 *
 *	arena:  | guard | stack 0 | guard | stack 1 | ...  reserved without access, opened in steps as it is used
 *
 * What comes back is kept in two places. `warm` is a short list, last in, first out: their memory is there, and
 * most of it is in the cache. When it is full, the memory of a stack that comes back is given to the kernel and
 * the stack is `cold`: one bit of a bitmap, from which the lowest is taken first. So a burst leaves no memory
 * behind, and the steady state after it pays nothing.
 *
 * Where the kernel has no light guards each guard page splits a mapping, of which a process has 65,530; the
 * first GUARDS_SPLIT stacks get one then, and those above have none.
 *
 * The tops of stacks would all fall into one set of the first-level cache, which is indexed by the address
 * within a page; so each top lies a few lines lower than its neighbour's.
 */
#include "client/hub/stack.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/hub/fiber.h"
#include "client/hub/watched.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

#define WARM           64u
#define STEP           64u        /* stacks that are opened at once */
#define STACKS_MAX     (1u << 20) /* 68 GiB of addresses */
#define STACKS_WATCHED (1u << 14) /* under tools that keep books about each address */
#define GUARDS_SPLIT   8192u

struct vn_stacks {
	uint32_t n_warm;
	void *warm[WARM];
	uint32_t n_cold, n_made, n_open, n_max;
	uint32_t cold_from; /* no word below this one has a bit */
	uint64_t *
		cold; /* by number of the stack; behind the last one, touched as far as it is used */
	char *arena;
	size_t page, stride;
	bool light_guards;
	unsigned int *valgrind_ids; /* only under valgrind */
};

static size_t
stacks_bytes(const vn_stacks *s)
{
	return s->n_max * s->stride;
}

static size_t
cold_bytes(const vn_stacks *s)
{
	return s->n_max / 64 * sizeof *s->cold;
}

static bool
arena_reserve(vn_stacks *s)
{
#if defined(VN_ASAN) || defined(VN_TSAN)
	s->n_max = STACKS_WATCHED;
#else
	s->n_max = RUNNING_ON_VALGRIND ? STACKS_WATCHED : STACKS_MAX;
#endif
	for (; s->n_max >= STEP; s->n_max /= 2) {
		s->arena = mmap(NULL, stacks_bytes(s) + cold_bytes(s), PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
		if (s->arena != MAP_FAILED)
			return true;
	}
	s->arena = NULL;
	return false;
}

/**
 * vn_stacks_new() - reserve an arena
 *
 * Takes as many addresses as it can get, a million stacks at most; memory is used only as stacks are.
 *
 * Return: the arena, or NULL with errno set.
 */
vn_stacks *
vn_stacks_new(void)
{
	vn_stacks *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->page = (size_t)sysconf(_SC_PAGESIZE);
	s->stride = VN_STACK_BYTES + s->page;
	s->light_guards = true;
	if (!arena_reserve(s))
		return vn_stacks_free(s);
	s->cold = (void *)(s->arena + stacks_bytes(s));
	if (mprotect(s->cold, cold_bytes(s), PROT_READ | PROT_WRITE) < 0)
		return vn_stacks_free(s);
	if (RUNNING_ON_VALGRIND) {
		s->valgrind_ids = calloc(s->n_max, sizeof *s->valgrind_ids);
		if (!s->valgrind_ids)
			return vn_stacks_free(s);
	}
	madvise(s->arena, stacks_bytes(s), MADV_NOHUGEPAGE);
	return s;
}

/**
 * vn_stacks_free() - unmap all stacks
 * @s: no stack of it runs any more; or NULL
 *
 * Return: NULL.
 */
vn_stacks *
vn_stacks_free(vn_stacks *s)
{
	if (!s)
		return NULL;
	if (s->valgrind_ids)
		for (uint32_t i = 0; i < s->n_made; i++)
			VALGRIND_STACK_DEREGISTER(s->valgrind_ids[i]);
	if (s->arena)
		munmap(s->arena, stacks_bytes(s) + cold_bytes(s));
	free(s->valgrind_ids);
	free(s);
	return NULL;
}

static bool
arena_open(vn_stacks *s)
{
	uint32_t n = s->n_max - s->n_open < STEP ? s->n_max - s->n_open : STEP;

	if (n == 0 || mprotect(s->arena + s->n_open * s->stride, n * s->stride,
			      PROT_READ | PROT_WRITE) < 0)
		return false;
	s->n_open += n;
	return true;
}

static bool
guard_set(vn_stacks *s, char *guard)
{
	if (s->light_guards && madvise(guard, s->page, MADV_GUARD_INSTALL) == 0)
		return true;
	s->light_guards = false;
	return s->n_made >= GUARDS_SPLIT || mprotect(guard, s->page, PROT_NONE) == 0;
}

static void *
stack_top(const vn_stacks *s, uint32_t number)
{
	return s->arena + (number + 1) * s->stride - 64 * (number % VN_STACK_COLOURS);
}

static uint32_t
stack_number(const vn_stacks *s, const void *top)
{
	return (uint32_t)((size_t)((const char *)top - 1 - s->arena) / s->stride);
}

static void
cold_put(vn_stacks *s, uint32_t number)
{
	s->cold[number / 64] |= 1ull << number % 64;
	s->n_cold++;
	if (s->cold_from > number / 64)
		s->cold_from = number / 64;
}

/* The lowest. There is one. */
static uint32_t
cold_get(vn_stacks *s)
{
	uint64_t *word = &s->cold[s->cold_from];
	uint32_t bit;

	while (!*word)
		word++;
	bit = (uint32_t)__builtin_ctzll(*word);
	*word &= *word - 1;
	s->n_cold--;
	s->cold_from = (uint32_t)(word - s->cold);
	return s->cold_from * 64 + bit;
}

static void *
stack_make(vn_stacks *s)
{
	char *guard = s->arena + s->n_made * s->stride;

	if (s->n_made == s->n_open && !arena_open(s))
		return NULL;
	if (!guard_set(s, guard))
		return NULL;
	if (s->valgrind_ids)
		s->valgrind_ids[s->n_made] =
			VALGRIND_STACK_REGISTER(guard + s->page, guard + s->stride);
	return stack_top(s, s->n_made++);
}

/**
 * vn_stack_get() - take a stack
 * @s: arena
 *
 * What lies in it is undefined.
 *
 * Return: its top, 64-byte aligned, with vn_stack_bottom() far below; NULL with errno ENOMEM.
 */
void *
vn_stack_get(vn_stacks *s)
{
	void *top;

	if (s->n_warm)
		return s->warm[--s->n_warm];
	if (s->n_cold)
		return stack_top(s, cold_get(s));
	top = stack_make(s);
	if (!top)
		errno = ENOMEM;
	return top;
}

/**
 * vn_stack_put() - give a stack back
 * @s:   arena
 * @top: what vn_stack_get() returned; nobody runs on it any more
 */
void
vn_stack_put(vn_stacks *s, void *top)
{
	char *end = (char *)(((uintptr_t)top + s->page - 1) & ~(s->page - 1));

#ifdef VN_ASAN
	__asan_unpoison_memory_region(end - VN_STACK_BYTES, VN_STACK_BYTES);
#endif
	if (s->n_warm < WARM) {
		s->warm[s->n_warm++] = top;
		return;
	}
	madvise(end - VN_STACK_BYTES, VN_STACK_BYTES, MADV_DONTNEED);
	cold_put(s, stack_number(s, top));
}

/**
 * vn_stack_guards() - does an address lie in the guard page of one of our stacks?
 * @s:       arena
 * @address: any
 *
 * Caller: a signal handler too.
 */
bool
vn_stack_guards(const vn_stacks *s, const void *address)
{
	uintptr_t offset = (uintptr_t)address - (uintptr_t)s->arena;

	return offset < s->n_made * s->stride && offset % s->stride < s->page;
}
