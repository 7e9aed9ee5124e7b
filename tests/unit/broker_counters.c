/* SPDX-License-Identifier: MIT */
/*
 * Counters - the file is whole whenever it is there, and its rows outlive what they count for
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/counters.h"
#include "tests/unit/suite.h"

typedef struct bench {
	char folder[32], socket[64], path[96];
	vn_counters *counters;
} bench;

static bench *
bench_new(void)
{
	bench *k = calloc(1, sizeof *k);
	char *folder;

	strcpy(k->folder, "/tmp/vanilla-count-XXXXXX");
	folder = mkdtemp(k->folder);
	ck_assert_ptr_nonnull(folder);
	snprintf(k->socket, sizeof k->socket, "%s/x.sock", k->folder);
	snprintf(k->path, sizeof k->path, "%s.counters", k->socket);
	k->counters = vn_counters_open(k->socket, "shop");
	ck_assert_ptr_nonnull(k->counters);
	return k;
}

static void
bench_free(bench *k)
{
	ck_assert_ptr_null(vn_counters_close(k->counters));
	ck_assert_int_lt(access(k->path, F_OK), 0);
	ck_assert_int_eq(rmdir(k->folder), 0);
	free(k);
}

/* What somebody else sees. */
static const unsigned char *
file_map(const bench *k, size_t *size)
{
	int fd = open(k->path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *base;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	base = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(base, MAP_FAILED);
	close(fd);
	*size = (size_t)st.st_size;
	return base;
}

START_TEST(others_see_what_is_counted)
{
	bench *k = bench_new();
	size_t size;
	const unsigned char *base = file_map(k, &size);
	const vn_counters_header *h = (const void *)base;
	const vn_broker_counters *broker =
		(const void *)(base + ((unsigned char *)k->counters->broker - k->counters->base));

	ck_assert_uint_eq(h->magic, VN_COUNTERS_MAGIC);
	ck_assert_uint_eq(h->file_bytes, size);
	ck_assert_uint_eq(h->pid, (uint32_t)getpid());
	ck_assert_uint_ne(h->pid_started, 0);
	ck_assert_str_eq(h->service, "shop");
	vn_count(&k->counters->broker->n_requests, 3);
	ck_assert_uint_eq(broker->n_requests, 3);
	munmap((void *)(uintptr_t)base, size);
	bench_free(k);
}
END_TEST

START_TEST(a_reader_of_an_earlier_broker_keeps_its_file)
{
	bench *k = bench_new();
	vn_counters *dead = k->counters;
	size_t size;
	const unsigned char *old;

	vn_count(&dead->broker->n_requests, 3);
	old = file_map(k, &size);
	k->counters = vn_counters_open(k->socket, "shop");
	ck_assert_ptr_nonnull(k->counters);
	ck_assert_uint_eq(k->counters->broker->n_requests, 0);
	ck_assert_mem_eq(old, dead->base, size);
	vn_counters_close(dead); /* not its file any more */
	ck_assert_int_eq(access(k->path, F_OK), 0);
	munmap((void *)(uintptr_t)old, size);
	bench_free(k);
}
END_TEST

START_TEST(the_file_is_made_whatever_lies_there)
{
	bench *k = bench_new();
	char other[128], beside[128];
	struct stat st;

	vn_counters_close(k->counters);
	snprintf(other, sizeof other, "%s/other", k->folder);
	snprintf(beside, sizeof beside, "%s.new", k->path);
	close(open(other, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	ck_assert_int_eq(symlink(other, k->path), 0);
	ck_assert_int_eq(symlink(other, beside), 0);
	k->counters = vn_counters_open(k->socket, "shop");
	ck_assert_ptr_nonnull(k->counters);
	ck_assert_int_eq(lstat(k->path, &st), 0);
	ck_assert(S_ISREG(st.st_mode));
	ck_assert_uint_eq(st.st_mode & 0777, 0444);
	ck_assert_int_eq(stat(other, &st), 0);
	ck_assert_int_eq(st.st_size, 0);
	ck_assert_int_lt(access(beside, F_OK), 0);
	unlink(other);
	bench_free(k);
}
END_TEST

START_TEST(a_file_that_cannot_be_made_leaves_nothing)
{
	bench *k = bench_new();
	int n_fds = suite_n_fds();
	char nowhere[128];

	snprintf(nowhere, sizeof nowhere, "%s/none/x.sock", k->folder);
	ck_assert_ptr_null(vn_counters_open(nowhere, "shop"));
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_int_eq(suite_n_fds(), n_fds);
	bench_free(k);
}
END_TEST

START_TEST(memory_is_taken_row_by_row)
{
	bench *k = bench_new();
	struct stat before, after;

	ck_assert_int_eq(stat(k->path, &before), 0);
	ck_assert_int_lt(before.st_blocks * 512, 64 << 10);
	for (uint16_t i = 1; i <= 4; i++)
		vn_counters_worker(k->counters, i);
	ck_assert_int_eq(stat(k->path, &after), 0);
	ck_assert_int_le((after.st_blocks - before.st_blocks) * 512,
		(long)(4 * sizeof(vn_worker_counters)) + 8192);
	bench_free(k);
}
END_TEST

START_TEST(a_worker_goes_on_where_its_namesake_stopped)
{
	bench *k = bench_new();
	vn_worker_counters *w = vn_counters_worker(k->counters, 256);

	ck_assert_str_eq(w->row.label, "256");
	vn_count(&w->n_requests, 5);
	vn_counters_row_end(&w->row);
	ck_assert_int_eq(w->row.state, VN_ROW_GONE);
	ck_assert_ptr_eq(vn_counters_worker(k->counters, 256), w);
	ck_assert_int_eq(w->row.state, VN_ROW_USED);
	ck_assert_uint_eq(w->n_requests, 5);
	ck_assert_uint_eq(w->row.sequence % 2, 0);
	ck_assert_ptr_eq(vn_counters_worker(k->counters, 257), &k->counters->no_worker);
	ck_assert_ptr_eq(vn_counters_worker(k->counters, 0), &k->counters->no_worker);
	bench_free(k);
}
END_TEST

START_TEST(an_endpoint_is_known_by_its_name)
{
	bench *k = bench_new();
	vn_listener_counters *one = vn_counters_listener(k->counters, "one"), *two;

	vn_count(&one->n_accepted, 5);
	two = vn_counters_listener(k->counters, "two");
	ck_assert_ptr_ne(one, two);
	vn_counters_row_end(&one->row);
	ck_assert_ptr_ne(vn_counters_listener(k->counters, "three"), one);
	ck_assert_ptr_eq(vn_counters_listener(k->counters, "one"), one);
	ck_assert_uint_eq(one->n_accepted, 5);
	bench_free(k);
}
END_TEST

START_TEST(only_when_all_rows_are_taken_one_is_used_again)
{
	bench *k = bench_new();
	vn_listener_counters *rows[VN_COUNTERS_LISTENS];
	char name[32];

	for (int i = 0; i < VN_COUNTERS_LISTENS; i++) {
		snprintf(name, sizeof name, "endpoint %d", i);
		rows[i] = vn_counters_listener(k->counters, name);
		for (int other = 0; other < i; other++)
			ck_assert_ptr_ne(rows[i], rows[other]);
	}
	vn_count(&rows[7]->n_accepted, 7);
	ck_assert_ptr_eq(vn_counters_listener(k->counters, "more"), &k->counters->no_listener);
	vn_counters_row_end(&rows[7]->row);
	ck_assert_ptr_eq(vn_counters_listener(k->counters, "more"), rows[7]);
	ck_assert_uint_eq(rows[7]->n_accepted, 0);
	ck_assert_str_eq(rows[7]->row.label, "more");
	bench_free(k);
}
END_TEST

static vn_counters_error *
find_error(bench *k, const char *text)
{
	for (int i = 0; i < VN_COUNTERS_ERRORS; i++)
		if (k->counters->errors[i].count && strcmp(k->counters->errors[i].text, text) == 0)
			return &k->counters->errors[i];
	return NULL;
}

START_TEST(errors_that_differ_in_numbers_are_one)
{
	bench *k = bench_new();
	const vn_counters_error *e;

	vn_counters_error_add(k->counters, 4, "worker 1.7 killed by signal 9", 10);
	vn_counters_error_add(k->counters, 4, "worker 22.345 killed by signal 11", 20);
	vn_counters_error_add(k->counters, 3, "worker 1 killed by signal 9", 25);
	vn_counters_error_add(k->counters, 3, "worker 1.7 killed by signal", 30);
	ck_assert_ptr_null(find_error(k, "worker 1.7 killed by signal 9"));
	e = find_error(k, "worker 22.345 killed by signal 11");
	ck_assert_ptr_nonnull(e);
	ck_assert_uint_eq(e->count, 2);
	ck_assert_uint_eq(e->first_ns, 10);
	ck_assert_uint_eq(e->last_ns, 20);
	ck_assert_uint_eq(e->level, 4);
	ck_assert_uint_eq(find_error(k, "worker 1 killed by signal 9")->count, 1);
	ck_assert_uint_eq(find_error(k, "worker 1.7 killed by signal")->count, 1);
	bench_free(k);
}
END_TEST

START_TEST(the_error_that_was_not_seen_for_longest_makes_way)
{
	bench *k = bench_new();
	char text[3 * sizeof k->counters->errors->text];
	uint64_t now = 1;

	for (int i = 0; i < VN_COUNTERS_ERRORS; i++) {
		snprintf(text, sizeof text, "%c%c", 'a' + i / 26, 'a' + i % 26);
		vn_counters_error_add(k->counters, 4, text, now++);
	}
	vn_counters_error_add(k->counters, 4, "aa", now++);
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	vn_counters_error_add(k->counters, 4, text, now++);
	vn_counters_error_add(k->counters, 4, text, now++);
	ck_assert_uint_eq(find_error(k, "aa")->count, 2);
	ck_assert_ptr_null(find_error(k, "ab"));
	ck_assert_ptr_nonnull(find_error(k, "ac"));
	text[sizeof k->counters->errors->text - 1] = '\0';
	ck_assert_uint_eq(find_error(k, text)->count, 2);
	bench_free(k);
}
END_TEST

START_TEST(what_is_counted_for_each_request_shares_a_line)
{
	ck_assert_uint_eq(offsetof(vn_broker_counters, n_requests) / 64,
		offsetof(vn_broker_counters, bytes_out) / 64);
	ck_assert_uint_eq(offsetof(vn_worker_counters, n_requests) / 64,
		offsetof(vn_worker_counters, n_rung) / 64);
	ck_assert_uint_eq(offsetof(vn_worker_counters, n_requests) % 64, 0);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		others_see_what_is_counted,
		a_reader_of_an_earlier_broker_keeps_its_file,
		the_file_is_made_whatever_lies_there,
		a_file_that_cannot_be_made_leaves_nothing,
		memory_is_taken_row_by_row,
		a_worker_goes_on_where_its_namesake_stopped,
		an_endpoint_is_known_by_its_name,
		only_when_all_rows_are_taken_one_is_used_again,
		errors_that_differ_in_numbers_are_one,
		the_error_that_was_not_seen_for_longest_makes_way,
		what_is_counted_for_each_request_shares_a_line,
	};

	return suite_run("broker_counters", tests, SUITE_COUNT(tests));
}
