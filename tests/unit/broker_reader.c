/* SPDX-License-Identifier: MIT */
/*
 * Reader - finds what was counted, and comes to no harm whatever lies in the file
 *
 * The image of a file ends where its mapping does, so that one byte too far is a fault.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "broker/metrics.h"
#include "broker/reader.h"
#include "tests/unit/suite.h"

#define PAGE        4096u
#define N_MUTATIONS 6000
#define SAMPLES_MAX 100000u

typedef struct bench {
	vn_counters *counters;
	unsigned char *mapping, *image;
	size_t mapped, size;
	FILE *nowhere;
} bench;

/* What was ever used of the file; rows beyond are not needed, the header says so. */
static size_t
used_size(const vn_counters *c)
{
	return (size_t)((const unsigned char *)(c->listeners + 2) - c->base);
}

static void
image_make(bench *k)
{
	k->mapped = (k->size + PAGE - 1) / PAGE * PAGE;
	k->mapping = mmap(
		NULL, k->mapped + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(k->mapping, MAP_FAILED);
	ck_assert_int_eq(mprotect(k->mapping + k->mapped, PAGE, PROT_NONE), 0);
	k->image = k->mapping + k->mapped - k->size;
}

static void
own_add(vn_counters *c, uint32_t kind, const char *name)
{
	vn_own_counters *own = &c->own[c->n_taken[3]++];

	c->tables[3].n_taken = c->n_taken[3];
	own->row.state = VN_ROW_USED;
	own->kind = kind;
	strcpy(own->row.label, name);
	strcpy(own->help, "Of \"a\\b\"");
	for (uint32_t i = 0; i <= VN_COUNTERS_WORKERS; i++)
		own->values[i] = kind == VN_FIELD_REAL ? VN_NO_REAL : 0;
}

static bench *
bench_new(void)
{
	bench *k = calloc(1, sizeof *k);
	vn_counters *c = k->counters = vn_counters_open(NULL, "shop");

	ck_assert_ptr_nonnull(c);
	vn_count(&c->broker->n_requests, 3);
	vn_count(&c->broker->n_resets[VN_RESET_LINGER], 2);
	vn_count(&vn_counters_worker(c, 2)->n_requests, 5);
	vn_counters_row_end(&vn_counters_worker(c, 3)->row);
	vn_histogram_add(&vn_counters_listener(c, "front \"door\"")->wait, 5000);
	vn_counters_error_add(c, 4, "worker 1.1 was killed", c->header->zero_ns);
	own_add(c, VN_FIELD_COUNTER, "vanilla_app_jobs");
	own_add(c, VN_FIELD_REAL, "vanilla_app_heat");
	c->own[0].values[0] = 77;
	memcpy(&c->own[1].values[2], &(double){1.5}, sizeof(double));
	k->nowhere = fopen("/dev/null", "w");
	k->size = c->size;
	image_make(k);
	memcpy(k->image, c->base, k->size);
	return k;
}

static void
bench_free(bench *k)
{
	fclose(k->nowhere);
	munmap(k->mapping, k->mapped + PAGE);
	vn_counters_close(k->counters);
	free(k);
}

/* All that can be read, as metrics. Return: how many samples; -1 if it is refused. */
static long
read_all(bench *k, size_t size, FILE *out)
{
	vn_reader *r = calloc(1, sizeof *r);
	vn_metrics *m = calloc(1, sizeof *m);
	vn_counters_error e;
	const char *why = NULL;
	long n = -1;

	if (vn_reader_init(r, k->image, size, &why) < 0) {
		suite_assert(why != NULL);
	} else {
		vn_metrics_begin(m, out, r, VN_METRICS_OPENMETRICS);
		for (n = 0; n < SAMPLES_MAX && vn_metrics_step(m);)
			n++;
		for (uint32_t i = 0; i < r->header.n_errors; i++)
			vn_reader_error(r, i, &e);
		vn_reader_deinit(r);
	}
	free(m);
	free(r);
	return n;
}

START_TEST(what_was_counted_is_found)
{
	static const char *const wanted[] = {"vanilla_requests_total 3\n",
		"vanilla_connection_resets_total{reason=\"linger\"} 2\n",
		"vanilla_worker_requests_total{worker=\"2\"} 5\n",
		"vanilla_worker_requests_total{worker=\"3\"} 0\n",
		"vanilla_listener_wait_seconds_bucket{listener=\"front "
		"\\\"door\\\"\",le=\"4.096e-06\"} 0\n",
		"vanilla_listener_wait_seconds_bucket{listener=\"front "
		"\\\"door\\\"\",le=\"8.192e-06\"} 1\n",
		"vanilla_listener_wait_seconds_count{listener=\"front \\\"door\\\"\"} 1\n",
		"vanilla_listener_wait_seconds_sum{listener=\"front \\\"door\\\"\"} 0.000005000\n",
		"vanilla_app_jobs_total{service=\"shop\"} 77\n",
		"vanilla_app_heat{service=\"shop\",worker=\"2\"} 1.5\n", "# EOF\n"};
	static const char *const unwanted[] = {"vanilla_worker_requests_total{worker=\"1\"}",
		"vanilla_worker_connections{worker=\"3\"}",
		"vanilla_app_heat{service=\"shop\",worker=\"1\"}",
		"vanilla_app_jobs_total{service=\"shop\",worker"};
	bench *k = bench_new();
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	ck_assert_int_gt(read_all(k, k->size, out), 0);
	fclose(out);
	for (size_t i = 0; i < SUITE_COUNT(wanted); i++)
		ck_assert_msg(strstr(text, wanted[i]), "%s is missing", wanted[i]);
	for (size_t i = 0; i < SUITE_COUNT(unwanted); i++)
		ck_assert_msg(!strstr(text, unwanted[i]), "%s is there", unwanted[i]);
	free(text);
	bench_free(k);
}
END_TEST

START_TEST(no_two_rows_have_one_label)
{
	static const char *const labels[] = {"unix:/\303\251", "unix:/\303\250", "unix:/\033"};
	static const char *const wanted[] = {"accept_pauses_total{listener=\"unix:/%C3%A9\"} 0\n",
		"accept_pauses_total{listener=\"unix:/%C3%A8\"} 0\n",
		"accept_pauses_total{listener=\"unix:/%1B\"} 0\n"};
	bench *k = bench_new();
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	char full[sizeof k->counters->listeners->row.label];

	for (size_t i = 0; i < SUITE_COUNT(labels); i++)
		vn_counters_listener(k->counters, labels[i]);
	memset(full, 0xff, sizeof full);
	full[sizeof full - 1] = '\0';
	vn_counters_listener(k->counters, full);
	memcpy(k->image, k->counters->base, k->size);
	ck_assert_int_gt(read_all(k, k->size, out), 0);
	fclose(out);
	for (size_t i = 0; i < SUITE_COUNT(wanted); i++)
		ck_assert_msg(strstr(text, wanted[i]), "%s is missing", wanted[i]);
	free(text);
	bench_free(k);
}
END_TEST

/* In Prometheus' own format a quote needs no escape there, so one would be shown. */
START_TEST(help_is_read_as_it_was_written)
{
	static const char *const wanted[] = {
		[VN_METRICS_PROMETHEUS] = "\n# HELP vanilla_app_jobs_total Of \"a\\\\b\".\n",
		[VN_METRICS_OPENMETRICS] = "\n# HELP vanilla_app_jobs Of \\\"a\\\\b\\\".\n"};
	bench *k = bench_new();
	vn_reader *r = calloc(1, sizeof *r);
	vn_metrics *m = calloc(1, sizeof *m);
	const char *why;

	ck_assert_int_eq(vn_reader_init(r, k->image, k->size, &why), 0);
	for (size_t i = 0; i < SUITE_COUNT(wanted); i++) {
		char *text = NULL;
		size_t len;
		FILE *out = open_memstream(&text, &len);

		vn_metrics_begin(m, out, r, (vn_metrics_format)i);
		while (vn_metrics_step(m))
			;
		fclose(out);
		ck_assert_msg(strstr(text, wanted[i]), "%s is missing", wanted[i]);
		free(text);
	}
	vn_reader_deinit(r);
	free(m);
	free(r);
	bench_free(k);
}
END_TEST

START_TEST(quantiles_are_those_of_the_histogram)
{
	bench *k = bench_new();
	vn_reader *r = calloc(1, sizeof *r);
	vn_sample *s = calloc(1, sizeof *s);
	vn_reader_cursor at = {0};
	const char *why;
	int n = 0;

	ck_assert_int_eq(vn_reader_init(r, k->image, k->size, &why), 0);
	while (vn_reader_next(r, &at, s))
		if (s->field->kind == VN_FIELD_HISTOGRAM && vn_sample_count(r, s)) {
			ck_assert_str_eq(s->row, "front \"door\"");
			ck_assert_uint_eq(vn_sample_quantile(r, s, 0.5), 5120);
			n++;
		}
	ck_assert_int_eq(n, 1);
	vn_reader_deinit(r);
	free(s);
	free(r);
	bench_free(k);
}
END_TEST

START_TEST(a_file_that_is_cut_is_refused_or_read_as_far_as_it_goes)
{
	bench *k = bench_new();
	size_t whole = k->size;

	for (size_t size = 0; size < whole; size += size < 16384 ? 8 : 9001) {
		bench cut = {.counters = k->counters, .size = size ? size : 8};

		image_make(&cut);
		memcpy(cut.image, k->counters->base, size);
		suite_assert(read_all(&cut, size, k->nowhere) == -1);
		munmap(cut.mapping, cut.mapped + PAGE);
	}
	bench_free(k);
}
END_TEST

START_TEST(rubbish_does_no_harm)
{
	bench *k = bench_new();
	size_t head = (size_t)((unsigned char *)k->counters->broker - k->counters->base);
	uint64_t random = 42;
	int n_refused = 0;

	for (int i = 0; i < SUITE_TIMES(N_MUTATIONS); i++) {
		size_t from = i % 2 ? sizeof(vn_counters_header) : head;

		memcpy(k->image, k->counters->base, used_size(k->counters));
		for (int n = 0; n < 4; n++) {
			size_t at = suite_random(&random) % from / 4 * 4;
			uint32_t value = (uint32_t)suite_random(&random);

			value >>= suite_random(&random) % 32;
			memcpy(k->image + at, &value, sizeof value);
		}
		n_refused += read_all(k, k->size, k->nowhere) < 0;
	}
	ck_assert_int_gt(n_refused, SUITE_TIMES(N_MUTATIONS) / 20);
	memset(k->image, 0xff, k->size);
	ck_assert_int_eq(read_all(k, k->size, k->nowhere), -1);
	bench_free(k);
}
END_TEST

/* Each number of the header, of the tables, and of fields what is no text. */
START_TEST(numbers_that_are_just_too_large_are_refused)
{
	bench *k = bench_new();
	const vn_counters_header *h = k->counters->header;
	const uint32_t size = (uint32_t)k->size, row = sizeof(vn_worker_counters);
	const uint32_t values[] = {0, 4, 8, size - 8, size, size - 512, size - 20000, row - 8, row,
		row - 800, 0x7ffffff8, UINT32_MAX - 7, UINT32_MAX};
	int n_refused = 0;

	for (uint32_t at = 8; at < h->bounds; at += 4) {
		bool is_text = at >= h->fields && (at - h->fields) % sizeof(vn_counters_field) <
							  offsetof(vn_counters_field, kind);

		for (size_t i = 0; !is_text && i < SUITE_COUNT(values); i++) {
			memcpy(k->image, k->counters->base, h->bounds);
			memcpy(k->image + at, &values[i], sizeof values[i]);
			n_refused += read_all(k, k->size, k->nowhere) < 0;
		}
	}
	ck_assert_int_gt(n_refused, 1000);
	bench_free(k);
}
END_TEST

START_TEST(what_changes_after_the_check_does_no_harm)
{
	bench *k = bench_new();
	vn_reader *r = calloc(1, sizeof *r);
	vn_sample *s = calloc(1, sizeof *s);
	vn_counters_error e;
	vn_reader_cursor at = {0};
	const char *why;
	uint32_t n = 0;

	ck_assert_int_eq(vn_reader_init(r, k->image, k->size, &why), 0);
	memset(k->image, 0xff, k->size);
	while (n < SAMPLES_MAX && vn_reader_next(r, &at, s))
		n++;
	ck_assert_uint_lt(n, SAMPLES_MAX);
	for (uint32_t i = 0; i < r->header.n_errors; i++)
		vn_reader_error(r, i, &e);
	vn_reader_deinit(r);
	free(s);
	free(r);
	bench_free(k);
}
END_TEST

START_TEST(a_row_that_was_being_written_when_its_writer_died_is_shown)
{
	bench *k = bench_new();
	vn_counters_row *row =
		(void *)(k->image + ((unsigned char *)k->counters->workers - k->counters->base) +
			 sizeof(vn_worker_counters));
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	row->sequence |= 1;
	memset(row->label, 0x9b, sizeof row->label);
	ck_assert_int_gt(read_all(k, k->size, out), 0);
	fclose(out);
	ck_assert_ptr_nonnull(strstr(text, "vanilla_worker_requests_total{worker=\"%9B%9B"));
	for (const char *p = text; *p; p++)
		suite_assert((unsigned char)*p < 0x7f);
	free(text);
	bench_free(k);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		what_was_counted_is_found,
		no_two_rows_have_one_label,
		help_is_read_as_it_was_written,
		quantiles_are_those_of_the_histogram,
		a_file_that_is_cut_is_refused_or_read_as_far_as_it_goes,
		rubbish_does_no_harm,
		numbers_that_are_just_too_large_are_refused,
		what_changes_after_the_check_does_no_harm,
		a_row_that_was_being_written_when_its_writer_died_is_shown,
	};

	return suite_run("broker_reader", tests, SUITE_COUNT(tests));
}
