/* SPDX-License-Identifier: MIT */
/*
 * Stat - the counters of a broker, straight from its file
 *
 * No word is exchanged with the broker, so this works while it runs, while it is stopped, when it hangs, and after
 * it was killed; which of these it is, /proc and the age of the last sample tell. The file is input (reader.c). It is
 * mapped, because only then a number cannot be torn; if somebody cuts it short meanwhile, that ends this program
 * with a sentence.
 */
#include "broker/stat.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <glob.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "broker/broker.h"
#include "broker/log.h"
#include "broker/metrics.h"

#define FILE_BYTES_MAX (64 << 20)
#define HANGS_AFTER    (2 * VN_SEC)
#define NS             1e9

typedef struct stat_run {
	char path[512];
	bool json;
	vn_reader reader;
	const char *condition;
	int64_t age; /* of the last sample: nanoseconds */
} stat_run;

static void
help(void)
{
	puts("usage: vanilla stat [-s SOCKET] [--json]\n"
	     "\n"
	     "Prints the counters of a broker from the file beside its control socket. The broker "
	     "is not\n"
	     "asked: this works while it runs, is stopped, hangs, or after it was killed, and says "
	     "which.\n"
	     "\n"
	     "  -s, --control SOCKET   the broker's control socket; otherwise $VANILLA_CONTROL, or "
	     "the only\n"
	     "                         one with counters in $XDG_RUNTIME_DIR/vanilla or "
	     "/run/vanilla\n"
	     "  -j, --json             one JSON document\n"
	     "  -h, --help             this text\n"
	     "\n"
	     "Exits 0; 1 if the file is no counters file; 2 if this line is wrong; 69 if there is "
	     "none;\n"
	     "77 if it is not for you to read.");
}

static int
usage_error(const char *what, const char *which)
{
	fprintf(stderr, "vanilla: %s%.200s; see vanilla stat --help\n", what, which);
	return VN_EXIT_USAGE;
}

static int
arguments(stat_run *k, int argc, char **argv)
{
	static const struct option longs[] = {{"control", required_argument, NULL, 's'},
		{"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
	const char *path = getenv("VANILLA_CONTROL");
	int found;

	opterr = 0;
	optind = 0;
	while ((found = getopt_long(argc, argv, "+:s:jh", longs, NULL)) != -1)
		switch (found) {
		case 's':
			path = optarg;
			break;
		case 'j':
			k->json = true;
			break;
		case 'h':
			return -1;
		case ':':
			return usage_error("a value is missing after ", argv[optind - 1]);
		default:
			return usage_error("unknown option ", argv[optind - 1]);
		}
	if (optind < argc)
		return usage_error("stat takes no argument: ", argv[optind]);
	if (path && *path)
		snprintf(k->path, sizeof k->path, "%.400s" VN_COUNTERS_SUFFIX, path);
	return 0;
}

/* The only file of the folder where brokers put theirs. */
static int
find(stat_run *k)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	char pattern[512];
	glob_t found = {0};
	int rc = glob((snprintf(pattern, sizeof pattern, "%.400s/vanilla/*.sock" VN_COUNTERS_SUFFIX,
			       runtime && runtime[0] == '/' ? runtime : "/run"),
			      pattern),
		0, NULL, &found);

	if (rc == 0 && found.gl_pathc == 1) {
		snprintf(k->path, sizeof k->path, "%s", found.gl_pathv[0]);
	} else if (rc == 0) {
		fprintf(stderr,
			"vanilla: more than one broker left counters here, at least %s and %s; "
			"choose one "
			"with -s\n",
			found.gl_pathv[0], found.gl_pathv[1]);
		rc = VN_EXIT_USAGE;
	} else {
		fprintf(stderr,
			"vanilla: no counters of a broker at %s; start one, or name its control "
			"socket "
			"with -s\n",
			pattern);
		rc = VN_EXIT_NO_BROKER;
	}
	globfree(&found);
	return rc;
}

static int
cannot_read(const stat_run *k, int error)
{
	if (error == ENOENT || error == ENOTDIR) {
		fprintf(stderr,
			"vanilla: no counters at %s; start a broker with that control socket, or "
			"name "
			"another with -s\n",
			k->path);
		return VN_EXIT_NO_BROKER;
	}
	fprintf(stderr, "vanilla: cannot read the counters %s: %s\n", k->path, strerror(error));
	return error == EACCES || error == EPERM ? VN_EXIT_PERMISSION : VN_EXIT_SYSTEM;
}

static int
is_no_counters_file(const stat_run *k, const char *why)
{
	fprintf(stderr, "vanilla: cannot read the counters %s: %s\n", k->path, why);
	return VN_EXIT_FAILURE;
}

static int
map(stat_run *k, int fd)
{
	struct stat st;
	const char *why;
	void *base;

	if (fstat(fd, &st) < 0)
		return cannot_read(k, errno);
	if (!S_ISREG(st.st_mode) || st.st_size == 0 || st.st_size > FILE_BYTES_MAX)
		return is_no_counters_file(k, "it is no counters file");
	base = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		return cannot_read(k, errno);
	return vn_reader_init(&k->reader, base, (size_t)st.st_size, &why) < 0
		       ? is_no_counters_file(k, why)
		       : 0;
}

static int
open_reader(stat_run *k)
{
	int fd = open(k->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), code;

	if (fd < 0)
		return cannot_read(k, errno);
	code = map(k, fd);
	close(fd);
	return code;
}

/* How a process is; ' ' if there is none that was started then. */
static char
process_state(uint32_t pid, uint64_t started)
{
	unsigned long long ticks;
	char path[64], text[1024], *after, state;
	size_t n;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%u/stat", (unsigned)pid);
	f = fopen(path, "re");
	if (!f)
		return ' ';
	n = fread(text, 1, sizeof text - 1, f);
	fclose(f);
	text[n] = '\0';
	after = strrchr(text, ')');
	if (!after ||
		sscanf(after,
			") %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
			"%*s %*s %*s %llu",
			&state, &ticks) != 2 ||
		ticks != started)
		return ' ';
	return state;
}

static void
diagnose(stat_run *k)
{
	const vn_counters_header *h = &k->reader.header;
	char state = process_state(h->pid, h->pid_started);
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	k->age =
		(int64_t)now.tv_sec * VN_SEC + now.tv_nsec - (int64_t)vn_reader_sampled(&k->reader);
	if (k->age < 0)
		k->age = 0;
	if (strchr(" ZXx", state))
		k->condition = "dead";
	else if (strchr("Tt", state))
		k->condition = "stopped";
	else
		k->condition = k->age > HANGS_AFTER ? "hung" : "running";
}

/* Of the broker's clock, which stands still while the machine sleeps, to that on the wall. */
static int64_t
wall(const stat_run *k, uint64_t at)
{
	const vn_counters_header *h = &k->reader.header;

	return (int64_t)(h->started_ns + (at - h->zero_ns)) & INT64_MAX;
}

static void
print_head(const stat_run *k)
{
	const vn_counters_header *h = &k->reader.header;
	char started[VN_TIME_TEXT];

	vn_time_text((int64_t)(h->started_ns & INT64_MAX), started);
	printf("service    %s\nversion    %s\npid        %u\ncondition  %s\n", h->service,
		h->release, (unsigned)h->pid, k->condition);
	printf("started    %s\nsampled    %.3f s ago\n\n", started, (double)k->age / NS);
}

static void
print_sample(const stat_run *k, const vn_sample *s)
{
	static const double quantiles[] = {0.5, 0.99, 1};
	double value;

	fputs(s->field->name, stdout);
	fputs(s->field->kind == VN_FIELD_COUNTER ? "_total" : "", stdout);
	vn_metrics_labels(stdout, &k->reader, s, NULL);
	if (s->field->kind == VN_FIELD_HISTOGRAM) {
		printf(" count %llu mean", (unsigned long long)vn_sample_count(&k->reader, s));
		value = (double)vn_sample_count(&k->reader, s);
		printf(" %.6f", value > 0 ? (double)s->value / NS / value : 0);
		for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++)
			printf(" p%g %.6f", 100 * quantiles[i],
				(double)vn_sample_quantile(&k->reader, s, quantiles[i]) / NS);
		putchar('\n');
	} else if (s->field->kind == VN_FIELD_REAL) {
		memcpy(&value, &s->value, sizeof value);
		printf(isnan(value) ? " NaN\n" : " %.17g\n", value);
	} else {
		printf(" %llu\n", (unsigned long long)s->value);
	}
}

static void
print_errors(const stat_run *k)
{
	vn_counters_error e;
	char first[VN_TIME_TEXT], last[VN_TIME_TEXT];
	bool any = false;

	for (uint32_t i = 0; i < k->reader.header.n_errors; i++) {
		if (!vn_reader_error(&k->reader, i, &e))
			continue;
		if (!any)
			printf("\n%10s  %-24s  %-24s  %-7s  %s\n", "count", "first", "last",
				"level", "text");
		any = true;
		vn_time_text(wall(k, e.first_ns), first);
		vn_time_text(wall(k, e.last_ns), last);
		printf("%10llu  %s  %s  %-7s  %s\n", (unsigned long long)e.count, first, last,
			vn_level_name((int)(e.level & 7)), e.text);
	}
}

static void
print_text(const stat_run *k)
{
	vn_reader_cursor at = {0};
	vn_sample s;

	print_head(k);
	while (vn_reader_next(&k->reader, &at, &s))
		print_sample(k, &s);
	print_errors(k);
}

static json_t *
json_number(uint64_t n)
{
	return json_integer((json_int_t)(n & INT64_MAX));
}

static json_t *
json_buckets(const stat_run *k, const vn_sample *s)
{
	json_t *all = json_array();

	for (uint32_t i = 0; i < k->reader.header.n_bounds; i++)
		json_array_append_new(all, json_number(s->counts[i]));
	return all;
}

static json_t *
json_value(const stat_run *k, const vn_sample *s)
{
	double value;

	if (s->field->kind == VN_FIELD_HISTOGRAM)
		return json_pack("{s:o, s:f, s:f, s:f, s:o}", "count",
			json_number(vn_sample_count(&k->reader, s)), "sum_seconds",
			(double)s->value / NS, "p50_seconds",
			(double)vn_sample_quantile(&k->reader, s, 0.5) / NS, "p99_seconds",
			(double)vn_sample_quantile(&k->reader, s, 0.99) / NS, "buckets",
			json_buckets(k, s));
	if (s->field->kind != VN_FIELD_REAL)
		return json_number(s->value);
	memcpy(&value, &s->value, sizeof value);
	return json_real(value) ?: json_null(); /* no number that JSON knows */
}

static json_t *
json_sample(const stat_run *k, const vn_sample *s)
{
	static const char *const kinds[] = {"", "counter", "gauge", "histogram", "gauge"};
	bool is_counter = s->field->kind == VN_FIELD_COUNTER;
	json_t *labels = json_object();

	if (*s->row)
		json_object_set_new(labels, s->table->label, json_string(s->row));
	if (*s->field->label)
		json_object_set_new(labels, s->field->label, json_string(s->field->value));
	return json_pack("{s:s+, s:s, s:o, s:o}", "name", s->field->name,
		is_counter ? "_total" : "", "kind", kinds[s->field->kind], "labels", labels,
		"value", json_value(k, s));
}

static json_t *
json_errors(const stat_run *k)
{
	json_t *all = json_array();
	vn_counters_error e;

	for (uint32_t i = 0; i < k->reader.header.n_errors; i++)
		if (vn_reader_error(&k->reader, i, &e))
			json_array_append_new(
				all, json_pack("{s:o, s:f, s:f, s:s, s:s}", "count",
					     json_number(e.count), "first",
					     (double)wall(k, e.first_ns) / NS, "last",
					     (double)wall(k, e.last_ns) / NS, "level",
					     vn_level_name((int)(e.level & 7)), "text", e.text));
	return all;
}

static json_t *
json_bounds(const stat_run *k)
{
	json_t *all = json_array();

	for (uint32_t i = 0; i + 1 < k->reader.header.n_bounds; i++)
		json_array_append_new(all, json_real((double)k->reader.bounds[i] / NS));
	return all;
}

static int
print_json(const stat_run *k)
{
	const vn_counters_header *h = &k->reader.header;
	json_t *samples = json_array(), *all;
	vn_reader_cursor at = {0};
	vn_sample s;
	int rc;

	while (vn_reader_next(&k->reader, &at, &s))
		json_array_append_new(samples, json_sample(k, &s));
	all = json_pack("{s:{s:s, s:s, s:I, s:s, s:f, s:f}, s:o, s:o, s:o}", "broker", "service",
		h->service, "version", h->release, "pid", (json_int_t)h->pid, "condition",
		k->condition, "started", (double)(h->started_ns & INT64_MAX) / NS,
		"sampled_seconds_ago", (double)k->age / NS, "bounds_seconds", json_bounds(k),
		"counters", samples, "errors", json_errors(k));
	rc = all ? json_dumpf(all, stdout, JSON_INDENT(1)) : -1;
	putchar('\n');
	json_decref(all);
	return rc;
}

/* The file became shorter than it was when it was mapped. */
static void
cut_short(int signal)
{
	static const char text[] = "vanilla: the counters were cut short while they were read\n";
	ssize_t n = write(STDERR_FILENO, text, sizeof text - 1);

	(void)signal, (void)n;
	_exit(VN_EXIT_FAILURE);
}

/**
 * vn_stat_main() - `vanilla stat`
 * @argv: argv[0] is the subcommand
 *
 * Return: the exit code of the program.
 */
int
vn_stat_main(int argc, char **argv)
{
	stat_run *k = calloc(1, sizeof *k);
	int code = k ? arguments(k, argc, argv) : VN_EXIT_SYSTEM;

	signal(SIGBUS, cut_short);
	if (code < 0)
		help();
	else if (code == 0 && !*k->path)
		code = find(k);
	if (code == 0)
		code = open_reader(k);
	if (code == 0) {
		diagnose(k);
		if (k->json)
			code = print_json(k) < 0 ? VN_EXIT_FAILURE : 0;
		else
			print_text(k);
		if (fflush(stdout) != 0)
			code = VN_EXIT_FAILURE;
		vn_reader_deinit(&k->reader);
	}
	free(k);
	return code < 0 ? 0 : code;
}
