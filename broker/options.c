/* SPDX-License-Identifier: MIT */
/*
 * Options - the table, and what its values mean
 *
 * First the whole command line is read, then each option takes its value from there, from its variable, or
 * from the table. So a bad variable that a flag overrides harms nobody.
 */
#include "broker/options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "client/hub/spin.h"
#include "client/net/url.h"

#define LANE_DEFAULT_BYTES (8u << 20)
#define LANE_UNIT_BYTES    65536u
#define LANE_MIN_BYTES     (1u << 20)
#define NAME_BYTES         64
#define DAY                (24 * 60 * 60 * VN_SEC)
#define VARIABLE_BYTES     64
#define BLANKS             " \t\n"

typedef struct option_spec option_spec;

struct option_spec {
	int letter; /* 0: it has none */
	const char *name, *argument;
	const char *initial; /* as if it had been typed; NULL: depends on other options */
	const char *wants;   /* what is good for it, after "wants" */
	const char *help;
	/* label: "option --name" or "variable VANILLA_NAME"; 0 or an exit code */
	int (*set)(vn_config *c, const option_spec *s, const char *label, const char *value,
		char why[static VN_WHY_BYTES]);
	size_t offset;
	int64_t min, max;
};

/* What the command line said: a value per option of the table, and all of --listen. */
typedef struct given {
	const char *values[32];
	const char *listens[VN_MAX_LISTENS];
	uint32_t n_listens;
} given;

static int
refuse(const option_spec *s, const char *label, const char *value, char why[static VN_WHY_BYTES])
{
	snprintf(why, VN_WHY_BYTES, "%s wants %s, not '%.200s'", label, s->wants, value);
	return VN_EXIT_USAGE;
}

typedef struct unit {
	const char *name;
	int64_t factor;
} unit;

static const unit time_units[] = {{"ms", VN_MS}, {"s", VN_SEC}, {"m", 60 * VN_SEC}, {NULL, 0}};
static const unit size_units[] = {{"", 1}, {"k", 1 << 10}, {"M", 1 << 20}, {NULL, 0}};
static const unit no_units[] = {{"", 1}, {NULL, 0}};

/* "250ms" with the units of time: digits, then one of the units. */
static int
number_parse(const option_spec *s, const char *value, const unit *units, int64_t *out)
{
	char *rest;
	long long n;

	if (!isdigit((unsigned char)value[0]))
		return -EINVAL;
	errno = 0;
	n = strtoll(value, &rest, 10);
	if (errno)
		return -EINVAL;
	while (units->name && strcmp(units->name, rest) != 0)
		units++;
	if (!units->name || __builtin_mul_overflow(n, units->factor, out))
		return -EINVAL;
	return *out < s->min || *out > s->max ? -EINVAL : 0;
}

static void *
place(vn_config *c, const option_spec *s)
{
	return (char *)c + s->offset;
}

static int
set_time(vn_config *c, const option_spec *s, const char *label, const char *value,
	char why[static VN_WHY_BYTES])
{
	int64_t n;

	if (number_parse(s, value, time_units, &n) < 0)
		return refuse(s, label, value, why);
	*(vn_time *)place(c, s) = n;
	return 0;
}

static int
set_unsigned(vn_config *c, const option_spec *s, const char *label, const char *value,
	const unit *units, char why[static VN_WHY_BYTES])
{
	int64_t n;

	if (number_parse(s, value, units, &n) < 0)
		return refuse(s, label, value, why);
	*(uint32_t *)place(c, s) = (uint32_t)n;
	return 0;
}

static int
set_size(vn_config *c, const option_spec *s, const char *label, const char *value,
	char why[static VN_WHY_BYTES])
{
	return set_unsigned(c, s, label, value, size_units, why);
}

/* auto: 0, which the rest of the program or options_complete() knows to replace. */
static int
set_size_or_auto(vn_config *c, const option_spec *s, const char *label, const char *value,
	char why[static VN_WHY_BYTES])
{
	if (strcmp(value, "auto") != 0)
		return set_size(c, s, label, value, why);
	*(uint32_t *)place(c, s) = 0;
	return 0;
}

static int
set_count(vn_config *c, const option_spec *s, const char *label, const char *value,
	char why[static VN_WHY_BYTES])
{
	return set_unsigned(c, s, label, value, no_units, why);
}

static int
set_count_or_auto(vn_config *c, const option_spec *s, const char *label, const char *value,
	char why[static VN_WHY_BYTES])
{
	if (strcmp(value, "auto") != 0)
		return set_count(c, s, label, value, why);
	*(uint32_t *)place(c, s) = 0;
	return 0;
}

static int
set_level(vn_config *c, const option_spec *s, const char *label, const char *value,
	char why[static VN_WHY_BYTES])
{
	static const struct {
		const char *name;
		int level;
	} levels[] = {{"error", LOG_ERR}, {"warning", LOG_WARNING}, {"notice", LOG_NOTICE},
		{"info", LOG_INFO}, {"debug", LOG_DEBUG}};

	for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
		if (strcmp(levels[i].name, value) == 0) {
			*(int *)place(c, s) = levels[i].level;
			return 0;
		}
	return refuse(s, label, value, why);
}

static int
no_memory(char why[static VN_WHY_BYTES])
{
	snprintf(why, VN_WHY_BYTES, "out of memory");
	return VN_EXIT_SYSTEM;
}

/* A copy takes the place of what was there. */
static int
set_text(char **to, const char *value, size_t n, char why[static VN_WHY_BYTES])
{
	char *copy = strndup(value, n);

	if (!copy)
		return no_memory(why);
	free(*to);
	*to = copy;
	return 0;
}

static int
set_name(vn_config *c, const option_spec *s, const char *label, const char *value,
	char why[static VN_WHY_BYTES])
{
	if (!*value || *value == '.' || strlen(value) > NAME_BYTES || strchr(value, '/'))
		return refuse(s, label, value, why);
	for (const char *p = value; *p; p++)
		if (!isgraph((unsigned char)*p))
			return refuse(s, label, value, why);
	return set_text(place(c, s), value, strlen(value), why);
}

static int
set_path(vn_config *c, const option_spec *s, const char *label, const char *value,
	char why[static VN_WHY_BYTES])
{
	if (!*value || strlen(value) >= sizeof((struct sockaddr_un *)NULL)->sun_path)
		return refuse(s, label, value, why);
	return set_text(place(c, s), value, strlen(value), why);
}

/* The length of NAME in NAME=URL; 0 if the URL stands alone: no URL begins like this. */
static size_t
listen_name_len(const char *value)
{
	size_t n = 0;

	while (isalnum((unsigned char)value[n]) || (n > 0 && value[n] && strchr("._-", value[n])))
		n++;
	return value[n] == '=' ? n : 0;
}

static int
listen_check(const vn_config *c, const vn_listen_option *l, const char *label,
	char why[static VN_WHY_BYTES])
{
	vn_endpoint endpoint;
	char reason[256];
	int rc = vn_endpoint_parse(&endpoint, l->url, reason);

	if (rc < 0) {
		snprintf(why, VN_WHY_BYTES, "%s: cannot listen on '%.300s': %s", label, l->url,
			reason);
		return rc == -EINVAL ? VN_EXIT_CONFIG : VN_EXIT_SYSTEM;
	}
	for (const vn_listen_option *o = c->listens; o < l; o++)
		if (strcmp(o->url, l->url) == 0 ||
			(l->name && o->name && strcmp(o->name, l->name) == 0)) {
			snprintf(why, VN_WHY_BYTES, "%s: '%.300s' is given twice; leave one out",
				label, strcmp(o->url, l->url) == 0 ? l->url : l->name);
			return VN_EXIT_USAGE;
		}
	return 0;
}

static int
listen_add(vn_config *c, const char *label, const char *value, char why[static VN_WHY_BYTES])
{
	size_t n = listen_name_len(value);
	vn_listen_option *l = &c->listens[c->n_listens];
	int rc = 0;

	if (c->n_listens == VN_MAX_LISTENS) {
		snprintf(why, VN_WHY_BYTES, "%s: at most %d endpoints; '%.200s' is one too many",
			label, VN_MAX_LISTENS, value);
		return VN_EXIT_USAGE;
	}
	c->n_listens++;
	if (n > 0)
		rc = set_text(&l->name, value, n, why);
	if (rc == 0)
		rc = set_text(&l->url, n > 0 ? value + n + 1 : value, VN_URL_MAX, why);
	return rc ? rc : listen_check(c, l, label, why);
}

/* A variable or the default: any number of them, with blanks between. */
static int
set_listens(vn_config *c, const option_spec *s, const char *label, const char *value,
	char why[static VN_WHY_BYTES])
{
	char *copy = strdup(value), *rest = NULL;
	int rc = 0;

	(void)s;
	if (!copy)
		return no_memory(why);
	for (char *one = strtok_r(copy, BLANKS, &rest); one && rc == 0;
		one = strtok_r(NULL, BLANKS, &rest))
		rc = listen_add(c, label, one, why);
	free(copy);
	return rc;
}

#define AT(member)     offsetof(vn_config, member)
#define A_TIME         "a time such as 500ms, 10s or 2m, up to a day"
#define RANGE(low, up) .min = (low), .max = (up)

/* In the order of --help. */
static const option_spec specs[] = {
	{'w', "workers", "N|auto", "auto", "a number from 1 to 256, or auto",
		"worker processes; auto is one for each processor", set_count_or_auto,
		AT(n_workers), RANGE(1, VN_MAX_WORKERS)},
	{'l', "listen", "[NAME=]URL", "", NULL,
		"bind URL at start; a program that listens on NAME or on the same URL gets it; "
		"repeatable",
		set_listens, AT(listens), RANGE(0, 0)},
	{'s', "control", "PATH", NULL, "a path of 1 to 107 bytes",
		"the control socket; NAME.sock in $XDG_RUNTIME_DIR/vanilla or /run/vanilla",
		set_path, AT(control_path), RANGE(0, 0)},
	{'n', "name", "NAME", NULL,
		"a name of 1 to 64 printable characters without a slash or a dot at its start",
		"what this service is called; the program's file name", set_name, AT(name),
		RANGE(0, 0)},
	{0, "start-timeout", "TIME", "10s", A_TIME, "from a worker's start until it is ready",
		set_time, AT(start_timeout), RANGE(1, DAY)},
	{0, "release-after", "TIME", "1s", A_TIME,
		"a resumable connection at rest is taken back from its worker", set_time,
		AT(release_after), RANGE(0, DAY)},
	{0, "linger-timeout", "TIME", "10s", A_TIME,
		"for output of connections that are to be closed", set_time, AT(linger_timeout),
		RANGE(0, DAY)},
	{0, "drain-timeout", "TIME", "30s", A_TIME, "for requests in hand when it is asked to stop",
		set_time, AT(drain_timeout), RANGE(0, DAY)},
	{0, "reload-trial", "TIME", "250ms", A_TIME,
		"new workers are watched for so long, first idle, then at work, before others go",
		set_time, AT(reload_trial), RANGE(0, DAY)},
	{0, "queue-timeout", "TIME", "30s", A_TIME,
		"input that no worker could take for so long is reset", set_time, AT(queue_timeout),
		RANGE(1, DAY)},
	{0, "stall-timeout", "TIME", "10s", A_TIME,
		"a worker that takes nothing for so long is killed", set_time, AT(stall_timeout),
		RANGE(10 * VN_MS, DAY)},
	{0, "request-timeout", "TIME", "0s", A_TIME,
		"a worker that holds a request for so long is killed; 0s is never", set_time,
		AT(request_timeout), RANGE(0, DAY)},
	{0, "retries", "N", "3", "a number from 1 to 65535",
		"workers that the input of one connection may take down, then it is reset",
		set_count, AT(retries), RANGE(1, UINT16_MAX)},
	{0, "quarantine-bytes", "SIZE", "4k", "a size up to 1M",
		"kept of each request that was given up so; 0 keeps none", set_size,
		AT(quarantine_bytes), RANGE(0, 1 << 20)},
	{0, "window", "SIZE", "256k", "a size from 4k to 64M, such as 256k",
		"bytes in flight, for each connection and direction", set_size, AT(window),
		RANGE(4 << 10, 64 << 20)},
	{0, "depth", "N", "64", "a number from 1 to 65535",
		"connections with unfinished input that one worker is given", set_count, AT(depth),
		RANGE(1, UINT16_MAX)},
	{0, "lane-memory", "SIZE|auto", "auto", "a size from 1M to 1024M, or auto",
		"payload memory for each worker and direction; auto is depth x window, at most 8M",
		set_size_or_auto, AT(lane_memory), RANGE(LANE_MIN_BYTES, 1 << 30)},
	{0, "max-conns", "N|auto", "auto", "a number from 1 to 16777216, or auto",
		"connections at a time; auto is what the descriptor limit allows",
		set_count_or_auto, AT(max_conns), RANGE(1, 1 << 24)},
	{0, "idle-timeout", "TIME", "0s", A_TIME,
		"connections that are silent for so long are closed; 0s is never; ?idle wins",
		set_time, AT(idle_timeout), RANGE(0, DAY)},
	{0, "log-level", "LEVEL", "info", "error, warning, notice, info or debug",
		"what the broker says on standard error", set_level, AT(log_level), RANGE(0, 0)},
};

#define N_SPECS (sizeof specs / sizeof *specs)

static const option_spec *
spec_of(const char *name)
{
	for (size_t i = 0; i < N_SPECS; i++)
		if (strcmp(specs[i].name, name) == 0)
			return &specs[i];
	return NULL;
}

/* The variable of an option: start-timeout is VANILLA_START_TIMEOUT. */
static void
variable_name(const option_spec *s, char out[static VARIABLE_BYTES])
{
	snprintf(out, VARIABLE_BYTES, "VANILLA_%s", s->name);
	for (char *p = out; *p; p++)
		*p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
}

/* getopt's tables from ours: option i of the table comes back as 256 + i, --help as 'h'. */
static void
getopt_tables(struct option longs[static N_SPECS + 2], char shorts[static 2 * N_SPECS + 4])
{
	char *p = stpcpy(shorts, "+:h");

	for (size_t i = 0; i < N_SPECS; i++) {
		longs[i] = (struct option){specs[i].name, required_argument, NULL, 256 + (int)i};
		if (specs[i].letter) {
			*p++ = (char)specs[i].letter;
			*p++ = ':';
		}
	}
	*p = '\0';
	longs[N_SPECS] = (struct option){"help", no_argument, NULL, 'h'};
	longs[N_SPECS + 1] = (struct option){0};
}

static size_t
spec_index(int found)
{
	size_t i = 0;

	if (found >= 256)
		return (size_t)(found - 256);
	while (i < N_SPECS && specs[i].letter != found)
		i++;
	return i;
}

/* What getopt refused, in a sentence. */
static int
bad_option(int found, char **argv, char why[static VN_WHY_BYTES])
{
	const char *text = argv[optind - 1];
	size_t i = spec_index(optopt);

	if (found == ':' && i < N_SPECS)
		snprintf(why, VN_WHY_BYTES, "option --%s needs a value: %s", specs[i].name,
			specs[i].argument);
	else if (strncmp(text, "--", 2) == 0)
		snprintf(why, VN_WHY_BYTES,
			"unknown or ambiguous option '%.200s'; see vanilla run --help", text);
	else
		snprintf(why, VN_WHY_BYTES, "unknown option '-%c'; see vanilla run --help", optopt);
	return VN_EXIT_USAGE;
}

static int
take_listen(given *g, const char *value, char why[static VN_WHY_BYTES])
{
	if (g->n_listens == VN_MAX_LISTENS) {
		snprintf(why, VN_WHY_BYTES,
			"option --listen: at most %d endpoints; '%.200s' is one too many",
			VN_MAX_LISTENS, value);
		return VN_EXIT_USAGE;
	}
	g->listens[g->n_listens++] = value;
	return 0;
}

/* The flags, up to the program. */
static int
read_flags(given *g, int argc, char **argv, char why[static VN_WHY_BYTES])
{
	struct option longs[N_SPECS + 2];
	char shorts[2 * N_SPECS + 4];
	int found, rc = 0;

	_Static_assert(N_SPECS <= sizeof g->values / sizeof *g->values, "room for each option");
	getopt_tables(longs, shorts);
	opterr = 0;
	optind = 0; /* start anew, whoever used it before */
	while (rc == 0 && (found = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		size_t i = spec_index(found);

		if (found == 'h')
			return VN_OPTIONS_HELP;
		if (found == '?' || found == ':')
			return bad_option(found, argv, why);
		if (specs[i].set == set_listens)
			rc = take_listen(g, optarg, why);
		else
			g->values[i] = optarg;
	}
	return rc;
}

static int
read_program(vn_config *c, int argc, char **argv, char why[static VN_WHY_BYTES])
{
	bool separated = optind > 1 && strcmp(argv[optind - 1], "--") == 0;

	if (optind < argc && !separated) {
		snprintf(why, VN_WHY_BYTES,
			"'%.200s' is not an option; the program and its arguments follow '--'",
			argv[optind]);
		return VN_EXIT_USAGE;
	}
	if (optind >= argc || !*argv[optind]) {
		snprintf(why, VN_WHY_BYTES,
			"no program to run: vanilla run [options] -- PROGRAM [ARG...]");
		return VN_EXIT_USAGE;
	}
	c->program = argv + optind;
	return 0;
}

/* One option: the flag, else the variable, else the default. */
static int
settle(vn_config *c, const option_spec *s, const char *flag, char why[static VN_WHY_BYTES])
{
	char variable[VARIABLE_BYTES], label[VARIABLE_BYTES + 16];
	const char *value;

	variable_name(s, variable);
	value = getenv(variable);
	if (flag)
		snprintf(label, sizeof label, "option --%s", s->name);
	else
		snprintf(label, sizeof label, "variable %s", variable);
	value = flag ? flag : value && *value ? value : s->initial;
	return value ? s->set(c, s, label, value, why) : 0;
}

static int
settle_all(vn_config *c, const given *g, char why[static VN_WHY_BYTES])
{
	int rc = 0;

	for (size_t i = 0; i < N_SPECS && rc == 0; i++)
		if (specs[i].set != set_listens || g->n_listens == 0)
			rc = settle(c, &specs[i], g->values[i], why);
	for (uint32_t i = 0; i < g->n_listens && rc == 0; i++)
		rc = listen_add(c, "option --listen", g->listens[i], why);
	return rc;
}

static int
name_complete(vn_config *c, char why[static VN_WHY_BYTES])
{
	const char *slash = strrchr(c->program[0], '/');
	const char *name = slash ? slash + 1 : c->program[0];

	if (c->name)
		return 0;
	name = *name ? name : "service";
	return set_text(&c->name, name, strlen(name), why);
}

static int
control_complete(vn_config *c, char why[static VN_WHY_BYTES])
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	const option_spec *s = spec_of("control");
	char *path;
	int rc;

	if (c->control_path)
		return 0;
	if (asprintf(&path, "%s/vanilla/%s.sock", runtime && runtime[0] == '/' ? runtime : "/run",
		    c->name) < 0)
		return no_memory(why);
	rc = set_path(c, s, "option --control", path, why);
	free(path);
	return rc;
}

/* depth windows, but no less than a lane can be and no more than anybody asked for; whole spans. */
static void
lane_complete(vn_config *c)
{
	uint64_t bytes = c->lane_memory;

	if (bytes == 0) {
		bytes = (uint64_t)c->depth * c->window;
		bytes = bytes < LANE_DEFAULT_BYTES ? bytes : LANE_DEFAULT_BYTES;
		bytes = bytes > LANE_MIN_BYTES ? bytes : LANE_MIN_BYTES;
	}
	c->lane_memory =
		(uint32_t)((bytes + LANE_UNIT_BYTES - 1) / LANE_UNIT_BYTES * LANE_UNIT_BYTES);
}

/* What depends on other options, on the program, or on the machine. */
static int
options_complete(vn_config *c, char why[static VN_WHY_BYTES])
{
	int rc;

	if (c->n_workers == 0) {
		double n = vn_spin_processors();

		c->n_workers = n < 1 ? 1 : n > VN_MAX_WORKERS ? VN_MAX_WORKERS : (uint32_t)n;
	}
	lane_complete(c);
	rc = name_complete(c, why);
	return rc ? rc : control_complete(c, why);
}

/**
 * vn_options_parse() - the configuration that a command line, its environment and the defaults make
 * @c:    filled; keeps pointers into argv
 * @argv: argv[0] is the subcommand
 * @why:  a sentence when it fails
 *
 * Host names of endpoints are resolved here, to complain early.
 *
 * Return: 0, VN_OPTIONS_HELP, or the exit code of the program; vn_options_deinit() is due in any case.
 */
int
vn_options_parse(vn_config *c, int argc, char **argv, char why[static VN_WHY_BYTES])
{
	given g = {.n_listens = 0};
	int rc;

	*c = (vn_config){.program = NULL};
	rc = read_flags(&g, argc, argv, why);
	if (rc == 0)
		rc = read_program(c, argc, argv, why);
	if (rc == 0)
		rc = settle_all(c, &g, why);
	return rc ? rc : options_complete(c, why);
}

/**
 * vn_options_deinit() - free what parsing copied
 * @c: parsed, or zero
 */
void
vn_options_deinit(vn_config *c)
{
	for (uint32_t i = 0; i < c->n_listens; i++) {
		free(c->listens[i].name);
		free(c->listens[i].url);
	}
	free(c->control_path);
	free(c->name);
	*c = (vn_config){.program = NULL};
}

static void
help_option(FILE *to, const option_spec *s)
{
	char left[64], variable[VARIABLE_BYTES];

	variable_name(s, variable);
	if (s->letter)
		snprintf(left, sizeof left, "-%c, --%s %s", s->letter, s->name, s->argument);
	else
		snprintf(left, sizeof left, "    --%s %s", s->name, s->argument);
	fprintf(to, "  %-28s %s\n", left, s->help);
	fprintf(to, "  %-28s [%s%s%s]\n", "", s->initial ? s->initial : "",
		s->initial && *s->initial ? ", " : "", variable);
}

/**
 * vn_options_help() - what `vanilla run` understands
 */
void
vn_options_help(FILE *to)
{
	fprintf(to, "usage: vanilla run [options] -- PROGRAM [ARG...]\n\n"
		    "Starts the broker and the workers, which run PROGRAM, in the foreground.\n\n");
	for (size_t i = 0; i < N_SPECS; i++)
		help_option(to, &specs[i]);
	fprintf(to, "  %-28s %s\n", "-h, --help", "this text");
	fprintf(to, "\nIn brackets: the default, and the variable that changes it; an option wins "
		    "over its\n"
		    "variable. Times take ms, s or m, sizes k or M. URLs: tcp://127.0.0.1:7000,\n"
		    "tcp://[::1]:0, unix:/run/x.sock, with options as in ?backlog=1024.\n");
}
