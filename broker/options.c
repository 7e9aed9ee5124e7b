/* SPDX-License-Identifier: MIT */
/*
 * Options - the table, and who decides on a value
 *
 * First the whole command line is read, and the file if there is one, then each option takes its value from there,
 * from its variable, from the file, or from the table. So a bad variable that a flag overrides harms nobody.
 */
#include "broker/options.h"

#include <ctype.h>
#include <getopt.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/config.h"
#include "client/hub/spin.h"

#define LANE_DEFAULT_BYTES (8u << 20)
#define LANE_UNIT_BYTES    65536u
#define LANE_MIN_BYTES     (1u << 20)
#define DAY                (24 * 60 * 60 * VN_SEC)
#define VARIABLE_BYTES     64

#define AT(member)     offsetof(vn_config, member)
#define A_TIME         "a time such as 500ms, 10s or 2m, up to a day"
#define RANGE(low, up) .min = (low), .max = (up)

/* In the order of --help. */
const vn_option vn_options[] = {
	{'w', "workers", "N|auto", "auto", "a number from 1 to 256, or auto",
		"worker processes; auto is one for each processor", &vn_type_count_or_auto,
		AT(n_workers), RANGE(1, VN_MAX_WORKERS)},
	{'l', "listen", "[NAME=]URL", "", NULL,
		"bind URL at start; a program that listens on NAME or on the same URL gets it; "
		"repeatable",
		&vn_type_listens, AT(listens), RANGE(0, 0)},
	{'s', "control", "PATH", NULL, "a path of 1 to 107 bytes",
		"the control socket; NAME.sock in $XDG_RUNTIME_DIR/vanilla or /run/vanilla",
		&vn_type_path, AT(control_path), RANGE(0, 0)},
	{'n', "name", "NAME", NULL,
		"a name of 1 to 64 printable characters without a slash or a dot at its start",
		"what this service is called; the program's file name", &vn_type_name, AT(name),
		RANGE(0, 0)},
	{'c', "config", "FILE", "", NULL,
		"read these options, without their dashes, and program = {\"PROGRAM\", \"ARG\"}",
		&vn_type_file, AT(config_path), RANGE(0, 0)},
	{0, "start-timeout", "TIME", "10s", A_TIME, "from a worker's start until it is ready",
		&vn_type_time, AT(start_timeout), RANGE(1, DAY)},
	{0, "release-after", "TIME", "1s", A_TIME,
		"a resumable connection at rest is taken back from its worker", &vn_type_time,
		AT(release_after), RANGE(0, DAY)},
	{0, "linger-timeout", "TIME", "10s", A_TIME,
		"for output of connections that are to be closed", &vn_type_time,
		AT(linger_timeout), RANGE(0, DAY)},
	{0, "drain-timeout", "TIME", "30s", A_TIME, "for requests in hand when it is asked to stop",
		&vn_type_time, AT(drain_timeout), RANGE(0, DAY)},
	{0, "reload-trial", "TIME", "250ms", A_TIME,
		"new workers are watched for so long, first idle, then at work, before others go",
		&vn_type_time, AT(reload_trial), RANGE(0, DAY)},
	{0, "queue-timeout", "TIME", "30s", A_TIME,
		"input that no worker could take for so long is reset", &vn_type_time,
		AT(queue_timeout), RANGE(1, DAY)},
	{0, "stall-timeout", "TIME", "10s", A_TIME,
		"a worker that takes nothing for so long is killed", &vn_type_time,
		AT(stall_timeout), RANGE(10 * VN_MS, DAY)},
	{0, "request-timeout", "TIME", "0s", A_TIME,
		"a worker that holds a request for so long is killed; 0s is never", &vn_type_time,
		AT(request_timeout), RANGE(0, DAY)},
	{0, "retries", "N", "3", "a number from 1 to 65535",
		"workers that the input of one connection may take down, then it is reset",
		&vn_type_count, AT(retries), RANGE(1, UINT16_MAX)},
	{0, "quarantine-bytes", "SIZE", "4k", "a size up to 1M",
		"kept of each request that was given up so; 0 keeps none", &vn_type_size,
		AT(quarantine_bytes), RANGE(0, 1 << 20)},
	{0, "window", "SIZE", "256k", "a size from 4k to 64M, such as 256k",
		"bytes in flight, for each connection and direction", &vn_type_size, AT(window),
		RANGE(4 << 10, 64 << 20)},
	{0, "depth", "N", "64", "a number from 1 to 65535",
		"connections with unfinished input that one worker is given", &vn_type_count,
		AT(depth), RANGE(1, UINT16_MAX)},
	{0, "lane-memory", "SIZE|auto", "auto", "a size from 1M to 1024M, or auto",
		"payload memory for each worker and direction; auto is depth x window, at most 8M",
		&vn_type_size_or_auto, AT(lane_memory), RANGE(LANE_MIN_BYTES, 1 << 30)},
	{0, "max-conns", "N|auto", "auto", "a number from 1 to 16777216, or auto",
		"connections at a time; auto is what the descriptor limit allows",
		&vn_type_count_or_auto, AT(max_conns), RANGE(1, 1 << 24)},
	{0, "idle-timeout", "TIME", "0s", A_TIME,
		"connections that are silent for so long are closed; 0s is never; ?idle wins",
		&vn_type_time, AT(idle_timeout), RANGE(0, DAY)},
	{0, "admin", "URL", "", "http://HOST:PORT on this machine, or ?public after it",
		"metrics and status over HTTP, such as http://127.0.0.1:9070; off", &vn_type_admin,
		AT(admin), RANGE(0, 0)},
	{0, "log-level", "LEVEL", "info", "error, warning, notice, info or debug",
		"what the broker says on standard error", &vn_type_level, AT(log_level),
		RANGE(0, 0)},
	{0, "log-format", "text|json", "text", "text or json",
		"how: a sentence, or an object on each line", &vn_type_format, AT(log_json),
		RANGE(0, 0)},
};

#define N_OPTIONS (sizeof vn_options / sizeof *vn_options)

const size_t vn_n_options = N_OPTIONS;

static const vn_option *
option_of(const char *name)
{
	for (size_t i = 0; i < N_OPTIONS; i++)
		if (strcmp(vn_options[i].name, name) == 0)
			return &vn_options[i];
	return NULL;
}

/* The variable of an option: start-timeout is VANILLA_START_TIMEOUT. */
static void
variable_name(const vn_option *s, char out[static VARIABLE_BYTES])
{
	snprintf(out, VARIABLE_BYTES, "VANILLA_%s", s->name);
	for (char *p = out; *p; p++)
		*p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
}

/* getopt's tables from ours: option i of the table comes back as 256 + i, --help as 'h'. */
static void
getopt_tables(struct option longs[static N_OPTIONS + 2], char shorts[static 2 * N_OPTIONS + 4])
{
	char *p = stpcpy(shorts, "+:h");

	for (size_t i = 0; i < N_OPTIONS; i++) {
		longs[i] =
			(struct option){vn_options[i].name, required_argument, NULL, 256 + (int)i};
		if (vn_options[i].letter) {
			*p++ = (char)vn_options[i].letter;
			*p++ = ':';
		}
	}
	*p = '\0';
	longs[N_OPTIONS] = (struct option){"help", no_argument, NULL, 'h'};
	longs[N_OPTIONS + 1] = (struct option){0};
}

static size_t
option_index(int found)
{
	size_t i = 0;

	if (found >= 256)
		return (size_t)(found - 256);
	while (i < N_OPTIONS && vn_options[i].letter != found)
		i++;
	return i;
}

/* What getopt refused, in a sentence. */
static int
bad_option(int found, char **argv, char why[static VN_WHY_BYTES])
{
	const char *text = argv[optind - 1];
	size_t i = option_index(optopt);

	if (found == ':' && i < N_OPTIONS)
		snprintf(why, VN_WHY_BYTES, "option --%s needs a value: %s", vn_options[i].name,
			vn_options[i].argument);
	else if (strncmp(text, "--", 2) == 0)
		snprintf(why, VN_WHY_BYTES,
			"unknown or ambiguous option '%.200s'; see vanilla run --help", text);
	else
		snprintf(why, VN_WHY_BYTES, "unknown option '-%c'; see vanilla run --help", optopt);
	return VN_EXIT_USAGE;
}

static int
take_listen(vn_given *g, const char *value, char why[static VN_WHY_BYTES])
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
read_flags(vn_given *g, int argc, char **argv, char why[static VN_WHY_BYTES])
{
	struct option longs[N_OPTIONS + 2];
	char shorts[2 * N_OPTIONS + 4];
	int found, rc = 0;

	_Static_assert(N_OPTIONS <= sizeof g->values / sizeof *g->values, "room for each option");
	getopt_tables(longs, shorts);
	opterr = 0;
	optind = 0; /* start anew, whoever used it before */
	while (rc == 0 && (found = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		size_t i = option_index(found);

		if (found == 'h')
			return VN_OPTIONS_HELP;
		if (found == '?' || found == ':')
			return bad_option(found, argv, why);
		if (vn_options[i].type == &vn_type_listens)
			rc = take_listen(g, optarg, why);
		else
			g->values[i] = optarg;
	}
	return rc;
}

/* What follows the options, or what the file names. */
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
	c->program_from.source = VN_SOURCE_FLAG;
	if (optind < argc) {
		c->program = argv + optind;
	} else if (c->file) {
		c->program = vn_config_file_program(c->file, &c->program_from.line);
		c->program_from.source = VN_SOURCE_FILE;
	}
	if (c->program && *c->program[0])
		return 0;
	snprintf(why, VN_WHY_BYTES,
		c->file ? "no program to run: neither in %s nor after '--'"
			: "no program to run: vanilla run [options] -- PROGRAM [ARG...]",
		c->config_path);
	return VN_EXIT_USAGE;
}

/* Which of those who may say something about an option is heard. */
static vn_source
source_of(const vn_config *c, size_t i, const vn_given *flags, const char *variable)
{
	bool is_list = vn_options[i].type == &vn_type_listens;

	if (is_list ? flags->n_listens > 0 : flags->values[i] != NULL)
		return VN_SOURCE_FLAG;
	if (variable && *variable)
		return VN_SOURCE_VARIABLE;
	return c->file && vn_config_file_given(c->file)->lines[i] ? VN_SOURCE_FILE
								  : VN_SOURCE_DEFAULT;
}

/* One value of a file; what is wrong with it is a matter of configuration. */
static int
settle_filed(
	vn_config *c, size_t i, const char *value, uint32_t line, char why[static VN_WHY_BYTES])
{
	const vn_option *o = &vn_options[i];
	char label[VN_WHY_BYTES / 2];
	int rc;

	snprintf(label, sizeof label, "%.400s:%u: %s", c->config_path, line, o->name);
	if (o->type == &vn_type_listens)
		rc = vn_option_add_listen(c, label, value, why);
	else
		rc = o->type->set(c, o, label, value, why);
	return rc == VN_EXIT_USAGE ? VN_EXIT_CONFIG : rc;
}

static int
settle_from_file(vn_config *c, size_t i, char why[static VN_WHY_BYTES])
{
	const vn_given *g = vn_config_file_given(c->file);
	int rc = 0;

	c->from[i].line = g->lines[i];
	if (vn_options[i].type != &vn_type_listens)
		return settle_filed(c, i, g->values[i], g->lines[i], why);
	for (uint32_t k = 0; k < g->n_listens && rc == 0; k++)
		rc = settle_filed(c, i, g->listens[k], g->listen_lines[k], why);
	return rc;
}

static int
settle_from_flags(vn_config *c, size_t i, const vn_given *g, char why[static VN_WHY_BYTES])
{
	const vn_option *o = &vn_options[i];
	char label[VARIABLE_BYTES];
	int rc = 0;

	snprintf(label, sizeof label, "option --%s", o->name);
	if (o->type != &vn_type_listens)
		return o->type->set(c, o, label, g->values[i], why);
	for (uint32_t k = 0; k < g->n_listens && rc == 0; k++)
		rc = vn_option_add_listen(c, label, g->listens[k], why);
	return rc;
}

/* One option: the flag, else the variable, else the file, else the default. */
static int
settle(vn_config *c, size_t i, const vn_given *flags, char why[static VN_WHY_BYTES])
{
	const vn_option *o = &vn_options[i];
	char variable[VARIABLE_BYTES], label[VARIABLE_BYTES + 16];
	const char *value;

	variable_name(o, variable);
	value = getenv(variable);
	snprintf(label, sizeof label, "variable %s", variable);
	c->from[i].source = source_of(c, i, flags, value);
	switch (c->from[i].source) {
	case VN_SOURCE_FLAG:
		return settle_from_flags(c, i, flags, why);
	case VN_SOURCE_VARIABLE:
		return o->type->set(c, o, label, value, why);
	case VN_SOURCE_FILE:
		return settle_from_file(c, i, why);
	default:
		return o->initial ? o->type->set(c, o, label, o->initial, why) : 0;
	}
}

/* The file first, so that the others can be looked for in it. */
static int
settle_all(vn_config *c, const vn_given *flags, char why[static VN_WHY_BYTES])
{
	size_t config = (size_t)(option_of("config") - vn_options);
	int rc = settle(c, config, flags, why);

	if (rc == 0 && c->config_path)
		rc = vn_config_file_read(&c->file, c->config_path, why);
	for (size_t i = 0; i < N_OPTIONS && rc == 0; i++)
		if (i != config)
			rc = settle(c, i, flags, why);
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
	return vn_option_copy(&c->name, name, strlen(name), why);
}

static int
control_complete(vn_config *c, char why[static VN_WHY_BYTES])
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	const vn_option *s = option_of("control");
	char *path;
	int rc;

	if (c->control_path)
		return 0;
	if (asprintf(&path, "%s/vanilla/%s.sock", runtime && runtime[0] == '/' ? runtime : "/run",
		    c->name) < 0)
		return vn_option_no_memory(why);
	rc = s->type->set(c, s, "option --control", path, why);
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
	vn_given g = {.n_listens = 0};
	int rc, n;

	*c = (vn_config){.program = NULL};
	rc = read_flags(&g, argc, argv, why);
	n = optind;
	if (rc == 0)
		rc = settle_all(c, &g, why);
	optind = n;
	if (rc == 0)
		rc = read_program(c, argc, argv, why);
	return rc ? rc : options_complete(c, why);
}

/**
 * vn_options_check() - say what is wrong with a file
 * @to: gets a line for each value that cannot be, or for what cannot be read at all
 *
 * Return: 0 or VN_EXIT_CONFIG.
 */
int
vn_options_check(const char *path, FILE *to)
{
	vn_config c = {.config_path = strdup(path)};
	char why[VN_WHY_BYTES] = "";
	int rc = vn_config_file_read(&c.file, path, why), code = rc;

	if (rc != 0)
		fprintf(to, "%s\n", why);
	for (size_t i = 0; i < N_OPTIONS && rc == 0; i++) {
		if (!vn_config_file_given(c.file)->lines[i] || settle_from_file(&c, i, why) == 0)
			continue;
		fprintf(to, "%s\n", why);
		code = VN_EXIT_CONFIG;
	}
	vn_options_deinit(&c);
	return code;
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
	free(c->admin);
	free(c->name);
	free(c->config_path);
	c->file = vn_config_file_free(c->file);
	*c = (vn_config){.program = NULL};
}

static void
program_shown(const vn_config *c, vn_option_shown *out)
{
	size_t len = 0;

	out->name = "program";
	for (char **word = c->program; word && *word && len < sizeof out->value; word++)
		len += (size_t)snprintf(
			out->value + len, sizeof out->value - len, "%s%s", len ? " " : "", *word);
}

static void
place_shown(const vn_config *c, size_t i, vn_source source, uint32_t line, vn_option_shown *out)
{
	if (source == VN_SOURCE_FILE)
		snprintf(out->place, sizeof out->place, "%.300s:%u", c->config_path, line);
	else if (source == VN_SOURCE_FLAG && i < N_OPTIONS)
		snprintf(out->place, sizeof out->place, "--%s", vn_options[i].name);
	else if (source == VN_SOURCE_VARIABLE)
		variable_name(&vn_options[i], out->place);
}

/**
 * vn_options_shown() - an option, for people
 * @i: from 0 on; the program comes after the options
 *
 * Return: false: there is none.
 */
bool
vn_options_shown(const vn_config *c, size_t i, vn_option_shown *out)
{
	static const char *const sources[] = {"default", "flag", "variable", "file"};
	vn_source source = i < N_OPTIONS ? c->from[i].source : c->program_from.source;

	if (i > N_OPTIONS)
		return false;
	*out = (vn_option_shown){.source = sources[source]};
	place_shown(c, i, source, i < N_OPTIONS ? c->from[i].line : c->program_from.line, out);
	if (i == N_OPTIONS) {
		program_shown(c, out);
		return true;
	}
	out->name = vn_options[i].name;
	vn_options[i].type->show(c, &vn_options[i], out->value, sizeof out->value);
	return true;
}

static void
help_option(FILE *to, const vn_option *s)
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
	for (size_t i = 0; i < N_OPTIONS; i++)
		help_option(to, &vn_options[i]);
	fprintf(to, "  %-28s %s\n", "-h, --help", "this text");
	fprintf(to, "\nIn brackets: the default, and the variable that changes it; an option wins "
		    "over its\n"
		    "variable, that over the file, that over the default. Times take ms, s or m, "
		    "sizes k or M. URLs: tcp://127.0.0.1:7000,\n"
		    "tcp://[::1]:0, unix:/run/x.sock, with options as in ?backlog=1024.\n");
}
