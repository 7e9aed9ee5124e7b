/* SPDX-License-Identifier: MIT */
/*
 * Row - values, and how they are written down
 */
#include "broker/row.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "broker/log.h"

#define WIDTH_MAX 40 /* what is longer pushes the rest of its line */

static vn_value *
row_next(vn_row *row)
{
	assert(row->n < VN_ROW_MAX);
	return &row->values[row->n++];
}

/**
 * vn_row_clear() - no values
 */
void
vn_row_clear(vn_row *row)
{
	row->n = 0;
	row->used = 0;
}

/**
 * vn_row_none() - the next value is not known
 */
void
vn_row_none(vn_row *row)
{
	*row_next(row) = (vn_value){.kind = VN_VALUE_NONE};
}

/**
 * vn_row_number() - the next value is a number, in base units
 */
void
vn_row_number(vn_row *row, uint64_t number)
{
	*row_next(row) = (vn_value){.kind = VN_VALUE_NUMBER, .number = number};
}

/**
 * vn_row_flag() - the next value is true or false
 */
void
vn_row_flag(vn_row *row, bool flag)
{
	*row_next(row) = (vn_value){.kind = VN_VALUE_FLAG, .number = flag};
}

/**
 * vn_row_seconds() - the next value is a duration, shown in seconds
 * @ns: nanoseconds; microseconds are shown
 */
void
vn_row_seconds(vn_row *row, uint64_t ns)
{
	*row_next(row) = (vn_value){.kind = VN_VALUE_SECONDS, .number = ns};
}

/**
 * vn_row_text() - the next value is a text; an empty one counts as none
 * @format: of printf(3); cut when the row has no more room, control characters are replaced
 */
void
vn_row_text(vn_row *row, const char *format, ...)
{
	char *text = row->room + row->used;
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof row->room - row->used, format, args);
	va_end(args);
	if (!*text) {
		vn_row_none(row);
		return;
	}
	vn_log_clean(text, strlen(text));
	*row_next(row) = (vn_value){.kind = VN_VALUE_TEXT, .text = text};
	row->used += (uint32_t)strlen(text);
	row->used +=
		row->used < sizeof row->room - 1; /* the last byte stays for ever empty texts */
}

static const char *
value_text(const vn_value *v, char number[static 24])
{
	switch (v->kind) {
	case VN_VALUE_NUMBER:
		snprintf(number, 24, "%" PRIu64, v->number);
		return number;
	case VN_VALUE_SECONDS:
		snprintf(number, 24, "%.6f", (double)v->number / 1e9);
		return number;
	case VN_VALUE_FLAG:
		return v->number ? "yes" : "no";
	case VN_VALUE_TEXT:
		return v->text;
	default:
		return "-";
	}
}

/**
 * vn_widths_measure() - make room for a row
 */
void
vn_widths_measure(vn_widths *w, const vn_row *row)
{
	char number[24];

	for (uint32_t i = 0; i < row->n; i++) {
		size_t len = strlen(value_text(&row->values[i], number));

		len = len < WIDTH_MAX ? len : WIDTH_MAX;
		w->of[i] = len > w->of[i] ? (uint8_t)len : w->of[i];
	}
}

/**
 * vn_row_print() - one line of a table
 * @out: at least VN_ROW_BYTES + VN_ROW_MAX * 42 bytes hold any row
 *
 * Return: the length of the line, with its newline; no blanks at its end.
 */
size_t
vn_row_print(const vn_row *row, const vn_widths *w, char *out, size_t size)
{
	char number[24];
	size_t len = 0;

	for (uint32_t i = 0; i < row->n; i++) {
		int width = i + 1 < row->n ? w->of[i] : 0;
		int n = snprintf(out + len, size - len, "%s%-*s", i > 0 ? "  " : "", width,
			value_text(&row->values[i], number));

		if (n < 0 || (size_t)n >= size - len)
			break;
		len += (size_t)n;
	}
	len = len < size - 1 ? len : size - 1;
	out[len++] = '\n';
	return len;
}

/**
 * vn_columns_row() - the names of the columns, as the first line of a table
 */
void
vn_columns_row(const vn_columns *c, vn_row *row)
{
	vn_row_clear(row);
	for (uint32_t i = 0; i < c->n; i++)
		*row_next(row) = (vn_value){.kind = VN_VALUE_TEXT, .text = c->names[i]};
}

/**
 * vn_json_text() - a text as JSON
 *
 * Paths can be anything, JSON is UTF-8: of a text that is not, what is no ASCII becomes '?'.
 */
json_t *
vn_json_text(const char *text)
{
	json_t *value = json_string(text);
	char *copy;

	if (value)
		return value;
	copy = strdup(text);
	for (char *p = copy; p && *p; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	value = copy ? json_string(copy) : NULL;
	free(copy);
	return value;
}

/* Ten thousand rows are asked for while others are served: what is plain is written as it is. */

static bool
is_plain(const char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~' || *text == '"' || *text == '\\')
			return false;
	return true;
}

/* What is not, by the library. */
static int
put_json(FILE *to, json_t *value)
{
	int rc = value ? json_dumpf(value, to, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)) : -1;

	json_decref(value);
	return rc;
}

static int
put_text(FILE *to, const char *text)
{
	if (!is_plain(text))
		return put_json(to, vn_json_text(text));
	fputc('"', to);
	fputs(text, to);
	return fputc('"', to);
}

static int
put_value(FILE *to, const vn_value *v)
{
	char number[24];

	switch (v->kind) {
	case VN_VALUE_NUMBER:
		return fputs(value_text(v, number), to);
	case VN_VALUE_SECONDS:
		return put_json(to, json_real((double)v->number / 1e9));
	case VN_VALUE_FLAG:
		return fputs(v->number ? "true" : "false", to);
	case VN_VALUE_TEXT:
		return put_text(to, v->text);
	default:
		return fputs("null", to);
	}
}

/* How much of a name is that of an object, with its dot; 0: it is no member of one. */
static size_t
home_len(const char *name)
{
	const char *dot = strchr(name, '.');

	return dot ? (size_t)(dot - name) + 1 : 0;
}

/* Members of one object follow each other. Return: home_len() of this one. */
static size_t
put_name(FILE *to, const char *name, const char *last)
{
	size_t home = home_len(name), was = last ? home_len(last) : 0;
	bool same = home > 0 && home == was && strncmp(name, last, home) == 0;

	if (was > 0 && !same)
		fputc('}', to);
	if (last)
		fputs(", ", to);
	if (home > 0 && !same)
		fprintf(to, "\"%.*s\": {", (int)home - 1, name);
	fprintf(to, "\"%s\": ", name + home);
	return home;
}

/**
 * vn_row_json() - a row as a JSON object on one line
 *
 * Return: for free(), or NULL: out of memory.
 */
char *
vn_row_json(const vn_row *row, const vn_columns *c)
{
	char *text = NULL;
	size_t len, home = 0;
	FILE *to = open_memstream(&text, &len);
	int rc = to ? 0 : -1;

	if (to)
		fputc('{', to);
	for (uint32_t i = 0; i < row->n && rc >= 0; i++) {
		home = put_name(to, c->names[i], i > 0 ? c->names[i - 1] : NULL);
		rc = put_value(to, &row->values[i]);
	}
	if (to) {
		fputs(home > 0 ? "}}" : "}", to);
		rc = ferror(to) ? -1 : rc;
		rc = fclose(to) != 0 ? -1 : rc;
	}
	if (rc >= 0)
		return text;
	free(text);
	return NULL;
}
