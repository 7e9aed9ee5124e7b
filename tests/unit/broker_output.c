/* SPDX-License-Identifier: MIT */
/*
 * Output - what a worker prints arrives whole, with its number, harmless, and never stops the broker
 *
 * Standard output of the test process is a pipe of the test's.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/log.h"
#include "broker/worker.h"
#include "tests/unit/suite.h"

#define TURNS 2000

typedef struct bench {
	vn_broker broker;
	vn_config config;
	vn_worker worker;
	vn_output *output;
	int n_fds;
	int ours;   /* where the broker's lines come out */
	int theirs; /* where the worker prints */
	char *text; /* what came out so far */
	size_t len;
} bench;

static bench *
bench_new(void)
{
	bench *k = calloc(1, sizeof *k);
	int ends[2];

	k->n_fds = suite_n_fds();
	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	ck_assert_int_eq(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
	ck_assert_int_eq(dup2(ends[1], STDOUT_FILENO), STDOUT_FILENO);
	close(ends[1]);
	k->ours = ends[0];
	k->text = calloc(1, 1 << 20);
	k->broker.hub = vn_hub_open(&vn_sys_linux);
	k->broker.config = &k->config;
	k->broker.counters = vn_counters_open(NULL, "test");
	k->broker.count = k->broker.counters->broker;
	k->config.log_level = LOG_INFO;
	k->worker.broker = &k->broker;
	k->worker.number = 2;
	k->worker.incarnation = 7;
	k->output = vn_output_open(&k->worker, STDOUT_FILENO, &k->theirs);
	ck_assert_ptr_nonnull(k->output);
	return k;
}

static void
bench_free(bench *k)
{
	k->output = vn_output_close(k->output);
	ck_assert_ptr_null(k->output);
	vn_counters_close(k->broker.counters);
	vn_hub_close(k->broker.hub);
	close(k->ours);
	if (k->theirs >= 0)
		close(k->theirs);
	free(k->text);
	ck_assert_int_eq(suite_n_fds(), k->n_fds);
	free(k);
}

static void
receive(bench *k)
{
	ssize_t n;

	while ((n = read(k->ours, k->text + k->len, (1 << 20) - 1 - k->len)) > 0)
		k->len += (size_t)n;
}

static void
turns(bench *k, int n)
{
	while (n-- > 0)
		vn_sleep(k->broker.hub, 50 * VN_US);
}

/* Lets the hub turn until this has come out. */
static void
comes_out(bench *k, const char *text)
{
	for (int i = 0; i < TURNS && k->len < strlen(text); i++) {
		turns(k, 1);
		receive(k);
	}
	ck_assert_str_eq(k->text, text);
}

static void
print(bench *k, const char *text)
{
	ck_assert_int_eq(write(k->theirs, text, strlen(text)), (ssize_t)strlen(text));
}

START_TEST(each_line_gets_its_number)
{
	bench *k = bench_new();

	print(k, "hello\nwor");
	comes_out(k, "2.7| hello\n");
	print(k, "ld\n\nlast\r\n");
	comes_out(k, "2.7| hello\n2.7| world\n2.7| \n2.7| last\n");
	bench_free(k);
}
END_TEST

START_TEST(what_could_harm_a_terminal_is_replaced)
{
	bench *k = bench_new();

	ck_assert_int_eq(write(k->theirs, "a\tb\0c\033[2Jd\rX\x7f \xc3\xa4\n", 17), 17);
	comes_out(k, "2.7| a\tb?c?[2Jd?X? \xc3\xa4\n");
	bench_free(k);
}
END_TEST

START_TEST(a_line_without_end_is_split)
{
	bench *k = bench_new();
	char line[2500], wanted[3000];

	memset(line, 'x', sizeof line);
	line[sizeof line - 1] = '\0';
	print(k, line);
	print(k, "\n");
	snprintf(wanted, sizeof wanted, "2.7| %.1024s\n2.7| %.1024s\n2.7| %.451s\n", line, line,
		line);
	comes_out(k, wanted);
	bench_free(k);
}
END_TEST

START_TEST(what_is_left_is_printed_at_the_end)
{
	bench *k = bench_new();

	print(k, "one\ntwo");
	k->output = vn_output_close(k->output);
	comes_out(k, "2.7| one\n2.7| two\n");
	bench_free(k);
}
END_TEST

START_TEST(a_closed_pipe_is_no_spin)
{
	bench *k = bench_new();
	uint64_t before;

	print(k, "bye");
	close(k->theirs);
	k->theirs = -1;
	comes_out(k, "2.7| bye\n");
	before = k->broker.hub->n_turns;
	vn_sleep(k->broker.hub, 20 * VN_MS);
	ck_assert_uint_le(k->broker.hub->n_turns - before, 10);
	bench_free(k);
}
END_TEST

START_TEST(when_nobody_reads_lines_are_dropped_and_counted_and_that_is_said_once)
{
	bench *k = bench_new();
	unsigned long long dropped = 0;
	size_t n_lines = 0, n_printed = 0;
	char *told, last[80];

	while (k->broker.count->n_output_lines_dropped == 0) {
		print(k, "0123456789012345678901234567890123456789\n");
		n_printed++;
		turns(k, 1);
	}
	receive(k);
	ck_assert_ptr_null(strstr(k->text, "dropped"));
	print(k, "heard\n");
	n_printed++;
	for (int i = 0; i < TURNS && !strstr(k->text, "heard"); i++) {
		turns(k, 1);
		receive(k);
	}
	told = strstr(k->text, "vanilla: ");
	ck_assert_ptr_nonnull(told);
	ck_assert_int_eq(sscanf(told, "vanilla: %llu lines dropped", &dropped), 1);
	ck_assert_uint_eq(dropped, k->broker.count->n_output_lines_dropped);
	for (char *p = k->text; (p = strstr(p, "2.7| ")); p++)
		n_lines++;
	ck_assert_uint_eq(n_lines + dropped, n_printed);
	print(k, "again\n");
	k->len = 0;
	memset(k->text, 0, 1 << 20);
	snprintf(last, sizeof last, "2.7| again\n");
	comes_out(k, last);
	bench_free(k);
}
END_TEST

START_TEST(many_lines_at_once_all_arrive_in_order)
{
	bench *k = bench_new();
	char *wanted = calloc(1, 1 << 20), *p = wanted, line[32];

	for (int i = 0; i < 3000; i++) {
		snprintf(line, sizeof line, "%d\n", i);
		print(k, line);
		p += sprintf(p, "2.7| %s", line);
		if (i % 100 == 0) {
			turns(k, 1);
			receive(k);
		}
	}
	comes_out(k, wanted);
	ck_assert_uint_eq(k->broker.count->n_output_lines_dropped, 0);
	free(wanted);
	bench_free(k);
}
END_TEST

START_TEST(the_log_has_our_name_and_a_level)
{
	bench *k = bench_new();
	int saved;

	saved = dup(STDERR_FILENO);
	dup2(STDOUT_FILENO, STDERR_FILENO);
	vn_log_init(&k->broker);
	vn_log(k->broker.hub, LOG_DEBUG, "not worth it");
	vn_log(k->broker.hub, LOG_ERR, "cannot %s\n", "x");
	k->broker.log.level = LOG_DEBUG;
	vn_log(k->broker.hub, LOG_DEBUG, "worth it");
	comes_out(k, "vanilla: cannot x?\nvanilla: worth it\n");
	vn_log_deinit(&k->broker);
	dup2(saved, STDERR_FILENO);
	close(saved);
	bench_free(k);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		each_line_gets_its_number,
		what_could_harm_a_terminal_is_replaced,
		a_line_without_end_is_split,
		what_is_left_is_printed_at_the_end,
		a_closed_pipe_is_no_spin,
		when_nobody_reads_lines_are_dropped_and_counted_and_that_is_said_once,
		many_lines_at_once_all_arrive_in_order,
		the_log_has_our_name_and_a_level,
	};

	return suite_run("broker_output", tests, SUITE_COUNT(tests));
}
