/* SPDX-License-Identifier: MIT */
/*
 * Counters - the metadata, the rows, and the distinct errors
 *
 * The metadata is made from the lists of members in counters.h. Whoever reads a row or an error while it changes
 * sees that by its sequence number; whoever finds it odd for good reads what a broker left that died just then.
 */
#include "broker/counters.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define ALIGNMENT 64
#define PREFIX    "vanilla_"

/* A line of the lists of members: one field, or n of them with a label. */
typedef struct description {
	const char *name, *label, *help;
	const char *(*value)(uint32_t i);
	uint32_t n, kind, offset;
} description;

typedef struct table {
	const char *name, *label, *prefix;
	const description *fields;
	uint32_t n_fields, n_rows;
	size_t row_bytes;
} table;

#define COUNTER_LINE(member, name, help)                                                           \
	{name, "", help, NULL, 1, VN_FIELD_COUNTER, offsetof(ROW, member)},
#define LABELLED_LINE(member, n, label, value, name, help)                                         \
	{name, label, help, value, n, VN_FIELD_COUNTER, offsetof(ROW, member)},
#define GAUGE_LINE(member, name, help)                                                             \
	{name, "", help, NULL, 1, VN_FIELD_GAUGE, offsetof(ROW, member)},
#define HISTOGRAM_LINE(member, name, help)                                                         \
	{name, "", help, NULL, 1, VN_FIELD_HISTOGRAM, offsetof(ROW, member)},
#define LINES(fields) fields(COUNTER_LINE, LABELLED_LINE, GAUGE_LINE, HISTOGRAM_LINE)

#define ROW vn_broker_counters
static const description broker_fields[] = {LINES(VN_BROKER_FIELDS)};
#undef ROW
#define ROW vn_worker_counters
static const description worker_fields[] = {LINES(VN_WORKER_FIELDS)};
#undef ROW
#define ROW vn_listener_counters
static const description listener_fields[] = {LINES(VN_LISTENER_FIELDS)};
#undef ROW

#define N(array) (sizeof(array) / sizeof *(array))

enum { BROKER, WORKERS, LISTENERS, OWN, N_TABLES };

_Static_assert(N_TABLES == VN_COUNTERS_TABLES, "each table has its rows counted");

static const table tables[N_TABLES] = {
	{"broker", "", "", broker_fields, N(broker_fields), 1, sizeof(vn_broker_counters)},
	{"workers", "worker", "worker_", worker_fields, N(worker_fields), VN_COUNTERS_WORKERS,
		sizeof(vn_worker_counters)},
	{"listeners", "listener", "listener_", listener_fields, N(listener_fields),
		VN_COUNTERS_LISTENS, sizeof(vn_listener_counters)},
	{"own", "worker", "app_", NULL, 0, VN_COUNTERS_OWN, sizeof(vn_own_counters)},
};

static uint32_t
count_fields(const table *t)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < t->n_fields; i++)
		n += t->fields[i].n;
	return n;
}

static size_t
aligned(size_t n)
{
	return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static size_t
rows_offset(const vn_counters_header *h, uint32_t k)
{
	size_t at = aligned(h->errors + VN_COUNTERS_ERRORS * sizeof(vn_counters_error));

	for (uint32_t i = 0; i < k; i++)
		at += tables[i].n_rows * tables[i].row_bytes;
	return at;
}

/**
 * vn_counters_layout() - where everything lies
 * @header: the counts and offsets of its sections are filled in
 *
 * Return: bytes of the file.
 */
size_t
vn_counters_layout(vn_counters_header *header)
{
	size_t at = aligned(sizeof *header);

	header->n_tables = N_TABLES;
	header->tables = (uint32_t)at;
	at = aligned(at + N_TABLES * sizeof(vn_counters_table));
	header->n_fields = 0;
	for (uint32_t i = 0; i < N_TABLES; i++)
		header->n_fields += count_fields(&tables[i]);
	header->fields = (uint32_t)at;
	at = aligned(at + header->n_fields * sizeof(vn_counters_field));
	header->n_bounds = VN_HISTOGRAM_BUCKETS;
	header->bounds = (uint32_t)at;
	at = aligned(at + VN_HISTOGRAM_BUCKETS * sizeof(uint64_t));
	header->n_errors = VN_COUNTERS_ERRORS;
	header->errors = (uint32_t)at;
	return header->file_bytes = rows_offset(header, N_TABLES);
}

static vn_counters_field *
describe_field(vn_counters_field *to, const table *t, const description *d)
{
	for (uint32_t i = 0; i < d->n; i++, to++) {
		snprintf(to->name, sizeof to->name, "%s%s%s", PREFIX, t->prefix, d->name);
		snprintf(to->label, sizeof to->label, "%s", d->label);
		if (d->value)
			snprintf(to->value, sizeof to->value, "%s", d->value(i));
		snprintf(to->help, sizeof to->help, "%s", d->help);
		to->kind = d->kind;
		to->offset = d->offset + i * (uint32_t)sizeof(uint64_t);
	}
	return to;
}

static void
describe_table(vn_counters *c, uint32_t k, vn_counters_field **to)
{
	const table *t = &tables[k];
	vn_counters_table *entry = &c->tables[k];
	const vn_counters_field *first = (const void *)(c->base + c->layout.fields);

	snprintf(entry->name, sizeof entry->name, "%s", t->name);
	snprintf(entry->label, sizeof entry->label, "%s", t->label);
	entry->first_field = (uint32_t)(*to - first);
	entry->n_fields = count_fields(t);
	entry->rows = (uint32_t)rows_offset(&c->layout, k);
	entry->row_bytes = (uint32_t)t->row_bytes;
	entry->n_rows = t->n_rows;
	entry->kind = t->fields ? VN_TABLE_FIELDS : VN_TABLE_NAMED;
	for (uint32_t i = 0; i < t->n_fields; i++)
		*to = describe_field(*to, t, &t->fields[i]);
}

/**
 * vn_counters_describe() - write what does not change, and take the row of the broker
 * @c: base is there, zeroed, and so is the layout
 */
void
vn_counters_describe(vn_counters *c)
{
	vn_counters_field *field = (vn_counters_field *)(void *)(c->base + c->layout.fields);
	uint64_t *bounds = (uint64_t *)(void *)(c->base + c->layout.bounds);

	c->tables = (vn_counters_table *)(void *)(c->base + c->layout.tables);
	for (uint32_t k = 0; k < N_TABLES; k++)
		describe_table(c, k, &field);
	for (uint32_t i = 0; i < VN_HISTOGRAM_BUCKETS; i++)
		bounds[i] = vn_histogram_bound(i);
	c->errors = (vn_counters_error *)(void *)(c->base + c->layout.errors);
	c->broker = (vn_broker_counters *)(void *)(c->base + rows_offset(&c->layout, BROKER));
	c->workers = (vn_worker_counters *)(void *)(c->base + rows_offset(&c->layout, WORKERS));
	c->listeners =
		(vn_listener_counters *)(void *)(c->base + rows_offset(&c->layout, LISTENERS));
	c->own = (vn_own_counters *)(void *)(c->base + rows_offset(&c->layout, OWN));
	c->broker->row.state = VN_ROW_USED;
	c->tables[BROKER].n_taken = c->n_taken[BROKER] = 1;
	c->header->magic = VN_COUNTERS_MAGIC;
	c->header->version = VN_COUNTERS_VERSION;
}

/**
 * vn_counters_wall() - when that was by the clock on the wall, whoever asks and whenever
 * @at_ns: CLOCK_MONOTONIC
 *
 * Return: nanoseconds since 1970, as a reader of the file has it.
 */
int64_t
vn_counters_wall(const vn_counters *c, uint64_t at_ns)
{
	return (int64_t)(c->header->started_ns + (at_ns - c->header->zero_ns));
}

/* A reader that copies between these two sees an odd number, or another one afterwards. */
static void
change_begin(uint32_t *sequence)
{
	__atomic_store_n(sequence, *sequence | 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE); /* odd before anything changes */
}

static void
change_end(uint32_t *sequence)
{
	__atomic_store_n(sequence, *sequence + 1, __ATOMIC_RELEASE);
}

static void
row_begin(vn_counters_row *row, const char *label)
{
	change_begin(&row->sequence);
	row->state = VN_ROW_USED;
	snprintf(row->label, sizeof row->label, "%s", label);
	change_end(&row->sequence);
}

/**
 * vn_counters_row_end() - what it counted for is no more
 * @row: its counters stand; or NULL
 */
void
vn_counters_row_end(vn_counters_row *row)
{
	if (!row || row->state != VN_ROW_USED)
		return;
	change_begin(&row->sequence);
	row->state = VN_ROW_GONE;
	change_end(&row->sequence);
}

/* The rows of a table up to this one may be looked at. Return: false if there is no memory for it. */
static bool
row_reserve(vn_counters *c, uint32_t k, size_t i)
{
	size_t n = c->n_taken[k], size = tables[k].row_bytes;

	if (i < n)
		return true;
	if (vn_counters_reserve(c, rows_offset(&c->layout, k) + n * size, (i + 1 - n) * size) < 0)
		return false;
	c->n_taken[k] = (uint32_t)i + 1;
	__atomic_store_n(&c->tables[k].n_taken, c->n_taken[k], __ATOMIC_RELEASE);
	return true;
}

/**
 * vn_counters_worker() - the row of all workers of that number, for one that comes
 *
 * Return: never NULL; what is counted in the row of those for which there was no memory is not shown.
 */
vn_worker_counters *
vn_counters_worker(vn_counters *c, uint16_t number)
{
	vn_worker_counters *w;
	char label[8];

	if (number < 1 || number > VN_COUNTERS_WORKERS || !row_reserve(c, WORKERS, number - 1u))
		return &c->no_worker;
	w = &c->workers[number - 1];
	snprintf(label, sizeof label, "%u", (unsigned)number);
	if (w->row.state != VN_ROW_USED)
		row_begin(&w->row, label);
	return w;
}

/* The row with that name, else one that nobody used yet, else one of which nobody has need any more. */
static vn_listener_counters *
listener_place(vn_counters *c, const char *name)
{
	vn_listener_counters *place = NULL;

	for (uint32_t i = 0; i < c->n_taken[LISTENERS]; i++) {
		vn_listener_counters *l = &c->listeners[i];

		if (strncmp(l->row.label, name, sizeof l->row.label - 1) == 0)
			return l;
		if (l->row.state == VN_ROW_GONE && !place)
			place = l;
	}
	if (c->n_taken[LISTENERS] < VN_COUNTERS_LISTENS)
		place = &c->listeners[c->n_taken[LISTENERS]];
	return place;
}

static void
listener_clear(vn_listener_counters *l)
{
	change_begin(&l->row.sequence);
	memset((unsigned char *)l + sizeof l->row, 0, sizeof *l - sizeof l->row);
	change_end(&l->row.sequence);
}

/**
 * vn_counters_listener() - the row of an endpoint
 * @name: what people call it; one that had this name before goes on
 *
 * Return: never NULL; what is counted in the row of those for which there was no memory is not shown.
 */
vn_listener_counters *
vn_counters_listener(vn_counters *c, const char *name)
{
	vn_listener_counters *l = listener_place(c, name);

	if (!l || !row_reserve(c, LISTENERS, (size_t)(l - c->listeners)))
		return &c->no_listener;
	if (strncmp(l->row.label, name, sizeof l->row.label - 1) != 0)
		listener_clear(l);
	row_begin(&l->row, name);
	return l;
}

static void
own_begin(vn_own_counters *own, uint32_t kind, const char *label, const char *help)
{
	change_begin(&own->row.sequence);
	own->row.state = VN_ROW_USED;
	snprintf(own->row.label, sizeof own->row.label, "%s", label);
	snprintf(own->help, sizeof own->help, "%s", help);
	own->kind = kind;
	for (uint32_t i = 0; i <= VN_COUNTERS_WORKERS; i++)
		own->values[i] = kind == VN_FIELD_REAL ? VN_NO_REAL : 0;
	change_end(&own->row.sequence);
}

/**
 * vn_counters_own() - the row of something that the workers of this service count themselves
 * @kind: VN_FIELD_COUNTER or VN_FIELD_REAL
 * @name: as the program has it; one that there was before goes on
 * @why:  why there is none, when this fails
 *
 * Return: NULL if it was of another kind before, if there are too many, or no memory.
 */
vn_own_counters *
vn_counters_own(vn_counters *c, uint32_t kind, const char *name, const char *help, const char **why)
{
	uint32_t n = c->n_taken[OWN];
	char label[64];

	snprintf(label, sizeof label, PREFIX "%s%s", tables[OWN].prefix, name);
	for (uint32_t i = 0; i < n; i++)
		if (strncmp(c->own[i].row.label, label, sizeof label) == 0) {
			*why = "it was a gauge before, or a counter; give it another name";
			return c->own[i].kind == kind ? &c->own[i] : NULL;
		}
	*why = n < VN_COUNTERS_OWN ? "out of memory" : "a service has at most 64 of them";
	if (n == VN_COUNTERS_OWN || !row_reserve(c, OWN, n))
		return NULL;
	own_begin(&c->own[n], kind, label, help);
	return &c->own[n];
}

/* Are they the same but for numbers? */
static bool
same_text(const char *a, const char *other)
{
	while (*a && *other) {
		if (isdigit((unsigned char)*a) && isdigit((unsigned char)*other)) {
			while (isdigit((unsigned char)*a))
				a++;
			while (isdigit((unsigned char)*other))
				other++;
		} else if (*a++ != *other++) {
			return false;
		}
	}
	return *a == *other;
}

static vn_counters_error *
error_place(vn_counters *c, const char *text)
{
	vn_counters_error *oldest = &c->errors[0];

	for (uint32_t i = 0; i < VN_COUNTERS_ERRORS; i++) {
		vn_counters_error *e = &c->errors[i];

		if (e->count && same_text(e->text, text))
			return e;
		if (e->last_ns < oldest->last_ns)
			oldest = e;
	}
	oldest->count = 0;
	return oldest;
}

/**
 * vn_counters_error_add() - something went wrong; lines that differ in numbers only are counted together
 * @level:  of syslog(3)
 * @text:   one line; what does not fit is cut
 * @now_ns: CLOCK_MONOTONIC
 */
void
vn_counters_error_add(vn_counters *c, int level, const char *text, uint64_t now_ns)
{
	char fits[sizeof c->errors->text];
	vn_counters_error *e;

	snprintf(fits, sizeof fits, "%s", text);
	e = error_place(c, fits);
	change_begin(&e->sequence);
	if (e->count == 0)
		e->first_ns = now_ns;
	e->level = (uint32_t)level;
	e->count++;
	e->last_ns = now_ns;
	memcpy(e->text, fits, sizeof fits);
	change_end(&e->sequence);
}
