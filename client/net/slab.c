/* SPDX-License-Identifier: MIT */
/*
 * Slab - see slab.h
 *
 * From malloc, the records of a burst would lie between whatever else is allocated meanwhile, and one thing that
 * stays keeps the heap below it resident. Here they have pages of their own, in a reservation of addresses that
 * is touched as far as it is used. The lowest free place is taken first, so that few records gather in few pages,
 * and a page whose last record comes back is given to the kernel. The first KEEP pages are kept: few records that
 * come and go cost no system call.
 *
 * A record begins a cache line. What finds no place here comes from malloc, everything where a tool watches memory:
 * it sees who uses a record that is gone.
 */
#include "client/net/slab.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/hub/fiber.h"
#include "client/hub/watched.h"

#define LINE        64u
#define RECORDS_MAX (1u << 20) /* as many as there are stacks */
#define KEEP        16u

static bool
is_watched(void)
{
#if defined(VN_ASAN) || defined(VN_TSAN)
	return true;
#else
	return RUNNING_ON_VALGRIND;
#endif
}

/* Pages of records, and behind them what is known of each page. */
static size_t
slab_bytes(const vn_slab *s)
{
	return s->n_pages * (s->page + sizeof *s->used);
}

/**
 * vn_slab_init() - reserve addresses for records
 * @size: bytes of each, far less than a page
 *
 * Does not fail: without room every record comes from malloc.
 */
void
vn_slab_init(vn_slab *s, size_t size)
{
	uint32_t n;

	*s = (vn_slab){.page = (size_t)sysconf(_SC_PAGESIZE)};
	s->size = (size + LINE - 1) & ~(size_t)(LINE - 1);
	n = (uint32_t)(s->page / s->size < 64 ? s->page / s->size : 64);
	assert(n > 1);
	s->full = n < 64 ? (1ull << n) - 1 : UINT64_MAX;
	if (is_watched())
		return;
	for (s->n_pages = RECORDS_MAX / n; s->n_pages >= KEEP; s->n_pages /= 2) {
		s->base = mmap(NULL, slab_bytes(s), PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (s->base != MAP_FAILED) {
			madvise(s->base, slab_bytes(s), MADV_NOHUGEPAGE);
			s->used = (void *)(s->base + s->n_pages * s->page);
			return;
		}
	}
	s->n_pages = 0;
}

/**
 * vn_slab_deinit() - unmap it
 * @s: what it gave out is gone
 */
void
vn_slab_deinit(vn_slab *s)
{
	if (s->n_pages)
		munmap(s->base, slab_bytes(s));
	s->n_pages = 0;
}

/**
 * vn_slab_get() - take a record
 *
 * Return: a record of zeros, or NULL when there is no memory.
 */
void *
vn_slab_get(vn_slab *s)
{
	unsigned int i;
	void *record;

	while (s->from < s->n_pages && s->used[s->from] == s->full)
		s->from++;
	if (s->from == s->n_pages)
		return calloc(1, s->size);
	i = (unsigned int)__builtin_ctzll(~s->used[s->from]);
	s->used[s->from] |= 1ull << i;
	record = s->base + s->from * s->page + i * s->size;
	return memset(record, 0, s->size);
}

/**
 * vn_slab_put() - give a record back
 * @record: what vn_slab_get() returned; or NULL
 */
void
vn_slab_put(vn_slab *s, void *record)
{
	size_t offset = (uintptr_t)record - (uintptr_t)s->base;
	uint32_t page = (uint32_t)(offset / s->page);

	if (offset >= s->n_pages * s->page) {
		free(record);
		return;
	}
	s->used[page] &= ~(1ull << offset % s->page / s->size);
	if (s->from > page)
		s->from = page;
	if (s->used[page] == 0 && page >= KEEP)
		madvise(s->base + page * s->page, s->page, MADV_DONTNEED);
}
