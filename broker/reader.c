/* SPDX-License-Identifier: MIT */
/*
 * Reader - checks what a counters file says of itself, and walks through its values
 *
 * The walk is in the order that Prometheus wants: family by family, and in each of them row by row.
 */
#include "broker/reader.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/log.h"

#define TRIES 100 /* to find a row that is not just being written */

/* Do n things of that size lie in the file, and where words may lie? */
static bool
lies_within(const vn_counters_header *h, uint64_t offset, uint64_t n, uint64_t size)
{
	return offset % sizeof(uint64_t) == 0 && offset >= sizeof *h && offset <= h->file_bytes &&
	       n * size <= h->file_bytes - offset;
}

/* A name, as Prometheus wants it; empty only where that is allowed. The copy is terminated. */
static bool
is_name(char *text, size_t size, bool may_be_empty)
{
	text[size - 1] = '\0';
	if (!*text || isdigit((unsigned char)*text))
		return !*text && may_be_empty;
	for (; *text; text++)
		if (!islower((unsigned char)*text) && !isdigit((unsigned char)*text) &&
			*text != '_')
			return false;
	return true;
}

/* Text for people: terminated, and nothing in it that a terminal or a parser could take amiss. */
static void
make_text(char *text, size_t size)
{
	text[size - 1] = '\0';
	vn_log_clean(text, strlen(text));
	for (; *text; text++)
		if ((unsigned char)*text >= 0x80)
			*text = '?';
}

static const char *
check_header(vn_counters_header *h, size_t size)
{
	if (h->magic != VN_COUNTERS_MAGIC)
		return "it is no counters file";
	if (h->version != VN_COUNTERS_VERSION)
		return "it has another layout; use the vanilla that wrote it";
	if (h->file_bytes > size)
		return "it is cut short";
	if (h->n_tables > VN_READER_TABLES || h->n_fields > VN_READER_FIELDS ||
		h->n_bounds > VN_READER_BOUNDS || h->n_bounds < 2 || h->n_errors > VN_READER_ERRORS)
		return "its header has bad numbers";
	if (!lies_within(h, h->tables, h->n_tables, sizeof(vn_counters_table)) ||
		!lies_within(h, h->fields, h->n_fields, sizeof(vn_counters_field)) ||
		!lies_within(h, h->bounds, h->n_bounds, sizeof(uint64_t)) ||
		!lies_within(h, h->errors, h->n_errors, sizeof(vn_counters_error)))
		return "its header has bad offsets";
	make_text(h->service, sizeof h->service);
	make_text(h->release, sizeof h->release);
	return NULL;
}

static bool
check_field(const vn_reader *v, const vn_counters_table *t, vn_counters_field *f)
{
	uint64_t words = f->kind == VN_FIELD_HISTOGRAM ? 1u + v->header.n_bounds : 1;

	make_text(f->value, sizeof f->value);
	make_text(f->help, sizeof f->help);
	return is_name(f->name, sizeof f->name, false) &&
	       is_name(f->label, sizeof f->label, true) && f->kind >= VN_FIELD_COUNTER &&
	       f->kind <= VN_FIELD_HISTOGRAM && f->offset % sizeof(uint64_t) == 0 &&
	       f->offset >= sizeof(vn_counters_row) &&
	       f->offset + words * sizeof(uint64_t) <= t->row_bytes;
}

static bool
check_table(const vn_reader *v, vn_counters_table *t)
{
	const vn_counters_header *h = &v->header;

	uint32_t least =
		t->kind == VN_TABLE_NAMED ? sizeof(vn_own_counters) : sizeof(vn_counters_row);

	if (!is_name(t->name, sizeof t->name, false) || !is_name(t->label, sizeof t->label, true) ||
		(t->kind != VN_TABLE_FIELDS && (t->kind != VN_TABLE_NAMED || t->n_fields)) ||
		t->n_rows > VN_READER_ROWS || t->row_bytes % sizeof(uint64_t) ||
		t->row_bytes < least || !lies_within(h, t->rows, t->n_rows, t->row_bytes) ||
		t->n_fields > h->n_fields || t->first_field > h->n_fields - t->n_fields)
		return false;
	for (uint32_t i = 0; i < t->n_fields; i++)
		if (!check_field(v, t, &v->fields[t->first_field + i]))
			return false;
	return true;
}

static const char *
copy_all(vn_reader *v)
{
	const vn_counters_header *h = &v->header;

	v->fields = calloc(h->n_fields + 1, sizeof *v->fields);
	if (!v->fields)
		return "out of memory";
	memcpy(v->tables, v->base + h->tables, h->n_tables * sizeof *v->tables);
	memcpy(v->fields, v->base + h->fields, h->n_fields * sizeof *v->fields);
	memcpy(v->bounds, v->base + h->bounds, h->n_bounds * sizeof *v->bounds);
	for (uint32_t i = 0; i < h->n_tables; i++)
		if (!check_table(v, &v->tables[i]))
			return "one of its tables is bad";
	for (uint32_t i = 1; i < h->n_bounds; i++)
		if (v->bounds[i] <= v->bounds[i - 1])
			return "its bounds are bad";
	return NULL;
}

/**
 * vn_reader_init() - understand a counters file
 * @base: where it is mapped, or a copy of it; on a boundary of 8 bytes
 * @why:  what is wrong with it, when this fails
 *
 * Return: 0, or -EINVAL.
 */
int
vn_reader_init(vn_reader *v, const void *base, size_t size, const char **why)
{
	memset(v, 0, sizeof *v);
	v->base = base;
	*why = "it is cut short";
	if (size < sizeof v->header)
		return -EINVAL;
	memcpy(&v->header, base, sizeof v->header);
	*why = check_header(&v->header, size);
	if (!*why)
		*why = copy_all(v);
	if (!*why)
		return 0;
	vn_reader_deinit(v);
	return -EINVAL;
}

void
vn_reader_deinit(vn_reader *v)
{
	free(v->fields);
	v->fields = NULL;
}

static uint64_t
load(const unsigned char *at)
{
	return __atomic_load_n((const uint64_t *)(const void *)at, __ATOMIC_RELAXED);
}

static const vn_counters_row *
row_at(const vn_reader *v, const vn_counters_table *t, uint32_t i)
{
	return (const void *)(v->base + t->rows + (size_t)i * t->row_bytes);
}

/* A copy between two looks at the sequence number; a writer that died in between leaves it odd for good. */
static void
copy_steadily(const void *from, void *to, size_t size, const uint32_t *sequence)
{
	for (int i = 0; i < TRIES; i++) {
		uint32_t before = __atomic_load_n(sequence, __ATOMIC_ACQUIRE);

		memcpy(to, from, size);
		__atomic_thread_fence(__ATOMIC_ACQUIRE); /* the copy before the second look */
		if (before % 2 == 0 && __atomic_load_n(sequence, __ATOMIC_RELAXED) == before)
			return;
	}
}

static void
sample_values(const vn_reader *v, const vn_counters_row *row, vn_sample *s)
{
	const unsigned char *at = (const unsigned char *)row + s->field->offset;

	s->value = load(at);
	if (s->field->kind != VN_FIELD_HISTOGRAM)
		return;
	for (uint32_t i = 0; i < v->header.n_bounds; i++)
		s->counts[i] = load(at + (1 + i) * sizeof(uint64_t));
}

/* What is said of a row, and whether there is anything to be said. */
static bool
row_copy(const vn_counters_row *row, void *to, size_t size, vn_sample *s)
{
	vn_counters_row *copy = to;

	copy_steadily(row, to, size, &row->sequence);
	copy->label[sizeof copy->label - 1] = '\0';
	s->is_gone = copy->state == VN_ROW_GONE;
	return copy->state == VN_ROW_USED || s->is_gone;
}

_Static_assert(sizeof((vn_sample *)0)->row >= 3 * sizeof((vn_counters_row *)0)->label, "room");

/* As in a URL: no two labels become one, and what is no printable ASCII reaches nobody. */
static void
label_copy(char *to, const char *label)
{
	for (; *label; label++)
		if (*label >= ' ' && *label <= '~')
			*to++ = *label;
		else
			to += sprintf(to, "%%%02X", (unsigned char)*label);
	*to = '\0';
}

/* The row and the field under the cursor. Return: false if there is nothing to show of it. */
static bool
sample_field(
	const vn_reader *v, const vn_counters_table *t, const vn_reader_cursor *at, vn_sample *s)
{
	const vn_counters_row *row = row_at(v, t, at->row);
	vn_counters_row copy;

	s->field = &v->fields[t->first_field + at->member];
	if (!row_copy(row, &copy, sizeof copy, s) ||
		(s->is_gone && s->field->kind == VN_FIELD_GAUGE))
		return false;
	label_copy(s->row, copy.label);
	sample_values(v, row, s);
	return true;
}

static bool
own_field(vn_own_counters *copy, vn_counters_field *f)
{
	memset(f, 0, sizeof *f);
	f->kind = copy->kind;
	memcpy(f->name, copy->row.label, sizeof f->name);
	memcpy(f->help, copy->help, sizeof f->help);
	make_text(f->help, sizeof f->help);
	return is_name(f->name, sizeof f->name, false) &&
	       (f->kind == VN_FIELD_COUNTER || f->kind == VN_FIELD_REAL);
}

/* The same of what workers count themselves: the first value is that of all, the others are of one each. */
static bool
sample_own(const vn_reader *v, const vn_counters_table *t, const vn_reader_cursor *at, vn_sample *s)
{
	const vn_counters_row *row = row_at(v, t, at->row);
	vn_own_counters copy;

	if (!row_copy(row, &copy, offsetof(vn_own_counters, values), s) ||
		!own_field(&copy, &s->own) ||
		(s->own.kind == VN_FIELD_COUNTER) != (at->member == 0))
		return false;
	s->field = &s->own;
	s->row[0] = '\0';
	if (at->member)
		snprintf(s->row, sizeof s->row, "%u", (unsigned)at->member);
	s->value = load((const unsigned char *)row + offsetof(vn_own_counters, values) +
			at->member * sizeof(uint64_t));
	return s->own.kind == VN_FIELD_COUNTER || s->value != VN_NO_REAL;
}

static bool
same_family(const vn_reader *v, const vn_counters_table *t, uint32_t a, uint32_t other)
{
	return other < t->n_fields && strcmp(v->fields[t->first_field + a].name,
					      v->fields[t->first_field + other].name) == 0;
}

static uint32_t
n_taken(const vn_reader *v, const vn_reader_cursor *at)
{
	const vn_counters_table *t = &v->tables[at->table];
	size_t entry = v->header.tables + at->table * sizeof *t;
	uint32_t n = __atomic_load_n(
		(const uint32_t *)(const void *)(v->base + entry +
						 offsetof(vn_counters_table, n_taken)),
		__ATOMIC_ACQUIRE);

	return n < t->n_rows ? n : t->n_rows;
}

/* The next member of the family in this row, or the first one in the next row, or the next family. */
static void
advance_fields(const vn_reader *v, vn_reader_cursor *at)
{
	const vn_counters_table *t = &v->tables[at->table];

	if (same_family(v, t, at->first, ++at->member))
		return;
	if (++at->row < n_taken(v, at)) {
		at->member = at->first;
		return;
	}
	*at = (vn_reader_cursor){.table = at->table, .first = at->member, .member = at->member};
}

/* The next value of the row, or the next row. */
static void
advance_own(vn_reader_cursor *at)
{
	if (++at->member > VN_COUNTERS_WORKERS)
		*at = (vn_reader_cursor){.table = at->table, .row = at->row + 1};
}

static bool
at_end(const vn_reader *v, const vn_reader_cursor *at)
{
	const vn_counters_table *t = &v->tables[at->table];

	return at->row >= n_taken(v, at) ||
	       (t->kind == VN_TABLE_FIELDS && at->member >= t->n_fields);
}

/**
 * vn_reader_next() - the next value that there is
 * @at:     zero at first
 * @sample: filled in
 *
 * Return: false at the end.
 */
bool
vn_reader_next(const vn_reader *v, vn_reader_cursor *at, vn_sample *sample)
{
	while (at->table < v->header.n_tables) {
		const vn_counters_table *t = &v->tables[at->table];
		bool named = t->kind == VN_TABLE_NAMED, found;

		if (at_end(v, at)) {
			*at = (vn_reader_cursor){.table = at->table + 1};
			continue;
		}
		sample->table = t;
		found = (named ? sample_own : sample_field)(v, t, at, sample);
		sample->begins = found && !at->printed;
		at->printed |= found;
		if (named)
			advance_own(at);
		else
			advance_fields(v, at);
		if (found)
			return true;
	}
	return false;
}

/**
 * vn_reader_error() - one of the distinct errors
 * @i:    less than header.n_errors
 * @copy: filled in
 *
 * Return: false if there is none in that place.
 */
bool
vn_reader_error(const vn_reader *v, uint32_t i, vn_counters_error *copy)
{
	const vn_counters_error *e =
		(const vn_counters_error *)(const void *)(v->base + v->header.errors) + i;

	copy_steadily(e, copy, sizeof *copy, &e->sequence);
	make_text(copy->text, sizeof copy->text);
	return copy->count > 0;
}

/**
 * vn_reader_sampled() - when the gauges were brought up to date, and the broker was alive
 *
 * Return: nanoseconds of CLOCK_MONOTONIC.
 */
uint64_t
vn_reader_sampled(const vn_reader *v)
{
	return load(v->base + offsetof(vn_counters_header, sampled_ns));
}

/**
 * vn_sample_count() - how many durations a histogram has
 */
uint64_t
vn_sample_count(const vn_reader *v, const vn_sample *s)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < v->header.n_bounds; i++)
		n += s->counts[i];
	return n;
}

/**
 * vn_sample_quantile() - a duration that this share of all was not longer than
 *
 * Return: nanoseconds: the bound of the bucket in which it is, that of the last but one if it is in the last; 0
 * if there is none.
 */
uint64_t
vn_sample_quantile(const vn_reader *v, const vn_sample *s, double quantile)
{
	double rank = quantile * (double)vn_sample_count(v, s), n = 0;

	for (uint32_t i = 0; i < v->header.n_bounds - 1; i++) {
		n += (double)s->counts[i];
		if (n > 0 && n >= rank)
			return v->bounds[i];
	}
	return rank > 0 ? v->bounds[v->header.n_bounds - 2] : 0;
}
