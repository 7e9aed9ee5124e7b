/* SPDX-License-Identifier: MIT */
/*
 * Block - against a model that knows each granule, and each rule of block.h by itself
 */
#include "shm/block.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/suite.h"

#define SPAN_GRANULES 256u
#define N_SPANS       20u
#define AREA          (N_SPANS * VN_SPAN_BYTES)

static const uint32_t class_granules[VN_N_CLASSES] = {1, 8, 64, 256};

START_TEST(the_smallest_class_that_is_large_enough_is_chosen)
{
	static const struct {
		uint64_t size;
		unsigned int size_class;
	} rows[] = {{0, 0}, {1, 0}, {256, 0}, {257, 1}, {2048, 1}, {2049, 2}, {16384, 2},
		{16385, 3}, {65536, 3}, {65537, 3}, {UINT64_MAX, 3}};

	for (size_t i = 0; i < SUITE_COUNT(rows); i++)
		ck_assert_uint_eq(vn_block_class(rows[i].size), rows[i].size_class);
	for (unsigned int c = 0; c < VN_N_CLASSES; c++)
		ck_assert_uint_eq(vn_block_class_bytes(c), class_granules[c] * VN_GRANULE);
}
END_TEST

START_TEST(lowest_addresses_go_first)
{
	vn_blocks *b = vn_blocks_new(AREA);

	for (uint32_t i = 0; i < 600; i++)
		ck_assert_uint_eq(vn_block_alloc(b, 0), i);
	ck_assert_uint_eq(vn_block_alloc(b, 3), 3 * SPAN_GRANULES);
	for (uint32_t i = 0; i < 5; i++)
		ck_assert_uint_eq(vn_block_alloc(b, 2), 4 * SPAN_GRANULES + 64 * i);
	vn_blocks_free(b);
}
END_TEST

START_TEST(a_span_that_went_back_is_the_next_if_it_is_the_lowest)
{
	vn_blocks *b = vn_blocks_new(AREA);
	uint32_t large[4];

	for (uint32_t i = 0; i < 4; i++)
		large[i] = vn_block_alloc(b, 3);
	vn_block_free(b, large[2]);
	vn_block_free(b, large[1]);
	ck_assert_uint_eq(vn_block_alloc(b, 0), large[1]);
	ck_assert_uint_eq(vn_block_alloc(b, 1), large[2]);
	ck_assert_uint_eq(vn_block_alloc(b, 3), 4 * SPAN_GRANULES);
	vn_blocks_free(b);
}
END_TEST

START_TEST(the_block_freed_last_is_the_next_to_go)
{
	for (unsigned int c = 0; c < VN_N_CLASSES; c++) {
		vn_blocks *b = vn_blocks_new(AREA);
		uint32_t blocks[5];

		for (uint32_t i = 0; i < 5; i++)
			blocks[i] = vn_block_alloc(b, c);
		for (uint32_t i = 1; i < 4; i++) {
			vn_block_free(b, blocks[0]);
			vn_block_free(b, blocks[i]);
			if (c < 2) {
				ck_assert_uint_eq(vn_block_alloc(b, c), blocks[i]);
				ck_assert_uint_eq(vn_block_alloc(b, c), blocks[0]);
			} else { /* the spans went back: lowest first */
				vn_block_alloc(b, c);
				vn_block_alloc(b, c);
			}
		}
		vn_blocks_free(b);
	}
}
END_TEST

START_TEST(the_block_freed_last_is_the_next_even_in_another_span)
{
	vn_blocks *b = vn_blocks_new(AREA);
	uint32_t first[32], second[32], third;

	for (int i = 0; i < 32; i++)
		first[i] = vn_block_alloc(b, 1);
	for (int i = 0; i < 32; i++)
		second[i] = vn_block_alloc(b, 1);
	third = vn_block_alloc(b, 1); /* the span that is open now */
	ck_assert_uint_eq(third, 2 * SPAN_GRANULES);
	vn_block_free(b, second[9]);
	ck_assert_uint_eq(vn_block_alloc(b, 1), second[9]);
	vn_block_free(b, second[4]);
	vn_block_free(b, first[20]);
	ck_assert_uint_eq(vn_block_alloc(b, 1), first[20]);
	ck_assert_uint_eq(vn_block_alloc(b, 1), second[4]);
	ck_assert_uint_eq(vn_block_alloc(b, 1), third + 8);
	vn_block_free(b, second[9]);
	vn_block_free(b, first[20]);
	vn_block_free(b, second[4]); /* its span was in the list already, behind */
	ck_assert_uint_eq(vn_block_alloc(b, 1), second[4]);
	vn_blocks_free(b);
}
END_TEST

START_TEST(each_class_can_have_the_whole_area)
{
	vn_blocks *b = vn_blocks_new(AREA);
	uint32_t *blocks = calloc(AREA / VN_GRANULE, sizeof *blocks);

	ck_assert_ptr_nonnull(blocks);
	for (int round = 0; round < 2; round++)
		for (unsigned int c = 0; c < VN_N_CLASSES; c++) {
			uint32_t n = AREA / vn_block_class_bytes(c);

			ck_assert_uint_eq(vn_blocks_available(b), AREA);
			for (uint32_t i = 0; i < n; i++)
				suite_assert((blocks[i] = vn_block_alloc(b, c)) != VN_NO_BLOCK);
			ck_assert_uint_eq(vn_blocks_available(b), 0);
			for (unsigned int other = 0; other < VN_N_CLASSES; other++)
				ck_assert_uint_eq(vn_block_alloc(b, other), VN_NO_BLOCK);
			for (uint32_t i = 0; i < n; i++)
				suite_assert(
					vn_block_free(b, blocks[i]) == vn_block_class_bytes(c));
		}
	free(blocks);
	vn_blocks_free(b);
}
END_TEST

START_TEST(one_block_back_in_a_full_area_is_one_block_to_take)
{
	vn_blocks *b = vn_blocks_new(VN_SPAN_BYTES);
	uint32_t block = VN_NO_BLOCK;

	for (int i = 0; i < 32; i++)
		block = vn_block_alloc(b, 1);
	ck_assert_uint_eq(vn_block_alloc(b, 1), VN_NO_BLOCK);
	vn_block_free(b, block);
	ck_assert_uint_eq(vn_block_alloc(b, 0), VN_NO_BLOCK); /* the span serves another class */
	ck_assert_uint_eq(vn_block_alloc(b, 1), block);
	vn_blocks_free(b);
}
END_TEST

START_TEST(an_empty_span_that_is_kept_serves_another_class_before_none_does)
{
	vn_blocks *b = vn_blocks_new(VN_SPAN_BYTES);

	for (unsigned int c = 0; c < VN_N_CLASSES; c++)
		for (unsigned int other = 0; other < VN_N_CLASSES; other++) {
			uint32_t block = vn_block_alloc(b, c);

			ck_assert_uint_eq(block, 0);
			vn_block_free(b, block);
			block = vn_block_alloc(b, other);
			ck_assert_uint_eq(block, 0);
			vn_block_free(b, block);
		}
	vn_blocks_free(b);
}
END_TEST

START_TEST(only_first_granules_of_blocks_that_are_out_are_out)
{
	vn_blocks *b = vn_blocks_new(AREA);
	uint32_t block;

	for (uint32_t i = 0; i < AREA / VN_GRANULE + 1000; i++)
		suite_assert(!vn_block_is_out(b, i));
	block = vn_block_alloc(b, 1);
	block = vn_block_alloc(b, 1);
	for (uint32_t i = 0; i < AREA / VN_GRANULE + 1000; i++)
		suite_assert(vn_block_is_out(b, i) == (i == 0 || i == block));
	ck_assert(!vn_block_is_out(b, VN_NO_BLOCK));
	ck_assert(!vn_block_is_out(b, VN_NO_BLOCK - 255));
	vn_block_free(b, 0);
	ck_assert(!vn_block_is_out(b, 0));
	ck_assert(vn_block_is_out(b, block));
	vn_blocks_free(b);
}
END_TEST

START_TEST(the_largest_area_works_to_its_last_span)
{
	vn_blocks *b = vn_blocks_new(1u << 30);

	for (uint32_t i = 0; i < 16384; i++)
		suite_assert(vn_block_alloc(b, 3) == i * SPAN_GRANULES);
	ck_assert_uint_eq(vn_block_alloc(b, 0), VN_NO_BLOCK);
	for (uint32_t i = 16384; i > 0; i--)
		vn_block_free(b, (i - 1) * SPAN_GRANULES);
	ck_assert_uint_eq(vn_blocks_available(b), 1u << 30);
	ck_assert_uint_eq(vn_block_alloc(b, 1), SPAN_GRANULES); /* its class kept the first */
	ck_assert_uint_eq(vn_block_alloc(b, 3), 0);
	vn_blocks_free(b);
}
END_TEST

/* Signals that a child dies of when it frees what is not out: our own bug, never a peer's doing. */
static int
free_in_a_child(vn_blocks *b, uint32_t block)
{
	pid_t child = fork();
	int status;

	ck_assert_int_ge(child, 0);
	if (child == 0) {
		close(STDERR_FILENO);
		vn_block_free(b, block);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

START_TEST(freeing_what_is_not_out_aborts)
{
	vn_blocks *b = vn_blocks_new(AREA);
	uint32_t block = vn_block_alloc(b, 1);

	ck_assert_int_eq(free_in_a_child(b, block), 0);
	ck_assert_int_eq(free_in_a_child(b, block + 1), SIGABRT);
	ck_assert_int_eq(free_in_a_child(b, block + 8), SIGABRT);
	ck_assert_int_eq(free_in_a_child(b, AREA / VN_GRANULE), SIGABRT);
	ck_assert_int_eq(free_in_a_child(b, VN_NO_BLOCK), SIGABRT);
	vn_block_free(b, block);
	ck_assert_int_eq(free_in_a_child(b, block), SIGABRT);
	vn_blocks_free(b);
}
END_TEST

/* The model: which block each granule belongs to, and which class each span serves. */
typedef struct model {
	uint32_t owner[AREA / VN_GRANULE]; /* first granule + 1, 0 when free */
	unsigned int n_out[N_SPANS], class_of[N_SPANS];
	uint32_t out[AREA / VN_GRANULE], n;
	uint64_t available;
} model;

static void
model_alloc(model *m, vn_blocks *b, unsigned int c)
{
	uint32_t block = vn_block_alloc(b, c), span = block / SPAN_GRANULES;

	if (block == VN_NO_BLOCK) { /* right only if no span has room for it */
		for (uint32_t s = 0; s < N_SPANS; s++)
			suite_assert(m->n_out[s] > 0 &&
				     (m->class_of[s] != c ||
					     m->n_out[s] == SPAN_GRANULES / class_granules[c]));
		return;
	}
	suite_assert(block % class_granules[c] == 0 && span < N_SPANS);
	suite_assert(m->n_out[span] == 0 || m->class_of[span] == c);
	for (uint32_t g = block; g < block + class_granules[c]; g++) {
		suite_assert(m->owner[g] == 0);
		m->owner[g] = block + 1;
	}
	m->class_of[span] = c;
	m->n_out[span]++;
	m->out[m->n++] = block;
	m->available -= class_granules[c] * VN_GRANULE;
	suite_assert(vn_block_size(b, block) == class_granules[c] * VN_GRANULE);
}

static void
model_free(model *m, vn_blocks *b, uint32_t at)
{
	uint32_t block = m->out[at], span = block / SPAN_GRANULES;
	uint32_t n_granules = class_granules[m->class_of[span]];

	vn_block_free(b, block);
	for (uint32_t g = block; g < block + n_granules; g++)
		m->owner[g] = 0;
	m->n_out[span]--;
	m->out[at] = m->out[--m->n];
	m->available += n_granules * VN_GRANULE;
}

START_TEST(random_use_agrees_with_the_model)
{
	model *m = calloc(1, sizeof *m);
	vn_blocks *b = vn_blocks_new(AREA);
	uint64_t seed = 17;

	ck_assert_ptr_nonnull(m);
	m->available = AREA;
	for (int i = 0; i < SUITE_TIMES(2000000); i++) {
		unsigned int tide = (unsigned int)(i / 3000 % 7); /* fill, then empty, and so on */
		unsigned int favourite = (unsigned int)(i / 9000 % 5); /* 4: all classes alike */
		uint64_t r = suite_random(&seed);
		uint32_t granule = (uint32_t)(r >> 40) % (AREA / VN_GRANULE + 10);
		bool is_first;

		if (m->n == 0 || r % 7 < tide)
			model_alloc(m, b, favourite < 4 && r >> 8 & 1 ? favourite : r >> 9 & 3);
		else
			model_free(m, b, (uint32_t)((r >> 16) % m->n));
		is_first = granule < AREA / VN_GRANULE && m->owner[granule] == granule + 1;
		suite_assert(vn_block_is_out(b, granule) == is_first);
		suite_assert(vn_blocks_available(b) == m->available);
	}
	while (m->n > 0)
		model_free(m, b, m->n - 1);
	ck_assert_uint_eq(vn_blocks_available(b), AREA);
	for (unsigned int c = 0; c < VN_N_CLASSES; c++)
		for (uint32_t i = 0;
			i < N_SPANS / VN_N_CLASSES * (SPAN_GRANULES / class_granules[c]); i++)
			suite_assert(vn_block_alloc(b, c) != VN_NO_BLOCK);
	ck_assert_uint_eq(vn_blocks_available(b), 0);
	free(m);
	vn_blocks_free(b);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		the_smallest_class_that_is_large_enough_is_chosen,
		lowest_addresses_go_first,
		a_span_that_went_back_is_the_next_if_it_is_the_lowest,
		the_block_freed_last_is_the_next_to_go,
		the_block_freed_last_is_the_next_even_in_another_span,
		each_class_can_have_the_whole_area,
		one_block_back_in_a_full_area_is_one_block_to_take,
		an_empty_span_that_is_kept_serves_another_class_before_none_does,
		only_first_granules_of_blocks_that_are_out_are_out,
		the_largest_area_works_to_its_last_span,
		freeing_what_is_not_out_aborts,
		random_use_agrees_with_the_model,
	};

	return suite_run("block", tests, SUITE_COUNT(tests));
}
