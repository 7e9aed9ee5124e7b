/* SPDX-License-Identifier: MIT */
/*
 * Command - what the lines of the control socket mean
 *
 * An answer is its data lines, then "OK" or "ERR code sentence", then an empty line. The codes: "unknown"
 * command, "usage" of a known one; "refused", it cannot be done now, "failed", it was tried and rolled back, and
 * "lost", nobody remembers how it ended, of those that change workers; "limit", "denied" and "memory" come from the
 * socket.
 */
#include "broker/command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/change.h"
#include "broker/follow.h"
#include "broker/report.h"
#include "broker/show.h"
#include "broker/worker.h"

#define WORDS_MAX     16
#define MEASURED_ROWS 256 /* their widths decide on those of the table */
#define WORK_ROW      32
#define WORK_SKIP     1
#define BLANKS        " \t"
#define OUTCOME_LOOK  (10 * VN_MS)

static int
version_run(vn_client *c, char **words, size_t n)
{
	(void)words, (void)n;
	vn_client_printf(c, "vanilla %s\n", VN_VERSION);
	return vn_client_ok(c);
}

static int
ping_run(vn_client *c, char **words, size_t n)
{
	(void)words, (void)n;
	return vn_client_ok(c);
}

static int
quit_run(vn_client *c, char **words, size_t n)
{
	(void)words, (void)n;
	c->leaving = true;
	return vn_client_ok(c);
}

/* Answers first: the broker may be gone soon. */
static int
stop_with(vn_client *c, const char *text, bool now)
{
	int rc = vn_client_printf(c, "%s\n", text);

	if (rc == 0)
		rc = vn_client_ok(c);
	if (rc == 0)
		rc = vn_client_flush(c);
	if (c->control->broker)
		vn_broker_stop(c->control->broker, now);
	return rc;
}

static int
stop_run(vn_client *c, char **words, size_t n)
{
	if (n == 1)
		return stop_with(c, "stopping", false);
	if (n == 2 && strcmp(words[1], "now") == 0)
		return stop_with(c, "stopping now", true);
	return vn_client_error(c, "usage", "stop, or stop now; not '%.60s'", words[n - 1]);
}

static int
drain_run(vn_client *c, char **words, size_t n)
{
	(void)words, (void)n;
	return stop_with(c, "draining", false);
}

static int
set_run(vn_client *c, char **words, size_t n)
{
	int level = n == 3 && strcmp(words[1], "log") == 0 ? vn_level_parse(words[2]) : -EINVAL;

	if (level < 0)
		return vn_client_error(
			c, "usage", "set log LEVEL: error, warning, notice, info or debug");
	c->control->broker->log.level = level;
	return vn_client_ok(c);
}

/* One row, as a line. */
static int
row_write(vn_client *c, const vn_query *q, const vn_row *row, const vn_widths *widths)
{
	return vn_show_row(c, q->report->columns, row, q->json ? NULL : widths);
}

/* Waits until a change is done, which may take the drain-timeout. */
static int
change_wait(vn_client *c, uint32_t serial, const char *why)
{
	const vn_outcome *o = NULL;
	int rc = 0;

	if (serial == 0)
		return vn_client_error(c, "refused", "%s", why);
	while (rc == 0 && !(o = vn_change_outcome(c->control->broker->change, serial))) {
		rc = vn_sleep(c->control->hub, OUTCOME_LOOK);
		if (rc == 0)
			rc = vn_client_work(c, VN_CLIENT_WORK_LINE);
	}
	if (rc < 0)
		return rc;
	if (o->serial != serial)
		return vn_client_error(c, "lost", "too many changes since; see the log");
	if (o->failed)
		return vn_client_error(c, "failed", "%s", o->text);
	rc = vn_client_printf(c, "%s\n", o->text);
	if (rc == 0 && o->n_overdue)
		rc = vn_client_printf(
			c, "%u did not finish within drain-timeout\n", (unsigned)o->n_overdue);
	return rc < 0 ? rc : vn_client_ok(c);
}

/* Waits until no change is under way. */
static int
change_turn(vn_client *c)
{
	int rc = 0;

	while (rc == 0 && !vn_change_is_open(c->control->broker->change)) {
		rc = vn_sleep(c->control->hub, OUTCOME_LOOK);
		if (rc == 0)
			rc = vn_client_work(c, VN_CLIENT_WORK_LINE);
	}
	return rc;
}

static int
reload_run(vn_client *c, char **words, size_t n)
{
	char why[VN_CHANGE_TEXT] = "";
	int rc = change_turn(c);

	(void)words, (void)n;
	if (rc < 0)
		return rc;
	return change_wait(c, vn_change_reload(c->control->broker->change, why), why);
}

static int
scale_to(vn_client *c, uint64_t n)
{
	char why[VN_CHANGE_TEXT] = "";
	int rc = change_turn(c);

	if (rc < 0)
		return rc;
	n = n <= UINT32_MAX ? n : UINT32_MAX;
	return change_wait(c, vn_change_scale(c->control->broker->change, (uint32_t)n, why), why);
}

static int
scale_run(vn_client *c, char **words, size_t n)
{
	char *rest = NULL;
	uint64_t count = 0;

	if (n == 2 && *words[1] >= '0' && *words[1] <= '9')
		count = strtoull(words[1], &rest, 10);
	if (!rest || *rest)
		return vn_client_error(
			c, "usage", "scale N, the number of workers there are to be");
	return scale_to(c, count);
}

static int
worker_add(vn_client *c)
{
	int rc = change_turn(c);

	if (rc < 0)
		return rc;
	return scale_to(c, vn_change_count(c->control->broker->change) + 1ull);
}

static int
worker_drain(vn_client *c, vn_worker *w)
{
	char why[VN_CHANGE_TEXT] = "";

	return change_wait(c, vn_change_drain(c->control->broker->change, w, why), why);
}

static int
worker_restart(vn_client *c, vn_worker *w)
{
	char why[VN_CHANGE_TEXT] = "";

	return change_wait(c, vn_change_restart(c->control->broker->change, w, why), why);
}

static int
worker_kill(vn_client *c, vn_worker *w)
{
	if (w->state == VN_WORKER_NONE)
		return vn_client_error(c, "refused", "worker %u is not running", w->number);
	w->ordered = true;
	vn_worker_kill(w, "ended by request");
	return vn_client_ok(c);
}

/* Whom "2" or "2.7" means: who stays, or whoever it is. */
static vn_worker *
worker_named(vn_client *c, const char *text, bool any, char why[static 256])
{
	vn_broker *b = c->control->broker;
	int64_t incarnation;
	int number;

	if (vn_worker_parse(text, &number, &incarnation, why) < 0)
		return NULL;
	for (uint32_t i = 1; i <= b->n_slots; i++) {
		vn_worker *w = b->workers[i];

		if (w && w->number == number &&
			(incarnation < 0 || w->incarnation == incarnation) &&
			((any && incarnation >= 0) || (!w->coming && !w->going)))
			return w;
	}
	snprintf(why, 256, "there is no worker %.60s, or it is on its way out; see show workers",
		text);
	return NULL;
}

static int
worker_run(vn_client *c, char **words, size_t n)
{
	static const struct {
		const char *name;
		int (*run)(vn_client *c, vn_worker *w);
		bool any; /* also one that comes or goes */
	} verbs[] = {{"drain", worker_drain, false}, {"restart", worker_restart, false},
		{"kill", worker_kill, true}};
	char why[256];
	vn_worker *w;
	int rc;

	if (n == 2 && strcmp(words[1], "add") == 0)
		return worker_add(c);
	for (size_t i = 0; n == 3 && i < sizeof verbs / sizeof *verbs; i++) {
		if (strcmp(verbs[i].name, words[1]) != 0)
			continue;
		rc = verbs[i].any ? 0 : change_turn(c);
		if (rc < 0)
			return rc;
		w = worker_named(c, words[2], verbs[i].any, why);
		return w ? verbs[i].run(c, w) : vn_client_error(c, "usage", "%s", why);
	}
	return vn_client_error(c, "usage", "worker add, or worker drain, restart or kill ID");
}

/* The next one that is wanted. The others have their turn in here, so the broker may be gone: then *rc says so. */
static vn_query_step
next_row(vn_client *c, vn_query *q, vn_row *row, int *rc)
{
	vn_query_step step;

	do {
		step = vn_query_next(q, row);
		*rc = vn_client_work(c, step == VN_QUERY_ROW ? WORK_ROW : WORK_SKIP);
	} while (step == VN_QUERY_SKIP && *rc == 0);
	return *rc < 0 ? VN_QUERY_END : step;
}

/* Widths that fit the names and the first rows. */
static int
measure(vn_client *c, const vn_query *q, vn_row *row, vn_widths *widths)
{
	vn_query probe = *q;
	int rc;

	memset(widths, 0, sizeof *widths);
	vn_columns_row(q->report->columns, row);
	vn_widths_measure(widths, row);
	for (int i = 0; i < MEASURED_ROWS && next_row(c, &probe, row, &rc) == VN_QUERY_ROW; i++)
		vn_widths_measure(widths, row);
	return rc;
}

static int
show_text(vn_client *c, vn_query *q, vn_row *row)
{
	vn_widths widths;
	int rc = measure(c, q, row, &widths);

	vn_columns_row(q->report->columns, row);
	if (rc == 0)
		rc = row_write(c, q, row, &widths);
	while (rc == 0 && next_row(c, q, row, &rc) == VN_QUERY_ROW)
		rc = row_write(c, q, row, &widths);
	return rc;
}

/* One thing, as text: a line for each value. */
static int
show_single(vn_client *c, vn_query *q, vn_row *row)
{
	static const vn_columns names = {2, {"field", "value"}};
	const vn_columns *columns = q->report->columns;
	vn_widths widths = {{0}};
	vn_row pair;
	int rc;

	for (uint32_t i = 0; i < columns->n; i++)
		if (strlen(columns->names[i]) > widths.of[0])
			widths.of[0] = (uint8_t)strlen(columns->names[i]);
	vn_columns_row(&names, &pair);
	rc = row_write(c, q, &pair, &widths);
	for (uint32_t i = 0; i < row->n && rc == 0; i++) {
		pair.values[0].text = columns->names[i];
		pair.values[1] = row->values[i];
		rc = row_write(c, q, &pair, &widths);
	}
	return rc;
}

/* An object with one array, element by element. */
static int
show_array(vn_client *c, vn_query *q, vn_row *row)
{
	const char *before = "\n";
	int rc = vn_client_printf(c, "{\"%s\": [", q->report->name);

	while (rc == 0 && next_row(c, q, row, &rc) == VN_QUERY_ROW) {
		rc = vn_client_write(c, before, strlen(before));
		if (rc == 0)
			rc = row_write(c, q, row, NULL);
		before = ",\n";
	}
	return rc < 0 ? rc : vn_client_write(c, "\n]}\n", 4);
}

static int
show_object(vn_client *c, vn_query *q, vn_row *row)
{
	int rc = row_write(c, q, row, NULL);

	return rc < 0 ? rc : vn_client_write(c, "\n", 1);
}

/* A single thing may have to be looked for. */
static int
show_one(vn_client *c, vn_query *q, vn_row *row)
{
	int rc;

	if (next_row(c, q, row, &rc) != VN_QUERY_ROW)
		return rc < 0 ? rc
			      : vn_client_error(c, "refused",
					"there is no %s %llu, or not any more", q->report->name,
					(unsigned long long)q->after);
	rc = q->json ? show_object(c, q, row) : show_single(c, q, row);
	return rc < 0 ? rc : vn_client_ok(c);
}

static int
show_run(vn_client *c, char **words, size_t n)
{
	vn_query q;
	vn_row row;
	char why[256];
	int rc;

	if (vn_query_init(&q, c->control->broker, words + 1, n - 1, why) < 0)
		return vn_client_error(c, "usage", "%s", why);
	if (q.report->write)
		return q.report->write(c, words + 1, n - 1 - q.json, q.json);
	if (q.report->single)
		return show_one(c, &q, &row);
	rc = q.json ? show_array(c, &q, &row) : show_text(c, &q, &row);
	return rc < 0 ? rc : vn_client_ok(c);
}

#define OPERATE "To change the workers: answered when it is done"
#define SOCKET  "This socket"

/* In the order of help. */
const vn_command vn_commands[] = {
	{"To look", "show", "", NULL, NULL, NULL,
		show_run}, /* a line for each report, in their table */
	{NULL, "events", "[-f] [last N] [json]", "what happened; -f: and what happens",
		"The last 512 are remembered. With -f the last ten are shown, or N, and then each "
		"as it\n"
		"happens, until you type another line. Who reads too slowly is told how many it "
		"missed.",
		"events -f json", vn_follow_run},
	{OPERATE, "reload", NULL, "start the program anew; the new workers take over",
		"The new ones are watched for --reload-trial, idle and then at work; if one of "
		"them dies or\n"
		"is not ready in time, everything stays as it was, and the answer says why.",
		"reload", reload_run},
	{NULL, "scale", "N", "have N workers",
		"New ones get the lowest numbers that are free, the highest go.", "scale 4",
		scale_run},
	{NULL, "worker", "add", "one worker more", NULL, "worker add", worker_run},
	{NULL, "worker", "drain|restart|kill ID",
		"do without it; replace it; kill it, it is replaced",
		"A worker is called by its number, 2, or by number and incarnation, 2.7. Who is "
		"drained or\n"
		"restarted finishes what it has, up to --drain-timeout; who is killed does not, "
		"and its\n"
		"requests go to others where they can.",
		"worker restart 2", worker_run},
	{"To intervene", "conn", "close ID", "reset a connection",
		"As if its worker had called vn_abort(); counted as by_operator.",
		"conn close 1234", vn_conn_run},
	{NULL, "listener", "enable|disable NAME", "accept connections, or no more of them",
		"NAME is that of -l, or the URL, or the number in show listeners. Connections that "
		"are\n"
		"there go on; new ones wait in the kernel until it is enabled again.",
		"listener disable web", vn_listener_run},
	{NULL, "set", "log LEVEL", "error, warning, notice, info or debug, until it is set again",
		NULL, "set log debug", set_run},
	{"To end the service", "drain", NULL, "finish the requests in hand, then end",
		"The answer comes first. Up to --drain-timeout.", "drain", drain_run},
	{NULL, "stop", "[now]", "the same; now: without waiting for them", NULL, "stop now",
		stop_run},
	{SOCKET, "help", "[COMMAND]", "this text, or more of one", NULL, "help worker restart",
		vn_help_run},
	{NULL, "version", NULL, "of the broker", NULL, "version", version_run},
	{NULL, "ping", NULL, "OK if the broker is alive", NULL, "ping", ping_run},
	{NULL, "quit", NULL, "end this connection", NULL, "quit", quit_run},
};

const size_t vn_n_commands = sizeof vn_commands / sizeof *vn_commands;

static int
command_run(vn_client *c, char **words, size_t n)
{
	for (size_t i = 0; i < vn_n_commands; i++) {
		if (strcmp(vn_commands[i].name, words[0]) != 0)
			continue;
		if (n > 1 && !vn_commands[i].arguments)
			return vn_client_error(c, "usage", "%s takes no argument, not '%.60s'",
				words[0], words[1]);
		return vn_commands[i].run(c, words, n);
	}
	return vn_client_error(c, "unknown", "no command '%.60s'; try help", words[0]);
}

/* One command of a batch; nothing but blanks is none. */
static int
command_parse(vn_client *c, char *text)
{
	char *words[WORDS_MAX], *rest = NULL;
	size_t n = 0;

	for (char *word = strtok_r(text, BLANKS, &rest); word;
		word = strtok_r(NULL, BLANKS, &rest)) {
		if (n == WORDS_MAX)
			return vn_client_error(
				c, "usage", "a command has at most %d words", WORDS_MAX);
		words[n++] = word;
	}
	return n > 0 ? command_run(c, words, n) : 0;
}

/**
 * vn_command_line() - answer a line
 * @line: taken apart
 *
 * Return: 0, or a negative errno when the client or the broker is gone.
 */
int
vn_command_line(vn_client *c, char *line)
{
	char *rest = NULL;
	int rc = 0;

	for (char *text = strtok_r(line, ";", &rest); text && rc == 0 && !c->leaving;
		text = strtok_r(NULL, ";", &rest)) {
		rc = command_parse(c, text);
		if (rc == 0)
			rc = vn_client_work(c, VN_CLIENT_WORK_LINE);
	}
	return rc;
}
