/* SPDX-License-Identifier: MIT */
/*
 * Datagram - frames that are written and read again, runs, and frames that are none
 */
#include "shm/datagram.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/unit/suite.h"

#define AREA (1u << 20)

typedef struct bench {
	vn_segment segment;
	vn_frame_area area;
	vn_frames frames;
} bench;

static void
bench_open(bench *b)
{
	*b = (bench){.frames = VN_FRAMES_EMPTY};
	b->segment = (vn_segment){.fd = -1, .writable = true, .geometry = {.area_bytes = AREA}};
	b->segment.base = calloc(1, vn_geometry_size(&b->segment.geometry));
	b->area = (vn_frame_area){
		&b->segment, calloc(AREA / VN_GRANULE, sizeof(vn_chain_link)), vn_blocks_new(AREA)};
}

static void
bench_close(bench *b)
{
	vn_blocks_free(b->area.blocks);
	free(b->area.table);
	free(b->segment.base);
}

static vn_datagram_head
head_of(uint32_t len, uint16_t port)
{
	return (vn_datagram_head){
		.len = len, .family = AF_INET, .port = port, .peer = {127, 0, 0, 1}};
}

static unsigned char *
pattern(uint32_t len, unsigned int seed)
{
	unsigned char *data = malloc(len ? len : 1);

	for (uint32_t i = 0; i < len; i++)
		data[i] = (unsigned char)(seed + i * 7);
	return data;
}

static void
add(bench *b, uint32_t len, uint16_t port, unsigned int seed)
{
	vn_datagram_head h = head_of(len, port);
	unsigned char *data = pattern(len, seed);

	ck_assert(vn_frames_add(&b->frames, &b->area, &h, data, 0));
	free(data);
}

/* A reader. */
typedef struct reader {
	uint32_t block;
	uint64_t at;
	vn_frame frame;
} reader;

static void
next_frame(bench *b, reader *r)
{
	if (r->at == 0)
		r->block = b->frames.chain.first;
	while (b->area.table[r->block].end <= r->at)
		r->block = b->area.table[r->block].next;
	ck_assert_int_eq(vn_frame_at(&b->area, r->block, r->at, &r->frame), 1);
	r->at = r->frame.end;
}

static void
expect(bench *b, const reader *r, uint32_t at, uint32_t len, unsigned int seed)
{
	unsigned char *data = pattern(len, seed), *got = malloc(len ? len : 1);

	ck_assert_uint_eq(vn_frame_datagram_len(&r->frame.head, at), len);
	vn_area_read(b->area.segment, r->frame.block, r->frame.offset + at, got, len);
	ck_assert_mem_eq(got, data, len);
	free(data);
	free(got);
}

START_TEST(datagrams_of_any_size_are_read_as_they_were_written)
{
	static const uint32_t sizes[] = {
		0, 1, 0, 52, 203, 204, 205, 2000, 16384, 65484, 65485, 65507, 65527, 3, 0};
	bench b;
	reader r = {0};

	bench_open(&b);
	for (unsigned int i = 0; i < sizeof sizes / sizeof *sizes; i++)
		add(&b, sizes[i], (uint16_t)i, i);
	for (unsigned int i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		next_frame(&b, &r);
		ck_assert_uint_eq(r.frame.head.port, i);
		ck_assert_uint_eq(r.frame.head.len, sizes[i]);
		ck_assert_uint_eq(vn_frame_datagrams(&r.frame.head), 1);
		expect(&b, &r, 0, sizes[i], i);
	}
	ck_assert_uint_eq(r.at, b.frames.end);
	vn_chain_free(&b.frames.chain, b.area.table, b.area.blocks, b.frames.end);
	ck_assert_uint_eq(vn_blocks_available(b.area.blocks), AREA);
	ck_assert_uint_eq(b.frames.chain.charge, 0);
	bench_close(&b);
}
END_TEST

START_TEST(datagrams_alike_make_a_run_that_a_shorter_one_ends)
{
	bench b;
	reader r = {0};

	bench_open(&b);
	for (unsigned int i = 0; i < 5; i++)
		add(&b, i < 3 ? 10 : 4, 1, i);
	add(&b, 4, 2, 5);
	next_frame(&b, &r);
	ck_assert_uint_eq(r.frame.head.segment, 10);
	ck_assert_uint_eq(vn_frame_datagrams(&r.frame.head), 4);
	for (unsigned int i = 0; i < 4; i++)
		expect(&b, &r, i * 10, i < 3 ? 10 : 4, i);
	next_frame(&b, &r);
	ck_assert_uint_eq(vn_frame_datagrams(&r.frame.head), 1);
	expect(&b, &r, 0, 4, 4);
	next_frame(&b, &r);
	ck_assert_uint_eq(r.frame.head.port, 2);
	bench_close(&b);
}
END_TEST

START_TEST(a_run_is_no_longer_than_the_kernel_takes)
{
	bench b;
	reader r = {0};
	uint32_t n = 0;

	bench_open(&b);
	for (unsigned int i = 0; i < 200; i++)
		add(&b, 1, 1, i);
	while (r.at < b.frames.end) {
		next_frame(&b, &r);
		ck_assert_uint_le(vn_frame_datagrams(&r.frame.head), VN_RUN_DATAGRAMS);
		n += vn_frame_datagrams(&r.frame.head);
	}
	ck_assert_uint_eq(n, 200);
	bench_close(&b);
}
END_TEST

START_TEST(what_is_published_is_not_changed_any_more)
{
	bench b;
	reader r = {0};

	bench_open(&b);
	add(&b, 10, 1, 0);
	vn_frames_seal(&b.frames);
	add(&b, 10, 1, 1);
	next_frame(&b, &r);
	ck_assert_uint_eq(r.frame.head.len, 10);
	next_frame(&b, &r);
	expect(&b, &r, 0, 10, 1);
	bench_close(&b);
}
END_TEST

START_TEST(nothing_is_kept_of_what_does_not_fit)
{
	vn_datagram_head h = head_of(60000, 1);
	unsigned char *data = pattern(60000, 0);
	uint64_t end;
	bench b;

	bench_open(&b);
	while (vn_frames_add(&b.frames, &b.area, &h, data, 0))
		vn_frames_seal(&b.frames);
	end = b.frames.end;
	ck_assert_uint_eq(end, AREA / VN_SPAN_BYTES * (VN_FRAME_HEAD + 60000));
	h = head_of(65527, 1);
	ck_assert(!vn_frames_add(&b.frames, &b.area, &h, data, 0));
	ck_assert_uint_eq(b.frames.end, end);
	free(data);
	bench_close(&b);
}
END_TEST

/* A head that somebody else wrote, and what is made of it when `fill` bytes follow it. */
static int
read_bad(uint32_t len, uint16_t segment, uint32_t fill, bool has_next)
{
	vn_datagram_head h = {.len = len, .segment = segment};
	vn_chain chain = VN_CHAIN_EMPTY;
	vn_frame f;
	bench b;
	int rc;

	bench_open(&b);
	vn_area_write(&b.segment, 0, 0, &h, sizeof h);
	vn_chain_push(&chain, b.area.table, 0, VN_FRAME_HEAD + fill, VN_FRAME_HEAD + fill);
	if (has_next)
		vn_chain_push(&chain, b.area.table, 256, 100, VN_FRAME_HEAD + fill + 100);
	rc = vn_frame_at(&b.area, 0, 0, &f);
	bench_close(&b);
	return rc;
}

START_TEST(heads_that_lie_are_found)
{
	ck_assert_int_eq(read_bad(10, 0, 10, false), 1);
	ck_assert_int_eq(read_bad(10, 0, 9, false), -EPROTO);
	ck_assert_int_eq(read_bad(10, 10, 10, false), -EPROTO);
	ck_assert_int_eq(read_bad(0, 1, 10, false), -EPROTO);
	ck_assert_int_eq(read_bad(UINT32_MAX, 0, 10, true), -EPROTO);
	ck_assert_int_eq(read_bad(100, 0, 0, true), 1);
	ck_assert_int_eq(read_bad(101, 0, 0, true), -EPROTO);
	ck_assert_int_eq(read_bad(100, 0, 0, false), 0);
	ck_assert_int_eq(read_bad(0, 0, 0, false), 1);
}
END_TEST

START_TEST(half_a_head_is_no_frame)
{
	vn_chain chain = VN_CHAIN_EMPTY;
	vn_frame f;
	bench b;

	bench_open(&b);
	vn_chain_push(&chain, b.area.table, 0, VN_FRAME_HEAD - 1, VN_FRAME_HEAD - 1);
	ck_assert_int_eq(vn_frame_at(&b.area, 0, 0, &f), -EPROTO);
	bench_close(&b);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		datagrams_of_any_size_are_read_as_they_were_written,
		datagrams_alike_make_a_run_that_a_shorter_one_ends,
		a_run_is_no_longer_than_the_kernel_takes,
		what_is_published_is_not_changed_any_more,
		nothing_is_kept_of_what_does_not_fit,
		heads_that_lie_are_found,
		half_a_head_is_no_frame,
	};

	return suite_run("datagram", tests, SUITE_COUNT(tests));
}
