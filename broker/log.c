/* SPDX-License-Identifier: MIT */
/*
 * Log - one line at a time, if it can be written at once
 *
 * poll(2) says that a pipe is writable when PIPE_BUF bytes fit, so a write of no more than that does not wait.
 */
#include "broker/log.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "broker/event.h"
#include "broker/row.h"

#define LINES_AT_ONCE 100 /* of one wording */
#define TELL_AFTER    (10 * VN_SEC)

/**
 * vn_log_write() - write if that needs no waiting
 * @fd:   of a pipe, a terminal, a file, a socket
 * @data: complete lines
 * @len:  at most PIPE_BUF
 *
 * Return: true if it is written.
 */
bool
vn_log_write(int fd, const char *data, size_t len)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) && write(fd, data, len) == (ssize_t)len;
}

/**
 * vn_log_clean() - make foreign text harmless
 * @data: changed in place: control characters other than tab become '?'
 * @n:    bytes
 */
void
vn_log_clean(char *data, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (((unsigned char)data[i] < 0x20 && data[i] != '\t') || data[i] == 0x7f)
			data[i] = '?';
}

/* It is counted among the distinct errors, whether it is shown or not. */
static void
note(vn_broker *b, int level, const char *text)
{
	char clean[256];

	snprintf(clean, sizeof clean, "%s", text);
	vn_log_clean(clean, strlen(clean));
	vn_counters_error_add(b->counters, level, clean, (uint64_t)b->hub->now);
}
static const struct {
	const char *name;
	int level;
} levels[] = {{"error", LOG_ERR}, {"warning", LOG_WARNING}, {"notice", LOG_NOTICE},
	{"info", LOG_INFO}, {"debug", LOG_DEBUG}};

#define N_LEVELS (sizeof levels / sizeof *levels)

/**
 * vn_level_name() - what a level of syslog(3) is called, as in --log-level
 */
const char *
vn_level_name(int level)
{
	for (size_t i = 0; i < N_LEVELS; i++)
		if (levels[i].level == level)
			return levels[i].name;
	return "error";
}

/**
 * vn_level_parse() - the same the other way round
 *
 * Return: the level, or -EINVAL.
 */
int
vn_level_parse(const char *name)
{
	for (size_t i = 0; i < N_LEVELS; i++)
		if (strcmp(levels[i].name, name) == 0)
			return levels[i].level;
	return -EINVAL;
}

/**
 * vn_wall_clock() - nanoseconds since 1970
 */
int64_t
vn_wall_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * VN_SEC + now.tv_nsec;
}

/**
 * vn_time_text() - a time of the wall clock, as in ISO 8601 with milliseconds
 * @at: nanoseconds
 */
void
vn_time_text(int64_t at, char out[static VN_TIME_TEXT])
{
	time_t seconds = (time_t)(at / VN_SEC);
	struct tm tm;

	gmtime_r(&seconds, &tm);
	strftime(out, VN_TIME_TEXT, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + strlen(out), VN_TIME_TEXT - strlen(out), ".%03dZ",
		(int)(at % VN_SEC / VN_MS));
}

/* Lines. */

static json_t *
worker_json(unsigned int number, unsigned int incarnation)
{
	return number ? json_sprintf("%u.%u", number, incarnation) : NULL;
}

/* An object on one line; what does not apply is left out. */
static size_t
line_json(int level, const vn_event_entry *e, json_t *worker, const char *text, char *out,
	size_t size)
{
	char time[VN_TIME_TEXT];
	json_t *line;
	size_t len;

	vn_time_text(vn_wall_clock(), time);
	line = json_pack("{s:s, s:s, s:s*, s:o*, s:o*, s:o*, s:o}", "time", time, "level",
		vn_level_name(level), "kind", e ? vn_event_kind_name(e->kind) : NULL, "worker",
		worker, "conn", e && e->conn ? json_integer((json_int_t)e->conn) : NULL, "listener",
		e && *e->listener ? vn_json_text(e->listener) : NULL, "text", vn_json_text(text));
	len = line ? json_dumpb(line, out, size - 1, 0) : 0;
	json_decref(line);
	len = len < size ? len : 0;
	out[len] = '\n';
	return len > 0 ? len + 1 : 0;
}

/**
 * vn_log_worker_line() - a line of a worker as JSON
 * @out: VN_LOG_LINE bytes hold any of a kilobyte
 *
 * Return: its length, with the newline; 0: out of memory.
 */
size_t
vn_log_worker_line(
	unsigned int number, unsigned int incarnation, const char *text, char *out, size_t size)
{
	return line_json(LOG_INFO, NULL, worker_json(number, incarnation), text, out, size);
}

/**
 * vn_log_line() - a line of the broker, in the form that was asked for
 *
 * Return: its length, with the newline.
 */
size_t
vn_log_line(const vn_broker *b, int level, const char *text, char *out, size_t size)
{
	const vn_event_entry *e = vn_events_telling(b);
	size_t len = 0;

	if (b->log.priorities)
		len = (size_t)snprintf(out, size, "<%d>", level);
	if (b->log.json)
		return len + line_json(level, e, e ? worker_json(e->number, e->incarnation) : NULL,
				     text, out + len, size - len);
	snprintf(out + len, size - len - 1, "vanilla: %s", text);
	len = strlen(out);
	vn_log_clean(out, len);
	out[len] = '\n';
	return len + 1;
}

/* What is said too often. */

/* Of a text without its digits: FNV-1a. Never 0. */
static uint32_t
wording_of(const char *text)
{
	uint32_t hash = 2166136261u;

	for (; *text; text++)
		if (*text < '0' || *text > '9')
			hash = (hash ^ (unsigned char)*text) * 16777619u;
	return hash ? hash : 1;
}

static void
line_write(const vn_broker *b, int level, const char *text)
{
	char line[VN_LOG_LINE];

	vn_log_write(STDERR_FILENO, line, vn_log_line(b, level, text, line, sizeof line));
}

static void
bucket_tell(const vn_broker *b, vn_log_bucket *k)
{
	char text[VN_LOG_SAMPLE + 64];

	if (k->n_suppressed == 0)
		return;
	snprintf(text, sizeof text, "suppressed %u lines like this one: %s", k->n_suppressed,
		k->sample);
	k->n_suppressed = 0;
	line_write(b, k->level, text);
}

static void
tell_suppressed(vn_timer *t)
{
	vn_log_state *s = (vn_log_state *)(void *)((char *)t - offsetof(vn_log_state, timer));
	vn_broker *b = (vn_broker *)(void *)((char *)s - offsetof(vn_broker, log));

	for (int i = 0; i < VN_LOG_BUCKETS; i++)
		bucket_tell(b, &s->buckets[i]);
}

/* The bucket of a wording; two that share one take it from each other. */
static vn_log_bucket *
bucket_of(vn_broker *b, int level, const char *text)
{
	uint32_t wording = wording_of(text);
	vn_log_bucket *k = &b->log.buckets[wording % VN_LOG_BUCKETS];

	if (k->wording == wording)
		return k;
	bucket_tell(b, k);
	*k = (vn_log_bucket){
		.wording = wording, .level = level, .n = LINES_AT_ONCE, .at = b->hub->now};
	snprintf(k->sample, sizeof k->sample, "%s", text);
	return k;
}

static bool
is_too_much(vn_broker *b, int level, const char *text)
{
	vn_log_bucket *k = bucket_of(b, level, text);
	uint64_t seconds = (uint64_t)(b->hub->now - k->at) / VN_SEC;

	if (seconds > 0) {
		k->n = seconds < LINES_AT_ONCE - k->n ? k->n + (uint32_t)seconds : LINES_AT_ONCE;
		k->at += (vn_time)seconds * VN_SEC;
	}
	if (k->n > 0) {
		k->n--;
		return false;
	}
	k->n_suppressed++;
	if (!vn_timer_armed(&b->log.timer))
		vn_wheel_arm(b->hub->wheel, &b->log.timer, b->hub->now + TELL_AFTER);
	return true;
}

/**
 * vn_broker_log() - for vn_log_to(): to standard error
 * @arg:   the broker; its configuration says what is worth a line
 * @level: of syslog(3)
 * @text:  one line, no newline
 */
void
vn_broker_log(void *arg, int level, const char *text)
{
	vn_broker *b = arg;

	if (level <= LOG_WARNING && b->counters)
		note(b, level, text);
	if (level <= b->log.level && !is_too_much(b, level, text))
		line_write(b, level, text);
}

/* Is standard error the journal? It says which stream it gave us. */
static bool
is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char ours[64];
	struct stat st;

	if (!stream || fstat(STDERR_FILENO, &st) < 0)
		return false;
	snprintf(ours, sizeof ours, "%llu:%llu", (unsigned long long)st.st_dev,
		(unsigned long long)st.st_ino);
	return strcmp(stream, ours) == 0;
}

/**
 * vn_log_init() - lines go where and how the configuration says
 */
void
vn_log_init(vn_broker *b)
{
	b->log.level = b->config->log_level;
	b->log.json = b->config->log_json;
	b->log.priorities = is_journal();
	b->log.timer.fire = tell_suppressed;
	vn_log_to(b->hub, vn_broker_log, b);
}

/**
 * vn_log_deinit() - say what was not said
 */
void
vn_log_deinit(vn_broker *b)
{
	vn_wheel_disarm(b->hub->wheel, &b->log.timer);
	tell_suppressed(&b->log.timer);
}
