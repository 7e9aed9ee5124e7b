/* SPDX-License-Identifier: MIT */
/*
 * Row - the values of one thing that is shown, as text or as JSON
 *
 * A report names its columns; a row has one value for each, in that order. A column "resets_total.limit" is a
 * member of an object in JSON. No value is "-" as text and null in JSON.
 */
#ifndef VN_BROKER_ROW_H
#define VN_BROKER_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VN_ROW_MAX   64   /* columns */
#define VN_ROW_BYTES 2048 /* of text in a row */

typedef struct vn_value {
	enum {
		VN_VALUE_NONE,
		VN_VALUE_NUMBER,
		VN_VALUE_TEXT,
		VN_VALUE_FLAG,
		VN_VALUE_SECONDS
	} kind;
	uint64_t number; /* SECONDS: nanoseconds */
	const char *text;
} vn_value;

typedef struct vn_row {
	uint32_t n;
	uint32_t used; /* of room */
	vn_value values[VN_ROW_MAX];
	char room[VN_ROW_BYTES];
} vn_row;

typedef struct vn_columns {
	uint32_t n;
	const char *names[VN_ROW_MAX];
} vn_columns;

/* Widths of the columns as text: grows until the first line is printed. */
typedef struct vn_widths {
	uint8_t of[VN_ROW_MAX];
} vn_widths;

void vn_row_clear(vn_row *row);
void vn_row_none(vn_row *row);
void vn_row_number(vn_row *row, uint64_t number);
void vn_row_flag(vn_row *row, bool flag);
void vn_row_seconds(vn_row *row, uint64_t ns);
void vn_row_text(vn_row *row, const char *format, ...) __attribute__((format(printf, 2, 3)));

void vn_widths_measure(vn_widths *w, const vn_row *row);
size_t vn_row_print(const vn_row *row, const vn_widths *w, char *out, size_t size);
void vn_columns_row(const vn_columns *c, vn_row *row);
struct json_t *vn_json_text(const char *text);
char *vn_row_json(const vn_row *row, const vn_columns *c);

#endif
