/* SPDX-License-Identifier: MIT */
/*
 * Chain - a stretch of a stream in blocks: each byte is found where it was put, each block goes home once
 */
#include "shm/chain.h"

#include <stdlib.h>

#include "tests/unit/suite.h"

#define AREA (1u << 20)

static vn_chain_link table[AREA / VN_GRANULE];

START_TEST(an_empty_chain_gives_nothing_back)
{
	vn_blocks *blocks = vn_blocks_new(AREA);
	vn_chain c = VN_CHAIN_EMPTY;

	ck_assert(vn_chain_is_empty(&c));
	ck_assert_uint_eq(vn_chain_pop(&c, table, UINT64_MAX), VN_NO_BLOCK);
	vn_chain_free(&c, table, blocks, UINT64_MAX);
	ck_assert_uint_eq(vn_blocks_available(blocks), AREA);
	vn_blocks_free(blocks);
}
END_TEST

START_TEST(a_block_goes_home_with_its_last_byte)
{
	vn_chain c = VN_CHAIN_EMPTY;

	vn_chain_push(&c, table, 7, 100, 1100);
	vn_chain_push(&c, table, 3, 50, 1150);
	ck_assert_uint_eq(vn_chain_pop(&c, table, 1099), VN_NO_BLOCK);
	ck_assert_uint_eq(vn_chain_pop(&c, table, 1100), 7);
	ck_assert_uint_eq(vn_chain_pop(&c, table, 1100), VN_NO_BLOCK);
	vn_chain_extend(&c, table, 10);
	ck_assert_uint_eq(vn_chain_pop(&c, table, 1150), VN_NO_BLOCK);
	ck_assert_uint_eq(vn_chain_pop(&c, table, 1160), 3);
	ck_assert(vn_chain_is_empty(&c));
	vn_chain_push(&c, table, 7, 1, 1161); /* and the chain goes on */
	ck_assert_uint_eq(vn_chain_pop(&c, table, 1161), 7);
}
END_TEST

START_TEST(a_position_is_found_in_its_block)
{
	vn_chain c = VN_CHAIN_EMPTY;

	vn_chain_push(&c, table, 5, 100, UINT64_C(0x100000032));
	ck_assert_uint_eq(vn_chain_offset(&table[5], UINT64_C(0xffffffce)), 0);
	ck_assert_uint_eq(vn_chain_offset(&table[5], UINT64_C(0x100000000)), 50);
	vn_chain_extend(&c, table, 28);
	ck_assert_uint_eq(vn_chain_offset(&table[5], UINT64_C(0x100000000)), 50);
	ck_assert_uint_eq(vn_chain_offset(&table[5], UINT64_C(0x10000004e)), 128);
}
END_TEST

/* A stream whose bytes follow from their positions, written at its end and read at its start. */
typedef struct stream {
	vn_chain chain;
	uint64_t start, end;
} stream;

static unsigned char memory[AREA];

static void
byte_put(uint32_t block, uint32_t offset, uint64_t at)
{
	memory[block * VN_GRANULE + offset] = (unsigned char)(at * 37 >> 3);
}

static void
stream_write(stream *s, vn_blocks *blocks, uint32_t n, unsigned int size_class)
{
	while (n > 0) {
		uint32_t last = s->chain.last, room = 0;

		if (last != VN_NO_BLOCK)
			room = vn_block_size(blocks, last) - table[last].fill;
		if (room == 0) {
			uint32_t block = vn_block_alloc(blocks, size_class);

			if (block == VN_NO_BLOCK)
				return;
			s->chain.charge += vn_block_size(blocks, block);
			vn_chain_push(&s->chain, table, block, 0, s->end);
			continue;
		}
		room = room < n ? room : n;
		for (uint32_t i = 0; i < room; i++)
			byte_put(last, table[last].fill + i, s->end + i);
		vn_chain_extend(&s->chain, table, room);
		s->end += room;
		n -= room;
	}
}

static void
stream_check(const stream *s)
{
	uint64_t at = s->start;

	for (uint32_t b = s->chain.first; b != VN_NO_BLOCK; b = table[b].next)
		for (; at < table[b].end; at++) {
			uint32_t offset = vn_chain_offset(&table[b], at);

			suite_assert(offset < table[b].fill);
			suite_assert(
				memory[b * VN_GRANULE + offset] == (unsigned char)(at * 37 >> 3));
		}
	suite_assert(at == s->end);
}

START_TEST(streams_that_share_an_area_keep_their_bytes)
{
	vn_blocks *blocks = vn_blocks_new(AREA);
	stream streams[5];
	uint64_t seed = 23, charge;

	for (size_t i = 0; i < SUITE_COUNT(streams); i++)
		streams[i] = (stream){VN_CHAIN_EMPTY, i << 32, i << 32};
	for (int i = 0; i < SUITE_TIMES(3000); i++) {
		uint64_t r = suite_random(&seed);
		stream *s = &streams[r % SUITE_COUNT(streams)];

		if (r & 1 << 20) {
			stream_write(s, blocks, (uint32_t)(r >> 24) % 9000, r >> 40 & 3);
		} else {
			s->start += (r >> 24) % (s->end - s->start + 1);
			vn_chain_free(&s->chain, table, blocks, s->start);
		}
		stream_check(s);
		charge = 0;
		for (size_t k = 0; k < SUITE_COUNT(streams); k++)
			charge += streams[k].chain.charge;
		suite_assert(vn_blocks_available(blocks) == AREA - charge);
	}
	for (size_t i = 0; i < SUITE_COUNT(streams); i++) {
		vn_chain_free(&streams[i].chain, table, blocks, streams[i].end);
		ck_assert(vn_chain_is_empty(&streams[i].chain));
		ck_assert_uint_eq(streams[i].chain.charge, 0);
	}
	ck_assert_uint_eq(vn_blocks_available(blocks), AREA);
	vn_blocks_free(blocks);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		an_empty_chain_gives_nothing_back,
		a_block_goes_home_with_its_last_byte,
		a_position_is_found_in_its_block,
		streams_that_share_an_area_keep_their_bytes,
	};

	return suite_run("chain", tests, SUITE_COUNT(tests));
}
