/* SPDX-License-Identifier: MIT */
/*
 * Block - see block.h for spans and classes
 *
 * Everything here is private memory of the owner, one mapping that is touched as far as it is used:
 * a record of one cache line per span, and a stack of the block numbers that came home to it.
 * Numbers from n_fresh up were never given out since the span was taken, so taking one writes no
 * list. A free span has nothing out, so whether a block is out needs no look at who has the span.
 *
 * The spans of a class that have a free block are linked, the one that was freed into last in
 * front. Free spans are the zeros of a bitmap with one summary bit per word, so that the lowest of
 * 16384 is found in two looks.
 *
 * An empty span that its class keeps is taken from it when another class finds nothing else.
 */
#include "shm/block.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

#include "shm/crash.h"

#define SPAN_GRANULES (VN_SPAN_BYTES / VN_GRANULE)
#define MAX_SPANS     16384u
#define NO_SPAN       UINT32_MAX

typedef struct span {
	uint64_t out[SPAN_GRANULES / 64]; /* blocks that are out */
	uint32_t prev, next;              /* in the list of its class, when it has a free block */
	uint32_t bytes;                   /* of each block */
	uint16_t n_fresh;                 /* blocks given out at least once */
	uint16_t n_home;    /* of those, how many came back: the height of its stack */
	uint16_t n_free;    /* blocks that are not out */
	uint8_t size_class; /* of a span in use */
	uint8_t shift;      /* granules of a block are 1 << this */
} __attribute__((aligned(64))) span;

struct vn_blocks {
	uint64_t available;
	uint32_t heads[VN_N_CLASSES];   /* spans with a free block */
	uint32_t n_spans[VN_N_CLASSES]; /* spans in use, by class */
	uint32_t n_all;
	size_t size; /* of the mapping that this lies in */
	span *spans;
	uint8_t (*home)[SPAN_GRANULES];  /* by span: the stack of blocks that came home */
	uint64_t full[MAX_SPANS / 4096]; /* words of used[] that have no zero */
	uint64_t used[MAX_SPANS / 64];
};

static_assert(sizeof(span) == 64, "a span's record is one cache line");

/* Granules of a block are 1 << this. */
static inline unsigned int
class_shift(unsigned int size_class)
{
	return size_class == 3 ? 8 : 3 * size_class;
}

static inline bool
span_is_empty(const span *s)
{
	return s->n_home == s->n_fresh;
}

static void
span_link(vn_blocks *b, uint32_t i)
{
	span *s = &b->spans[i];
	uint32_t *head = &b->heads[s->size_class];

	s->prev = NO_SPAN;
	s->next = *head;
	if (s->next != NO_SPAN)
		b->spans[s->next].prev = i;
	*head = i;
}

static void
span_unlink(vn_blocks *b, uint32_t i)
{
	span *s = &b->spans[i];

	if (s->prev == NO_SPAN)
		b->heads[s->size_class] = s->next;
	else
		b->spans[s->prev].next = s->next;
	if (s->next != NO_SPAN)
		b->spans[s->next].prev = s->prev;
}

static void
span_mark(vn_blocks *b, uint32_t i)
{
	uint32_t word = i / 64;

	b->used[word] |= 1ull << i % 64;
	if (b->used[word] == UINT64_MAX)
		b->full[word / 64] |= 1ull << word % 64;
}

/* Gives an empty span back, for any class to take. */
static void
span_drop(vn_blocks *b, uint32_t i)
{
	uint32_t word = i / 64;

	b->n_spans[b->spans[i].size_class]--;
	b->used[word] &= ~(1ull << i % 64);
	b->full[word / 64] &= ~(1ull << word % 64);
}

static uint32_t
span_find(const vn_blocks *b)
{
	for (uint32_t i = 0; i < MAX_SPANS / 4096; i++) {
		uint32_t word;

		if (b->full[i] == UINT64_MAX)
			continue;
		word = i * 64 + (uint32_t)__builtin_ctzll(~b->full[i]);
		return word * 64 + (uint32_t)__builtin_ctzll(~b->used[word]);
	}
	return NO_SPAN;
}

/* The span that a class kept although it is empty: then it has no other. */
static bool
span_reclaim(vn_blocks *b)
{
	for (unsigned int c = 0; c < VN_N_CLASSES; c++) {
		uint32_t i = b->heads[c];

		if (i != NO_SPAN && span_is_empty(&b->spans[i])) {
			span_unlink(b, i);
			span_drop(b, i);
			return true;
		}
	}
	return false;
}

static uint32_t
span_take(vn_blocks *b, unsigned int size_class)
{
	unsigned int shift = class_shift(size_class);
	uint32_t i = span_find(b);

	if (i == NO_SPAN && span_reclaim(b))
		i = span_find(b);
	if (i == NO_SPAN)
		return NO_SPAN;
	b->spans[i] = (span){
		.bytes = VN_GRANULE << shift,
		.n_free = (uint16_t)(SPAN_GRANULES >> shift),
		.size_class = (uint8_t)size_class,
		.shift = (uint8_t)shift,
	};
	b->n_spans[size_class]++;
	span_mark(b, i);
	span_link(b, i);
	return i;
}

/* Spans that the area does not have are never free. */
static void
blocks_bound(vn_blocks *b)
{
	for (uint32_t word = b->n_all / 64; word < MAX_SPANS / 64; word++) {
		b->used[word] = word == b->n_all / 64 ? UINT64_MAX << b->n_all % 64 : UINT64_MAX;
		if (b->used[word] == UINT64_MAX)
			b->full[word / 64] |= 1ull << word % 64;
	}
}

/**
 * vn_blocks_new() - an allocator for an area
 * @area_bytes: a multiple of VN_SPAN_BYTES, at most 1 GiB; all of it is free
 *
 * Return: NULL with errno set if there is no memory for it.
 */
vn_blocks *
vn_blocks_new(uint32_t area_bytes)
{
	uint32_t n = area_bytes / VN_SPAN_BYTES;
	size_t spans_at = (sizeof(vn_blocks) + 63) & ~(size_t)63;
	size_t home_at = spans_at + n * sizeof(span);
	size_t size = home_at + (size_t)n * SPAN_GRANULES;
	unsigned char *base;
	vn_blocks *b;

	assert(n > 0 && n <= MAX_SPANS && area_bytes % VN_SPAN_BYTES == 0);
	base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (base == MAP_FAILED)
		return NULL;
	b = (void *)base;
	b->available = area_bytes;
	b->n_all = n;
	b->size = size;
	b->spans = (void *)(base + spans_at);
	b->home = (void *)(base + home_at);
	for (unsigned int c = 0; c < VN_N_CLASSES; c++)
		b->heads[c] = NO_SPAN;
	blocks_bound(b);
	return b;
}

/**
 * vn_blocks_free() - forget an allocator, whatever is still out
 *
 * Return: NULL.
 */
vn_blocks *
vn_blocks_free(vn_blocks *b)
{
	if (b)
		munmap(b, b->size);
	return NULL;
}

/**
 * vn_block_alloc() - take a block
 *
 * Return: its first granule, or VN_NO_BLOCK if neither its class nor the area has a free one.
 */
uint32_t
vn_block_alloc(vn_blocks *b, unsigned int size_class)
{
	uint32_t i, number;
	span *s;

	assert(size_class < VN_N_CLASSES);
	VN_CRASH_POINT("block.alloc.before");
	i = b->heads[size_class];
	if (i == NO_SPAN) {
		i = span_take(b, size_class);
		if (i == NO_SPAN)
			return VN_NO_BLOCK;
	}
	s = &b->spans[i];
	number = s->n_home ? b->home[i][--s->n_home] : s->n_fresh++;
	s->out[number / 64] |= 1ull << number % 64;
	if (--s->n_free == 0)
		span_unlink(b, i);
	b->available -= s->bytes;
	VN_CRASH_POINT("block.alloc.after");
	return i * SPAN_GRANULES + (number << s->shift);
}

/* Makes the span that was freed into the first of its class; one of many that is empty goes back. */
static void
span_freed(vn_blocks *b, uint32_t i)
{
	span *s = &b->spans[i];

	if (b->heads[s->size_class] != i) {
		if (s->n_free > 1) /* else it was full, and in no list */
			span_unlink(b, i);
		span_link(b, i);
	}
	if (span_is_empty(s) && b->n_spans[s->size_class] > 1) {
		span_unlink(b, i);
		span_drop(b, i);
	}
}

/**
 * vn_block_free() - give a block back
 * @block: is out; what a peer named was looked up by vn_block_is_out() before
 *
 * Return: the bytes that it had.
 */
uint32_t
vn_block_free(vn_blocks *b, uint32_t block)
{
	uint32_t i = block / SPAN_GRANULES, number;
	span *s;

	assert(vn_block_is_out(b, block));
	VN_CRASH_POINT("block.free.before");
	s = &b->spans[i];
	number = block % SPAN_GRANULES >> s->shift;
	s->out[number / 64] &= ~(1ull << number % 64);
	b->home[i][s->n_home++] = (uint8_t)number;
	s->n_free++;
	b->available += s->bytes;
	if (b->heads[s->size_class] != i || span_is_empty(s))
		span_freed(b, i);
	VN_CRASH_POINT("block.free.after");
	return s->bytes;
}

/**
 * vn_block_size() - bytes of a block that is out
 */
uint32_t
vn_block_size(const vn_blocks *b, uint32_t block)
{
	assert(vn_block_is_out(b, block));
	return b->spans[block / SPAN_GRANULES].bytes;
}

/**
 * vn_block_is_out() - is this the first granule of a block that is out?
 * @block: any number, also one that a peer made up
 */
bool
vn_block_is_out(const vn_blocks *b, uint32_t block)
{
	uint32_t i = block / SPAN_GRANULES, granule = block % SPAN_GRANULES, number;
	const span *s;

	if (i >= b->n_all)
		return false;
	s = &b->spans[i];
	number = granule >> s->shift;
	return number << s->shift == granule && (s->out[number / 64] >> number % 64 & 1);
}

/**
 * vn_blocks_available() - bytes that are not out: free spans, and free blocks in spans that are in
 * use
 */
uint64_t
vn_blocks_available(const vn_blocks *b)
{
	return b->available;
}
