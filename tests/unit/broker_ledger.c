/* SPDX-License-Identifier: MIT */
/*
 * Ledger - records come back lowest first, and nothing of an earlier use passes for a later one
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "broker/ledger.h"
#include "tests/unit/suite.h"

#define N_RECORDS 1000u
#define AREA      (1u << 20)

static vn_ledger *
ledger_open(void)
{
	vn_ledger *l = vn_ledger_new(N_RECORDS, 3, AREA);

	ck_assert_ptr_nonnull(l);
	return l;
}

START_TEST(the_lowest_free_record_is_taken)
{
	vn_ledger *l = ledger_open();
	uint64_t random = 1;
	bool used[N_RECORDS] = {false};
	uint32_t n_used = 0;

	for (uint32_t i = 0; i < 200000; i++) {
		uint32_t lowest = 0, index = (uint32_t)(suite_random(&random) % N_RECORDS);

		if (used[index] && suite_random(&random) % 2) {
			vn_ledger_give(l, index);
			used[index] = false;
			n_used--;
			continue;
		}
		while (lowest < N_RECORDS && used[lowest])
			lowest++;
		index = vn_ledger_take(l);
		suite_assert(index == (lowest == N_RECORDS ? VN_NO_RECORD : lowest));
		if (index == VN_NO_RECORD)
			continue;
		used[index] = true;
		n_used++;
		suite_assert(l->n_used == n_used && l->high > index);
	}
	ck_assert_ptr_null(vn_ledger_free(l));
}
END_TEST

START_TEST(all_records_can_be_taken_and_no_more)
{
	/* Sizes at which the last word of the map is full, or has bits that are no records. */
	for (uint32_t size = 1; size < 200; size++) {
		vn_ledger *l = vn_ledger_new(size, 2, AREA);

		ck_assert_ptr_nonnull(l);
		for (uint32_t i = 0; i < size; i++)
			suite_assert(vn_ledger_take(l) == i);
		suite_assert(vn_ledger_take(l) == VN_NO_RECORD);
		vn_ledger_give(l, size - 1);
		suite_assert(vn_ledger_take(l) == size - 1);
		suite_assert(vn_ledger_take(l) == VN_NO_RECORD);
		vn_ledger_free(l);
	}
}
END_TEST

/* A worker may still say something of the connection that was there before: it must not find the next one. */
START_TEST(a_generation_is_over_when_its_record_is_given_back)
{
	vn_ledger *l = ledger_open();
	uint32_t last = 0;
	uint64_t last_id = 0;

	for (int i = 0; i < 1000; i++) {
		vn_record *r = vn_record_at(l, vn_ledger_take(l));

		ck_assert_ptr_eq(r, vn_record_at(l, 0));
		ck_assert_uint_gt(r->gen, last);
		ck_assert_uint_gt(r->id, last_id);
		r->gen += (uint32_t)i % 3; /* that many attachments */
		last = r->gen;
		last_id = r->id;
		vn_ledger_give(l, 0);
	}
	vn_ledger_free(l);
}
END_TEST

START_TEST(a_fresh_record_has_nothing_of_the_one_before)
{
	vn_ledger *l = ledger_open();
	vn_record *r = vn_record_at(l, vn_ledger_take(l));

	memset(r, 0xff, sizeof *r);
	vn_ledger_give(l, 0);
	ck_assert_uint_eq(r->flags, 0);
	ck_assert_uint_eq(r->id, 0);
	ck_assert_uint_eq(vn_ledger_take(l), 0);
	ck_assert_uint_eq(r->flags, VN_R_USED);
	ck_assert_int_eq(r->fd, -1);
	ck_assert_uint_eq(r->worker, UINT16_MAX);
	ck_assert_uint_eq(r->received | r->delivered | r->acked | r->committed, 0);
	ck_assert_uint_eq(r->queued | r->queued_c | r->sent | r->reported, 0);
	ck_assert_uint_eq(r->debts, 0);
	ck_assert(vn_chain_is_empty(&r->in) && vn_chain_is_empty(&r->out));
	ck_assert(vn_chain_is_empty(&r->kept));
	ck_assert(r->state == VN_NO_BLOCK && r->staged == VN_NO_BLOCK);
	ck_assert_uint_eq(r->n_attempts | r->blame, 0);
	vn_ledger_free(l);
}
END_TEST

START_TEST(tables_of_each_slot_and_the_spill_lie_apart)
{
	vn_ledger *l = ledger_open();
	uint32_t n = l->n_spill + 2 * l->n_granules, spill = l->n_spill * VN_GRANULE;

	ck_assert_uint_eq(l->n_granules, AREA / VN_GRANULE);
	for (uint32_t ref = 0; ref < n; ref++) {
		l->in_table[ref].end = ref;
		l->out_table[ref].end = n + ref;
	}
	memset(vn_area_at(&l->spill, 0, 0), 0xff, spill);
	for (uint32_t i = 0; i < N_RECORDS; i++)
		memset(vn_record_at(l, i), 0xff, sizeof(vn_record));
	for (uint32_t ref = 0; ref < n; ref++)
		suite_assert(l->in_table[ref].end == ref && l->out_table[ref].end == n + ref);
	ck_assert_uint_ge(spill, 4 * AREA); /* both lanes of both workers */
	ck_assert_uint_eq(vn_blocks_available(l->spill_blocks), spill);
	ck_assert_uint_eq(vn_ledger_ref(l, 1, 0), l->n_spill);
	ck_assert_uint_eq(vn_ledger_ref(l, 2, 0), l->n_spill + l->n_granules);
	vn_ledger_free(l);
}
END_TEST

START_TEST(memory_is_committed_by_use)
{
	vn_ledger *l = vn_ledger_new(1u << 20, 64, 8u << 20);
	struct stat st;

	ck_assert_ptr_nonnull(l);
	for (int i = 0; i < 100; i++)
		vn_ledger_take(l);
	ck_assert_int_eq(fstat(l->fd, &st), 0);
	ck_assert_int_gt(st.st_size, 200 << 20);
	ck_assert_int_le(st.st_blocks * 512, 100 * (long)sizeof(vn_record) + 4096);
	vn_ledger_free(l);
	ck_assert_ptr_null(vn_ledger_free(NULL));
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		the_lowest_free_record_is_taken,
		all_records_can_be_taken_and_no_more,
		a_generation_is_over_when_its_record_is_given_back,
		a_fresh_record_has_nothing_of_the_one_before,
		tables_of_each_slot_and_the_spill_lie_apart,
		memory_is_committed_by_use,
	};

	return suite_run("broker_ledger", tests, SUITE_COUNT(tests));
}
