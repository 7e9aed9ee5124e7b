/* SPDX-License-Identifier: MIT */
/*
 * Config - options from a file: who wins, what is refused, and that the line is said
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/config.h"
#include "tests/unit/suite.h"

typedef struct bench {
	char path[64], why[VN_WHY_BYTES];
	vn_config config;
	vn_option_shown shown;
	char option[64], value[128];
} bench;

static void
file_write(bench *k, const char *text, size_t len)
{
	int fd;

	strcpy(k->path, "/tmp/vanilla-config-XXXXXX");
	fd = mkstemp(k->path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, len), (ssize_t)len);
	close(fd);
}

/* run -c FILE, and one more option unless that is NULL */
static int
run(bench *k, const char *text, const char *option, const char *value)
{
	char *argv[] = {(char[]){"run"}, (char[]){"-c"}, k->path, k->option, k->value, NULL};

	snprintf(k->option, sizeof k->option, "%s", option ? option : "");
	snprintf(k->value, sizeof k->value, "%s", option ? value : "");
	file_write(k, text, strlen(text));
	return vn_options_parse(&k->config, option ? 5 : 3, argv, k->why);
}

static void
end(bench *k)
{
	vn_options_deinit(&k->config);
	unlink(k->path);
}

static const vn_option_shown *
shown(bench *k, const char *name)
{
	for (size_t i = 0; vn_options_shown(&k->config, i, &k->shown); i++)
		if (strcmp(k->shown.name, name) == 0)
			return &k->shown;
	ck_abort_msg("no option %s", name);
}

START_TEST(a_file_says_what_a_command_line_could)
{
	bench k = {.why = ""};

	ck_assert_int_eq(run(&k,
				 "# a comment\n"
				 "program = {\"/opt/kv\", \"a b\", \"c\"}\n"
				 "workers = 3\n"
				 "stall-timeout = 1500ms # and another\n"
				 "window = \"64k\"\n"
				 "listen = {\"web=tcp://127.0.0.1:0?backlog=9\",\n"
				 "\"unix:/tmp/x.sock\"}\n",
				 NULL, NULL),
		0);
	ck_assert_str_eq(k.config.program[0], "/opt/kv");
	ck_assert_str_eq(k.config.program[1], "a b");
	ck_assert_str_eq(k.config.program[2], "c");
	ck_assert_ptr_null(k.config.program[3]);
	ck_assert_str_eq(k.config.name, "kv");
	ck_assert_uint_eq(k.config.n_workers, 3);
	ck_assert_int_eq(k.config.stall_timeout, 1500 * VN_MS);
	ck_assert_uint_eq(k.config.window, 64 << 10);
	ck_assert_uint_eq(k.config.n_listens, 2);
	ck_assert_str_eq(k.config.listens[0].name, "web");
	ck_assert_str_eq(k.config.listens[1].url, "unix:/tmp/x.sock");
	end(&k);
}
END_TEST

START_TEST(flag_beats_variable_beats_file_beats_default)
{
	bench k = {.why = ""};
	char place[128];

	setenv("VANILLA_DEPTH", "5", 1);
	setenv("VANILLA_RETRIES", "7", 1);
	ck_assert_int_eq(run(&k,
				 "program = {\"x\"}\n"
				 "window = 8k\ndepth = 4\n\nretries = 4\n",
				 "--depth", "6"),
		0);
	ck_assert_uint_eq(k.config.depth, 6);
	ck_assert_uint_eq(k.config.retries, 7);
	ck_assert_uint_eq(k.config.window, 8192);
	ck_assert_str_eq(shown(&k, "depth")->source, "flag");
	ck_assert_str_eq(shown(&k, "depth")->place, "--depth");
	ck_assert_str_eq(shown(&k, "retries")->source, "variable");
	ck_assert_str_eq(shown(&k, "retries")->place, "VANILLA_RETRIES");
	ck_assert_str_eq(shown(&k, "window")->source, "file");
	snprintf(place, sizeof place, "%s:2", k.path);
	ck_assert_str_eq(shown(&k, "window")->place, place);
	ck_assert_str_eq(shown(&k, "window")->value, "8k");
	ck_assert_str_eq(shown(&k, "start-timeout")->source, "default");
	ck_assert_str_eq(shown(&k, "start-timeout")->place, "");
	ck_assert_str_eq(shown(&k, "start-timeout")->value, "10s");
	ck_assert_str_eq(shown(&k, "program")->source, "file");
	ck_assert_str_eq(shown(&k, "program")->value, "x");
	ck_assert_str_eq(shown(&k, "config")->value, k.path);
	end(&k);
}
END_TEST

/* A list replaces a list, it does not add to it. */
START_TEST(endpoints_of_a_flag_replace_those_of_the_file)
{
	bench k = {.why = ""};

	ck_assert_int_eq(run(&k, "program = {\"x\"}\nlisten = {\"a=tcp://127.0.0.1:1\"}\n", "-l",
				 "b=tcp://127.0.0.1:2"),
		0);
	ck_assert_uint_eq(k.config.n_listens, 1);
	ck_assert_str_eq(k.config.listens[0].name, "b");
	end(&k);
}
END_TEST

/* What each option shows can be typed again and means the same. */
START_TEST(shown_values_mean_the_same_again)
{
	static const char *const values[][2] = {{"start-timeout", "90s"}, {"drain-timeout", "2m"},
		{"reload-trial", "0s"}, {"queue-timeout", "1500ms"}, {"window", "5000"},
		{"lane-memory", "3M"}, {"log-level", "debug"}, {"log-format", "json"},
		{"max-conns", "auto"}, {"max-conns", "12"}, {"quarantine-bytes", "0"},
		{"listen", "web=unix:/tmp/x.sock"}};

	for (size_t i = 0; i < SUITE_COUNT(values); i++) {
		bench k = {.why = ""};
		char flag[64];

		snprintf(flag, sizeof flag, "--%s", values[i][0]);
		ck_assert_int_eq(run(&k, "program = {\"x\"}\n", flag, values[i][1]), 0);
		ck_assert_str_eq(shown(&k, values[i][0])->value, values[i][1]);
		end(&k);
	}
}
END_TEST

START_TEST(what_is_wrong_is_said_with_its_line)
{
	static const struct {
		const char *text, *after; /* the path */
	} bad[] = {
		{"workers = 1\nwrokers = 2\n", ":2: no such option 'wrokers'"},
		{"workers = 1\n\nworkers = 2\n", ":3: workers is set in line 1 already"},
		{"\nworkers = many\n", ":2: workers wants a number from 1 to 256"},
		{"\nstall-timeout = 1h\n", ":2: stall-timeout wants a time"},
		{"listen = {\"tcp://127.0.0.1:1\",\n\n\"no:1\"}\n", ":3: listen: cannot listen"},
		{"listen = {\"unix:/a\", \"unix:/a\"}\n", ":1: listen: 'unix:/a' is given twice"},
		{"workers = {1, 2}\n", ":1: unexpected token"},
		{"config = x\n", ":1: no such option 'config'"},
		{"workers = \"4\n", ": premature end of file"},
	};

	for (size_t i = 0; i < SUITE_COUNT(bad); i++) {
		bench k = {.why = ""};
		size_t len;

		ck_assert_int_eq(run(&k, bad[i].text, NULL, NULL), VN_EXIT_CONFIG);
		len = strlen(k.path);
		ck_assert_msg(strncmp(k.why, k.path, len) == 0, "%s", k.why);
		ck_assert_msg(strstr(k.why, bad[i].after) != NULL, "%s: %s", bad[i].text, k.why);
		end(&k);
	}
}
END_TEST

START_TEST(a_check_says_everything_that_is_wrong)
{
	static const char text[] = "workers = 0\nwindow = 64k\ndepth = no\nlisten = {\"no:1\"}\n";
	bench k = {.why = ""};
	char *said = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&said, &len);

	file_write(&k, text, strlen(text));
	ck_assert_int_eq(vn_options_check(k.path, to), VN_EXIT_CONFIG);
	fflush(to);
	ck_assert_ptr_nonnull(strstr(said, ":1: workers"));
	ck_assert_ptr_nonnull(strstr(said, ":3: depth"));
	ck_assert_ptr_nonnull(strstr(said, ":4: listen"));
	ck_assert_ptr_null(strstr(said, ":2:"));
	fclose(to);
	free(said);
	unlink(k.path);
	ck_assert_int_eq(vn_options_check("/nowhere/to/be/found", stderr), VN_EXIT_CONFIG);
}
END_TEST

START_TEST(no_file_harms_us)
{
	FILE *nowhere = fopen("/dev/null", "w");
	uint64_t seed = 4711;

	for (int i = 0; i < SUITE_TIMES(300); i++) {
		bench k = {.why = ""};
		char text[512];

		for (size_t n = 0; n < sizeof text; n++)
			text[n] = i % 2 ? "workers=listen{}\"\n\\# ,8"[suite_random(&seed) % 24]
					: (char)suite_random(&seed);
		file_write(&k, text, sizeof text);
		vn_options_check(k.path, nowhere);
		unlink(k.path);
	}
	fclose(nowhere);
}
END_TEST

START_TEST(a_file_has_a_limit)
{
	bench k = {.why = ""};
	size_t n = (1 << 20) + 1;
	char *text = malloc(n);

	memset(text, '#', n);
	file_write(&k, text, n);
	ck_assert_int_eq(vn_config_file_read(&k.config.file, k.path, k.why), VN_EXIT_CONFIG);
	ck_assert_ptr_nonnull(strstr(k.why, "longer than a megabyte"));
	end(&k);
	free(text);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		a_file_says_what_a_command_line_could,
		flag_beats_variable_beats_file_beats_default,
		endpoints_of_a_flag_replace_those_of_the_file,
		shown_values_mean_the_same_again,
		what_is_wrong_is_said_with_its_line,
		a_check_says_everything_that_is_wrong,
		no_file_harms_us,
		a_file_has_a_limit,
	};

	return suite_run("broker_config", tests, SUITE_COUNT(tests));
}
