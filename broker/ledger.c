/* SPDX-License-Identifier: MIT */
/*
 * Ledger - its memory, and which records are free
 *
 * The memfd is as large as every record and every table could be, and committed as it is touched. The map of
 * free records is private: it is rebuilt from the records.
 */
#include "broker/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE        4096u
#define SPILL_MAX   (1u << 30)
#define STATE_BYTES 2048u /* the spill area's, for each record: a state, and one that is staged */

static size_t
page_align(size_t n)
{
	return (n + PAGE - 1) & ~(size_t)(PAGE - 1);
}

/* Enough for everything that the lanes of all workers hold, both ways, and for states; touched as it is used. */
static uint32_t
spill_bytes(const vn_ledger *l, uint32_t area_bytes)
{
	uint64_t n = 2ull * (l->n_slots - 1) * area_bytes + (uint64_t)l->max_records * STATE_BYTES;

	n = (n + VN_SPAN_BYTES - 1) / VN_SPAN_BYTES * VN_SPAN_BYTES;
	return n < SPILL_MAX ? (uint32_t)n : SPILL_MAX;
}

static int
ledger_map(vn_ledger *l)
{
	size_t records = page_align((size_t)l->max_records * sizeof(vn_record));
	size_t n_refs = l->n_spill + (size_t)(l->n_slots - 1) * l->n_granules;
	size_t table = page_align(n_refs * sizeof(vn_chain_link));

	l->spill.geometry = (vn_geometry){.area_bytes = l->n_spill * VN_GRANULE};
	l->spill.size = page_align(vn_geometry_size(&l->spill.geometry));
	l->size = records + 2 * table + l->spill.size;
	l->fd = memfd_create("vanilla-ledger", MFD_CLOEXEC);
	if (l->fd < 0 || ftruncate(l->fd, (off_t)l->size) < 0)
		return -errno;
	l->base = mmap(NULL, l->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, l->fd, 0);
	if (l->base == MAP_FAILED) {
		l->base = NULL;
		return -errno;
	}
	madvise(l->base, l->size, MADV_DONTFORK);
	l->records = (vn_record *)(void *)l->base;
	l->in_table = (vn_chain_link *)(void *)(l->base + records);
	l->out_table = (vn_chain_link *)(void *)(l->base + records + table);
	l->spill.base = l->base + records + 2 * table;
	l->spill.fd = -1;
	l->spill.writable = true;
	return 0;
}

/**
 * vn_ledger_new() - an empty ledger
 * @n_slots:    worker slots, and one: they begin at 1
 * @area_bytes: block area of a lane
 *
 * Return: the ledger, or NULL with errno.
 */
vn_ledger *
vn_ledger_new(uint32_t max_records, uint32_t n_slots, uint32_t area_bytes)
{
	vn_ledger *l = calloc(1, sizeof *l);
	uint32_t n_words = (max_records + 63) / 64;
	int rc;

	if (!l)
		return NULL;
	l->fd = -1;
	l->max_records = max_records;
	l->n_slots = n_slots;
	l->n_granules = area_bytes / VN_GRANULE;
	l->n_spill = spill_bytes(l, area_bytes) / VN_GRANULE;
	l->next_id = 1;
	rc = ledger_map(l);
	l->free_map = malloc(n_words * sizeof *l->free_map);
	l->spill_blocks = vn_blocks_new(l->n_spill * VN_GRANULE);
	if (rc < 0 || !l->free_map || !l->spill_blocks) {
		vn_ledger_free(l);
		errno = rc < 0 ? -rc : ENOMEM;
		return NULL;
	}
	memset(l->free_map, 0xff, n_words * sizeof *l->free_map);
	return l;
}

vn_ledger *
vn_ledger_free(vn_ledger *l)
{
	if (!l)
		return NULL;
	if (l->base)
		munmap(l->base, l->size);
	if (l->fd >= 0)
		close(l->fd);
	vn_blocks_free(l->spill_blocks);
	free(l->free_map);
	free(l);
	return NULL;
}

/**
 * vn_ledger_take() - the free record with the lowest index
 *
 * Its fields are zero but for the generation, which goes on from the last use, and what "none" is elsewhere.
 * What a worker still says of the last use names a generation that is over, not one that nobody has.
 *
 * Return: its index, VN_NO_RECORD when all are in use.
 */
uint32_t
vn_ledger_take(vn_ledger *l)
{
	uint32_t n_words = (l->max_records + 63) / 64, index;
	vn_record *r;

	while (l->free_hint < n_words && !l->free_map[l->free_hint])
		l->free_hint++;
	if (l->free_hint == n_words)
		return VN_NO_RECORD;
	index = l->free_hint * 64 + (uint32_t)__builtin_ctzll(l->free_map[l->free_hint]);
	if (index >= l->max_records)
		return VN_NO_RECORD;
	l->free_map[l->free_hint] &= l->free_map[l->free_hint] - 1;
	r = vn_record_at(l, index);
	*r = (vn_record){.fd = -1,
		.flags = VN_R_USED,
		.gen = r->gen + 1,
		.worker = UINT16_MAX,
		.id = l->next_id++};
	r->in = r->out = r->kept = VN_CHAIN_EMPTY;
	r->state = r->staged = VN_NO_BLOCK;
	l->n_used++;
	if (index >= l->high)
		l->high = index + 1;
	return index;
}

void
vn_ledger_give(vn_ledger *l, uint32_t index)
{
	vn_record *r = vn_record_at(l, index);

	r->flags = 0;
	r->id = 0;
	l->free_map[index / 64] |= 1ull << (index % 64);
	if (index / 64 < l->free_hint)
		l->free_hint = index / 64;
	l->n_used--;
}
