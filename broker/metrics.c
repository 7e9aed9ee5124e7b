/* SPDX-License-Identifier: MIT */
/*
 * Metrics - the counters as Prometheus reads them
 *
 * Text format 0.0.4, or OpenMetrics 1.0.0, which differs in a few words: there the family of a counter is called
 * without its _total, it may have a unit, and the text says where it ends. Of the buckets of a histogram every
 * fourth is told, which makes one for each power of two.
 */
#include "broker/metrics.h"

#include <math.h>
#include <string.h>

#define BOUND_EVERY 4
#define NS          1e9

/* Its texts are printable ASCII (reader.c); some of them mean something in quotes, or outside of them. */
static void
print_escaped(FILE *out, const char *text, const char *special)
{
	for (; *text; text++) {
		if (strchr(special, *text))
			fputc('\\', out);
		fputc(*text, out);
	}
}

static void
print_label(FILE *out, const char *before, const char *name, const char *value)
{
	fprintf(out, "%s%s=\"", before, name);
	print_escaped(out, value, "\"\\");
	fputc('"', out);
}

/**
 * vn_metrics_labels() - what tells a sample from others of its family, in braces, or nothing
 * @bound: of a bucket, or NULL
 */
void
vn_metrics_labels(FILE *out, const vn_reader *reader, const vn_sample *s, const char *bound)
{
	const char *labels[4][2] = {
		{s->table->kind == VN_TABLE_NAMED ? "service" : "", reader->header.service},
		{*s->row ? s->table->label : "", s->row}, {s->field->label, s->field->value},
		{bound ? "le" : "", bound}};
	const char *before = "{";

	for (int i = 0; i < 4; i++)
		if (*labels[i][0]) {
			print_label(out, before, labels[i][0], labels[i][1]);
			before = ",";
		}
	if (*before == ',')
		fputc('}', out);
}

static bool
ends_in(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n > m && strcmp(text + n - m, end) == 0;
}

static const char *
type_of(const vn_counters_field *f)
{
	switch (f->kind) {
	case VN_FIELD_COUNTER:
		return "counter";
	case VN_FIELD_HISTOGRAM:
		return "histogram";
	default:
		return "gauge";
	}
}

static void
print_head(vn_metrics *m, const char *name, const char *type, const char *help)
{
	bool is_open = m->format == VN_METRICS_OPENMETRICS;
	const char *total = strcmp(type, "counter") == 0 && !is_open ? "_total" : "";

	fprintf(m->out, "# HELP %s%s ", name, total);
	print_escaped(m->out, help, is_open ? "\"\\" : "\\");
	fprintf(m->out, ".\n# TYPE %s%s %s\n", name, total, type);
	if (is_open && ends_in(name, "_bytes"))
		fprintf(m->out, "# UNIT %s bytes\n", name);
	if (is_open && ends_in(name, "_seconds"))
		fprintf(m->out, "# UNIT %s seconds\n", name);
}

static void
print_real(FILE *out, uint64_t bits)
{
	double value;

	memcpy(&value, &bits, sizeof value);
	if (isnan(value))
		fputs("NaN", out);
	else if (isinf(value))
		fputs(value > 0 ? "+Inf" : "-Inf", out);
	else
		fprintf(out, "%.17g", value);
}

static void
print_plain(vn_metrics *m)
{
	const vn_sample *s = &m->sample;

	fprintf(m->out, "%s%s", s->field->name, s->field->kind == VN_FIELD_COUNTER ? "_total" : "");
	vn_metrics_labels(m->out, m->reader, s, NULL);
	fputc(' ', m->out);
	if (s->field->kind == VN_FIELD_REAL)
		print_real(m->out, s->value);
	else
		fprintf(m->out, "%llu", (unsigned long long)s->value);
	fputc('\n', m->out);
}

static void
print_bucket(vn_metrics *m, const char *bound, uint64_t n)
{
	fprintf(m->out, "%s_bucket", m->sample.field->name);
	vn_metrics_labels(m->out, m->reader, &m->sample, bound);
	fprintf(m->out, " %llu\n", (unsigned long long)n);
}

static void
print_histogram(vn_metrics *m)
{
	const vn_sample *s = &m->sample;
	uint32_t last = m->reader->header.n_bounds - 1;
	uint64_t n = 0;
	char bound[32];

	for (uint32_t i = 0; i < last; i++) {
		n += s->counts[i];
		if (i % BOUND_EVERY)
			continue;
		snprintf(bound, sizeof bound, "%.12g", (double)m->reader->bounds[i] / NS);
		print_bucket(m, bound, n);
	}
	n += s->counts[last];
	print_bucket(m, "+Inf", n);
	fprintf(m->out, "%s_sum", s->field->name);
	vn_metrics_labels(m->out, m->reader, s, NULL);
	fprintf(m->out, " %.9f\n%s_count", (double)s->value / NS, s->field->name);
	vn_metrics_labels(m->out, m->reader, s, NULL);
	fprintf(m->out, " %llu\n", (unsigned long long)n);
}

/* Everybody's histograms are many lines; those of workers are for `stat`, where sums would count twice. */
static bool
is_told(const vn_sample *s)
{
	return s->field->kind != VN_FIELD_HISTOGRAM || strcmp(s->table->name, "workers") != 0;
}

/**
 * vn_metrics_begin() - what comes before the counters
 * @reader: to be there until the last step
 */
void
vn_metrics_begin(vn_metrics *m, FILE *out, const vn_reader *reader, vn_metrics_format format)
{
	*m = (vn_metrics){.out = out, .reader = reader, .format = format};
	print_head(m, "vanilla_build_info", "gauge", "Which program this is");
	print_label(out, "vanilla_build_info{", "version", reader->header.release);
	print_label(out, ",", "service", reader->header.service);
	fputs("} 1\n", out);
	print_head(m, "vanilla_start_time_seconds", "gauge", "When the broker was started");
	fprintf(out, "vanilla_start_time_seconds %.3f\n", (double)reader->header.started_ns / NS);
}

/**
 * vn_metrics_step() - one value, or one histogram, more
 *
 * Return: false after the last one.
 */
bool
vn_metrics_step(vn_metrics *m)
{
	const vn_sample *s = &m->sample;

	if (!vn_reader_next(m->reader, &m->at, &m->sample)) {
		if (m->format == VN_METRICS_OPENMETRICS)
			fputs("# EOF\n", m->out);
		return false;
	}
	if (!is_told(s))
		return true;
	if (s->begins)
		print_head(m, s->field->name, type_of(s->field), s->field->help);
	if (s->field->kind == VN_FIELD_HISTOGRAM)
		print_histogram(m);
	else
		print_plain(m);
	return true;
}
