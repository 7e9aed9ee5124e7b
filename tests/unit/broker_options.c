/* SPDX-License-Identifier: MIT */
/*
 * Options - what a command line means, who wins, and what is refused with which words
 */
#include <stdlib.h>
#include <string.h>

#include "broker/options.h"
#include "client/hub/spin.h"
#include "tests/unit/suite.h"

#define ARGS_MAX 160

/* Parses "run" and the words, which end with NULL. */
static int
parse(vn_config *c, char why[static VN_WHY_BYTES], const char *const *words)
{
	static char *argv[ARGS_MAX]; /* the configuration points into it */
	int argc = 0;

	for (char **old = argv; *old; old++)
		free(*old);
	argv[argc++] = strdup("run");
	for (; *words; words++)
		argv[argc++] = strdup(*words);
	argv[argc] = NULL;
	return vn_options_parse(c, argc, argv, why);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void
parses(vn_config *c, const char *const *words)
{
	char why[VN_WHY_BYTES] = "";
	int code = parse(c, why, words);

	ck_assert_msg(code == 0, "%d: %s", code, why);
}

static void
refused(int code, const char *named, const char *const *words)
{
	char why[VN_WHY_BYTES] = "";
	vn_config c;

	ck_assert_int_eq(parse(&c, why, words), code);
	ck_assert_msg(strstr(why, named), "'%s' is not in: %s", named, why);
	ck_assert_msg(!strchr(why, '\n') && why[strlen(why) - 1] != '.', "no sentence: %s", why);
	vn_options_deinit(&c);
}

START_TEST(what_nobody_sets_is_as_documented)
{
	vn_config c;
	double n = vn_spin_processors();

	setenv("XDG_RUNTIME_DIR", "/somewhere", 1);
	parses(&c, WORDS("--", "/opt/bin/echo", "-x", "--", "y"));
	ck_assert_uint_eq(c.n_workers, n < 1 ? 1 : (uint32_t)n);
	ck_assert_uint_eq(c.n_listens, 0);
	ck_assert_str_eq(c.name, "echo");
	ck_assert_str_eq(c.control_path, "/somewhere/vanilla/echo.sock");
	ck_assert_int_eq(c.start_timeout, 10 * VN_SEC);
	ck_assert_int_eq(c.release_after, VN_SEC);
	ck_assert_int_eq(c.linger_timeout, 10 * VN_SEC);
	ck_assert_int_eq(c.drain_timeout, 30 * VN_SEC);
	ck_assert_int_eq(c.queue_timeout, 30 * VN_SEC);
	ck_assert_uint_eq(c.window, 256 << 10);
	ck_assert_uint_eq(c.depth, 64);
	ck_assert_uint_eq(c.lane_memory, 8 << 20);
	ck_assert_uint_eq(c.max_conns, 0);
	ck_assert_int_eq(c.log_level, LOG_INFO);
	ck_assert_str_eq(c.program[0], "/opt/bin/echo");
	ck_assert_str_eq(c.program[1], "-x");
	ck_assert_str_eq(c.program[2], "--");
	ck_assert_str_eq(c.program[3], "y");
	ck_assert_ptr_null(c.program[4]);
	vn_options_deinit(&c);
}
END_TEST

START_TEST(every_flag_does_what_it_says)
{
	vn_config c;

	parses(&c, WORDS("-w", "3", "--listen", "tcp://127.0.0.1:0?backlog=9", "-l",
			   "web=unix:/tmp/x=y.sock", "-s", "a/b.sock", "-n", "shop",
			   "--start-timeout", "250ms", "--release-after=0s", "--linger-timeout",
			   "7s", "--drain-timeout", "2m", "--queue-timeout", "1m", "--window",
			   "16k", "--depth", "5", "--lane-memory", "3M", "--max-conns", "1000",
			   "--log-level", "debug", "--", "p"));
	ck_assert_uint_eq(c.n_workers, 3);
	ck_assert_uint_eq(c.n_listens, 2);
	ck_assert_ptr_null(c.listens[0].name);
	ck_assert_str_eq(c.listens[0].url, "tcp://127.0.0.1:0?backlog=9");
	ck_assert_str_eq(c.listens[1].name, "web");
	ck_assert_str_eq(c.listens[1].url, "unix:/tmp/x=y.sock");
	ck_assert_str_eq(c.control_path, "a/b.sock");
	ck_assert_str_eq(c.name, "shop");
	ck_assert_int_eq(c.start_timeout, 250 * VN_MS);
	ck_assert_int_eq(c.release_after, 0);
	ck_assert_int_eq(c.linger_timeout, 7 * VN_SEC);
	ck_assert_int_eq(c.drain_timeout, 120 * VN_SEC);
	ck_assert_int_eq(c.queue_timeout, 60 * VN_SEC);
	ck_assert_uint_eq(c.window, 16 << 10);
	ck_assert_uint_eq(c.depth, 5);
	ck_assert_uint_eq(c.lane_memory, 3 << 20);
	ck_assert_uint_eq(c.max_conns, 1000);
	ck_assert_int_eq(c.log_level, LOG_DEBUG);
	vn_options_deinit(&c);
}
END_TEST

START_TEST(a_flag_wins_over_a_variable_and_that_over_the_default)
{
	vn_config c;

	setenv("VANILLA_DRAIN_TIMEOUT", "5s", 1);
	setenv("VANILLA_WORKERS", "7", 1);
	setenv("VANILLA_CONTROL", "/var/x.sock", 1);
	setenv("VANILLA_DEPTH", "", 1);
	setenv("VANILLA_LISTEN", "unix:/a  web=unix:/b", 1);
	parses(&c, WORDS("-w", "2", "--", "p"));
	ck_assert_uint_eq(c.n_workers, 2);
	ck_assert_int_eq(c.drain_timeout, 5 * VN_SEC);
	ck_assert_str_eq(c.control_path, "/var/x.sock");
	ck_assert_uint_eq(c.depth, 64);
	ck_assert_uint_eq(c.n_listens, 2);
	ck_assert_str_eq(c.listens[1].name, "web");
	vn_options_deinit(&c);
	parses(&c, WORDS("-l", "unix:/c", "--", "p"));
	ck_assert_uint_eq(c.n_listens, 1);
	ck_assert_str_eq(c.listens[0].url, "unix:/c");
	vn_options_deinit(&c);
}
END_TEST

START_TEST(a_bad_variable_is_named_unless_a_flag_overrides_it)
{
	vn_config c;

	setenv("VANILLA_WINDOW", "huge", 1);
	refused(2, "variable VANILLA_WINDOW", WORDS("--", "p"));
	refused(2, "'huge'", WORDS("--", "p"));
	parses(&c, WORDS("--window", "64k", "--", "p"));
	ck_assert_uint_eq(c.window, 64 << 10);
	vn_options_deinit(&c);
}
END_TEST

START_TEST(each_bad_value_is_named_with_its_option)
{
	static const struct {
		const char *option, *value;
	} bad[] = {{"--workers", "0"}, {"--workers", "257"}, {"--workers", "x"},
		{"--workers", "1x"}, {"--workers", " 1"}, {"--workers", ""},
		{"--start-timeout", "soon"}, {"--start-timeout", "10"}, {"--start-timeout", "-1s"},
		{"--start-timeout", "0ms"}, {"--drain-timeout", "1h"}, {"--drain-timeout", "1441m"},
		{"--drain-timeout", "99999999999999999999s"},
		{"--drain-timeout", "9223372036854775807m"}, {"--window", "-5"}, {"--window", "5"},
		{"--window", "65M"}, {"--window", "1K"}, {"--depth", "0"}, {"--depth", "65536"},
		{"--lane-memory", "4k"}, {"--lane-memory", "1025M"}, {"--max-conns", "0"},
		{"--log-level", "loud"}, {"--name", ""}, {"--name", "a/b"}, {"--name", ".x"},
		{"--name", "a b"}, {"--control", ""}};

	for (size_t i = 0; i < SUITE_COUNT(bad); i++) {
		char quoted[80], label[80];

		snprintf(quoted, sizeof quoted, "'%s'", bad[i].value);
		snprintf(label, sizeof label, "option %s ", bad[i].option);
		refused(2, quoted, WORDS(bad[i].option, bad[i].value, "--", "p"));
		refused(2, label, WORDS(bad[i].option, bad[i].value, "--", "p"));
	}
}
END_TEST

START_TEST(a_command_line_that_makes_no_sense_is_a_usage_error)
{
	char far[200];

	memset(far, 'x', sizeof far);
	far[sizeof far - 1] = '\0';
	refused(2, "--nonsense", WORDS("--nonsense", "--", "p"));
	refused(2, "-z", WORDS("-z", "--", "p"));
	refused(2, "--workers", WORDS("-w"));
	refused(2, "--depth", WORDS("--depth"));
	refused(2, "no program", WORDS("-w", "2"));
	refused(2, "no program", WORDS("--"));
	refused(2, "no program", WORDS("--", ""));
	refused(2, "./echo", WORDS("-w", "2", "./echo"));
	refused(2, far, WORDS("-s", far, "--", "p"));
	refused(2, "--control", WORDS("--", far)); /* the default path is made from its name */
}
END_TEST

START_TEST(bad_endpoints_are_refused_before_anything_starts)
{
	refused(VN_EXIT_CONFIG, "'7000'", WORDS("-l", "7000", "--", "p"));
	refused(VN_EXIT_CONFIG, "''", WORDS("-l", "", "--", "p"));
	refused(VN_EXIT_CONFIG, "'tcp://127.0.0.1'", WORDS("-l", "tcp://127.0.0.1", "--", "p"));
	refused(VN_EXIT_CONFIG, "'http://x'", WORDS("-l", "a=http://x", "--", "p"));
	refused(VN_EXIT_CONFIG, "nonsense", WORDS("-l", "unix:/x?nonsense=1", "--", "p"));
	refused(2, "twice", WORDS("-l", "unix:/x", "-l", "unix:/x", "--", "p"));
	refused(2, "'a' is given twice", WORDS("-l", "a=unix:/x", "-l", "a=unix:/y", "--", "p"));
}
END_TEST

START_TEST(too_many_endpoints_are_refused)
{
	const char *words[ARGS_MAX] = {0};
	char urls[VN_MAX_LISTENS + 1][32];
	size_t n = 0;
	vn_config c;

	for (int i = 0; i <= VN_MAX_LISTENS; i++) {
		snprintf(urls[i], sizeof urls[i], "unix:/x%d", i);
		words[n++] = "-l";
		words[n++] = urls[i];
	}
	words[n++] = "--";
	words[n++] = "p";
	refused(2, "x64", words);
	words[2 * VN_MAX_LISTENS] = "-w";
	words[2 * VN_MAX_LISTENS + 1] = "1";
	parses(&c, words);
	ck_assert_uint_eq(c.n_listens, VN_MAX_LISTENS);
	vn_options_deinit(&c);
}
END_TEST

START_TEST(the_default_control_path_follows_name_and_runtime_folder)
{
	vn_config c;

	unsetenv("XDG_RUNTIME_DIR");
	parses(&c, WORDS("--", "bin/echo"));
	ck_assert_str_eq(c.control_path, "/run/vanilla/echo.sock");
	vn_options_deinit(&c);
	setenv("XDG_RUNTIME_DIR", "relative", 1); /* not valid by its specification */
	parses(&c, WORDS("-n", "shop", "--", "bin/echo"));
	ck_assert_str_eq(c.control_path, "/run/vanilla/shop.sock");
	vn_options_deinit(&c);
}
END_TEST

START_TEST(lane_memory_is_depth_windows_within_limits_in_whole_spans)
{
	vn_config c;

	parses(&c, WORDS("--depth", "5", "--window", "300k", "--", "p"));
	ck_assert_uint_eq(c.lane_memory, 24 * 65536); /* 1500 KiB, rounded up */
	vn_options_deinit(&c);
	parses(&c, WORDS("--depth", "1", "--window", "4k", "--", "p"));
	ck_assert_uint_eq(c.lane_memory, 1 << 20);
	vn_options_deinit(&c);
	parses(&c, WORDS("--lane-memory", "1048577", "--", "p"));
	ck_assert_uint_eq(c.lane_memory, (1 << 20) + 65536);
	vn_options_deinit(&c);
}
END_TEST

START_TEST(help_is_asked_for_and_names_every_option_and_variable)
{
	static const char *const names[] = {"--workers", "--listen", "--control", "--name",
		"--start-timeout", "--release-after", "--linger-timeout", "--drain-timeout",
		"--queue-timeout", "--window", "--depth", "--lane-memory", "--max-conns",
		"--log-level", "VANILLA_WORKERS", "VANILLA_DRAIN_TIMEOUT", "VANILLA_LOG_LEVEL"};
	char why[VN_WHY_BYTES], *text = NULL;
	vn_config c;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	ck_assert_int_eq(parse(&c, why, WORDS("-w", "2", "--help")), VN_OPTIONS_HELP);
	vn_options_deinit(&c);
	vn_options_help(f);
	fclose(f);
	for (size_t i = 0; i < SUITE_COUNT(names); i++)
		ck_assert_msg(strstr(text, names[i]), "%s is missing", names[i]);
	for (char *row = strtok(text, "\n"); row; row = strtok(NULL, "\n"))
		ck_assert_msg(strlen(row) <= 120, "too wide: %s", row);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		what_nobody_sets_is_as_documented,
		every_flag_does_what_it_says,
		a_flag_wins_over_a_variable_and_that_over_the_default,
		a_bad_variable_is_named_unless_a_flag_overrides_it,
		each_bad_value_is_named_with_its_option,
		a_command_line_that_makes_no_sense_is_a_usage_error,
		bad_endpoints_are_refused_before_anything_starts,
		too_many_endpoints_are_refused,
		the_default_control_path_follows_name_and_runtime_folder,
		lane_memory_is_depth_windows_within_limits_in_whole_spans,
		help_is_asked_for_and_names_every_option_and_variable,
	};

	return suite_run("broker_options", tests, SUITE_COUNT(tests));
}
