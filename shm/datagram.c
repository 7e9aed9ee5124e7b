/* SPDX-License-Identifier: MIT */
/*
 * Datagram - writing frames, and reading those of somebody else
 */
#include "shm/datagram.h"

#include <errno.h>
#include <string.h>

/* From here on a head says whose datagrams these are. */
#define WHOSE offsetof(vn_datagram_head, family)

/* Do these datagrams make the last frame a longer run? */
static bool
run_takes(const vn_datagram_head *run, const vn_datagram_head *h)
{
	uint32_t size = run->segment ? run->segment : run->len;

	return size && h->len && run->len % size == 0 && run->len + h->len <= VN_RUN_BYTES &&
	       run->len + h->len <= size * VN_RUN_DATAGRAMS &&
	       (h->segment ? h->segment == size : h->len <= size) &&
	       memcmp((const char *)run + WHOSE, (const char *)h + WHOSE, sizeof *run - WHOSE) == 0;
}

/**
 * vn_frames_grow() - add datagrams to the run at the end, which is not published
 * @h: of one datagram, or of a run
 *
 * Return: false if they do not belong there, or do not fit into its block.
 */
bool
vn_frames_grow(vn_frames *f, const vn_frame_area *a, const vn_datagram_head *h, const void *data)
{
	vn_chain_link *last;

	if (f->run_block == VN_NO_BLOCK || !run_takes(&f->run, h))
		return false;
	last = &a->table[f->chain.last];
	if (last->fill + h->len > vn_block_size(a->blocks, f->chain.last))
		return false;
	if (!f->run.segment)
		f->run.segment = (uint16_t)f->run.len;
	vn_area_write(a->segment, f->chain.last, last->fill, data, h->len);
	vn_chain_extend(&f->chain, a->table, h->len);
	f->end += h->len;
	f->run.len += h->len;
	vn_area_write(a->segment, f->run_block, f->run_offset, &f->run, VN_FRAME_HEAD);
	return true;
}

/* Room at the end of the last block. */
static uint32_t
room(const vn_frames *f, const vn_frame_area *a)
{
	uint32_t last = f->chain.last;

	return last == VN_NO_BLOCK ? 0 : vn_block_size(a->blocks, last) - a->table[last].fill;
}

/**
 * vn_frames_need() - bytes of blocks that a frame with so much payload takes, beside those that are there
 * @size_class: the smallest block that is to be taken
 */
uint32_t
vn_frames_need(const vn_frames *f, const vn_frame_area *a, uint32_t len, unsigned int size_class)
{
	unsigned int fits = vn_block_class(VN_FRAME_HEAD + len);

	if (VN_FRAME_HEAD + len <= room(f, a))
		return 0;
	if (VN_FRAME_HEAD + len > VN_BLOCK_MAX)
		return VN_BLOCK_MAX + VN_GRANULE;
	return vn_block_class_bytes(fits > size_class ? fits : size_class);
}

/* A block that holds so much, of a class if it can be; VN_NO_BLOCK. */
static uint32_t
block_for(vn_blocks *blocks, uint32_t len, unsigned int size_class)
{
	unsigned int least = vn_block_class(len), c = size_class > least ? size_class : least;
	uint32_t block = vn_block_alloc(blocks, c);

	for (unsigned int i = c; block == VN_NO_BLOCK && i-- > least;)
		block = vn_block_alloc(blocks, i);
	for (unsigned int i = c + 1; block == VN_NO_BLOCK && i < VN_N_CLASSES; i++)
		block = vn_block_alloc(blocks, i);
	return block;
}

/* The next len bytes of the stream lie in the last block, or begin a new one. */
static void
put(vn_frames *f, const vn_frame_area *a, uint32_t block, const void *data, uint32_t len)
{
	uint32_t offset = 0;

	f->end += len;
	if (block == f->chain.last) {
		offset = a->table[block].fill;
		vn_chain_extend(&f->chain, a->table, len);
	} else {
		vn_chain_push(&f->chain, a->table, block, len, f->end);
		f->chain.charge += vn_block_size(a->blocks, block);
	}
	if (len)
		vn_area_write(a->segment, block, offset, data, len);
}

/* A head and a payload that lie in two blocks. */
static bool
add_split(vn_frames *f, const vn_frame_area *a, const vn_datagram_head *h, const void *data)
{
	uint32_t first = block_for(a->blocks, VN_FRAME_HEAD, 0), second;

	if (first == VN_NO_BLOCK)
		return false;
	second = block_for(a->blocks, h->len, 0);
	if (second == VN_NO_BLOCK) {
		vn_block_free(a->blocks, first);
		return false;
	}
	put(f, a, first, h, VN_FRAME_HEAD);
	put(f, a, second, data, h->len);
	vn_frames_seal(f);
	return true;
}

/**
 * vn_frames_add() - add datagrams
 * @h:     of one datagram, or of a run; whole, `zero` included
 * @data:  h->len bytes
 * @size_class: of a new block, if it can be had and is large enough
 *
 * Return: false if there is no block for it.
 */
bool
vn_frames_add(vn_frames *f, const vn_frame_area *a, const vn_datagram_head *h, const void *data,
	unsigned int size_class)
{
	uint32_t len = VN_FRAME_HEAD + h->len, block = f->chain.last;

	if (vn_frames_grow(f, a, h, data))
		return true;
	if (len > VN_BLOCK_MAX)
		return add_split(f, a, h, data);
	if (len > room(f, a))
		block = block_for(a->blocks, len, size_class);
	if (block == VN_NO_BLOCK)
		return false;
	f->run = *h;
	f->run_block = block;
	f->run_offset = block == f->chain.last ? a->table[block].fill : 0;
	put(f, a, block, h, VN_FRAME_HEAD);
	put(f, a, block, data, h->len);
	return true;
}

/* Where its payload lies. */
static int
find_payload(const vn_frame_area *a, uint32_t block, uint64_t at, vn_frame *f)
{
	const vn_chain_link *link = &a->table[block];
	uint64_t left = link->end - at;

	f->block = block;
	f->end = at + f->head.len;
	if (f->head.len <= left) {
		f->offset = vn_chain_offset(link, at);
		return 1;
	}
	if (left)
		return -EPROTO;
	if (link->next == VN_NO_BLOCK)
		return 0;
	f->block = link->next;
	link = &a->table[f->block];
	f->offset = vn_chain_offset(link, at);
	return f->head.len <= link->end - at ? 1 : -EPROTO;
}

/**
 * vn_frame_at() - read the head of a frame, and find its payload
 * @a:     its `blocks` are not looked at
 * @block: in which the frame begins: the first one of the chain that ends beyond @at
 * @at:    position of its head
 *
 * What the head says of addresses is not checked; its lengths are, against the chain.
 *
 * Return: 1; 0 when the rest of it is still to come; -EPROTO if that is no frame.
 */
int
vn_frame_at(const vn_frame_area *a, uint32_t block, uint64_t at, vn_frame *f)
{
	const vn_chain_link *link = &a->table[block];

	if (link->end - at < VN_FRAME_HEAD)
		return -EPROTO;
	vn_area_read(a->segment, block, vn_chain_offset(link, at), &f->head, VN_FRAME_HEAD);
	if (f->head.segment && f->head.segment >= f->head.len)
		return -EPROTO;
	return find_payload(a, block, at + VN_FRAME_HEAD, f);
}
