/* SPDX-License-Identifier: MIT */
/*
 * Reader - a counters file, as somebody reads it who does not trust it
 *
 * Everything that says where something lies, or what it is called, is copied and checked once; from then on only
 * values are read where they lie, each word by one load. So nothing that anybody writes there afterwards can lead
 * astray. The broker reads its own file in this way when it is asked for metrics, and so does `vanilla stat`.
 */
#ifndef VN_BROKER_READER_H
#define VN_BROKER_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/counters.h"

#define VN_READER_TABLES 8u
#define VN_READER_FIELDS 256u
#define VN_READER_BOUNDS 256u
#define VN_READER_ERRORS 256u
#define VN_READER_ROWS   4096u /* of a table */

typedef struct vn_reader {
	const unsigned char *base;
	vn_counters_header header;
	vn_counters_table tables[VN_READER_TABLES];
	vn_counters_field *fields;
	uint64_t bounds[VN_READER_BOUNDS];
} vn_reader;

/* One value, or one histogram. */
typedef struct vn_sample {
	const vn_counters_table *table;
	const vn_counters_field *field;
	vn_counters_field own; /* where field points to if workers count it themselves */
	char row[360];         /* which row of the table, where it has a label */
	bool begins;           /* the first one of its family */
	bool is_gone;          /* what it was counted for */
	uint64_t value;        /* of a histogram: the sum */
	uint64_t counts[VN_READER_BOUNDS]; /* of a histogram, by bucket */
} vn_sample;

/* Where a walk through all samples is; zero at its beginning. */
typedef struct vn_reader_cursor {
	uint32_t table, first, row, member; /* first: field of the family, of those of the table */
	bool printed;                       /* of this family there was one */
} vn_reader_cursor;

int vn_reader_init(vn_reader *v, const void *base, size_t size, const char **why);
void vn_reader_deinit(vn_reader *v);
bool vn_reader_next(const vn_reader *v, vn_reader_cursor *at, vn_sample *sample);
bool vn_reader_error(const vn_reader *v, uint32_t i, vn_counters_error *copy);
uint64_t vn_reader_sampled(const vn_reader *v);
uint64_t vn_sample_count(const vn_reader *v, const vn_sample *s);
uint64_t vn_sample_quantile(const vn_reader *v, const vn_sample *s, double quantile);

#endif
